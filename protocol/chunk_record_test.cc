#include "protocol/chunk_record.h"

#include <gtest/gtest.h>

namespace moraine::protocol {
namespace {

ChunkRecord Record(ChunkState state, uint64_t epoch, uint64_t length) {
  return {.state = state,
          .epoch = Epoch(epoch),
          .policy = kImmutablePolicy.ForMade(3).value(),
          .length = length,
          .good = {0, 1, 2}};
}

CloseRequest Close(uint64_t epoch, uint64_t length, ReplicaSet holders = {0, 1, 2}) {
  return {.epoch = Epoch(epoch), .length = length, .holders = holders};
}

TEST(ChunkRecordTest, CloseByWriterTable) {
  struct Row {
    ChunkRecord record;
    CloseRequest request;
    Code code;
  };
  const Row rows[] = {
      {Record(ChunkState::kOpen, 1, 100), Close(1, 40), Code::kOk},
      {Record(ChunkState::kOpen, 1, 100), Close(1, 0), Code::kOk},
      {Record(ChunkState::kOpen, 1, 100), Close(1, 101), Code::kInvalidArgument},
      {Record(ChunkState::kOpen, 1, 100), Close(1, 40, {0, 1}), Code::kInvalidArgument},
      {Record(ChunkState::kOpen, 1, 100), Close(1, 40, {0, 1, 3}), Code::kInvalidArgument},
      {Record(ChunkState::kOpen, 2, 100), Close(1, 40), Code::kFenced},
      {Record(ChunkState::kFencing, 2, 100), Close(1, 40), Code::kFenced},
      {Record(ChunkState::kFencing, 2, 100), Close(2, 40), Code::kFenced},
      {Record(ChunkState::kClosed, 1, 40), Close(1, 40), Code::kOk},
      {Record(ChunkState::kClosed, 1, 40), Close(1, 41), Code::kSealed},
      {Record(ChunkState::kSealed, 1, 40), Close(1, 40), Code::kOk},
      {Record(ChunkState::kSealed, 2, 40), Close(1, 40), Code::kFenced},
      {Record(ChunkState::kDeleting, 1, 40), Close(1, 40), Code::kFenced},
  };
  for (size_t i = 0; i < std::size(rows); ++i) {
    Result<ChunkRecord> closed = CloseByWriter(rows[i].record, rows[i].request);
    ASSERT_EQ(closed.code(), rows[i].code) << "row " << i;
    if (!closed.ok()) continue;
    EXPECT_EQ(closed->length, rows[i].request.length);
    bool was_open = rows[i].record.state == ChunkState::kOpen;
    EXPECT_EQ(closed->state, was_open ? ChunkState::kClosed : rows[i].record.state);
  }
}

TEST(ChunkRecordTest, BeginFencingKeepsTheClosedLength) {
  for (ChunkState state : {ChunkState::kOpen, ChunkState::kClosed, ChunkState::kFencing}) {
    Result<ChunkRecord> fencing = BeginFencing(Record(state, 3, 40));
    ASSERT_TRUE(fencing.ok());
    EXPECT_EQ(fencing->state, ChunkState::kFencing);
    EXPECT_EQ(fencing->epoch, Epoch(4));
    EXPECT_EQ(fencing->length, 40u);
  }
  EXPECT_EQ(BeginFencing(Record(ChunkState::kSealed, 3, 40)).code(), Code::kSealed);
  EXPECT_EQ(BeginFencing(Record(ChunkState::kDeleting, 3, 40)).code(), Code::kSealed);
}

TEST(ChunkRecordTest, RecordSealedOnlyByTheLatest) {
  ChunkRecord fencing = Record(ChunkState::kFencing, 3, 100);
  EXPECT_EQ(RecordSealed(fencing, Epoch(2), 40, {0}).code(), Code::kFenced);
  Result<ChunkRecord> sealed = RecordSealed(fencing, Epoch(3), 40, {0, 2});
  ASSERT_TRUE(sealed.ok());
  EXPECT_EQ(sealed->state, ChunkState::kSealed);
  EXPECT_EQ(sealed->length, 40u);
  EXPECT_EQ(sealed->good, (ReplicaSet{0, 2}));
  EXPECT_TRUE(RecordSealed(*sealed, Epoch(3), 40, {0}).ok());
  EXPECT_EQ(RecordSealed(*sealed, Epoch(3), 41, {0}).code(), Code::kSealed);
  EXPECT_EQ(RecordSealed(Record(ChunkState::kOpen, 3, 100), Epoch(3), 40, {0}).code(),
            Code::kFenced);
}

TEST(ChunkRecordDeathTest, RecordSealedPastTheClosedLengthIsABug) {
  ChunkRecord fencing = Record(ChunkState::kFencing, 3, 30);
  EXPECT_DEATH({ (void)RecordSealed(fencing, Epoch(3), 40, {0}); }, "past the closed length");
  EXPECT_DEATH({ (void)RecordSealed(fencing, Epoch(3), 20, {}); }, "nobody holds");
}

TEST(ChunkRecordTest, RestIsKeptUntilEnoughAreGood) {
  ChunkRecord sealed = Record(ChunkState::kSealed, 2, 40);
  sealed.good = {1};
  EXPECT_FALSE(MayDrop(sealed, 0));
  EXPECT_FALSE(MayDrop(sealed, 1));
  EXPECT_EQ(AddGood(sealed, limits::kReplicasMax).code(), Code::kInvalidArgument);
  EXPECT_EQ(AddGood(sealed, -1).code(), Code::kInvalidArgument);
  sealed = AddGood(*AddGood(sealed, 2), 3).value();
  EXPECT_TRUE(MayDrop(sealed, 0));
  EXPECT_FALSE(MayDrop(sealed, 1));
  EXPECT_FALSE(MayDrop(Record(ChunkState::kOpen, 1, 100), 3));
  EXPECT_TRUE(MayDrop(Record(ChunkState::kDeleting, 1, 100), 0));
  EXPECT_EQ(AddGood(Record(ChunkState::kOpen, 1, 100), 0).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace moraine::protocol
