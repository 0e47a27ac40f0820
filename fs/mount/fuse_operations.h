// The callbacks that libfuse calls for each kind of request: they decode, start a coroutine and
// return. The user data of the session is its FuseSession.
#pragma once

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse_lowlevel.h>

namespace moraine::fs::mount {

const fuse_lowlevel_ops& FuseOperations();

}  // namespace moraine::fs::mount
