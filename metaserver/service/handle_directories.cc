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

Task<Result<idl::AcquireDirectoryResponse>> AcquireCall(Core& core, rpc::CallContext& context,
                                                        idl::AcquireDirectoryRequest request) {
  const auto directory = IdFromWire<InodeId>(request.inode);
  auto taken = co_await TakeToken(core, context, std::move(request));
  if (!taken.ok()) co_return taken;
  std::vector<InodeId> files;
  {
    Transaction transaction(core.store);
    MORAINE_CO_ASSIGN_OR_RETURN(files, FilesToRecover(transaction, directory));
  }
  MORAINE_CO_RETURN_IF_ERROR(co_await core.recovery.RecoverAll(std::move(files), context.deadline));

  Transaction transaction(core.store, core.SessionOf(context));
  MORAINE_CO_ASSIGN_OR_RETURN(const OwnedDirectory owned,
                              ReadOwned(transaction, directory, IdFromWire<Token>(taken->token)));
  idl::AcquireDirectoryResponse response;
  response.token = taken->token;
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
