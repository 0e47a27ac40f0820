#include "metaserver/chunks/placement.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace moraine::metaserver {
namespace {

constexpr int kWeightUnitShift = 20;  // free space counts in MiB

struct Collisions {
  int zone = 0;
  int rack = 0;
  int host = 0;
  auto operator<=>(const Collisions&) const = default;
};

bool SameHost(const ServerView& a, const ServerView& b) {
  if (a.location.host.empty() || b.location.host.empty()) return a.id == b.id;
  return a.location.host == b.location.host;
}

Collisions Count(const ServerView& candidate, const std::vector<const ServerView*>& taken) {
  Collisions count;
  for (const ServerView* other : taken) {
    if (other->location.zone != candidate.location.zone) continue;
    ++count.zone;
    if (other->location.rack != candidate.location.rack) continue;
    ++count.rack;
    if (SameHost(*other, candidate)) ++count.host;
  }
  return count;
}

uint64_t Weight(const ServerView& server) {
  return ((server.free_bytes >> kWeightUnitShift) + 1) * 16 / (server.load + 1) + 1;
}

// Adds servers to `chosen` from `candidates` until it has `wanted`.
void Fill(std::vector<const ServerView*> candidates, size_t wanted,
          std::vector<const ServerView*>& taken, std::vector<ServerId>& chosen, Random& random) {
  while (chosen.size() < wanted && !candidates.empty()) {
    Collisions best;
    std::vector<size_t> equals;
    for (size_t i = 0; i < candidates.size(); ++i) {
      const Collisions count = Count(*candidates[i], taken);
      if (equals.empty() || count < best) {
        best = count;
        equals.assign(1, i);
      } else if (count == best) {
        equals.push_back(i);
      }
    }
    uint64_t total = 0;
    for (const size_t i : equals) total += Weight(*candidates[i]);
    uint64_t mark = random.Uniform(total);
    size_t pick = equals.back();
    for (const size_t i : equals) {
      const uint64_t weight = Weight(*candidates[i]);
      if (mark < weight) {
        pick = i;
        break;
      }
      mark -= weight;
    }
    taken.push_back(candidates[pick]);
    chosen.push_back(candidates[pick]->id);
    candidates.erase(candidates.begin() + static_cast<ptrdiff_t>(pick));
  }
}

}  // namespace

Location Location::Parse(std::string_view text) {
  Location location;
  const size_t first = text.find('/');
  if (first == std::string_view::npos) {
    location.host = text;  // a bare name is a host
    return location;
  }
  location.zone = text.substr(0, first);
  const size_t second = text.find('/', first + 1);
  if (second == std::string_view::npos) {
    location.rack = text.substr(first + 1);
    return location;
  }
  location.rack = text.substr(first + 1, second - first - 1);
  location.host = text.substr(second + 1);
  return location;
}

std::vector<ServerId> Place(std::span<const ServerView> servers, const PlacementRequest& request,
                            Random& random) {
  std::vector<const ServerView*> taken;
  std::vector<const ServerView*> good;
  std::vector<const ServerView*> last_resort;
  for (const ServerView& server : servers) {
    if (std::ranges::find(request.existing, server.id) != request.existing.end()) {
      taken.push_back(&server);
    } else if (server.placeable) {
      const bool avoided = std::ranges::find(request.avoid, server.id) != request.avoid.end();
      (avoided ? last_resort : good).push_back(&server);
    }
  }
  std::vector<ServerId> chosen;
  if (request.wanted <= 0) return chosen;
  Fill(std::move(good), static_cast<size_t>(request.wanted), taken, chosen, random);
  const size_t floor = static_cast<size_t>(std::clamp(request.floor, 0, request.wanted));
  Fill(std::move(last_resort), floor, taken, chosen, random);
  return chosen;
}

std::vector<ServerId> ChooseKept(std::span<const ServerView> servers,
                                 std::span<const ServerId> holders, size_t wanted) {
  const ServerView nobody;
  std::vector<std::pair<ServerId, const ServerView*>> candidates;
  for (const ServerId holder : holders) {
    const auto view = std::ranges::find(servers, holder, &ServerView::id);
    candidates.emplace_back(holder, view == servers.end() ? &nobody : &*view);
  }
  std::vector<const ServerView*> taken;
  std::vector<ServerId> kept;
  while (kept.size() < wanted && !candidates.empty()) {
    const auto rank = [&](const auto& candidate) {
      const ServerView* view = candidate.second;
      const bool away = view->start_id == 0;
      return std::tuple(view == &nobody, away, Count(*view, taken));
    };
    const auto best = std::ranges::min_element(candidates, {}, rank);
    taken.push_back(best->second);
    kept.push_back(best->first);
    candidates.erase(best);
  }
  return kept;
}

}  // namespace moraine::metaserver
