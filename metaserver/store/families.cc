#include "metaserver/store/families.h"

#include "base/encoding.h"

namespace moraine::metaserver {
namespace {

std::string Numbers(uint64_t first) {
  std::string key;
  Writer(&key).Big64(first);
  return key;
}

std::string Numbers(uint64_t first, uint64_t second) {
  std::string key = Numbers(first);
  Writer(&key).Big64(second);
  return key;
}

}  // namespace

std::string InodeKey(InodeId inode) { return Numbers(inode.value()); }
std::string DentryKey(InodeId parent, std::string_view name) {
  return Numbers(parent.value()).append(name);
}
std::string ExtentKey(InodeId inode, uint64_t file_offset) {
  return Numbers(inode.value(), file_offset);
}
std::string ChunkKey(ChunkId chunk) { return Numbers(chunk.value()); }
std::string ServerChunkKey(ServerId server, ChunkId chunk) {
  return Numbers(server.value(), chunk.value());
}
std::string ServerKey(ServerId server) { return "s" + Numbers(server.value()); }
std::string IncarnationKey(std::string_view incarnation) {
  return std::string("n").append(incarnation);
}
std::string SessionKey(SessionId session) { return Numbers(session.value()); }
std::string AnswerKey(SessionId session, uint64_t sequence) {
  return Numbers(session.value(), sequence);
}
std::string XattrKey(InodeId inode, std::string_view name) {
  return Numbers(inode.value()).append(name);
}

std::string HoldingKey(InodeId inode) { return "i" + Numbers(inode.value()); }
std::string HoldingOfSessionKey(SessionId session, InodeId inode) {
  return "s" + Numbers(session.value(), inode.value());
}
std::string HoldingsOfSessionPrefix(SessionId session) { return "s" + Numbers(session.value()); }

std::string DeletionKey(ServerId server, ChunkId chunk) {
  return "d" + Numbers(server.value(), chunk.value());
}
std::string DeletionPrefix(ServerId server) { return "d" + Numbers(server.value()); }
std::string RepairKey(uint8_t good_copies, ChunkId chunk) {
  std::string key = "r";
  key.push_back(static_cast<char>(good_copies));
  return key.append(Numbers(chunk.value()));
}
std::string SettleKey(ChunkId chunk) { return "f" + Numbers(chunk.value()); }

std::string UnknownKey(ServerId server, ChunkId chunk) {
  return "u" + Numbers(server.value(), chunk.value());
}

uint64_t NumberInKey(std::string_view key, size_t offset) {
  if (key.size() < offset + sizeof(uint64_t)) return 0;
  return LoadBig64(key.data() + offset);
}

}  // namespace moraine::metaserver
