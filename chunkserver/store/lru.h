// A bounded map that forgets what was used least recently. Confined to one loop.
#pragma once

#include <list>
#include <map>
#include <optional>
#include <utility>

namespace moraine::chunkserver {

template <class Key, class Value>
class Lru {
 public:
  explicit Lru(size_t count_max) : count_max_(count_max) {}

  std::optional<Value> Get(const Key& key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return std::nullopt;
    order_.splice(order_.begin(), order_, found->second);
    return found->second->second;
  }
  void Put(const Key& key, Value value) {
    Erase(key);
    order_.emplace_front(key, std::move(value));
    index_[key] = order_.begin();
    while (order_.size() > count_max_) Erase(order_.back().first);
  }
  void Erase(Key key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return;
    order_.erase(found->second);
    index_.erase(found);
  }
  size_t size() const { return order_.size(); }

 private:
  const size_t count_max_;
  std::list<std::pair<Key, Value>> order_;  // newest first
  std::map<Key, typename std::list<std::pair<Key, Value>>::iterator> index_;
};

}  // namespace moraine::chunkserver
