// The checksums that go with bulk bytes: XXH3-64 of every piece between 4 KiB boundaries of the
// chunk, little-endian, one after the other (section "Checksums" of idl/PROTOCOL.md).
#pragma once

#include <string>

#include "base/loop/net.h"
#include "base/status.h"

namespace moraine::fs {

std::string PieceChecksums(uint64_t chunk_offset, ConstBytes bytes);
// kCorruption with the offset of the first piece that differs; kProtocol when their number is
// wrong.
Status VerifyPieceChecksums(uint64_t chunk_offset, ConstBytes bytes, std::string_view checksums);

}  // namespace moraine::fs
