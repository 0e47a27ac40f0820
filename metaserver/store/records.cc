#include "metaserver/store/records.h"

#include <algorithm>

#include "base/check.h"
#include "base/encoding.h"
#include "base/limits.h"

namespace moraine::metaserver {
namespace {

constexpr uint64_t kAttachedMax = 1 << 16;
constexpr uint64_t kReplicasInRecordMax = 1024;
constexpr uint64_t kRulesMax = 4096;
constexpr uint64_t kTextBytesMax = 4096;

std::string Begin() { return std::string(1, static_cast<char>(kRecordVersion)); }

// Takes the version byte; a version that is not known fails the reader.
void TakeVersion(Reader& reader) {
  if (reader.U8() != kRecordVersion) reader.Fail();
}

template <class Enum>
Enum TakeEnum(Reader& reader, Enum last) {
  const uint8_t number = reader.U8();
  if (number < 1 || number > static_cast<uint8_t>(last)) {
    reader.Fail();
    return static_cast<Enum>(1);
  }
  return static_cast<Enum>(number);
}

uint32_t TakeU32(Reader& reader) { return static_cast<uint32_t>(reader.VarintAtMost(UINT32_MAX)); }

void WritePolicy(Writer& writer, const PolicyRecord& policy) {
  writer.String(policy.name);
  writer.Varint(policy.replicas);
  writer.Varint(policy.quorum);
  writer.Varint(policy.floor);
}

PolicyRecord TakePolicy(Reader& reader) {
  PolicyRecord policy;
  policy.name = reader.String(limits::kNameBytesMax);
  policy.replicas = TakeU32(reader);
  policy.quorum = TakeU32(reader);
  policy.floor = TakeU32(reader);
  return policy;
}

}  // namespace

std::string InodeRecord::Encode() const {
  std::string out = Begin();
  if (losses > 0) {
    out[0] = static_cast<char>(kLossyInodeVersion);
  } else if (layout_bytes.has_value()) {
    out[0] = static_cast<char>(kCountedInodeVersion);
  }
  Writer writer(&out);
  writer.U8(static_cast<uint8_t>(type));
  writer.Varint(mode);
  writer.Varint(uid);
  writer.Varint(gid);
  writer.Varint(rdev);
  writer.Varint(links);
  writer.Varint(size);
  writer.Signed(atime_ns);
  writer.Signed(mtime_ns);
  writer.Signed(ctime_ns);
  writer.Varint(version);
  writer.Varint(stored_bytes);
  writer.Id(parent);
  writer.String(policy);
  writer.String(symlink_target);
  writer.String(inline_data);
  writer.Varint(attached.size());
  for (const AttachedChunk& chunk : attached) {
    writer.Id(chunk.chunk);
    writer.U8(static_cast<uint8_t>(chunk.kind));
    writer.Varint(chunk.tail_offset);
  }
  if (layout_bytes.has_value()) writer.Varint(*layout_bytes);
  if (losses > 0) {
    MORAINE_CHECK(layout_bytes.has_value());
    writer.Varint(losses);
  }
  return out;
}

Result<InodeRecord> InodeRecord::Decode(std::string_view bytes) {
  Reader reader(bytes);
  const uint8_t format = reader.U8();
  if (format < kRecordVersion || format > kLossyInodeVersion) reader.Fail();
  InodeRecord r;
  r.type = TakeEnum(reader, FileType::kBlockDevice);
  r.mode = TakeU32(reader);
  r.uid = TakeU32(reader);
  r.gid = TakeU32(reader);
  r.rdev = TakeU32(reader);
  r.links = reader.Varint();
  r.size = reader.Varint();
  r.atime_ns = reader.Signed();
  r.mtime_ns = reader.Signed();
  r.ctime_ns = reader.Signed();
  r.version = reader.Varint();
  r.stored_bytes = reader.Varint();
  r.parent = reader.Id<InodeId>();
  r.policy = reader.String(limits::kNameBytesMax);
  r.symlink_target = reader.String(limits::kPathBytesMax);
  r.inline_data = reader.String(limits::kInlineBytesMax);
  const uint64_t count = reader.VarintAtMost(kAttachedMax);
  for (uint64_t i = 0; i < count && reader.ok(); ++i) {
    AttachedChunk chunk;
    chunk.chunk = reader.Id<ChunkId>();
    chunk.kind = TakeEnum(reader, AttachKind::kLoose);
    if (chunk.kind != AttachKind::kTail && chunk.kind != AttachKind::kLoose) reader.Fail();
    chunk.tail_offset = reader.Varint();
    r.attached.push_back(chunk);
  }
  if (format >= kCountedInodeVersion) r.layout_bytes = reader.Varint();
  if (format >= kLossyInodeVersion) {
    r.losses = TakeU32(reader);
    if (r.losses == 0) reader.Fail();
  }
  MORAINE_RETURN_IF_ERROR(reader.Finish("inode record"));
  return r;
}

std::string DentryRecord::Encode() const {
  std::string out = Begin();
  Writer writer(&out);
  writer.Id(inode);
  writer.U8(static_cast<uint8_t>(type));
  return out;
}

Result<DentryRecord> DentryRecord::Decode(std::string_view bytes) {
  Reader reader(bytes);
  TakeVersion(reader);
  DentryRecord r;
  r.inode = reader.Id<InodeId>();
  r.type = TakeEnum(reader, FileType::kBlockDevice);
  MORAINE_RETURN_IF_ERROR(reader.Finish("dentry record"));
  return r;
}

std::string ExtentRecord::Encode() const {
  std::string out = Begin();
  Writer writer(&out);
  writer.Varint(length);
  writer.Id(chunk);
  writer.Varint(chunk_offset);
  return out;
}

Result<ExtentRecord> ExtentRecord::Decode(std::string_view bytes) {
  Reader reader(bytes);
  TakeVersion(reader);
  ExtentRecord r;
  r.length = reader.Varint();
  r.chunk = reader.Id<ChunkId>();
  r.chunk_offset = reader.Varint();
  MORAINE_RETURN_IF_ERROR(reader.Finish("extent record"));
  return r;
}

std::string PolicyRecord::Encode() const {
  std::string out = Begin();
  Writer writer(&out);
  WritePolicy(writer, *this);
  return out;
}

Result<PolicyRecord> PolicyRecord::Decode(std::string_view bytes) {
  Reader reader(bytes);
  TakeVersion(reader);
  PolicyRecord r = TakePolicy(reader);
  MORAINE_RETURN_IF_ERROR(reader.Finish("policy record"));
  return r;
}

size_t ChunkRecord::GoodReplicas() const {
  return static_cast<size_t>(
      std::ranges::count(replicas, ReplicaState::kGood, &ReplicaRecord::state));
}

const ReplicaRecord* ChunkRecord::FindReplica(ServerId server) const {
  const auto it = std::ranges::find(replicas, server, &ReplicaRecord::server);
  return it == replicas.end() ? nullptr : &*it;
}

ReplicaRecord* ChunkRecord::FindReplica(ServerId server) {
  const auto it = std::ranges::find(replicas, server, &ReplicaRecord::server);
  return it == replicas.end() ? nullptr : &*it;
}

std::string ChunkRecord::Encode() const {
  std::string out = Begin();
  Writer out_writer(&out);
  out_writer.U8(static_cast<uint8_t>(state));
  out_writer.Id(epoch);
  WritePolicy(out_writer, policy);
  out_writer.Varint(made);
  out_writer.Varint(length);
  out_writer.Varint(mapped);
  out_writer.Varint(references);
  out_writer.Id(inode);
  out_writer.Varint(file_offset);
  out_writer.Id(writer);
  out_writer.Varint(replicas.size());
  for (const ReplicaRecord& replica : replicas) {
    out_writer.Id(replica.server);
    out_writer.U8(static_cast<uint8_t>(replica.state));
    out_writer.U64(replica.start_id);
  }
  return out;
}

Result<ChunkRecord> ChunkRecord::Decode(std::string_view bytes) {
  Reader reader(bytes);
  TakeVersion(reader);
  ChunkRecord r;
  r.state = TakeEnum(reader, ChunkState::kClosed);
  r.epoch = reader.Id<Epoch>();
  r.policy = TakePolicy(reader);
  r.made = TakeU32(reader);
  r.length = reader.Varint();
  r.mapped = reader.Varint();
  r.references = reader.Varint();
  r.inode = reader.Id<InodeId>();
  r.file_offset = reader.Varint();
  r.writer = reader.Id<SessionId>();
  const uint64_t count = reader.VarintAtMost(kReplicasInRecordMax);
  for (uint64_t i = 0; i < count && reader.ok(); ++i) {
    ReplicaRecord replica;
    replica.server = reader.Id<ServerId>();
    replica.state = TakeEnum(reader, ReplicaState::kMissing);
    replica.start_id = reader.U64();
    r.replicas.push_back(replica);
  }
  MORAINE_RETURN_IF_ERROR(reader.Finish("chunk record"));
  return r;
}

std::string ServerRecord::Encode() const {
  std::string out = Begin();
  Writer writer(&out);
  writer.String(incarnation);
  writer.String(endpoint);
  writer.String(location);
  writer.U8(static_cast<uint8_t>(state));
  writer.Bool(quarantined);
  writer.Varint(total_bytes);
  writer.Varint(free_bytes);
  writer.Varint(start_id);
  return out;
}

Result<ServerRecord> ServerRecord::Decode(std::string_view bytes) {
  Reader reader(bytes);
  TakeVersion(reader);
  ServerRecord r;
  r.incarnation = reader.String(kTextBytesMax);
  r.endpoint = reader.String(kTextBytesMax);
  r.location = reader.String(kTextBytesMax);
  r.state = TakeEnum(reader, ServerState::kDead);
  r.quarantined = reader.Bool();
  r.total_bytes = reader.Varint();
  r.free_bytes = reader.Varint();
  r.start_id = reader.Varint();
  MORAINE_RETURN_IF_ERROR(reader.Finish("server record"));
  return r;
}

std::string SessionRecord::Encode() const {
  std::string out = Begin();
  Writer writer(&out);
  writer.String(name);
  writer.String(kind);
  writer.Signed(started_ns);
  return out;
}

Result<SessionRecord> SessionRecord::Decode(std::string_view bytes) {
  Reader reader(bytes);
  TakeVersion(reader);
  SessionRecord r;
  r.name = reader.String(kTextBytesMax);
  r.kind = reader.String(kTextBytesMax);
  r.started_ns = reader.Signed();
  MORAINE_RETURN_IF_ERROR(reader.Finish("session record"));
  return r;
}

std::string LeaseRecord::Encode() const {
  std::string out = Begin();
  Writer writer(&out);
  writer.Id(session);
  writer.U8(static_cast<uint8_t>(state));
  return out;
}

Result<LeaseRecord> LeaseRecord::Decode(std::string_view bytes) {
  Reader reader(bytes);
  TakeVersion(reader);
  LeaseRecord r;
  r.session = reader.Id<SessionId>();
  r.state = TakeEnum(reader, LeaseState::kRecovering);
  MORAINE_RETURN_IF_ERROR(reader.Finish("lease record"));
  return r;
}

std::string TokenRecord::Encode() const {
  std::string out = Begin();
  Writer writer(&out);
  writer.Id(token);
  writer.Id(owner);
  writer.String(owner_name);
  return out;
}

Result<TokenRecord> TokenRecord::Decode(std::string_view bytes) {
  Reader reader(bytes);
  TakeVersion(reader);
  TokenRecord r;
  r.token = reader.Id<Token>();
  r.owner = reader.Id<SessionId>();
  r.owner_name = reader.String(kTextBytesMax);
  MORAINE_RETURN_IF_ERROR(reader.Finish("token record"));
  return r;
}

std::string RulesRecord::Encode() const {
  std::string out = Begin();
  Writer writer(&out);
  writer.Varint(rules.size());
  for (const PolicyRule& rule : rules) {
    writer.String(rule.glob);
    writer.String(rule.policy);
  }
  return out;
}

Result<RulesRecord> RulesRecord::Decode(std::string_view bytes) {
  Reader reader(bytes);
  TakeVersion(reader);
  RulesRecord r;
  const uint64_t count = reader.VarintAtMost(kRulesMax);
  for (uint64_t i = 0; i < count && reader.ok(); ++i) {
    PolicyRule rule;
    rule.glob = reader.String(kTextBytesMax);
    rule.policy = reader.String(limits::kNameBytesMax);
    r.rules.push_back(std::move(rule));
  }
  MORAINE_RETURN_IF_ERROR(reader.Finish("rules record"));
  return r;
}

std::string ReservedIds::Encode() const {
  std::string out = Begin();
  Writer writer(&out);
  writer.Varint(inode);
  writer.Varint(chunk);
  writer.Varint(session);
  writer.Varint(server);
  return out;
}

Result<ReservedIds> ReservedIds::Decode(std::string_view bytes) {
  Reader reader(bytes);
  TakeVersion(reader);
  ReservedIds r;
  r.inode = reader.Varint();
  r.chunk = reader.Varint();
  r.session = reader.Varint();
  r.server = reader.Varint();
  MORAINE_RETURN_IF_ERROR(reader.Finish("reserved ids"));
  return r;
}

Counters& Counters::operator+=(const Counters& other) {
  inodes += other.inodes;
  chunks += other.chunks;
  open_chunks += other.open_chunks;
  under_replicated_chunks += other.under_replicated_chunks;
  lost_chunks += other.lost_chunks;
  deleting_chunks += other.deleting_chunks;
  user_bytes += other.user_bytes;
  stored_bytes += other.stored_bytes;
  return *this;
}

std::string Counters::Encode() const {
  std::string out = Begin();
  Writer writer(&out);
  for (const int64_t value : {inodes, chunks, open_chunks, under_replicated_chunks, lost_chunks,
                              deleting_chunks, user_bytes, stored_bytes}) {
    writer.Signed(value);
  }
  return out;
}

Result<Counters> Counters::Decode(std::string_view bytes) {
  Reader reader(bytes);
  TakeVersion(reader);
  Counters r;
  for (int64_t* value : {&r.inodes, &r.chunks, &r.open_chunks, &r.under_replicated_chunks,
                         &r.lost_chunks, &r.deleting_chunks, &r.user_bytes, &r.stored_bytes}) {
    *value = reader.Signed();
  }
  MORAINE_RETURN_IF_ERROR(reader.Finish("counters"));
  return r;
}

}  // namespace moraine::metaserver
