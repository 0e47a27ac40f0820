#include "fs/mount/directory_cursor.h"

#include <utility>

#include "base/limits.h"

namespace moraine::fs::mount {

Task<Status> DirectoryCursor::Read(uint64_t position, bool with_attributes, Add add) {
  const auto turn = co_await turn_.Acquire();
  if (position == 0) Rewind();
  const uint64_t index = position <= kDots ? 0 : position - kDots;
  const bool inside =
      page_valid_ && index >= page_begin_ && (index < page_end_ || (index == page_end_ && !more_));
  if (!inside || (with_attributes && !page_has_attributes_)) {
    MORAINE_CO_RETURN_IF_ERROR(co_await Fetch(index, with_attributes));
  }

  const auto dot = [](const char* name, InodeId inode) {
    return DirectoryEntry{name, inode, FileType::kDirectory, std::nullopt};
  };
  if (position == 0 && !add(dot(".", inode_), 1)) co_return Status::Ok();
  if (position <= 1 && !add(dot("..", parent_), kDots)) co_return Status::Ok();
  for (const Item& item : page_) {
    if (item.index < index) continue;
    if (!add(item.entry, item.index + 1 + kDots)) break;
  }
  co_return Status::Ok();
}

void DirectoryCursor::Rewind() {
  names_.clear();
  names_begin_ = 0;
  page_.clear();
  page_valid_ = false;
}

Task<Status> DirectoryCursor::Fetch(uint64_t index, bool with_attributes) {
  page_valid_ = false;
  std::string after;
  if (index > 0) {
    if (index - 1 < names_begin_ || index > names_end()) {
      co_return Status(Code::kInvalidArgument, "no such position in the directory");
    }
    after = NameAt(index - 1);
  }
  page_.clear();
  page_begin_ = page_end_ = index;
  page_time_ = loop_.Now();
  changed_.clear();
  do {
    MORAINE_CO_ASSIGN_OR_RETURN(
        DirectoryPage page,
        co_await file_system_.ReadDirectory(inode_, after, page_entries_, with_attributes));
    more_ = page.more && !page.entries.empty();
    if (!page.entries.empty()) after = page.entries.back().name;
    TakeOver(std::move(page));
  } while (page_.empty() && more_);
  // Names that are gone may stand behind the last entry; only what comes next can tell.
  page_end_ = more_ ? page_.back().index + 1 : names_end();
  page_has_attributes_ = with_attributes;
  page_valid_ = true;
  co_return Status::Ok();
}

void DirectoryCursor::NoteChanged(const std::string& name) {
  if (changed_.size() < changed_max()) changed_.insert(name);
}

// Both the page and the names seen are in name order. Names seen before keep their index, even
// when they are gone; new ones between them are left out; those behind the last one are added.
void DirectoryCursor::TakeOver(DirectoryPage page) {
  if (!page.parent.IsNone()) parent_ = page.parent;
  for (DirectoryEntry& entry : page.entries) {
    while (page_end_ < names_end() && NameAt(page_end_) < entry.name) ++page_end_;
    if (page_end_ < names_end() && NameAt(page_end_) != entry.name) continue;
    if (page_end_ == names_end()) Remember(entry.name);
    page_.push_back({std::move(entry), page_end_});
    ++page_end_;
  }
}

void DirectoryCursor::Remember(const std::string& name) {
  names_.push_back(name);
  if (names_.size() > limits::kListingNamesKept) {
    names_.pop_front();
    ++names_begin_;
  }
}

}  // namespace moraine::fs::mount
