#include "fs/mount/errno_map.h"

#include <cerrno>

#include "base/check.h"

namespace moraine::fs::mount {

int ErrnoFor(Code code) {
  switch (code) {
    case Code::kOk:
      return 0;
    case Code::kInvalidArgument:
      return EINVAL;
    case Code::kNotFound:
      return ENOENT;
    case Code::kAlreadyExists:
      return EEXIST;
    case Code::kNotDirectory:
      return ENOTDIR;
    case Code::kIsDirectory:
      return EISDIR;
    case Code::kNotEmpty:
      return ENOTEMPTY;
    case Code::kNameTooLong:
      return ENAMETOOLONG;
    case Code::kAccessDenied:
      return EACCES;
    case Code::kNotPermitted:
      return EPERM;
    case Code::kTooLarge:
      return EFBIG;
    case Code::kBusy:
    case Code::kLeaseTaken:
      return EBUSY;
    case Code::kTooManyLinks:
      return EMLINK;
    case Code::kNoAttribute:
      return ENODATA;
    case Code::kOutOfRange:
      return ERANGE;
    case Code::kNotSupported:
      return EOPNOTSUPP;
    case Code::kBadHandle:
      return EBADF;
    case Code::kLoop:
      // The kernel resolves symlinks itself, so this is a directory moved below itself: rename(2)
      // says EINVAL.
      return EINVAL;
    case Code::kTimeout:
      return ETIMEDOUT;
    case Code::kCanceled:
      return EINTR;
    case Code::kFenced:
    case Code::kSessionEnded:
      return ESTALE;  // somebody else owns the file or directory now: open it again
    case Code::kNoSpace:
      return ENOSPC;
    case Code::kUnavailable:
    case Code::kOverloaded:
    case Code::kProtocol:
    case Code::kWrongCluster:
    case Code::kWrongVersion:
    case Code::kWrongRole:
    case Code::kSealed:
    case Code::kWrongOffset:
    case Code::kUnknownChunk:
    case Code::kTooFewServers:
    case Code::kNotCommitted:
    case Code::kIo:
    case Code::kCorruption:
    case Code::kQuarantined:
    case Code::kInternal:
      return EIO;
  }
  CheckFailed("a code of status.h", __FILE__, __LINE__, "unknown status code");
}

int ErrnoForOpen(Code code) { return code == Code::kNotFound ? ESTALE : ErrnoFor(code); }

int ErrnoForCreate(Code code, bool exclusive) {
  return code == Code::kAlreadyExists && !exclusive ? ESTALE : ErrnoFor(code);
}

}  // namespace moraine::fs::mount
