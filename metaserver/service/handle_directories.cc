#include <fmt/format.h>

#include "base/limits.h"
#include "metaserver/namespace/ops/ops.h"
#include "metaserver/service/convert.h"
#include "metaserver/service/core.h"

namespace moraine::metaserver {
namespace {

// Phase one, once per (session, sequence): only the token is remembered, the contents are read
// anew.
Task<Result<idl::AcquireDirectoryResponse>> TakeToken(Core& core, rpc::CallContext& context,
                                                      idl::AcquireDirectoryRequest request) {
  co_return co_await core.Change<idl::AcquireDirectoryResponse>(
      idl::kAcquireDirectory.name, context,
      [request =
           std::move(request)](Transaction& transaction) -> Result<idl::AcquireDirectoryResponse> {
        MORAINE_ASSIGN_OR_RETURN(const AcquireResult acquired,
                                 AcquireDirectory(transaction, IdFromWire<InodeId>(request.inode),
                                                  request.owner, request.steal));
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
  MORAINE_CO_ASSIGN_OR_RETURN(const OwnedDirectory owned, ReadOwned(transaction, directory, token));
  idl::AcquireDirectoryResponse response;
  response.token = ToWire(token);
  response.attributes = ToWire(owned.inode);
  response.entries.reserve(owned.entries.size());
  for (const OwnedEntry& entry : owned.entries) {
    idl::OwnedEntry& out = response.entries.emplace_back();
    out.name = entry.name;
    out.attributes = ToWire(entry.file.inode);
    out.layout = ToWire(entry.file.layout, core.registry);
  }
  response.metadata_bytes = static_cast<int64_t>(EncodeAnswer(response).size());
  if (static_cast<uint64_t>(response.metadata_bytes) > limits::kFrameBytesMax / 2) {
    co_return Status(
        Code::kTooLarge,
        fmt::format("directory {} has too many files to be owned: {} entries, {} bytes",
                    directory.value(), owned.entries.size(), response.metadata_bytes));
  }
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
  // The caller never learns the token, so nobody could work in the directory: it is free again.
  Transaction transaction(core.store, session);
  const Status released = ReleaseDirectory(transaction, directory, token);
  if (released.ok()) {
    MORAINE_CO_ASSIGN_OR_RETURN(const Ticket ticket, core.store.Commit(transaction));
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
