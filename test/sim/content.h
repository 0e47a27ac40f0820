// The bytes that workloads write and check: a function of the file's key and the offset.
#pragma once

#include <string>

#include "fs/client/client.h"
#include "test/sim/stage.h"

namespace moraine::simulation {

// `size` bytes from `offset` under a key; key 0 is zeros.
std::string BytesOfKey(uint64_t key, uint64_t offset, uint64_t size);
// `size` bytes of the model from `offset`.
std::string ContentOf(const FileModel& model, uint64_t offset, uint64_t size);
std::string TextOf(const fs::ReadBytes& read);
// All of an open file.
Task<Result<std::string>> ReadWhole(fs::File& file);
// Empty when `read` is what the model has at `offset`; otherwise where it differs.
std::string Difference(const FileModel& model, uint64_t offset, const fs::ReadBytes& read);
// Reads all of the model's file by its path, and holds it against the model: at least `least`
// bytes, at most what was submitted, no wrong byte. Anything else fails the stage. kUnavailable and
// kTimeout are returned.
Task<Status> CheckFile(Stage& stage, fs::Client& client, const FileModel& model, uint64_t least);

// An error that says nothing about the file: somebody did not answer in time.
bool IsUnknown(const Status& status);

}  // namespace moraine::simulation
