// Remembered answers: the answer to a change, stored in the same batch as the change, so that the
// same (session, sequence) again gives the same answer and nothing is done twice, also after a
// restart.
//
// Forgotten when the client says that it has them (acknowledged_below), and with the session.
// Bounded per session by limits::kRememberedAnswersMax. Confined to the loop.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "metaserver/store/transaction.h"

namespace moraine::metaserver {

class Answers {
 public:
  // Which answers are stored, for the bound and the pruning.
  Status Load(Store& store);

  // The bytes of the answer to this change, if it has been made. kInvalidArgument if the number was
  // used for another method.
  Result<std::optional<std::string>> Find(Transaction& transaction, SessionId session,
                                          uint64_t sequence, std::string_view method);
  // Puts the answer into the transaction, and takes old ones out. kOverloaded when too many would
  // be remembered. Call Committed after the commit.
  Status Remember(Transaction& transaction, SessionId session, uint64_t sequence,
                  uint64_t acknowledged_below, std::string_view method, std::string_view bytes);
  void Committed(SessionId session, uint64_t sequence, uint64_t acknowledged_below);
  void Forget(SessionId session) { stored_.erase(session); }

 private:
  std::map<SessionId, std::set<uint64_t>> stored_;
};

}  // namespace moraine::metaserver
