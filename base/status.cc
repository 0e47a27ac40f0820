#include "base/status.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace moraine {
namespace {

struct CodeInfo {
  Code code;
  std::string_view name;
  Advice advice;
};

constexpr CodeInfo kCodes[] = {
    {Code::kOk, "ok", Advice::kGiveUp},
    {Code::kInvalidArgument, "invalid-argument", Advice::kGiveUp},
    {Code::kNotFound, "not-found", Advice::kGiveUp},
    {Code::kAlreadyExists, "already-exists", Advice::kGiveUp},
    {Code::kNotDirectory, "not-directory", Advice::kGiveUp},
    {Code::kIsDirectory, "is-directory", Advice::kGiveUp},
    {Code::kNotEmpty, "not-empty", Advice::kGiveUp},
    {Code::kNameTooLong, "name-too-long", Advice::kGiveUp},
    {Code::kAccessDenied, "access-denied", Advice::kGiveUp},
    {Code::kNotPermitted, "not-permitted", Advice::kGiveUp},
    {Code::kTooLarge, "too-large", Advice::kGiveUp},
    {Code::kBusy, "busy", Advice::kRetry},
    {Code::kTooManyLinks, "too-many-links", Advice::kGiveUp},
    {Code::kNoAttribute, "no-attribute", Advice::kGiveUp},
    {Code::kOutOfRange, "out-of-range", Advice::kGiveUp},
    {Code::kNotSupported, "not-supported", Advice::kGiveUp},
    {Code::kBadHandle, "bad-handle", Advice::kGiveUp},
    {Code::kLoop, "loop", Advice::kGiveUp},
    {Code::kUnavailable, "unavailable", Advice::kRetry},
    {Code::kTimeout, "timeout", Advice::kRetry},
    {Code::kCanceled, "canceled", Advice::kGiveUp},
    {Code::kOverloaded, "overloaded", Advice::kRetry},
    {Code::kProtocol, "protocol", Advice::kGiveUp},
    {Code::kWrongCluster, "wrong-cluster", Advice::kGiveUp},
    {Code::kWrongVersion, "wrong-version", Advice::kGiveUp},
    {Code::kWrongRole, "wrong-role", Advice::kGiveUp},
    {Code::kFenced, "fenced", Advice::kGiveUp},
    {Code::kSealed, "sealed", Advice::kRefresh},
    {Code::kWrongOffset, "wrong-offset", Advice::kRefresh},
    {Code::kUnknownChunk, "unknown-chunk", Advice::kRefresh},
    {Code::kTooFewServers, "too-few-servers", Advice::kRetry},
    {Code::kNotCommitted, "not-committed", Advice::kRefresh},
    {Code::kSessionEnded, "session-ended", Advice::kGiveUp},
    {Code::kLeaseTaken, "lease-taken", Advice::kRetry},
    {Code::kIo, "io", Advice::kGiveUp},
    {Code::kCorruption, "corruption", Advice::kRefresh},
    {Code::kNoSpace, "no-space", Advice::kGiveUp},
    {Code::kQuarantined, "quarantined", Advice::kRefresh},
    {Code::kInternal, "internal", Advice::kGiveUp},
};

const CodeInfo& Info(Code code) {
  for (const CodeInfo& info : kCodes) {
    if (info.code == code) return info;
  }
  return kCodes[std::size(kCodes) - 1];
}

}  // namespace

std::string_view CodeName(Code code) { return Info(code).name; }

Code CodeFromNumber(uint16_t number) { return Info(static_cast<Code>(number)).code; }

Advice AdviceFor(Code code) { return Info(code).advice; }

std::string Status::ToString() const {
  if (ok()) return "ok";
  return fmt::format("{}: {}", CodeName(code_), message_);
}

Status Status::Prefixed(std::string_view words) const {
  if (ok()) return *this;
  return {code_, fmt::format("{}: {}", words, message_)};
}

Status StatusFromErrno(int error, std::string_view what) {
  Code code = Code::kIo;
  switch (error) {
    case ENOENT: code = Code::kNotFound; break;
    case EEXIST: code = Code::kAlreadyExists; break;
    case ENOTDIR: code = Code::kNotDirectory; break;
    case EISDIR: code = Code::kIsDirectory; break;
    case ENOTEMPTY: code = Code::kNotEmpty; break;
    case ENAMETOOLONG: code = Code::kNameTooLong; break;
    case EACCES: code = Code::kAccessDenied; break;
    case EPERM:
    case EROFS: code = Code::kNotPermitted; break;
    case ENOSPC:
    case EDQUOT: code = Code::kNoSpace; break;
    case EINVAL: code = Code::kInvalidArgument; break;
    case EBUSY:
    case EADDRINUSE: code = Code::kBusy; break;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENOTCONN:
    case ECONNABORTED: code = Code::kUnavailable; break;
    case ETIMEDOUT: code = Code::kTimeout; break;
    case ECANCELED: code = Code::kCanceled; break;
    // Of this process or machine; says nothing about the file.
    case EMFILE:
    case ENFILE:
    case ENOMEM: code = Code::kOverloaded; break;
    default: break;
  }
  return {code, fmt::format("{}: {}", what, std::strerror(error))};
}

}  // namespace moraine
