#include "metaserver/sessions/acknowledged.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/limits.h"
#include "base/random.h"

namespace moraine::metaserver {
namespace {

Acknowledged Except(uint64_t below, std::vector<uint64_t> waiting) {
  auto made = Acknowledged::Except(below, std::move(waiting));
  EXPECT_TRUE(made.ok()) << made.status().ToString();
  return made.ok() ? *made : Acknowledged();
}

std::string Encoded(const Acknowledged& acknowledged) {
  std::string bytes;
  moraine::Writer writer(&bytes);
  acknowledged.Encode(writer);
  return bytes;
}

TEST(AcknowledgedTest, AllBelowButTheSlowOnes) {
  EXPECT_FALSE(Acknowledged().IsOver(0));
  EXPECT_TRUE(Acknowledged(3).IsOver(2));
  EXPECT_FALSE(Acknowledged(3).IsOver(3));
  const Acknowledged some = Except(10, {2, 9});
  for (uint64_t n = 0; n < 12; ++n) EXPECT_EQ(some.IsOver(n), n < 10 && n != 2 && n != 9) << n;
}

TEST(AcknowledgedTest, WhatNoClientSendsIsRefused) {
  const auto code = [](uint64_t below, std::vector<uint64_t> waiting) {
    return Acknowledged::Except(below, std::move(waiting)).code();
  };
  EXPECT_EQ(code(5, {5}), Code::kInvalidArgument);
  EXPECT_EQ(code(5, {2, 2}), Code::kInvalidArgument);
  EXPECT_EQ(code(5, {3, 2}), Code::kInvalidArgument);
  std::vector<uint64_t> many(limits::kSlowChangesMax);
  for (size_t i = 0; i < many.size(); ++i) many[i] = i;
  EXPECT_EQ(code(1000, many), Code::kOk);
  many.push_back(999);
  EXPECT_EQ(code(1000, many), Code::kInvalidArgument);
}

TEST(AcknowledgedTest, GoldenBytes) {
  EXPECT_EQ(Encoded(Acknowledged(300)), std::string("\xac\x02\x00", 3));
  EXPECT_EQ(Encoded(Except(300, {7, 299})), "\xac\x02\x02\x07\xa4\x02");
}

TEST(AcknowledgedTest, BadBytesAreNoAcknowledgement) {
  for (const std::string_view bytes :
       {"", "\x05", "\x05\x02\x01", "\x05\x01\x05", "\x05\x02\x03\x7f"}) {
    moraine::Reader reader(bytes);
    (void)Acknowledged::Decode(reader);
    EXPECT_FALSE(reader.Finish("test").ok());
  }
}

// Headers of one client, heard in any order and more than once: what any of them called over is,
// and nothing else. And the number of those that are waited for stays within its bound.
TEST(AcknowledgedTest, HeadersInAnyOrderSayTheSame) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE(fmt::format("MORAINE_SEED={}", seed));
  Random random(seed);
  for (int round = 0; round < 300; ++round) {
    std::vector<Acknowledged> said;
    std::set<uint64_t> over;
    std::set<uint64_t> in_use;
    uint64_t next = 1;
    for (int step = 0; step < 40; ++step) {
      for (uint64_t i = random.Uniform(8); i > 0; --i) in_use.insert(next++);
      std::erase_if(in_use, [&](uint64_t) { return random.OneIn(3); });
      std::vector<uint64_t> waiting(in_use.begin(), in_use.end());
      const uint64_t below = random.OneIn(4) && !waiting.empty() ? waiting.back() : next;
      std::erase_if(waiting, [&](uint64_t n) { return n >= below; });
      if (waiting.size() > limits::kSlowChangesMax) continue;
      said.push_back(Except(below, waiting));
      for (uint64_t n = 0; n < below; ++n) {
        if (!in_use.contains(n)) over.insert(n);
      }
    }
    for (size_t i = said.size(); i > 1; --i) std::swap(said[i - 1], said[random.Uniform(i)]);
    if (!said.empty()) said.push_back(said.front());
    Acknowledged all;
    for (const Acknowledged& one : said) {
      all.Add(one);
      ASSERT_LE(all.waiting().size(), static_cast<size_t>(limits::kSlowChangesMax));
      const std::string bytes = Encoded(all);
      moraine::Reader reader(bytes);
      all = Acknowledged::Decode(reader);
      ASSERT_TRUE(reader.Finish("test").ok());
    }
    for (uint64_t n = 0; n < next + 2; ++n) ASSERT_EQ(all.IsOver(n), over.contains(n)) << n;
  }
}

}  // namespace
}  // namespace moraine::metaserver
