// The file system for a program: one session with the metaserver, names, files, caches, leases.
//
// Everything is a coroutine on one loop. Every call ends by the client's `timeout` at the latest:
// kTimeout or kUnavailable when the servers did not answer; the client works again by itself when
// they are back. Changes are repeated under one (session, sequence) and so happen once.
//
// Consistency (ARCHITECTURE.md, "What readers see"): one client always sees its own writes; between
// clients close-to-open, and what was synced is visible to every later Open and GetAttributes, and
// then to reads by handles that were opened before. Whoever lost unsynced bytes with the lease
// (File::error()) reads them until an Open.
//
// Errors besides the obvious: kFenced (the directory has a newer owner, or this client's session
// ended and another has taken the file), kNoSpace, kTooFewServers, kCorruption (no good replica),
// kCanceled (the client stops).
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "base/loop/loop.h"
#include "base/metrics.h"
#include "fs/client/file.h"
#include "fs/client/types.h"

namespace moraine::idl {
class CreateResponse;
}

namespace moraine::fs {

struct ClientOptions {
  Endpoint metaserver;
  std::string name = "client";   // for people, in `moraine status`
  std::string kind = "library";  // mount, rocksdb, tool, library
  Duration timeout = std::chrono::seconds(30);
  uint64_t window_bytes = 16 << 20;     // unacknowledged bytes of one append stream
  uint64_t dirty_bytes_max = 64 << 20;  // buffered random writes of one file
  uint64_t cache_bytes = 0;             // bytes that small reads brought, kept in memory
};

// What Create gives for a regular file that is opened at once.
struct Created {
  Attributes attributes;
  bool created = false;        // false: it was there (only without `exclusive`)
  std::shared_ptr<File> file;  // when asked for
};

// A directory that this client owns: changes in it carry the token.
struct OwnedDirectory {
  InodeId inode;
  Token token;
  struct Entry {
    std::string name;
    Attributes attributes;
    Layout layout;
  };
  std::vector<Entry> entries;
};

class Client {
 public:
  Client(Loop& loop, ClientOptions options, MetricRegistry& metrics);
  ~Client();

  // Begins the session; the cluster must answer within the timeout.
  Task<Status> Start();
  // Flushes and closes every open file, ends the session. Errors of flushing are returned.
  Task<Status> Stop();

  // ---- Names
  Task<Result<Attributes>> Lookup(InodeId parent, std::string name);
  // An absolute path, symlinks not followed.
  Task<Result<Attributes>> Resolve(std::string path);
  Task<Result<Attributes>> GetAttributes(InodeId inode);
  Task<Result<Attributes>> SetAttributes(InodeId inode, AttributeChange change);
  // `open`: the file is opened for writing with the same call.
  Task<Result<Created>> Create(InodeId parent, std::string name, NewEntry entry, bool open);
  Task<Status> RemoveFile(InodeId parent, std::string name);
  Task<Status> RemoveDirectory(InodeId parent, std::string name);
  Task<Status> Rename(InodeId parent, std::string name, InodeId new_parent, std::string new_name,
                      RenameMode mode);
  Task<Result<Attributes>> Link(InodeId inode, InodeId new_parent, std::string new_name);
  // Entries behind the name `after` (empty: from the beginning), in name order.
  Task<Result<DirectoryPage>> ReadDirectory(InodeId inode, std::string after, int limit,
                                            bool with_attributes);
  // Every change of names that this client was told to be done is on the metaserver's disk.
  Task<Status> SyncNames(InodeId directory);
  Task<Result<FileSystemSpace>> Space();

  Task<Result<std::string>> GetXattr(InodeId inode, std::string name);
  enum class XattrMode { kSet, kCreate, kReplace };
  Task<Status> SetXattr(InodeId inode, std::string name, std::string value, XattrMode mode);
  Task<Status> RemoveXattr(InodeId inode, std::string name);
  Task<Result<std::vector<std::string>>> ListXattrs(InodeId inode);

  // ---- Files (file.h). One File per inode and client, shared by all who have it open.
  enum class OpenMode { kRead, kWrite };  // kWrite takes the write lease
  Task<Result<std::shared_ptr<File>>> Open(InodeId inode, OpenMode mode, bool truncate = false);
  // Each Open and each Create(open) is matched by one Close, which flushes what this opener may
  // have written; the file's error, if it has one, is returned.
  Task<Status> Close(std::shared_ptr<File> file);
  // What is cached of an inode this client has open, or nothing: no call is made.
  std::shared_ptr<File> FindOpen(InodeId inode) const;

  // ---- Directory ownership
  // Takes the directory from whoever has it; when this returns, nothing that the former owner
  // still sends is accepted.
  Task<Result<OwnedDirectory>> AcquireDirectory(InodeId inode, std::string owner);
  // Opens a file of an owned directory for reading from what AcquireDirectory (or this client's own
  // work since) has told of it: no call is made.
  Task<Result<std::shared_ptr<File>>> OpenOwned(Attributes attributes, Layout layout);
  // Before the last name of such a file goes: the metaserver keeps what is open, and must know that
  // it is. No call when it does, or when the file is not open here.
  Task<Status> RegisterOpen(InodeId inode);
  Task<Status> ReleaseDirectory(InodeId inode);
  // The token this client holds for a directory; none if it does not own it.
  Token TokenOf(InodeId directory) const;

  // Called (on the loop) when another session changed what may be cached of an inode, for a mount
  // to invalidate the kernel's cache.
  void OnStale(std::function<void(InodeId)> callback);

  // Called (on the loop) when another has taken an owned directory; none: all of them are gone with
  // the session.
  void OnDisowned(std::function<void(InodeId)> callback);
  // Whether what is remembered of owned directories may still answer: the session certainly lives.
  // Any thread.
  bool SessionIsCertain() const;

  SessionId session() const;
  uint64_t metadata_calls() const;  // sent so far, for figures
  size_t owned_files() const;       // remembered as files of owned directories, likewise
  Loop& loop() { return loop_; }
  const ClientOptions& options() const { return options_; }

 private:
  Task<Result<Attributes>> WithTail(Attributes attributes, Instant deadline,
                                    uint64_t own_changes = 0);
  Task<Result<std::shared_ptr<File>>> OpenCreated(idl::CreateResponse answer, Instant deadline);

  Loop& loop_;
  const ClientOptions options_;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moraine::fs
