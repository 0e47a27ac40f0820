#include "base/loop/sim/disk_image.h"

#include <algorithm>
#include <cstring>

#include "base/glob.h"
#include "base/loop/sim/world.h"

namespace moraine::sim {
namespace {

// "a/b" of "/a//./b".
std::string Plain(std::string_view path) {
  std::string plain;
  while (!path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (name.empty() || name == ".") continue;
    if (!plain.empty()) plain += '/';
    plain += name;
  }
  return plain;
}

uint64_t ChargeOf(uint64_t size) {
  return (size + FileImage::kPageBytes - 1) / FileImage::kPageBytes * FileImage::kPageBytes;
}

}  // namespace

DiskImage::DiskImage(World& world, Machine& machine, const DiskOptions& options, Random random)
    : world_(world), machine_(machine), options_(options), random_(std::move(random)) {
  volumes_[""].capacity_bytes = options_.capacity_bytes;
}

void DiskImage::FailNext(DiskOp op, std::string pattern, int count, Code code) {
  failures_.push_back({op, std::move(pattern), count, code});
}

Status DiskImage::FlipBit(std::string_view path, uint64_t bit) {
  Result<NodePtr> node = names_.Find(path);
  if (!node.ok()) return node.status();
  if (bit / 8 >= (*node)->file.size()) return {Code::kOutOfRange, "no such bit"};
  (*node)->file.FlipBit(bit);
  return {};
}

Status DiskImage::Overwrite(std::string_view path, uint64_t offset, ConstBytes bytes) {
  Result<NodePtr> node = names_.Find(path);
  if (!node.ok()) return node.status();
  if (offset + bytes.size() > (*node)->file.size()) return {Code::kOutOfRange, "past the end"};
  (*node)->file.Overwrite(offset, bytes);
  return {};
}

Result<std::string> DiskImage::Contents(std::string_view path) const {
  Result<NodePtr> node = names_.Find(path);
  if (!node.ok()) return node.status();
  std::string bytes((*node)->file.size(), '\0');
  (*node)->file.Read(0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

Result<uint64_t> DiskImage::SizeOf(std::string_view path) const {
  Result<NodePtr> node = names_.Find(path);
  if (!node.ok()) return node.status();
  return (*node)->file.size();
}

std::vector<std::string> DiskImage::Files() const {
  std::vector<std::string> paths;
  names_.ForFiles([&](const std::string& path, const Node&) { paths.push_back(path); });
  return paths;
}

void DiskImage::Wipe() {
  MORAINE_CHECK(!machine_.running(), "a disk is exchanged while nothing runs");
  names_ = NameTree();
  Recount();
}

void DiskImage::SetCapacity(uint64_t bytes, const std::string& volume) {
  volumes_[Plain(volume)].capacity_bytes = bytes;
  Recount();
}

uint64_t DiskImage::used_bytes(const std::string& volume) const {
  return volumes_.at(Plain(volume)).used_bytes;
}

void DiskImage::Begin(Operation operation) {
  auto shared = std::make_shared<Operation>(std::move(operation));
  const uint64_t id = next_operation_++;
  under_way_.emplace(id, shared);
  const uint64_t size = shared->bytes * 16 + static_cast<uint64_t>(shared->op);
  world_.Push(DelayOf(*shared), EventKind::kDisk, &machine_, size, [this, id] {
    const auto it = under_way_.find(id);
    if (it == under_way_.end()) return;  // interrupted
    const std::shared_ptr<Operation> ended = std::move(it->second);
    under_way_.erase(it);
    ended->finish();
  });
}

void DiskImage::Interrupt() {
  std::vector<std::shared_ptr<Operation>> ended;
  for (auto& [id, operation] : under_way_) ended.push_back(std::move(operation));
  under_way_.clear();
  random_.Shuffle(ended);
  for (const auto& operation : ended) {
    if (operation->interrupt) operation->interrupt(random_);
  }
  // A fresh process may find that the cache has forgotten what a failed sync lost.
  if (!random_.OneIn(2)) return;
  names_.ForFiles([](const std::string&, Node& node) { node.file.EvictLost(); });
}

void DiskImage::PowerCut() {
  // Sometimes nothing is lost, sometimes everything that can be.
  const uint64_t mood = random_.Uniform(8);
  const double keep = mood == 0 ? 0 : mood == 1 ? 1 : random_.NextDouble();
  names_.Crash(random_, keep);
  names_.ForFiles([&](const std::string&, Node& node) {
    node.file.Crash(random_, keep, options_.torn_sector_chance);
  });
  Recount();
}

double DiskImage::ChanceOf(DiskOp op) const {
  switch (op) {
    case DiskOp::kRead: return options_.read_error_chance;
    case DiskOp::kWrite:
    case DiskOp::kAllocate:
    case DiskOp::kTruncate: return options_.write_error_chance;
    case DiskOp::kSync:
    case DiskOp::kSyncDirectory: return options_.sync_error_chance;
    default: return 0;
  }
}

Status DiskImage::Fault(DiskOp op, const std::string& path) {
  const std::string plain = Plain(path);
  for (auto it = failures_.begin(); it != failures_.end(); ++it) {
    if (it->op != op && it->op != DiskOp::kAny) continue;
    if (!GlobMatch(it->pattern, plain)) continue;
    const Code code = it->code;
    if (--it->count <= 0) failures_.erase(it);
    return {code, "'" + path + "': ordered to fail"};
  }
  const double chance = ChanceOf(op);
  if (chance > 0 && random_.Chance(chance)) return {Code::kIo, "'" + path + "': I/O error"};
  return {};
}

const std::string& DiskImage::VolumeOf(const std::string& path) const {
  const std::string plain = Plain(path);
  // The longest prefix; the map has longer ones behind shorter ones.
  for (auto it = volumes_.rbegin(); it != volumes_.rend(); ++it) {
    const std::string& prefix = it->first;
    if (prefix.empty() || plain == prefix || plain.starts_with(prefix + "/")) return prefix;
  }
  return volumes_.begin()->first;
}

Status DiskImage::Charge(Node& node, const std::string& path, uint64_t size) {
  Volume& volume = volumes_.at(VolumeOf(path));
  const uint64_t charge = ChargeOf(size);
  if (charge > node.charged_bytes &&
      volume.used_bytes + (charge - node.charged_bytes) > volume.capacity_bytes) {
    return {Code::kNoSpace, "'" + path + "': no space left"};
  }
  // A file without a name is not found by Recount; its charge may be gone already.
  volume.used_bytes -= std::min(volume.used_bytes, node.charged_bytes);
  volume.used_bytes += charge;
  node.charged_bytes = charge;
  return {};
}

uint64_t DiskImage::RoomFor(const Node& node, const std::string& path) const {
  const Volume& volume = volumes_.at(VolumeOf(path));
  const uint64_t free =
      volume.capacity_bytes > volume.used_bytes ? volume.capacity_bytes - volume.used_bytes : 0;
  return node.charged_bytes + free / FileImage::kPageBytes * FileImage::kPageBytes;
}

void DiskImage::Closed(Node& node, const std::string& path) {
  --node.opened;
  if (!node.linked && node.opened == 0) Charge(node, path, 0).Ignore();
}

void DiskImage::Unlinked(Node& node, const std::string& path) {
  node.linked = false;
  if (node.opened == 0) Charge(node, path, 0).Ignore();
}

bool DiskImage::SameVolume(const std::string& a, const std::string& b) const {
  return VolumeOf(a) == VolumeOf(b);
}

DiskSpace DiskImage::Space(const std::string& path) const {
  const Volume& volume = volumes_.at(VolumeOf(path));
  const uint64_t used = std::min(volume.used_bytes, volume.capacity_bytes);
  return {volume.capacity_bytes, volume.capacity_bytes - used};
}

void DiskImage::Recount() {
  for (auto& [prefix, volume] : volumes_) volume.used_bytes = 0;
  names_.ForFiles([&](const std::string& path, Node& node) {
    node.linked = true;
    node.charged_bytes = ChargeOf(node.file.size());
    volumes_.at(VolumeOf(path)).used_bytes += node.charged_bytes;
  });
}

void DiskImage::Store(Node& node, uint64_t offset, ConstBytes bytes, bool durable) {
  FileImage& file = node.file;
  const uint64_t end = offset + bytes.size();
  if (random_.Chance(options_.lost_write_chance)) {
    if (end > file.size()) file.Resize(end);
  } else if (file.size() > bytes.size() && random_.Chance(options_.misdirected_write_chance)) {
    const uint64_t sectors = (file.size() - bytes.size()) / kSectorBytes + 1;
    if (end > file.size()) file.Resize(end);
    file.Overwrite(random_.Uniform(sectors) * kSectorBytes, bytes);
  } else {
    file.Write(offset, bytes);
  }
  if (durable) file.SyncRange(offset, bytes.size());
  if (!bytes.empty() && random_.Chance(options_.bit_flip_chance)) {
    file.FlipBit(offset * 8 + random_.Uniform(bytes.size() * 8));
  }
  if (random_.Chance(options_.writeback_chance)) file.WriteBackSome(random_);
}

Duration DiskImage::DelayOf(const Operation& operation) {
  Duration delay = options_.name_latency;
  if (operation.op == DiskOp::kRead) delay = options_.read_latency;
  if (operation.op == DiskOp::kWrite) delay = options_.write_latency;
  if (operation.to_medium) delay = options_.sync_latency;
  delay = delay / 2 + Duration(random_.Uniform(static_cast<uint64_t>(delay.count()) + 1));
  if (options_.bytes_per_second > 0) {
    delay += Duration(operation.bytes * 1'000'000'000 / options_.bytes_per_second);
  }
  if (random_.Chance(options_.tail_chance)) {
    delay += Duration(random_.Uniform(static_cast<uint64_t>(options_.tail.count()) + 1));
  }
  return Duration(static_cast<int64_t>(static_cast<double>(delay.count()) * slowness_));
}

}  // namespace moraine::sim
