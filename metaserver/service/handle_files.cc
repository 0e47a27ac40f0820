#include <fmt/format.h>

#include "base/limits.h"
#include "base/log.h"
#include "metaserver/chunks/chunk_table.h"
#include "metaserver/namespace/ops/ops.h"
#include "metaserver/service/convert.h"
#include "metaserver/service/core.h"

namespace moraine::metaserver {
namespace {

Task<Result<idl::OpenResponse>> OpenCall(Core& core, rpc::CallContext& context,
                                         idl::OpenRequest request) {
  const OpenArgs args{IdFromWire<InodeId>(request.inode), request.for_writing, request.truncate,
                      IdFromWire<Token>(request.token)};
  const SessionId session = core.SessionOf(context);
  core.sessions.NoteInterest(session, args.inode);
  Result<idl::OpenResponse> answer{idl::OpenResponse()};
  if (args.write || args.truncate) {
    answer = co_await core.Change<idl::OpenResponse>(
        idl::kOpen.name, context, [args](Transaction& transaction) -> Result<idl::OpenResponse> {
          MORAINE_RETURN_IF_ERROR(Open(transaction, args));
          idl::OpenResponse response;
          response.leased = true;
          return response;
        });
    if (!answer.ok()) co_return answer;
  } else {
    // Changes nothing that is stored, so there is nothing to remember.
    MORAINE_CO_RETURN_IF_ERROR(core.CheckSession(session));
    if (!session.IsNone() && context.header.sequence != 0) {
      MORAINE_CO_ASSIGN_OR_RETURN(const Acknowledged acknowledged, FromWire(context.header));
      MORAINE_CO_RETURN_IF_ERROR(core.answers.CheckCurrent(
          session, static_cast<uint64_t>(context.header.sequence), acknowledged));
    }
    Transaction transaction(core.store, session, core.loop.WallNanoseconds());
    MORAINE_CO_RETURN_IF_ERROR(Open(transaction, args));
    MORAINE_CO_ASSIGN_OR_RETURN(answer->leased, HoldsLease(transaction, args.inode));
    core.Act(transaction.effects(), session, true);
  }
  MORAINE_CO_RETURN_IF_ERROR(core.Describe(args.inode, &answer->attributes, &answer->layout));
  co_return answer;
}

Task<Result<idl::Empty>> CloseCall(Core& core, rpc::CallContext& context,
                                   idl::CloseRequest request) {
  if (request.files.size() > limits::kClosesAtOnceMax) {
    co_return Status(Code::kTooLarge, fmt::format("{} files to be closed by one call, at most {}",
                                                  request.files.size(), limits::kClosesAtOnceMax));
  }
  auto answer = co_await core.Change<idl::Empty>(
      idl::kClose.name, context,
      [&files = request.files](Transaction& transaction) -> Result<idl::Empty> {
        for (const idl::ClosedFile& file : files) {
          if (!file.release_lease) continue;
          MORAINE_RETURN_IF_ERROR(Close(transaction, IdFromWire<InodeId>(file.inode)));
        }
        return idl::Empty();
      });
  if (!answer.ok()) co_return answer;
  // A lease may go back while handles stay: then the renewals tell when the last one is closed.
  for (const idl::ClosedFile& file : request.files) {
    const auto inode = IdFromWire<InodeId>(file.inode);
    core.sessions.NoteClose(core.SessionOf(context), inode, !file.release_lease);
    core.caretaker.NoteClosed(inode);
  }
  co_return answer;
}

Task<Result<idl::CommitResponse>> CommitCall(Core& core, rpc::CallContext& context,
                                             idl::CommitRequest request) {
  MORAINE_CO_ASSIGN_OR_RETURN(CommitArgs args, FromWire(request));
  co_return co_await core.Change<idl::CommitResponse>(
      idl::kCommit.name, context,
      [args = std::move(args)](Transaction& transaction) -> Result<idl::CommitResponse> {
        MORAINE_ASSIGN_OR_RETURN(const InodeView inode, Commit(transaction, args));
        idl::CommitResponse response;
        response.attributes = ToWire(inode);
        return response;
      });
}

Task<Result<idl::AllocateChunkResponse>> AllocateCall(Core& core, rpc::CallContext& context,
                                                      idl::AllocateChunkRequest request) {
  MORAINE_CO_ASSIGN_OR_RETURN(AllocateChunkArgs args, FromWire(request));
  co_return co_await core.Change<idl::AllocateChunkResponse>(
      idl::kAllocateChunk.name, context,
      [&core,
       args = std::move(args)](Transaction& transaction) -> Result<idl::AllocateChunkResponse> {
        MORAINE_ASSIGN_OR_RETURN(
            const ChunkGrant grant,
            AllocateChunk(transaction, args, core.registry.Views(), core.loop.random()));
        for (const ReplicaRecord& replica : grant.chunk.record.replicas) {
          core.registry.NotePlaced(replica.server);
        }
        idl::AllocateChunkResponse response;
        response.chunk = ToWire(grant, core.registry);
        return response;
      });
}

// Whether a chunk may be taken from its writer. While the lease lives an open one may not, not even
// by the holder: what asks may be a part of it that is ahead of its own close. A chunk that is
// being fenced already is lost to the writer, who may wait for its length.
Status CheckMayRecover(Core& core, SessionId session, InodeId inode, ChunkState state) {
  Transaction transaction(core.store, session);
  MORAINE_ASSIGN_OR_RETURN(const auto lease, FindLease(transaction, inode));
  if (!lease.has_value() || lease->state != LeaseState::kHeld ||
      (lease->session == session && state == ChunkState::kFencing)) {
    return Status::Ok();
  }
  return Status(Code::kBusy,
                fmt::format("session {} writes inode {}", lease->session.value(), inode.value()));
}

Task<Result<idl::RecoverChunkResponse>> RecoverCall(Core& core, SessionId session, Instant deadline,
                                                    ChunkId chunk) {
  ChunkRecord record;
  {
    Transaction transaction(core.store);
    MORAINE_CO_ASSIGN_OR_RETURN(record, GetChunk(transaction, chunk));
  }
  switch (record.state) {
    case ChunkState::kDeleting:
      co_return Status(Code::kUnknownChunk, fmt::format("chunk {} was deleted", chunk.value()));
    case ChunkState::kSealed:
    case ChunkState::kClosed:
      break;
    case ChunkState::kOpen:
      MORAINE_CO_RETURN_IF_ERROR(CheckMayRecover(core, session, record.inode, record.state));
      MORAINE_CO_RETURN_IF_ERROR(co_await core.recovery.Recover(record.inode, deadline));
      break;
    case ChunkState::kFencing:
      // This chunk alone: it may be one that its writer has closed and that could not be settled,
      // and the writer has the next one open.
      MORAINE_CO_RETURN_IF_ERROR(CheckMayRecover(core, session, record.inode, record.state));
      break;
  }
  uint64_t length = record.length;
  // A seal that is recorded and not yet on disk has not said either on how many disks it is.
  if (record.state != ChunkState::kSealed || core.sealer.IsBusy(chunk)) {
    const auto sealed = co_await core.sealer.Seal(chunk, deadline);
    // A chunk that turned out empty is gone with its recovery.
    if (!sealed.ok() && sealed.code() != Code::kUnknownChunk) co_return sealed.status();
    length = sealed.ok() ? *sealed : 0;
  }
  // Who asks has a sync that waits for the bytes.
  MORAINE_CO_RETURN_IF_ERROR(co_await core.sealer.AwaitFloor(record.inode, chunk, deadline));
  MORAINE_CO_RETURN_IF_ERROR(co_await core.store.Synced(core.store.written()));
  idl::RecoverChunkResponse response;
  response.length = static_cast<int64_t>(length);
  co_return response;
}

Result<idl::LayoutResponse> LayoutCall(Core& core, rpc::CallContext& context, InodeId inode) {
  core.sessions.NoteInterest(core.SessionOf(context), inode);
  auto file = core.Query<FileView>(
      context, [&](Transaction& transaction) { return GetLayout(transaction, inode); });
  if (!file.ok()) return file.status();
  idl::LayoutResponse response;
  response.attributes = ToWire(file->inode);
  response.layout = ToWire(file->layout, core.registry);
  return response;
}

// A client says that a replica is bad: the server itself is asked, so that nobody can talk a good
// replica away.
Task<void> CheckReplica(Core& core, ChunkId chunk, ServerId server) {
  const auto stat =
      co_await core.calls.Stat(server, chunk, core.loop.After(core.options.sealer.call_timeout));
  core.suspects.erase({chunk, server});
  const bool bad = stat.ok() ? stat->damaged : stat.code() == Code::kUnknownChunk;
  if (!bad) co_return;
  Transaction transaction(core.store);
  // A damaged one that is still there must be deleted yet, where that is queued.
  Status status =
      stat.ok() ? ApplyDamage(transaction, server, chunk) : ApplyGone(transaction, server, chunk);
  // Known already, or of a chunk whose seal finds that out.
  if (status.ok() && transaction.empty()) co_return;
  if (status.ok()) status = core.store.Commit(transaction).status();
  if (!status.ok()) {
    LogError("a bad replica of chunk {}: {}", chunk.value(), status.ToString());
    co_return;
  }
  LogWarning("the replica of chunk {} on server {} is bad; it is made anew", chunk.value(),
             server.value());
  core.Act(transaction.effects(), SessionId(), true);
}

// Once for each replica at a time, whoever complains, and not for more than a few; a client that
// still meets the bad replica says so again.
void SuspectReplica(Core& core, ChunkId chunk, ServerId server) {
  if (core.suspects.size() >= core.options.suspects_max) return;
  if (!core.suspects.insert({chunk, server}).second) return;
  if (!core.tasks.Spawn(CheckReplica(core, chunk, server))) core.suspects.erase({chunk, server});
}

}  // namespace

void HandleFiles(rpc::Server& server, Core& core) {
  server.Handle(idl::kOpen, [&core](rpc::CallContext& context, idl::OpenRequest request) {
    return OpenCall(core, context, std::move(request));
  });
  server.Handle(idl::kClose, [&core](rpc::CallContext& context, idl::CloseRequest request) {
    return CloseCall(core, context, std::move(request));
  });
  server.Handle(idl::kCommit, [&core](rpc::CallContext& context, idl::CommitRequest request) {
    return CommitCall(core, context, std::move(request));
  });
  server.Handle(idl::kAllocateChunk,
                [&core](rpc::CallContext& context, idl::AllocateChunkRequest request) {
                  return AllocateCall(core, context, std::move(request));
                });
  server.Handle(idl::kRecoverChunk,
                [&core](rpc::CallContext& context, idl::RecoverChunkRequest request) {
                  return RecoverCall(core, core.SessionOf(context), context.deadline,
                                     IdFromWire<ChunkId>(request.chunk));
                });
  server.Handle(idl::kGetLayout,
                [&core](rpc::CallContext& context,
                        idl::InodeRequest request) -> Task<Result<idl::LayoutResponse>> {
                  co_return LayoutCall(core, context, IdFromWire<InodeId>(request.inode));
                });
  server.Handle(
      idl::kReportReplica,
      [&core](rpc::CallContext&, idl::ReportReplicaRequest request) -> Task<Result<idl::Empty>> {
        SuspectReplica(core, IdFromWire<ChunkId>(request.chunk),
                       IdFromWire<ServerId>(request.server_id));
        co_return idl::Empty();
      });
}

}  // namespace moraine::metaserver
