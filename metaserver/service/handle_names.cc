#include "metaserver/namespace/ops/ops.h"
#include "metaserver/service/convert.h"
#include "metaserver/service/core.h"

namespace moraine::metaserver {
namespace {

using idl::AttributesResponse;

// A read of one inode; the session may cache what it is told.
template <class Operation>
Result<AttributesResponse> Look(Core& core, const rpc::CallContext& context, Operation operation) {
  auto inode = core.Query<InodeView>(context, operation);
  if (!inode.ok()) return inode.status();
  core.sessions.NoteInterest(core.SessionOf(context), inode->id);
  return AttributesAnswer(*inode);
}

// Makes the file and, if asked, takes its lease and its first chunk, all at once.
Result<idl::CreateResponse> CreateAll(Core& core, Transaction& transaction,
                                      const idl::CreateRequest& request, const CreateArgs& args) {
  MORAINE_ASSIGN_OR_RETURN(const CreateResult created, Create(transaction, args));
  idl::CreateResponse response;
  response.created = created.created;
  const InodeId inode = created.inode.id;
  // What was there is opened by a call of its own: its client may believe in an older lease of it,
  // and must not be given another one behind its back.
  const bool writing = created.created && request.open_for_write &&
                       created.inode.record.type == FileType::kRegular;
  if (writing) {
    const bool durable = transaction.effects().durable;
    const OpenArgs open{inode, true, false, args.token};
    MORAINE_RETURN_IF_ERROR(Open(transaction, open));
    // A lease that comes with a new file can be lost only together with it.
    transaction.effects().durable = durable;
  }
  if (writing && request.want_chunk) {
    AllocateChunkArgs allocate;
    allocate.inode = inode;
    allocate.tail = true;
    allocate.token = args.token;
    MORAINE_ASSIGN_OR_RETURN(
        const ChunkGrant grant,
        AllocateChunk(transaction, allocate, core.registry.Views(), core.loop.random()));
    for (const ReplicaRecord& replica : grant.chunk.record.replicas) {
      core.registry.NotePlaced(replica.server);
    }
    response.__set_chunk(ToWire(grant, core.registry));
  }
  if (created.created) {
    MORAINE_ASSIGN_OR_RETURN(const FileView file, GetLayout(transaction, inode));
    response.attributes = ToWire(file.inode);
    response.layout = ToWire(file.layout, core.registry);
  } else {
    response.attributes.inode = ToWire(inode);
  }
  return response;
}

Task<Result<idl::CreateResponse>> CreateCall(Core& core, rpc::CallContext& context,
                                             idl::CreateRequest request) {
  MORAINE_CO_ASSIGN_OR_RETURN(CreateArgs args, FromWire(request));
  auto answer = co_await core.Change<idl::CreateResponse>(
      idl::kCreate.name, context,
      [&core, request = std::move(request), args = std::move(args)](Transaction& transaction) {
        return CreateAll(core, transaction, request, args);
      });
  // What was there already may be large: it is read for the answer and not remembered with it.
  if (answer.ok() && !answer->created) {
    MORAINE_CO_RETURN_IF_ERROR(core.Describe(IdFromWire<InodeId>(answer->attributes.inode),
                                             &answer->attributes, &answer->layout));
  }
  co_return answer;
}

Task<Result<idl::RenameResponse>> RenameCall(Core& core, rpc::CallContext& context,
                                             idl::RenameRequest request) {
  MORAINE_CO_ASSIGN_OR_RETURN(RenameArgs args, FromWire(request));
  co_return co_await core.Change<idl::RenameResponse>(
      idl::kRename.name, context,
      [args = std::move(args)](Transaction& transaction) -> Result<idl::RenameResponse> {
        MORAINE_ASSIGN_OR_RETURN(const RenameResult renamed, Rename(transaction, args));
        idl::RenameResponse response;
        response.inode = ToWire(renamed.inode);
        response.replaced_inode = ToWire(renamed.replaced);
        return response;
      });
}

Task<Result<AttributesResponse>> SetAttributesCall(Core& core, rpc::CallContext& context,
                                                   idl::SetAttributesRequest request) {
  MORAINE_CO_ASSIGN_OR_RETURN(SetAttributesArgs args, FromWire(request));
  co_return co_await core.Change<AttributesResponse>(
      idl::kSetAttributes.name, context,
      [args](Transaction& transaction) -> Result<AttributesResponse> {
        MORAINE_ASSIGN_OR_RETURN(const InodeView inode, SetAttributes(transaction, args));
        return AttributesAnswer(inode);
      });
}

Result<idl::ReadDirectoryResponse> ReadDirectoryCall(Core& core, rpc::CallContext& context,
                                                     const idl::ReadDirectoryRequest& request) {
  const auto directory = IdFromWire<InodeId>(request.inode);
  const size_t limit = request.limit > 0 ? static_cast<size_t>(request.limit) : 0;
  auto page = core.Query<ReadDirectoryResult>(context, [&](Transaction& transaction) {
    return ReadDirectory(transaction, directory, request.after, limit, request.with_attributes);
  });
  if (!page.ok()) return page.status();
  core.sessions.NoteInterest(core.SessionOf(context), directory);
  idl::ReadDirectoryResponse response;
  response.more = page->more;
  response.parent = ToWire(page->parent);
  response.entries.reserve(page->entries.size());
  for (const ListedEntry& entry : page->entries) {
    idl::DirectoryEntry& out = response.entries.emplace_back();
    out.name = entry.name;
    out.inode = ToWire(entry.inode);
    out.type = static_cast<idl::FileType::type>(entry.type);
    if (entry.view.has_value()) out.__set_attributes(ToWire(*entry.view));
  }
  return response;
}

void HandleLooks(rpc::Server& server, Core& core) {
  server.Handle(idl::kLookup,
                [&core](rpc::CallContext& context,
                        idl::EntryRequest request) -> Task<Result<AttributesResponse>> {
                  co_return Look(core, context, [&](Transaction& transaction) {
                    return Lookup(transaction, IdFromWire<InodeId>(request.parent), request.name);
                  });
                });
  server.Handle(idl::kResolve,
                [&core](rpc::CallContext& context,
                        idl::PathRequest request) -> Task<Result<AttributesResponse>> {
                  co_return Look(core, context, [&](Transaction& transaction) {
                    return Resolve(transaction, request.path);
                  });
                });
  server.Handle(idl::kGetAttributes,
                [&core](rpc::CallContext& context,
                        idl::InodeRequest request) -> Task<Result<AttributesResponse>> {
                  co_return Look(core, context, [&](Transaction& transaction) {
                    return GetInode(transaction, IdFromWire<InodeId>(request.inode));
                  });
                });
  server.Handle(
      idl::kReadDirectory,
      [&core](rpc::CallContext& context,
              idl::ReadDirectoryRequest request) -> Task<Result<idl::ReadDirectoryResponse>> {
        co_return ReadDirectoryCall(core, context, request);
      });
}

Task<Result<idl::RemoveResponse>> RemoveCall(Core& core, rpc::CallContext& context,
                                             idl::RemoveRequest request) {
  const RemoveArgs args{IdFromWire<InodeId>(request.parent), request.name, request.directory,
                        IdFromWire<Token>(request.token)};
  co_return co_await core.Change<idl::RemoveResponse>(
      idl::kRemove.name, context, [args](Transaction& transaction) -> Result<idl::RemoveResponse> {
        MORAINE_ASSIGN_OR_RETURN(const RemoveResult removed, Remove(transaction, args));
        idl::RemoveResponse response;
        response.inode = ToWire(removed.inode);
        response.links = static_cast<int64_t>(removed.links);
        return response;
      });
}

Task<Result<AttributesResponse>> LinkCall(Core& core, rpc::CallContext& context,
                                          idl::LinkRequest request) {
  const LinkArgs args{IdFromWire<InodeId>(request.inode), IdFromWire<InodeId>(request.new_parent),
                      request.new_name, IdFromWire<Token>(request.token)};
  co_return co_await core.Change<AttributesResponse>(
      idl::kLink.name, context, [args](Transaction& transaction) -> Result<AttributesResponse> {
        MORAINE_ASSIGN_OR_RETURN(const InodeView inode, Link(transaction, args));
        return AttributesAnswer(inode);
      });
}

// The bytes of closed chunks first: only their seals say that enough disks have them. Then the log,
// which is one: what is on disk of it is on disk for every inode.
Task<Result<idl::SyncMetadataResponse>> SyncCall(Core& core, InodeId inode, Instant deadline) {
  MORAINE_CO_RETURN_IF_ERROR(co_await core.sealer.SettleFile(inode, deadline));
  MORAINE_CO_RETURN_IF_ERROR(co_await core.store.Synced(core.store.written()));
  // Bytes that were lost before the seal are not synced: the losses tell.
  idl::SyncMetadataResponse response;
  Transaction transaction(core.store);
  const Result<InodeView> now = GetInode(transaction, inode);
  if (now.ok()) response.__set_attributes(ToWire(*now));
  co_return response;
}

}  // namespace

void HandleNames(rpc::Server& server, Core& core) {
  HandleLooks(server, core);
  server.Handle(idl::kCreate, [&core](rpc::CallContext& context, idl::CreateRequest request) {
    return CreateCall(core, context, std::move(request));
  });
  server.Handle(idl::kRemove, [&core](rpc::CallContext& context, idl::RemoveRequest request) {
    return RemoveCall(core, context, std::move(request));
  });
  server.Handle(idl::kRename, [&core](rpc::CallContext& context, idl::RenameRequest request) {
    return RenameCall(core, context, std::move(request));
  });
  server.Handle(idl::kLink, [&core](rpc::CallContext& context, idl::LinkRequest request) {
    return LinkCall(core, context, std::move(request));
  });
  server.Handle(idl::kSetAttributes,
                [&core](rpc::CallContext& context, idl::SetAttributesRequest request) {
                  return SetAttributesCall(core, context, std::move(request));
                });
  server.Handle(idl::kSyncMetadata, [&core](rpc::CallContext& context, idl::InodeRequest request) {
    return SyncCall(core, IdFromWire<InodeId>(request.inode), context.deadline);
  });
}

}  // namespace moraine::metaserver
