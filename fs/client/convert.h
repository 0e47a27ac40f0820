// Between Thrift's types and the client's own: the only place where both appear, besides the link.
#pragma once

#include "fs/client/types.h"
#include "idl/metaserver_types.h"

namespace moraine::fs {

// Decoding checks what later code relies on; kProtocol when a server says what cannot be.
Result<Attributes> FromWire(const idl::Attributes& wire);
Result<ChunkGrant> FromWire(const idl::ChunkGrant& wire, InodeId inode);
Result<Layout> FromWire(const idl::Layout& wire, InodeId inode);
idl::SealedChunk ToWire(const ChunkClose& close);
idl::Extent ToWire(const Extent& extent);
idl::FileType::type ToWire(FileType type);
inline int64_t ToWire(InodeId id) { return static_cast<int64_t>(id.value()); }
inline int64_t ToWire(ChunkId id) { return static_cast<int64_t>(id.value()); }
inline int64_t ToWire(Token token) { return static_cast<int64_t>(token.value()); }
inline int64_t ToWire(ServerId id) { return static_cast<int64_t>(id.value()); }

}  // namespace moraine::fs
