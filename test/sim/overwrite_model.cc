#include "test/sim/overwrite_model.h"

#include <algorithm>

#include "test/sim/content.h"

namespace moraine::simulation {

OverwriteModel::OverwriteModel(Stage& stage, std::string path, uint64_t cells)
    : stage_(stage),
      path_(std::move(path)),
      cells_(cells, Versions{Version{}}),
      sizes_{Version{.key = 0}} {}

void OverwriteModel::MayBe(uint64_t first, uint64_t count, uint64_t key) {
  for (uint64_t i = first; i < first + count; ++i) {
    cells_[i].push_back({.key = key, .opening = opening_});
  }
}

void OverwriteModel::MayBeBytes(uint64_t cell, std::string bytes) {
  cells_[cell].push_back({.key = kZeros, .opening = opening_, .bytes = std::move(bytes)});
}

void OverwriteModel::MayEndAt(uint64_t size) {
  sizes_.push_back({.key = size, .opening = opening_});
}

void OverwriteModel::Flushed(uint64_t cuts) {
  const auto flush = [this, cuts](Versions& versions) {
    if (versions.back().opening == opening_) versions.back().flushed_under = cuts;
  };
  for (Versions& cell : cells_) flush(cell);
  flush(sizes_);
}

void OverwriteModel::Synced(const std::string& image) {
  for (uint64_t i = 0; i < cells_.size(); ++i) {
    Versions& cell = cells_[i];
    if (cell.back().opening == opening_) {
      cell.erase(cell.begin(), cell.end() - 1);
    } else if (cell.size() > 1) {
      const uint64_t offset = i * kCellBytes;
      const bool absent = offset >= image.size();
      Version found{.key = absent ? kAbsent : kZeros, .opening = opening_};
      if (!absent) found.bytes = image.substr(offset, kCellBytes);
      cell.assign(1, std::move(found));
    }
  }
  sizes_.assign(1, Version{.key = image.size(), .opening = opening_});
}

size_t OverwriteModel::Oldest(const Versions& versions) const {
  if (!stage_.keeps_unsynced) return 0;
  const auto last = std::find_if(
      versions.rbegin(), versions.rend(),
      [this](const Version& version) { return version.flushed_under == stage_.meta_cuts; });
  return last == versions.rend() ? 0 : static_cast<size_t>(versions.rend() - last) - 1;
}

bool OverwriteModel::HoldsAnything() const {
  return std::ranges::any_of(cells_, [this](const Versions& cell) {
    return std::none_of(cell.begin() + static_cast<std::ptrdiff_t>(Oldest(cell)), cell.end(),
                        [](const Version& version) { return version.key == kAbsent; });
  });
}

// The beginning of one version and the rest of another: what is not synced may end anywhere.
bool OverwriteModel::MayHold(const Versions& cell, uint64_t offset, std::string_view bytes) const {
  size_t head = 0;  // the longest beginning, and the longest end, that some version has
  size_t tail = 0;
  bool may_end = bytes.size() == kCellBytes;
  for (size_t i = Oldest(cell); i < cell.size(); ++i) {
    const Version& version = cell[i];
    if (version.key == kAbsent) {
      may_end = true;
      continue;
    }
    std::string right =
        version.bytes.empty() ? BytesOfKey(version.key, offset, kCellBytes) : version.bytes;
    if (right.size() <= bytes.size()) may_end = true;  // it ended there when it was read
    right.resize(bytes.size());
    const auto same = std::ranges::mismatch(bytes, right).in1 - bytes.begin();
    head = std::max(head, static_cast<size_t>(same));
    const auto rest = std::mismatch(bytes.rbegin(), bytes.rend(), right.rbegin()).first;
    tail = std::max(tail, static_cast<size_t>(rest - bytes.rbegin()));
  }
  return may_end && head + tail >= bytes.size();
}

std::string OverwriteModel::SizeDifference(uint64_t size) const {
  const auto first = sizes_.begin() + static_cast<std::ptrdiff_t>(Oldest(sizes_));
  const auto [least, most] = std::minmax_element(
      first, sizes_.end(), [](const Version& a, const Version& b) { return a.key < b.key; });
  if (size >= least->key && size <= most->key) return {};
  return fmt::format("{} has {} bytes instead of {} to {}", path_, size, least->key, most->key);
}

std::string OverwriteModel::Difference(const std::string& bytes) const {
  std::string size = SizeDifference(bytes.size());
  if (!size.empty()) return size;
  const std::string_view whole = bytes;
  for (size_t i = 0; i < cells_.size(); ++i) {
    const uint64_t offset = i * kCellBytes;
    const std::string_view part =
        offset < whole.size() ? whole.substr(offset, kCellBytes) : std::string_view();
    if (MayHold(cells_[i], offset, part)) continue;
    std::string may;
    for (size_t at = Oldest(cells_[i]); at < cells_[i].size(); ++at) {
      may += fmt::format(" {}", cells_[i][at].key);
    }
    return fmt::format("{} ({} bytes) has at {} what was never there or is out of date; keys{}",
                       path_, bytes.size(), offset, may);
  }
  return {};
}

}  // namespace moraine::simulation
