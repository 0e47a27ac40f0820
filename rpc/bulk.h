// Raw bytes that follow a frame, on their way out: pieces of memory and what keeps them alive.
#pragma once

#include <memory>
#include <vector>

#include "base/buffer.h"
#include "base/loop/net.h"

namespace moraine::rpc {

struct BulkOut {
  std::vector<ConstBytes> pieces;
  std::vector<std::shared_ptr<const void>> owners;

  size_t size() const {
    size_t bytes = 0;
    for (const ConstBytes& piece : pieces) bytes += piece.size();
    return bytes;
  }
  bool empty() const { return pieces.empty(); }
  // Adds all of `buffer`, or a part of it.
  void Add(std::shared_ptr<const Buffer> buffer) {
    const ConstBytes whole = buffer->bytes();
    Add(std::move(buffer), whole);
  }
  void Add(std::shared_ptr<const Buffer> buffer, ConstBytes part) {
    if (part.empty()) return;
    pieces.push_back(part);
    owners.push_back(std::move(buffer));
  }
};

}  // namespace moraine::rpc
