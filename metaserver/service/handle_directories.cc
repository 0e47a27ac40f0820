#include <fmt/format.h>

#include "base/limits.h"
#include "metaserver/namespace/ops/ops.h"
#include "metaserver/service/convert.h"
#include "metaserver/service/core.h"

namespace moraine::metaserver {
namespace {

// The answer names the whole directory.
constexpr uint64_t kContentsBytesMax = limits::kFrameBytesMax / 2;

// Turns entries into the answer's, one at a time, and ends with kTooLarge at the first that does
// not fit: a directory may have any number.
class Contents {
 public:
  Contents(const Core& core, InodeId directory) : core_(core), directory_(directory) {}

  Result<idl::OwnedEntry> Take(const OwnedEntry& entry) {
    idl::OwnedEntry out;
    out.name = entry.name;
    out.attributes = ToWire(entry.file.inode);
    out.layout = ToWire(entry.file.layout, core_.registry);
    bytes_ += EncodeAnswer(out).size();
    ++entries_;
    if (bytes_ <= kContentsBytesMax) return out;
    return Status(Code::kTooLarge,
                  fmt::format("directory {} has too many files to be owned: {} entries take {} "
                              "bytes, all may take {}",
                              directory_.value(), entries_, bytes_, kContentsBytesMax));
  }

 private:
  const Core& core_;
  const InodeId directory_;
  uint64_t bytes_ = 0;
  uint64_t entries_ = 0;
};

// Phase one, once per (session, sequence): only the token is remembered, the contents are read
// anew. What could not be told is refused first, since taking the directory ends the work of
// others.
Task<Result<idl::AcquireDirectoryResponse>> TakeToken(Core& core, rpc::CallContext& context,
                                                      idl::AcquireDirectoryRequest request) {
  co_return co_await core.Change<idl::AcquireDirectoryResponse>(
      idl::kAcquireDirectory.name, context,
      [&core, request = std::move(request)](
          Transaction& transaction) -> Result<idl::AcquireDirectoryResponse> {
        const auto directory = IdFromWire<InodeId>(request.inode);
        Contents contents(core, directory);
        MORAINE_RETURN_IF_ERROR(VisitEntries(transaction, directory, [&](const OwnedEntry& entry) {
          return contents.Take(entry).status();
        }));
        MORAINE_ASSIGN_OR_RETURN(
            const AcquireResult acquired,
            AcquireDirectory(transaction, directory, request.owner, request.steal));
        idl::AcquireDirectoryResponse response;
        response.token = ToWire(acquired.token);
        return response;
      });
}

// Phase two: everything open is sealed, then the contents are read.
Task<Result<idl::AcquireDirectoryResponse>> ReadContents(Core& core, SessionId session,
                                                         InodeId directory, Token token,
                                                         Instant deadline) {
  std::vector<InodeId> files;
  {
    Transaction transaction(core.store);
    MORAINE_CO_ASSIGN_OR_RETURN(files, FilesToRecover(transaction, directory));
  }
  MORAINE_CO_RETURN_IF_ERROR(co_await core.recovery.RecoverAll(std::move(files), deadline));

  Transaction transaction(core.store, session);
  idl::AcquireDirectoryResponse response;
  response.token = ToWire(token);
  Contents contents(core, directory);
  const auto add = [&](const OwnedEntry& entry) -> Status {
    MORAINE_ASSIGN_OR_RETURN(idl::OwnedEntry out, contents.Take(entry));
    response.entries.push_back(std::move(out));
    return Status::Ok();
  };
  MORAINE_CO_ASSIGN_OR_RETURN(const InodeView inode, ReadOwned(transaction, directory, token, add));
  response.attributes = ToWire(inode);
  response.metadata_bytes = static_cast<int64_t>(EncodeAnswer(response).size());
  co_return response;
}

// Whether a repetition of the call may do better, with the same token.
bool MayPass(Code code) {
  return code == Code::kTimeout || code == Code::kCanceled || code == Code::kUnavailable ||
         code == Code::kOverloaded || code == Code::kBusy;
}

Task<Result<idl::AcquireDirectoryResponse>> AcquireCall(Core& core, rpc::CallContext& context,
                                                        idl::AcquireDirectoryRequest request) {
  const auto directory = IdFromWire<InodeId>(request.inode);
  const SessionId session = core.SessionOf(context);
  const auto taken = co_await TakeToken(core, context, std::move(request));
  if (!taken.ok()) co_return taken;
  const auto token = IdFromWire<Token>(taken->token);
  auto contents = co_await ReadContents(core, session, directory, token, context.deadline);
  if (contents.ok() || MayPass(contents.code())) co_return contents;
  // The caller never learns the token, so nobody could work in the directory: it is free again, and
  // the same call once more is another try.
  const auto sequence = static_cast<uint64_t>(context.header.sequence);
  Transaction transaction(core.store, session);
  const Status released = ReleaseDirectory(transaction, directory, token);
  if (released.ok()) {
    core.answers.Withdraw(transaction, session, sequence);
    MORAINE_CO_ASSIGN_OR_RETURN(const Ticket ticket, core.store.Commit(transaction));
    core.answers.Withdrawn(session, sequence);
    core.Act(transaction.effects(), session, true);
    MORAINE_CO_RETURN_IF_ERROR(co_await core.store.Synced(ticket));
  }
  co_return contents;
}

}  // namespace

void HandleDirectories(rpc::Server& server, Core& core) {
  server.Handle(idl::kAcquireDirectory,
                [&core](rpc::CallContext& context, idl::AcquireDirectoryRequest request) {
                  return AcquireCall(core, context, std::move(request));
                });
  server.Handle(idl::kReleaseDirectory, [&core](rpc::CallContext& context,
                                                idl::ReleaseDirectoryRequest request) {
    return core.Change<idl::Empty>(
        idl::kReleaseDirectory.name, context,
        [request](Transaction& transaction) -> Result<idl::Empty> {
          MORAINE_RETURN_IF_ERROR(ReleaseDirectory(transaction, IdFromWire<InodeId>(request.inode),
                                                   IdFromWire<Token>(request.token)));
          return idl::Empty();
        });
  });
}

}  // namespace moraine::metaserver
