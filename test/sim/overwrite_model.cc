#include "test/sim/overwrite_model.h"

#include <algorithm>

#include "test/sim/content.h"

namespace moraine::simulation {

OverwriteModel::OverwriteModel(Stage& stage, std::string path, uint64_t cells)
    : stage_(stage), path_(std::move(path)), cells_(cells, Cell{Version{}}) {}

void OverwriteModel::MayBe(uint64_t first, uint64_t count, uint64_t key) {
  for (uint64_t i = first; i < first + count; ++i) {
    cells_[i].push_back({.key = key, .opening = opening_, .flushed_under = {}});
  }
}

void OverwriteModel::Flushed(uint64_t cuts) {
  for (Cell& cell : cells_) {
    if (cell.back().opening == opening_) cell.back().flushed_under = cuts;
  }
}

void OverwriteModel::Synced() {
  for (Cell& cell : cells_) {
    if (cell.back().opening == opening_) cell.erase(cell.begin(), cell.end() - 1);
  }
}

size_t OverwriteModel::Oldest(const Cell& cell) const {
  if (!stage_.keeps_unsynced) return 0;
  const auto last = std::find_if(cell.rbegin(), cell.rend(), [this](const Version& version) {
    return version.flushed_under == stage_.meta_cuts;
  });
  return last == cell.rend() ? 0 : static_cast<size_t>(cell.rend() - last) - 1;
}

bool OverwriteModel::HoldsAnything() const {
  return std::ranges::any_of(cells_, [this](const Cell& cell) {
    return std::none_of(cell.begin() + static_cast<std::ptrdiff_t>(Oldest(cell)), cell.end(),
                        [](const Version& version) { return version.key == kZeros; });
  });
}

bool OverwriteModel::MayHold(const Cell& cell, uint64_t offset, std::string_view bytes) const {
  std::vector<bool> right(bytes.size());
  for (size_t i = Oldest(cell); i < cell.size(); ++i) {
    const std::string version = BytesOfKey(cell[i].key, offset, bytes.size());
    if (version == bytes) return true;
    // An append that was not synced may end anywhere.
    for (size_t at = 0; at < bytes.size(); ++at) {
      if (version[at] == bytes[at]) right[at] = true;
    }
  }
  return std::ranges::all_of(right, [](bool is) { return is; });
}

std::string OverwriteModel::Difference(const std::string& bytes) const {
  if (bytes.size() > cells_.size() * kCellBytes) {
    return fmt::format("{} has {} bytes, more than the {} that were written", path_, bytes.size(),
                       cells_.size() * kCellBytes);
  }
  std::string whole = bytes;
  whole.resize(cells_.size() * kCellBytes);
  for (size_t i = 0; i < cells_.size(); ++i) {
    const uint64_t offset = i * kCellBytes;
    if (MayHold(cells_[i], offset, std::string_view(whole).substr(offset, kCellBytes))) continue;
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
