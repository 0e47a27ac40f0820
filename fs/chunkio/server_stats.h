// How fast each chunkserver has answered lately, for choosing whom to read from and when to ask
// another as well. Confined to one loop.
#pragma once

#include <unordered_map>

#include "base/ids.h"
#include "base/loop/time.h"

namespace moraine::fs {

class ServerStats {
 public:
  // Every read that is sent ends with one of the other two.
  void OnAsk(ServerId server) { ++servers_[server].under_way; }
  void OnAnswer(ServerId server, Duration latency) {
    Entry& entry = servers_[server];
    --entry.under_way;
    const double us = std::chrono::duration<double, std::micro>(latency).count();
    // Quick to learn at first, then the mean of about the last 16 answers; the deviation follows
    // likewise (Jacobson's estimator), so mean + 3 deviations is near the 95th percentile and
    // above.
    const double weight =
        entry.answers < 16 ? 1.0 / static_cast<double>(entry.answers + 1) : 1.0 / 16;
    const double error = us - entry.mean_us;
    entry.mean_us += weight * error;
    entry.deviation_us += weight * (std::abs(error) - entry.deviation_us);
    ++entry.answers;
    entry.failures = 0;
  }
  // `counts`: the server is to blame.
  void OnFailure(ServerId server, bool counts) {
    Entry& entry = servers_[server];
    --entry.under_way;
    if (counts) ++entry.failures;
  }
  // Smaller is better: how long an answer takes behind those that are under way. Servers that fail
  // come last, unknown ones count as quick so that they get tried. `preferred`: counts as twice as
  // quick.
  double Rank(ServerId server, bool preferred) const {
    const auto it = servers_.find(server);
    const double share = preferred ? 0.5 : 1.0;
    if (it == servers_.end()) return share * kQuickUs;
    constexpr double kFailurePenaltyUs = 1e6;
    const Entry& entry = it->second;
    return share * std::max(entry.mean_us, kQuickUs) * (1 + entry.under_way) +
           entry.failures * kFailurePenaltyUs;
  }
  // After this long without an answer another replica is asked as well.
  Duration HedgeAfter(ServerId server, Duration at_least) const {
    const auto it = servers_.find(server);
    if (it == servers_.end() || it->second.answers < 8) return std::max(at_least, Duration(20ms));
    const double us = it->second.mean_us + 3 * it->second.deviation_us;
    return std::max(at_least, std::chrono::duration_cast<Duration>(
                                  std::chrono::duration<double, std::micro>(us)));
  }

 private:
  static constexpr double kQuickUs = 20;
  struct Entry {
    double mean_us = 0;
    double deviation_us = 0;
    int64_t answers = 0;
    int under_way = 0;
    int failures = 0;  // in a row
  };
  std::unordered_map<ServerId, Entry> servers_;
};

}  // namespace moraine::fs
