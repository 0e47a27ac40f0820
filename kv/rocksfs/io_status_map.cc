#include "kv/rocksfs/io_status_map.h"

namespace moraine::rocksfs {
namespace {

using rocksdb::IOStatus;

IOStatus Passing(const std::string& message) {
  IOStatus status = IOStatus::IOError(message);
  status.SetRetryable(true);
  return status;
}

IOStatus Damage(const std::string& message) {
  IOStatus status = IOStatus::Corruption(message);
  status.SetDataLoss(true);
  status.SetScope(IOStatus::kIOErrorScopeFile);
  return status;
}

}  // namespace

IOStatus ToIoStatus(const Status& status, std::string_view path, Missing missing) {
  if (status.ok()) return IOStatus::OK();
  const bool asked = missing == Missing::kAsNotFound;
  const std::string message = std::string(path) + ": " + status.ToString();
  switch (status.code()) {
    case Code::kOk:
      return IOStatus::OK();
    case Code::kNotFound:
      return asked ? IOStatus::NotFound(message) : IOStatus::PathNotFound(message);
    case Code::kNotDirectory:
    case Code::kNameTooLong:
    case Code::kAccessDenied:
    case Code::kLoop:
      return asked ? IOStatus::NotFound(message) : IOStatus::IOError(message);
    case Code::kInvalidArgument:
      return IOStatus::InvalidArgument(message);
    case Code::kNotSupported:
      return IOStatus::NotSupported(message);
    case Code::kAlreadyExists:
    case Code::kIsDirectory:
    case Code::kNotEmpty:
    case Code::kNotPermitted:
    case Code::kTooLarge:
    case Code::kTooManyLinks:
    case Code::kNoAttribute:
    case Code::kOutOfRange:
    case Code::kBadHandle:
      return IOStatus::IOError(message);
    case Code::kBusy:
    case Code::kUnavailable:
    case Code::kTimeout:
    case Code::kOverloaded:
    case Code::kSealed:
    case Code::kWrongOffset:
    case Code::kUnknownChunk:
    case Code::kTooFewServers:
    case Code::kNotCommitted:
    case Code::kLeaseTaken:
    case Code::kQuarantined:
      return Passing(message);
    case Code::kCanceled:
      return IOStatus::Aborted(message);
    case Code::kProtocol:
    case Code::kWrongCluster:
    case Code::kWrongVersion:
    case Code::kWrongRole:
    case Code::kIo:
    case Code::kInternal:
      return IOStatus::IOError(message);
    case Code::kFenced:
    case Code::kSessionEnded:  // its leases and tokens are gone: nothing it writes counts any more
      return IOStatus::IOFenced(message);
    case Code::kCorruption:
      return Damage(message);
    case Code::kNoSpace:
      return IOStatus::NoSpace(message);
  }
  return IOStatus::IOError(message);
}

}  // namespace moraine::rocksfs
