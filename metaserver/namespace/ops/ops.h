// The operations on the namespace and on files, one file each in this folder. Every one is a
// synchronous function of a transaction: all of it happens, or nothing. They answer as POSIX and
// Linux do; each comment names what is special.
//
// Common errors: kNotFound (inode or name), kNotDirectory, kInvalidArgument (a bad name),
// kNameTooLong, kFenced and kBusy (the directory's token), and the store's kIo and kCorruption.
// What must be on disk before the answer is marked in Effects::durable.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "metaserver/chunks/placement.h"
#include "metaserver/namespace/file_map.h"
#include "metaserver/namespace/leases.h"
#include "metaserver/store/transaction.h"

namespace moraine::metaserver {

struct InodeView {
  InodeId id;
  InodeRecord record;
  bool open_tail = false;  // its last chunk is open: the size is at least record.size
};

// ---- Names
Result<InodeView> GetInode(Transaction& transaction, InodeId inode);
// "." and ".." are understood.
Result<InodeView> Lookup(Transaction& transaction, InodeId parent, std::string_view name);
// An absolute path; symbolic links are not followed.
Result<InodeView> Resolve(Transaction& transaction, std::string_view path);

struct CreateArgs {
  InodeId parent;
  std::string name;
  FileType type = FileType::kRegular;
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t rdev = 0;
  std::string symlink_target;
  bool exclusive = true;  // false: an existing regular file is the answer
  Token token;
  std::string policy;  // empty: the rules decide
};
struct CreateResult {
  InodeView inode;
  bool created = false;
};
// kAlreadyExists, kIsDirectory (not exclusive, and a directory is there), kTooManyLinks.
Result<CreateResult> Create(Transaction& transaction, const CreateArgs& args);

struct RemoveArgs {
  InodeId parent;
  std::string name;
  bool directory = false;
  Token token;
};
struct RemoveResult {
  InodeId inode;
  uint64_t links = 0;
};
// kIsDirectory, kNotDirectory, kNotEmpty, kBusy (a directory that a session owns).
Result<RemoveResult> Remove(Transaction& transaction, const RemoveArgs& args);

enum class RenameMode { kReplace = 0, kNoReplace = 1, kExchange = 2 };
struct RenameArgs {
  InodeId parent;
  std::string name;
  InodeId new_parent;
  std::string new_name;
  RenameMode mode = RenameMode::kReplace;
  Token token;
  Token new_token;
};
struct RenameResult {
  InodeId inode;
  InodeId replaced;
};
// kInvalidArgument (a directory into itself), kAlreadyExists, kNotEmpty, kIsDirectory,
// kNotDirectory, kTooManyLinks, kBusy, kLeaseTaken (another session writes the file, and one of the
// directories is owned). Durable when a name was replaced.
Result<RenameResult> Rename(Transaction& transaction, const RenameArgs& args);

struct LinkArgs {
  InodeId inode;
  InodeId new_parent;
  std::string new_name;
  Token token;
};
// kNotPermitted (a directory), kAlreadyExists, kTooManyLinks.
Result<InodeView> Link(Transaction& transaction, const LinkArgs& args);

struct ListedEntry {
  std::string name;
  InodeId inode;
  FileType type = FileType::kRegular;
  std::optional<InodeView> view;
};
struct ReadDirectoryResult {
  std::vector<ListedEntry> entries;
  bool more = false;
  InodeId parent;
};
// Entries with names above `after`, in the order of their bytes: a page stays valid whatever is
// created or removed meanwhile.
Result<ReadDirectoryResult> ReadDirectory(Transaction& transaction, InodeId directory,
                                          std::string_view after, size_t limit,
                                          bool with_attributes);

// ---- Attributes
struct SetAttributesArgs {
  InodeId inode;
  std::optional<uint32_t> mode;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<uint64_t> size;
  std::optional<int64_t> atime_ns;
  std::optional<int64_t> mtime_ns;
  Token token;
  std::optional<uint32_t> losses;  // that the writer knows of (losses.h)
};
// With a size: kIsDirectory, kInvalidArgument, kTooLarge, kLeaseTaken (also while an open tail must
// be sealed first, see Effects::recoveries), kIo (losses).
Result<InodeView> SetAttributes(Transaction& transaction, const SetAttributesArgs& args);

Result<std::string> GetXattr(Transaction& transaction, InodeId inode, std::string_view name);
struct SetXattrArgs {
  InodeId inode;
  std::string name;
  std::string value;
  bool create_only = false;
  bool replace_only = false;
  Token token;
};
// kAlreadyExists, kNoAttribute, kTooLarge, kOutOfRange (a name too long), kNoSpace (too many).
Status SetXattr(Transaction& transaction, const SetXattrArgs& args);
// kNoAttribute.
Status RemoveXattr(Transaction& transaction, InodeId inode, std::string_view name, Token token);
Result<std::vector<std::string>> ListXattrs(Transaction& transaction, InodeId inode);

// ---- Files
struct ChunkView {
  ChunkId id;
  ChunkRecord record;
};
struct Layout {
  std::vector<Extent> extents;
  std::vector<ChunkView> chunks;
  std::optional<AttachedChunk> tail;
  std::optional<std::string> inline_data;
};
struct FileView {
  InodeView inode;
  Layout layout;
};
Result<FileView> GetLayout(Transaction& transaction, InodeId inode);

struct OpenArgs {
  InodeId inode;
  bool write = false;
  bool truncate = false;
  Token token;
};
// With write: the lease, or kLeaseTaken. GetLayout then tells what is in it.
Status Open(Transaction& transaction, const OpenArgs& args);
// Gives the lease back, if the session has it.
Status Close(Transaction& transaction, InodeId inode);

struct CommitArgs {
  InodeId inode;
  std::vector<Extent> extents;
  std::optional<uint64_t> size;
  std::optional<int64_t> mtime_ns;
  std::optional<std::string> inline_data;
  std::vector<ClosedChunk> seals;
  bool sync = false;
  Token token;
  std::optional<uint32_t> losses;  // that the writer knows of (losses.h)
};
// Errors besides CloseAttached's: kIo (losses), kInvalidArgument (extents that are not the writer's
// to map, or that leave part of an inline content out), kTooLarge (also a file cut into too many
// pieces).
Result<InodeView> Commit(Transaction& transaction, const CommitArgs& args);

struct AllocateChunkArgs {
  InodeId inode;
  bool tail = false;
  uint64_t tail_offset = 0;
  std::optional<ClosedChunk> previous;
  std::vector<ServerId> avoid;
  Token token;
  std::optional<uint32_t> losses;  // that the writer knows of (losses.h)
};
struct ChunkGrant {
  ChunkView chunk;
  bool tail = false;
  uint64_t tail_offset = 0;
};
// Below the policy's floor: kNoSpace if it would be met but for full disks, else kTooFewServers.
// kTooLarge: the file's layout would not fit an answer. kIo: losses. kLeaseTaken: there is a tail
// that its writer does not close (of a stream that never got the answer); it must be sealed first,
// see Effects::recoveries.
Result<ChunkGrant> AllocateChunk(Transaction& transaction, const AllocateChunkArgs& args,
                                 std::span<const ServerView> servers, Random& random);

// ---- Owned directories
struct AcquireResult {
  Token token;
};
// Phase one: the next token, durable; leases in the directory are gone, and the effects say which
// files must be recovered before ReadOwned. kBusy if another session owns it and `steal` is false.
Result<AcquireResult> AcquireDirectory(Transaction& transaction, InodeId directory,
                                       std::string_view owner_name, bool steal);
struct OwnedEntry {
  std::string name;
  FileView file;
};
// Entries come one at a time, in the order of their names, since all of them may be more than
// memory holds; the first error ends it.
using EntryVisitor = std::function<Status(OwnedEntry)>;
Status VisitEntries(Transaction& transaction, InodeId directory, const EntryVisitor& visit);
// What phase two has to wait for.
Result<std::vector<InodeId>> FilesToRecover(Transaction& transaction, InodeId directory);
// Phase two, when everything is sealed. kFenced if the token is not the current one any more.
Result<InodeView> ReadOwned(Transaction& transaction, InodeId directory, Token token,
                            const EntryVisitor& visit);
// The number stays; kFenced if `token` is old.
Status ReleaseDirectory(Transaction& transaction, InodeId directory, Token token);

// ---- Ends
// Takes everything away from a session: tokens, leases (see Effects::recoveries), its record.
Status EndSession(Transaction& transaction, SessionId session);
// Whether a part of an orphan has been freed: then nobody may open it any more.
Result<bool> IsBeingFreed(Transaction& transaction, InodeId inode);
// Frees part of an orphan that nobody has open; true when nothing is left of it.
Result<bool> FreeOrphan(Transaction& transaction, InodeId inode, size_t extents_max);

}  // namespace moraine::metaserver
