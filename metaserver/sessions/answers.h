// Remembered answers: the answer to a change, stored in the same batch as the change, so that the
// same (session, sequence) again gives the same answer and nothing is done twice, also after a
// restart.
//
// Forgotten when the client says that it has them (acknowledged.h), and with the session. A number
// that was ever acknowledged is refused: it is a repetition that was held up on its way, and nobody
// knows any more whether it was done. All that was acknowledged is stored with each answer. Bounded
// per session by limits::kRememberedAnswersMax. Confined to the loop.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "metaserver/sessions/acknowledged.h"
#include "metaserver/store/transaction.h"

namespace moraine::metaserver {

// A stored answer (RECORDS.md); the views point into the value that it was read from.
struct RememberedAnswer {
  Acknowledged acknowledged;
  std::string_view method;
  std::string_view bytes;

  std::string Encode() const;
  static Result<RememberedAnswer> Decode(std::string_view value);
};

class Answers {
 public:
  // Which answers are stored, for the bound and the pruning.
  Status Load(Store& store);

  // kInvalidArgument if the number was acknowledged before. Takes note of `acknowledged`.
  Status CheckCurrent(SessionId session, uint64_t sequence, const Acknowledged& acknowledged);
  // The bytes of the answer to this change, if it has been made. kInvalidArgument if the number was
  // used for another method.
  Result<std::optional<std::string>> Find(Transaction& transaction, SessionId session,
                                          uint64_t sequence, std::string_view method);
  // Puts the answer into the transaction, and takes old ones out. kOverloaded when too many would
  // be remembered. Call Committed after the commit.
  Status Remember(Transaction& transaction, SessionId session, uint64_t sequence,
                  std::string_view method, std::string_view bytes);
  void Committed(SessionId session, uint64_t sequence);
  // What the answer says was undone in this transaction: the same number again is a new try. Call
  // Withdrawn after the commit.
  void Withdraw(Transaction& transaction, SessionId session, uint64_t sequence);
  void Withdrawn(SessionId session, uint64_t sequence);
  void Forget(SessionId session) { sessions_.erase(session); }

 private:
  struct Session {
    std::set<uint64_t> stored;
    Acknowledged acknowledged;  // all that was ever said

    // Of what is stored.
    std::vector<uint64_t> Over() const;
  };
  std::map<SessionId, Session> sessions_;
};

}  // namespace moraine::metaserver
