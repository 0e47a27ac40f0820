#include "chunkserver/store/superblock.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/buffer.h"
#include "base/check.h"
#include "base/encoding.h"
#include "base/fault_point.h"
#include "base/hash.h"
#include "base/limits.h"

namespace moraine::chunkserver {
namespace {

// page:  magic "MRNSTORE", version:u32, payload bytes:u32, XXH3-64 of the payload, payload, zeros
constexpr char kMagic[8] = {'M', 'R', 'N', 'S', 'T', 'O', 'R', 'E'};
constexpr uint32_t kVersion = 1;
constexpr size_t kPayloadAt = 24;
constexpr size_t kTextMax = 256;
constexpr std::string_view kName = "/superblock";

}  // namespace

void EncodeSuperblock(const Superblock& superblock, MutableBytes page) {
  std::string payload;
  Writer writer(&payload);
  writer.String(std::string_view(superblock.incarnation).substr(0, kTextMax));
  writer.String(std::string_view(superblock.cluster).substr(0, kTextMax));
  writer.Id(superblock.server);
  writer.U64(superblock.journal_id);
  MORAINE_CHECK(page.size() == limits::kBlockBytes && payload.size() <= page.size() - kPayloadAt);
  std::memset(page.data(), 0, page.size());
  std::memcpy(page.data(), kMagic, sizeof(kMagic));
  std::memcpy(page.data() + kPayloadAt, payload.data(), payload.size());
  StoreLittle32(page.data() + 8, kVersion);
  StoreLittle32(page.data() + 12, static_cast<uint32_t>(payload.size()));
  StoreLittle64(page.data() + 16, BlockChecksum(page.subspan(kPayloadAt, payload.size())));
}

Result<Superblock> DecodeSuperblock(ConstBytes page, const std::string& path) {
  if (page.size() != limits::kBlockBytes || std::memcmp(page.data(), kMagic, sizeof(kMagic)) != 0) {
    return {Code::kCorruption, path + " is not a superblock of a chunkserver"};
  }
  const uint32_t version = LoadLittle32(page.data() + 8);
  if (version != kVersion) {
    return {Code::kWrongVersion,
            fmt::format("{} has format {}, this program knows {}", path, version, kVersion)};
  }
  const size_t payload = LoadLittle32(page.data() + 12);
  if (payload > page.size() - kPayloadAt ||
      BlockChecksum(page.subspan(kPayloadAt, payload)) != LoadLittle64(page.data() + 16)) {
    return {Code::kCorruption, path + " does not match its checksum"};
  }
  Reader reader(page.subspan(kPayloadAt, payload));
  Superblock superblock;
  superblock.incarnation = std::string(reader.String(kTextMax));
  superblock.cluster = std::string(reader.String(kTextMax));
  superblock.server = reader.Id<ServerId>();
  superblock.journal_id = reader.U64();
  MORAINE_RETURN_IF_ERROR(reader.Finish(path));
  return superblock;
}

Task<Result<Superblock>> ReadSuperblock(Loop& loop, std::string dir) {
  const std::string path = dir + std::string(kName);
  MORAINE_CO_ASSIGN_OR_RETURN(std::unique_ptr<File> file, co_await loop.disk().Open(path, {}));
  Buffer page = Buffer::Allocate(limits::kBlockBytes);
  MORAINE_CO_ASSIGN_OR_RETURN(const size_t size, co_await file->ReadAt(0, page.bytes()));
  co_return DecodeSuperblock(page.bytes().first(size), path);
}

Task<Status> WriteSuperblock(Loop& loop, std::string dir, Superblock superblock) {
  Buffer page = Buffer::Allocate(limits::kBlockBytes);
  EncodeSuperblock(superblock, page.bytes());

  const std::string path = dir + std::string(kName);
  const std::string temporary = path + ".new";
  OpenOptions options;
  options.write = options.create = true;
  MORAINE_CO_ASSIGN_OR_RETURN(std::unique_ptr<File> file,
                              co_await loop.disk().Open(temporary, options));
  MORAINE_CO_RETURN_IF_ERROR(co_await file->Truncate(0));
  const ConstBytes piece = page.bytes();
  MORAINE_CO_RETURN_IF_ERROR(MORAINE_FAULT_STATUS("superblock.write"));
  MORAINE_CO_RETURN_IF_ERROR(co_await file->WriteAt(0, std::span(&piece, 1)));
  MORAINE_CO_RETURN_IF_ERROR(co_await file->Sync());
  file = nullptr;
  MORAINE_CO_RETURN_IF_ERROR(MORAINE_FAULT_STATUS("superblock.rename"));
  MORAINE_CO_RETURN_IF_ERROR(co_await loop.disk().Rename(temporary, path));
  co_return co_await loop.disk().SyncDirectory(dir);
}

}  // namespace moraine::chunkserver
