// Our status codes as the errno values that programs on a mount see.
//
// The first way is for every operation; the other two are for places where the kernel can do better
// than hand the plain answer to the program.
#pragma once

#include "base/status.h"

namespace moraine::fs::mount {

// 0 for kOk. Exhaustive: a new code does not compile without its line here.
int ErrnoFor(Code code);

// Open of an inode that the kernel looked up earlier. ESTALE instead of ENOENT: the kernel then
// walks the path again without its cache, and finds the file that has the name now.
int ErrnoForOpen(Code code);

// Create after the kernel believed that the name was free. Without O_EXCL, ESTALE instead of
// EEXIST: the kernel looks again and opens what is there, with its permission check.
int ErrnoForCreate(Code code, bool exclusive);

}  // namespace moraine::fs::mount
