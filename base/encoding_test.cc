#include "base/encoding.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "base/random.h"

namespace moraine {
namespace {

using std::string_literals::operator""s;

std::string Written(void (*write)(Writer&)) {
  std::string out;
  Writer writer(&out);
  write(writer);
  return out;
}

TEST(EncodingTest, GoldenBytes) {
  EXPECT_EQ(Written([](Writer& w) { w.U16(0x0102); }), "\x02\x01"s);
  EXPECT_EQ(Written([](Writer& w) { w.U32(0x01020304); }), "\x04\x03\x02\x01"s);
  EXPECT_EQ(Written([](Writer& w) { w.U64(0x0102030405060708); }),
            "\x08\x07\x06\x05\x04\x03\x02\x01"s);
  EXPECT_EQ(Written([](Writer& w) { w.Big32(0x01020304); }), "\x01\x02\x03\x04"s);
  EXPECT_EQ(Written([](Writer& w) { w.Big64(1); }), "\0\0\0\0\0\0\0\x01"s);
  EXPECT_EQ(Written([](Writer& w) { w.Varint(0); }), "\0"s);
  EXPECT_EQ(Written([](Writer& w) { w.Varint(127); }), "\x7F"s);
  EXPECT_EQ(Written([](Writer& w) { w.Varint(300); }), "\xAC\x02"s);
  EXPECT_EQ(Written([](Writer& w) { w.Varint(UINT64_MAX); }),
            "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"s);
  EXPECT_EQ(Written([](Writer& w) { w.Signed(-1); }), "\x01"s);
  EXPECT_EQ(Written([](Writer& w) { w.String("ab"); }), "\x02"s + "ab");
  EXPECT_EQ(Written([](Writer& w) { w.Bool(true); }), "\x01"s);
  EXPECT_EQ(Written([](Writer& w) { w.Id(ChunkId(5)); }), "\x05"s);
}

TEST(EncodingTest, FixedPlacesRoundTrip) {
  char page[16];
  StoreLittle64(page + 1, 0x0102030405060708);
  EXPECT_EQ(page[1], 8);
  EXPECT_EQ(LoadLittle64(page + 1), 0x0102030405060708u);
  StoreLittle32(page + 3, 77);
  EXPECT_EQ(LoadLittle32(page + 3), 77u);
  StoreLittle16(page + 5, 999);
  EXPECT_EQ(LoadLittle16(page + 5), 999);
  StoreBig64(page, 5);
  EXPECT_EQ(page[7], 5);
  EXPECT_EQ(LoadBig64(page), 5u);
  StoreBig32(page, 6);
  EXPECT_EQ(LoadBig32(page), 6u);
}

TEST(EncodingTest, BigEndianKeysSortAsNumbers) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE(testing::Message() << "MORAINE_SEED=" << seed);
  Random random(seed);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t a = random.Next() >> random.Uniform(64);
    const uint64_t b = random.Next() >> random.Uniform(64);
    std::string key_a;
    std::string key_b;
    Writer(&key_a).Big64(a);
    Writer(&key_b).Big64(b);
    EXPECT_EQ(a < b, key_a < key_b) << a << " " << b;
  }
}

TEST(EncodingTest, ReaderFailsOnceAndForGood) {
  const std::string bytes = "\x05"s + "abc";
  Reader reader(bytes);
  EXPECT_EQ(reader.String(), "");
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.U8(), 0);
  EXPECT_EQ(reader.Rest(), "");
  EXPECT_EQ(reader.Finish("name").code(), Code::kCorruption);
  EXPECT_EQ(reader.Finish("name").message(), "bad name: cut short or malformed");
}

TEST(EncodingTest, LeftOverBytesAreAnError) {
  const std::string bytes = "ab";
  Reader reader(bytes);
  reader.U8();
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.Finish("x").message(), "bad x: 1 bytes left over");
  reader.U8();
  EXPECT_TRUE(reader.Finish("x").ok());
}

TEST(EncodingTest, MalformedVarintsAreRefused) {
  for (const std::string& bytes :
       {""s, "\x80"s, "\x80\x00"s, "\xFF\x80\x00"s, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02"s,
        "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x81\x00"s}) {
    Reader reader(bytes);
    EXPECT_EQ(reader.Varint(), 0u);
    EXPECT_FALSE(reader.ok()) << testing::PrintToString(bytes);
  }
}

TEST(EncodingTest, BoundsAreHeld) {
  std::string bytes;
  Writer(&bytes).Varint(11);
  EXPECT_EQ(Reader(bytes).VarintAtMost(11), 11u);
  Reader reader(bytes);
  EXPECT_EQ(reader.VarintAtMost(10), 0u);
  EXPECT_FALSE(reader.ok());
  Reader boolean(std::string_view("\x02"));
  boolean.Bool();
  EXPECT_FALSE(boolean.ok());
  const std::string name = "\x03"s + "abc";
  EXPECT_EQ(Reader(name).String(3), "abc");
  EXPECT_EQ(Reader(name).String(2), "");
}

// Random values of random kinds, written and read back; then the same bytes cut at every place
// must fail, and with random damage must never read out of bounds (ASan watches).
TEST(EncodingTest, RandomRoundTrips) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE(testing::Message() << "MORAINE_SEED=" << seed);
  Random random(seed);
  for (int round = 0; round < 300; ++round) {
    std::string bytes;
    Writer writer(&bytes);
    std::vector<std::pair<int, uint64_t>> values;
    for (uint64_t i = random.Between(1, 20); i > 0; --i) {
      const int kind = static_cast<int>(random.Uniform(6));
      const uint64_t value = random.Next() >> random.Uniform(64);
      values.emplace_back(kind, value);
      if (kind == 0) writer.Varint(value);
      if (kind == 1) writer.Signed(static_cast<int64_t>(value));
      if (kind == 2) writer.U64(value);
      if (kind == 3) writer.Big64(value);
      if (kind == 4) writer.U32(static_cast<uint32_t>(value));
      if (kind == 5) writer.String(std::string(value % 40, 'x'));
    }
    const auto read = [&values](std::string_view input) {
      Reader reader(input);
      for (const auto& [kind, value] : values) {
        uint64_t got = value;
        if (kind == 0) got = reader.Varint();
        if (kind == 1) got = static_cast<uint64_t>(reader.Signed());
        if (kind == 2) got = reader.U64();
        if (kind == 3) got = reader.Big64();
        if (kind == 4 && reader.U32() != static_cast<uint32_t>(value)) return false;
        if (kind == 5 && reader.String() != std::string(value % 40, 'x')) return false;
        if (got != value) return false;
      }
      return reader.Finish("values").ok();
    };
    ASSERT_TRUE(read(bytes));
    for (size_t cut = 0; cut < bytes.size(); ++cut) {
      ASSERT_FALSE(read(std::string(bytes, 0, cut))) << cut;
    }
    std::string damaged = bytes;
    damaged[random.Uniform(damaged.size())] ^= static_cast<char>(1 + random.Uniform(255));
    ASSERT_FALSE(read(damaged));
  }
}

TEST(EncodingTest, SignedExtremes) {
  for (int64_t value : {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max(),
                        int64_t{0}, int64_t{-1}}) {
    std::string bytes;
    Writer(&bytes).Signed(value);
    EXPECT_EQ(Reader(bytes).Signed(), value);
  }
}

}  // namespace
}  // namespace moraine
