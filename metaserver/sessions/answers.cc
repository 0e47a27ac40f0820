#include "metaserver/sessions/answers.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/encoding.h"
#include "base/fault_point.h"
#include "base/limits.h"

namespace moraine::metaserver {
namespace {

constexpr size_t kMethodBytesMax = 64;
constexpr uint8_t kAllBelowVersion = 2;
constexpr uint8_t kAnswerVersion = 3;

}  // namespace

std::string RememberedAnswer::Encode() const {
  std::string value(1, static_cast<char>(kAnswerVersion));
  moraine::Writer writer(&value);
  acknowledged.Encode(writer);
  writer.String(method);
  writer.Raw(bytes);
  return value;
}

Result<RememberedAnswer> RememberedAnswer::Decode(std::string_view value) {
  Reader reader(value);
  const uint8_t version = reader.U8();
  RememberedAnswer answer;
  if (version == kAnswerVersion) {
    answer.acknowledged = Acknowledged::Decode(reader);
  } else if (version == kAllBelowVersion) {
    answer.acknowledged = Acknowledged(reader.Varint());
  } else if (version != kRecordVersion) {
    reader.Fail();
  }
  answer.method = reader.String(kMethodBytesMax);
  answer.bytes = reader.Rest();
  MORAINE_RETURN_IF_ERROR(reader.Finish("remembered answer"));
  return answer;
}

Status Answers::Load(Store& store) {
  Transaction transaction(store);
  Cursor cursor = transaction.Scan(Family::kAnswers, {});
  for (; cursor.Valid(); cursor.Next()) {
    MORAINE_ASSIGN_OR_RETURN(const RememberedAnswer answer,
                             RememberedAnswer::Decode(cursor.value()));
    Session& session = sessions_[SessionId(NumberInKey(cursor.key(), 0))];
    session.stored.insert(NumberInKey(cursor.key(), sizeof(uint64_t)));
    session.acknowledged.Add(answer.acknowledged);
  }
  return cursor.status();
}

// Costs what is over or slow, not what is stored.
std::vector<uint64_t> Answers::Session::Over() const {
  std::vector<uint64_t> over;
  for (auto it = stored.begin(); it != stored.end() && *it < acknowledged.below(); ++it) {
    if (acknowledged.IsOver(*it)) over.push_back(*it);
  }
  return over;
}

Status Answers::CheckCurrent(SessionId session, uint64_t sequence,
                             const Acknowledged& acknowledged) {
  Acknowledged& all = sessions_[session].acknowledged;
  all.Add(acknowledged);
  if (!all.IsOver(sequence)) return Status::Ok();
  return Status(
      Code::kInvalidArgument,
      fmt::format("sequence number {} comes late: it was acknowledged, like most below {}",
                  sequence, all.below()));
}

Result<std::optional<std::string>> Answers::Find(Transaction& transaction, SessionId session,
                                                 uint64_t sequence, std::string_view method) {
  if (!MORAINE_FAULT_STATUS("mutant.metaserver_forgets_answers").ok()) {
    return std::optional<std::string>();
  }
  const auto of_session = sessions_.find(session);
  if (of_session == sessions_.end() || !of_session->second.stored.contains(sequence)) {
    return std::optional<std::string>();
  }
  MORAINE_ASSIGN_OR_RETURN(const auto value,
                           transaction.Get(Family::kAnswers, AnswerKey(session, sequence)));
  if (!value.has_value()) return std::optional<std::string>();
  MORAINE_ASSIGN_OR_RETURN(const RememberedAnswer answer, RememberedAnswer::Decode(*value));
  if (answer.method != method) {
    return Status(Code::kInvalidArgument,
                  fmt::format("sequence number {} was used for {} and now for {}", sequence,
                              answer.method, method));
  }
  return std::optional<std::string>(std::string(answer.bytes));
}

Status Answers::Remember(Transaction& transaction, SessionId session, uint64_t sequence,
                         std::string_view method, std::string_view bytes) {
  const Session& known = sessions_[session];
  const std::vector<uint64_t> over = known.Over();
  for (const uint64_t old : over) {
    transaction.Delete(Family::kAnswers, AnswerKey(session, old));
  }
  const size_t kept = known.stored.size() - over.size() + 1;
  if (kept > static_cast<size_t>(limits::kRememberedAnswersMax)) {
    return Status(Code::kOverloaded,
                  fmt::format("session {} has {} answers that it has not acknowledged",
                              session.value(), kept - 1));
  }
  transaction.Put(Family::kAnswers, AnswerKey(session, sequence),
                  RememberedAnswer{known.acknowledged, method, bytes}.Encode());
  return Status::Ok();
}

void Answers::Committed(SessionId session, uint64_t sequence) {
  Session& known = sessions_[session];
  for (const uint64_t old : known.Over()) known.stored.erase(old);
  known.stored.insert(sequence);
}

void Answers::Withdraw(Transaction& transaction, SessionId session, uint64_t sequence) {
  transaction.Delete(Family::kAnswers, AnswerKey(session, sequence));
}

void Answers::Withdrawn(SessionId session, uint64_t sequence) {
  const auto known = sessions_.find(session);
  if (known != sessions_.end()) known->second.stored.erase(sequence);
}

}  // namespace moraine::metaserver
