// The one list of errors, and Result<T>, which carries a value or one of them.
//
// A Status is a code, a sentence for people, and (by its code) the advice what the caller may do:
// try again, learn fresh state first, or give up. Three files translate codes at the edges:
// rpc/error_map (Thrift), fs/mount/errno_map, kv/rocksfs/io_status_map. Each is an exhaustive
// switch. The numeric values travel between machines and are never reused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace moraine {

enum class Code : uint16_t {
  kOk = 0,
  // 1..99: the request itself
  kInvalidArgument = 1,
  kNotFound = 2,
  kAlreadyExists = 3,
  kNotDirectory = 4,
  kIsDirectory = 5,
  kNotEmpty = 6,
  kNameTooLong = 7,
  kAccessDenied = 8,  // permission bits say no (EACCES)
  kNotPermitted = 9,  // never allowed for this caller (EPERM)
  kTooLarge = 10,     // over a limit of base/limits.h
  kBusy = 11,         // held by somebody else
  kTooManyLinks = 12,
  kNoAttribute = 13,  // the extended attribute does not exist
  kOutOfRange = 14,   // a buffer or range is too small (ERANGE)
  kNotSupported = 15,
  kBadHandle = 16,  // unknown or closed handle
  kLoop = 17,       // a directory would become its own ancestor, or too many symlinks
  // 100..199: the way to the server
  kUnavailable = 100,  // nobody answers there
  kTimeout = 101,      // the outcome is unknown
  kCanceled = 102,     // the caller or a shutdown stopped it
  kOverloaded = 103,   // refused at the door; nothing was done
  kProtocol = 104,     // the peer sent what the protocol does not allow
  kWrongCluster = 105,
  kWrongVersion = 106,
  kWrongRole = 107,  // call not allowed for this kind of peer, or before the handshake
  // 200..299: replication
  kFenced = 200,         // older epoch or older directory token: another owner has taken over
  kSealed = 201,         // the chunk takes no more bytes
  kWrongOffset = 202,    // the append does not start where the replica ends
  kUnknownChunk = 203,   // this server holds no such replica
  kTooFewServers = 204,  // the policy's floor cannot be met now
  kNotCommitted = 205,   // past the committed length of an open chunk
  kSessionEnded = 206,   // the session's time ran out, its leases are gone
  kLeaseTaken = 207,     // another session writes this file
  // 300..399: storage
  kIo = 300,          // the disk reported an error
  kCorruption = 301,  // bytes do not match their checksum
  kNoSpace = 302,
  kQuarantined = 303,  // the disk takes no more writes
  // 400..: bugs of ours that are survivable
  kInternal = 400,
};

enum class Advice { kGiveUp, kRetry, kRefresh };

// The name of a code as it stands in logs and JSON, for example "not-found".
std::string_view CodeName(Code code);

// Maps a number from the wire; unknown numbers become kInternal, so that an old client survives a
// newer server.
Code CodeFromNumber(uint16_t number);

Advice AdviceFor(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status Ok() { return {}; }
  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  Advice advice() const { return AdviceFor(code_); }
  // "not-found: no file 'x' in directory 7".
  std::string ToString() const;
  // The same status with words in front: "open /a: no such file".
  Status Prefixed(std::string_view words) const;

  // Says that dropping this status is meant.
  void Ignore() const {}

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

template <class T>
class [[nodiscard]] Result : public tl::expected<T, Status> {
 public:
  using Base = tl::expected<T, Status>;
  using Base::Base;
  Result(Status status) : Base(tl::unexpect, std::move(status)) {}  // NOLINT: implicit by intent
  Result(Code code, std::string message) : Base(tl::unexpect, Status(code, std::move(message))) {}
  bool ok() const { return this->has_value(); }
  Status status() const { return ok() ? Status() : this->error(); }
  Code code() const { return ok() ? Code::kOk : this->error().code(); }
};

// A Linux errno from a system call, as a status whose message names what was done.
Status StatusFromErrno(int error, std::string_view what);

}  // namespace moraine

#define MORAINE_CONCAT_INNER(a, b) a##b
#define MORAINE_CONCAT(a, b) MORAINE_CONCAT_INNER(a, b)

// In a function that returns Status or Result: leaves with the error, if there is one.
#define MORAINE_RETURN_IF_ERROR(expression)          \
  do {                                               \
    ::moraine::Status moraine_status = (expression); \
    if (!moraine_status.ok()) return moraine_status; \
  } while (false)
#define MORAINE_ASSIGN_OR_RETURN(declaration, expression) \
  MORAINE_ASSIGN_OR_RETURN_IMPL(MORAINE_CONCAT(moraine_result_, __LINE__), declaration, expression)
#define MORAINE_ASSIGN_OR_RETURN_IMPL(result, declaration, expression) \
  auto result = (expression);                                          \
  if (!result.ok()) return result.status();                            \
  declaration = std::move(*result)

// The same in a coroutine.
#define MORAINE_CO_RETURN_IF_ERROR(expression)          \
  do {                                                  \
    ::moraine::Status moraine_status = (expression);    \
    if (!moraine_status.ok()) co_return moraine_status; \
  } while (false)
#define MORAINE_CO_ASSIGN_OR_RETURN(declaration, expression)                               \
  MORAINE_CO_ASSIGN_OR_RETURN_IMPL(MORAINE_CONCAT(moraine_result_, __LINE__), declaration, \
                                   expression)
#define MORAINE_CO_ASSIGN_OR_RETURN_IMPL(result, declaration, expression) \
  auto result = (expression);                                             \
  if (!result.ok()) co_return result.status();                            \
  declaration = std::move(*result)
