// What a client's files share: the link, the chunk paths, the table of open files, owned
// directories. Internal to fs/client. Confined to one loop.
#pragma once

#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "base/loop/sync.h"
#include "fs/chunkio/chunk_reader.h"
#include "fs/client/client.h"
#include "fs/client/meta_link.h"
#include "rpc/channels.h"

namespace moraine::fs {

class FileImpl;

struct ClientCore {
  ClientCore(Loop& loop, const ClientOptions& options, MetricRegistry& metrics);

  // The token for changes of a file or name in a directory; none if we never owned it.
  Token TokenOf(InodeId directory) const;
  // The directory that we own and that holds this file, as far as we know.
  Token TokenOfFile(InodeId inode) const;
  // The last name of a file is gone: its parent is remembered for as long as it is open here.
  void NoteNameless(InodeId inode);
  // A sync of this file, if it is open here, has to ask the metaserver.
  void NoteUnsynced(InodeId inode);
  // What is known of the open files, and what is cached of them, may be old.
  void NoteAllStale();
  // To whoever caches bytes or attributes of this inode.
  void TellStale(InodeId inode) const {
    if (on_stale) on_stale(inode);
  }

  Loop& loop;
  const ClientOptions& options;
  ChunkIoOptions io;
  MetaLink link;
  rpc::Channels channels;
  ChunkReader reader;
  std::unordered_map<InodeId, std::shared_ptr<FileImpl>> files;
  // Directories that this client owns, or has owned and lost: then the token stays, so that the
  // metaserver refuses every later change under it, also when the directory is free again.
  struct Owned {
    Token token;
    bool lost = false;
  };
  std::unordered_map<InodeId, Owned> tokens;
  struct Place {
    InodeId directory;
    bool linked = false;  // there may be another name of it in an owned directory
  };
  std::unordered_map<InodeId, Place> parents;  // of files in owned directories
  std::function<void(InodeId)> on_stale;
  std::function<void(InodeId)> on_disowned;
  TaskGroup tasks;
  Event stopping;
};

}  // namespace moraine::fs
