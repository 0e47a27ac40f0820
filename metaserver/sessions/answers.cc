#include "metaserver/sessions/answers.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/encoding.h"
#include "base/fault_point.h"
#include "base/limits.h"

namespace moraine::metaserver {
namespace {

constexpr size_t kMethodBytesMax = 64;

}  // namespace

Status Answers::Load(Store& store) {
  Transaction transaction(store);
  Cursor cursor = transaction.Scan(Family::kAnswers, {});
  for (; cursor.Valid(); cursor.Next()) {
    stored_[SessionId(NumberInKey(cursor.key(), 0))].insert(
        NumberInKey(cursor.key(), sizeof(uint64_t)));
  }
  return cursor.status();
}

Result<std::optional<std::string>> Answers::Find(Transaction& transaction, SessionId session,
                                                 uint64_t sequence, std::string_view method) {
  if (!MORAINE_FAULT_STATUS("mutant.metaserver_forgets_answers").ok()) {
    return std::optional<std::string>();
  }
  const auto of_session = stored_.find(session);
  if (of_session == stored_.end() || !of_session->second.contains(sequence)) {
    return std::optional<std::string>();
  }
  MORAINE_ASSIGN_OR_RETURN(const auto value,
                           transaction.Get(Family::kAnswers, AnswerKey(session, sequence)));
  if (!value.has_value()) return std::optional<std::string>();
  Reader reader(*value);
  if (reader.U8() != kRecordVersion) reader.Fail();
  const std::string_view stored_method = reader.String(kMethodBytesMax);
  const std::string_view bytes = reader.Rest();
  MORAINE_RETURN_IF_ERROR(reader.Finish("remembered answer"));
  if (stored_method != method) {
    return Status(Code::kInvalidArgument,
                  fmt::format("sequence number {} was used for {} and now for {}", sequence,
                              stored_method, method));
  }
  return std::optional<std::string>(std::string(bytes));
}

Status Answers::Remember(Transaction& transaction, SessionId session, uint64_t sequence,
                         uint64_t acknowledged_below, std::string_view method,
                         std::string_view bytes) {
  size_t kept = 1;
  if (const auto found = stored_.find(session); found != stored_.end()) {
    for (const uint64_t old : found->second) {
      if (old < acknowledged_below) {
        transaction.Delete(Family::kAnswers, AnswerKey(session, old));
      } else {
        ++kept;
      }
    }
  }
  if (kept > static_cast<size_t>(limits::kRememberedAnswersMax)) {
    return Status(Code::kOverloaded,
                  fmt::format("session {} has {} answers that it has not acknowledged",
                              session.value(), kept - 1));
  }
  std::string value(1, static_cast<char>(kRecordVersion));
  moraine::Writer writer(&value);
  writer.String(method);
  writer.Raw(bytes);
  transaction.Put(Family::kAnswers, AnswerKey(session, sequence), value);
  return Status::Ok();
}

void Answers::Committed(SessionId session, uint64_t sequence, uint64_t acknowledged_below) {
  std::set<uint64_t>& stored = stored_[session];
  stored.erase(stored.begin(), stored.lower_bound(acknowledged_below));
  stored.insert(sequence);
}

}  // namespace moraine::metaserver
