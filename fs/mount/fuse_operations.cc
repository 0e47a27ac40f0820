#include "fs/mount/fuse_operations.h"

#include <linux/falloc.h>
#include <sys/xattr.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <vector>

#include "base/limits.h"
#include "fs/mount/fuse_reply.h"

namespace moraine::fs::mount {
namespace {

// ---- Running a request

// Operations whose effect nobody misses when the caller is gone.
constexpr bool MayBeInterrupted(Operation operation) {
  switch (operation) {
    case Operation::kLookup:
    case Operation::kGetAttributes:
    case Operation::kReadLink:
    case Operation::kRead:
    case Operation::kReadDirectory:
    case Operation::kSpace:
    case Operation::kGetXattr:
    case Operation::kListXattrs:
      return true;
    default:
      return false;
  }
}

template <class Body>
Task<void> RunBody(Pending pending, Body body) {
  co_await body(pending);
  if (!pending->answered()) pending->Error(EIO);  // the body answers; this is the last resort
}

// Starts `body(pending)`, a coroutine that answers.
template <class Body>
void Start(fuse_req_t request, Operation operation, Body body) {
  auto pending = std::make_shared<PendingRequest>(request, operation);
  if (MayBeInterrupted(operation)) PendingRequest::AllowInterrupt(pending);
  FuseSession& session = pending->session();
  if (!session.requests().Spawn(RunBody(pending, std::move(body)))) pending->Error(EIO);
}

int PlainErrno(Code code) { return ErrnoFor(code); }

template <class T, class Reply, class ToErrno>
Task<void> AnswerResult(Pending pending, Task<Result<T>> task, Reply reply, ToErrno to_errno) {
  Result<T> result = co_await std::move(task);
  if (!result.ok()) {
    pending->Error(to_errno(result.code()));
  } else {
    reply(*pending, *result);
  }
}

// Starts `task` and answers with `reply(pending, value)`, or with the error.
template <class T, class Reply, class ToErrno = int (*)(Code)>
void Serve(fuse_req_t request, Operation operation, Task<Result<T>> task, Reply reply,
           ToErrno to_errno = PlainErrno) {
  auto pending = std::make_shared<PendingRequest>(request, operation);
  if (MayBeInterrupted(operation)) PendingRequest::AllowInterrupt(pending);
  FuseSession& session = pending->session();
  if (!session.requests().Spawn(
          AnswerResult<T>(pending, std::move(task), std::move(reply), std::move(to_errno)))) {
    pending->Error(EIO);
  }
}

Task<void> AnswerStatus(Pending pending, Task<Status> task) {
  const Status status = co_await std::move(task);
  pending->Error(ErrnoFor(status.code()));
}

void ServeStatus(fuse_req_t request, Operation operation, Task<Status> task) {
  auto pending = std::make_shared<PendingRequest>(request, operation);
  FuseSession& session = pending->session();
  if (!session.requests().Spawn(AnswerStatus(pending, std::move(task)))) pending->Error(EIO);
}

Dispatcher& DispatcherOf(fuse_req_t request) { return SessionOf(request)->dispatcher(); }

// ---- Decoding

HandleId HandleOf(const fuse_file_info* info) {
  return info == nullptr ? HandleId() : HandleId(info->fh);
}

OpenFlags FlagsOf(int flags) {
  return {.write = (flags & O_ACCMODE) != O_RDONLY, .truncate = (flags & O_TRUNC) != 0};
}

NewEntry NewEntryOf(fuse_req_t request, FileType type, mode_t mode) {
  const fuse_ctx* context = fuse_req_ctx(request);
  NewEntry entry;
  entry.type = type;
  entry.mode = mode & 07777;
  entry.uid = context->uid;
  entry.gid = context->gid;
  return entry;
}

int64_t Nanoseconds(const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; }

AttributeRequest AttributeRequestOf(const struct stat& attributes, int set) {
  AttributeRequest request;
  AttributeChange& change = request.change;
  if (set & FUSE_SET_ATTR_MODE) change.mode = attributes.st_mode & 07777;
  if (set & FUSE_SET_ATTR_UID) change.uid = attributes.st_uid;
  if (set & FUSE_SET_ATTR_GID) change.gid = attributes.st_gid;
  if (set & FUSE_SET_ATTR_SIZE) change.size = static_cast<uint64_t>(attributes.st_size);
  if (set & FUSE_SET_ATTR_ATIME) change.atime_ns = Nanoseconds(attributes.st_atim);
  if (set & FUSE_SET_ATTR_MTIME) change.mtime_ns = Nanoseconds(attributes.st_mtim);
  request.atime_now = (set & FUSE_SET_ATTR_ATIME_NOW) != 0;
  request.mtime_now = (set & FUSE_SET_ATTR_MTIME_NOW) != 0;
  return request;
}

// ---- Answering

void AnswerEntry(PendingRequest& pending, const Entry& entry) {
  const fuse_entry_param param =
      ToEntryParam(entry, pending.session().options().io_bytes_preferred);
  const bool taken =
      pending.Answer([&](fuse_req_t request) { return fuse_reply_entry(request, &param); });
  if (!taken) pending.session().dispatcher().Forget(entry.attributes.inode, 1);
}

void AnswerAttributes(PendingRequest& pending, const Entry& entry) {
  const struct stat out = ToStat(entry.attributes, pending.session().options().io_bytes_preferred);
  pending.Answer([&](fuse_req_t request) {
    return fuse_reply_attr(request, &out, Seconds(entry.attributes_valid));
  });
}

// A value of which the caller may first ask the length.
void AnswerSized(PendingRequest& pending, const std::string& value, size_t size) {
  if (size != 0 && value.size() > size) {
    pending.Error(ERANGE);
  } else if (size == 0) {
    pending.Answer([&](fuse_req_t request) { return fuse_reply_xattr(request, value.size()); });
  } else {
    pending.Answer(
        [&](fuse_req_t request) { return fuse_reply_buf(request, value.data(), value.size()); });
  }
}

void AnswerBytes(PendingRequest& pending, const ReadBytes& bytes) {
  if (bytes.pieces.size() >= IOV_MAX) {  // libfuse adds one for its header
    const auto flat = std::make_unique_for_overwrite<std::byte[]>(bytes.size);
    bytes.CopyTo(flat.get());
    pending.Answer([&](fuse_req_t request) {
      return fuse_reply_buf(request, reinterpret_cast<const char*>(flat.get()), bytes.size);
    });
    return;
  }
  std::vector<iovec> pieces;
  pieces.reserve(bytes.pieces.size());
  for (const ConstBytes& piece : bytes.pieces) {
    pieces.push_back({const_cast<std::byte*>(piece.data()), piece.size()});
  }
  pending.Answer([&](fuse_req_t request) {
    return fuse_reply_iov(request, pieces.data(), static_cast<int>(pieces.size()));
  });
}

void FillFileInfo(const OpenedFile& opened, bool write, fuse_file_info* info) {
  info->fh = opened.handle.value();
  info->keep_cache = opened.keep_cache ? 1 : 0;
  info->noflush = write ? 0 : 1;
}

// The kernel did not take the handle, so it will not release it.
Task<void> ReleaseUntaken(FuseSession* session, HandleId handle) {
  (co_await session->dispatcher().Release(handle)).Ignore();
}

// ---- The callbacks: names

void OnInit(void* session, fuse_conn_info* connection) {
  static_cast<FuseSession*>(session)->OnInit(connection);
}

void OnLookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  Serve(request, Operation::kLookup, DispatcherOf(request).Lookup(InodeId(parent), name),
        AnswerEntry);
}

void OnForget(fuse_req_t request, fuse_ino_t inode, uint64_t lookups) {
  DispatcherOf(request).Forget(InodeId(inode), lookups);
  fuse_reply_none(request);
}

void OnForgetMulti(fuse_req_t request, size_t count, fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i) {
    DispatcherOf(request).Forget(InodeId(forgets[i].ino), forgets[i].nlookup);
  }
  fuse_reply_none(request);
}

void OnGetattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  Serve(request, Operation::kGetAttributes, DispatcherOf(request).GetAttributes(InodeId(inode)),
        AnswerAttributes);
}

void OnSetattr(fuse_req_t request, fuse_ino_t inode, struct stat* attributes, int set,
               fuse_file_info* info) {
  Serve(request, Operation::kSetAttributes,
        DispatcherOf(request).SetAttributes(InodeId(inode), AttributeRequestOf(*attributes, set),
                                            HandleOf(info)),
        AnswerAttributes);
}

void OnReadlink(fuse_req_t request, fuse_ino_t inode) {
  Serve(request, Operation::kReadLink, DispatcherOf(request).ReadLink(InodeId(inode)),
        [](PendingRequest& pending, const std::string& target) {
          pending.Answer([&](fuse_req_t to) { return fuse_reply_readlink(to, target.c_str()); });
        });
}

void MakeNode(fuse_req_t request, fuse_ino_t parent, const char* name, NewEntry entry) {
  Serve(request, Operation::kMakeNode,
        DispatcherOf(request).MakeNode(InodeId(parent), name, std::move(entry)), AnswerEntry);
}

void OnMknod(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t device) {
  NewEntry entry = NewEntryOf(request, TypeOfMode(mode), mode);
  entry.rdev = static_cast<uint32_t>(device);
  MakeNode(request, parent, name, std::move(entry));
}

void OnMkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  MakeNode(request, parent, name, NewEntryOf(request, FileType::kDirectory, mode));
}

void OnSymlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
  NewEntry entry = NewEntryOf(request, FileType::kSymlink, 0777);
  entry.symlink_target = target;
  MakeNode(request, parent, name, std::move(entry));
}

void OnUnlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  ServeStatus(request, Operation::kUnlink, DispatcherOf(request).Unlink(InodeId(parent), name));
}

void OnRmdir(fuse_req_t request, fuse_ino_t parent, const char* name) {
  ServeStatus(request, Operation::kRemoveDirectory,
              DispatcherOf(request).RemoveDirectory(InodeId(parent), name));
}

void OnRename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
              const char* new_name, unsigned int flags) {
  RenameMode mode = RenameMode::kReplace;
  if (flags == RENAME_NOREPLACE) {
    mode = RenameMode::kNoReplace;
  } else if (flags == RENAME_EXCHANGE) {
    mode = RenameMode::kExchange;
  } else if (flags != 0) {
    fuse_reply_err(request, EINVAL);
    return;
  }
  ServeStatus(
      request, Operation::kRename,
      DispatcherOf(request).Rename(InodeId(parent), name, InodeId(new_parent), new_name, mode));
}

void OnLink(fuse_req_t request, fuse_ino_t inode, fuse_ino_t new_parent, const char* new_name) {
  Serve(request, Operation::kLink,
        DispatcherOf(request).Link(InodeId(inode), InodeId(new_parent), new_name), AnswerEntry);
}

void OnStatfs(fuse_req_t request, fuse_ino_t) {
  Serve(request, Operation::kSpace, DispatcherOf(request).Space(),
        [](PendingRequest& pending, const FileSystemSpace& space) {
          struct statvfs out{};
          out.f_bsize = limits::kBlockBytes;
          out.f_frsize = limits::kBlockBytes;
          out.f_blocks = space.total_bytes / limits::kBlockBytes;
          out.f_bfree = space.free_bytes / limits::kBlockBytes;
          out.f_bavail = out.f_bfree;
          // An inode costs next to nothing; the blocks that are free bound their number.
          out.f_ffree = out.f_bfree;
          out.f_favail = out.f_ffree;
          out.f_files = space.inodes + out.f_ffree;
          out.f_namemax = limits::kNameBytesMax;
          pending.Answer([&](fuse_req_t to) { return fuse_reply_statfs(to, &out); });
        });
}

// ---- The callbacks: files

void OnCreate(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
              fuse_file_info* info) {
  const bool exclusive = (info->flags & O_EXCL) != 0;
  Serve(
      request, Operation::kCreate,
      DispatcherOf(request).Create(InodeId(parent), name,
                                   NewEntryOf(request, FileType::kRegular, mode),
                                   FlagsOf(info->flags)),
      [info = *info](PendingRequest& pending, const CreatedEntry& created) mutable {
        const fuse_entry_param param =
            ToEntryParam(created.entry, pending.session().options().io_bytes_preferred);
        FillFileInfo(created.opened, true, &info);
        const bool taken =
            pending.Answer([&](fuse_req_t to) { return fuse_reply_create(to, &param, &info); });
        if (taken) return;
        FuseSession& session = pending.session();
        session.dispatcher().Forget(created.entry.attributes.inode, 1);
        session.requests().Spawn(ReleaseUntaken(&session, created.opened.handle));
      },
      [exclusive](Code code) { return ErrnoForCreate(code, exclusive); });
}

void OnOpen(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) {
  Serve(
      request, Operation::kOpen, DispatcherOf(request).Open(InodeId(inode), FlagsOf(info->flags)),
      [inode, info = *info](PendingRequest& pending, const OpenedFile& opened) mutable {
        FuseSession& session = pending.session();
        FillFileInfo(opened, FlagsOf(info.flags).write, &info);
        if (opened.attributes_stale) session.DropAttributes(InodeId(inode));
        if (pending.Answer([&](fuse_req_t to) { return fuse_reply_open(to, &info); })) return;
        session.requests().Spawn(ReleaseUntaken(&session, opened.handle));
      },
      ErrnoForOpen);
}

void OnRead(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  Serve(request, Operation::kRead,
        DispatcherOf(request).Read(HandleOf(info), static_cast<uint64_t>(offset), size),
        AnswerBytes);
}

void OnWrite(fuse_req_t request, fuse_ino_t, const char* data, size_t size, off_t offset,
             fuse_file_info* info) {
  FuseSession::KeptBytes kept = SessionOf(request)->Keep(data, size);
  const bool append = (info->flags & O_APPEND) != 0 && info->writepage == 0;
  Serve(request, Operation::kWrite,
        DispatcherOf(request).Write(HandleOf(info), static_cast<uint64_t>(offset), kept.bytes,
                                    std::move(kept.owner), append),
        [](PendingRequest& pending, size_t written) {
          pending.Answer([&](fuse_req_t to) { return fuse_reply_write(to, written); });
        });
}

void OnFlush(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  ServeStatus(request, Operation::kFlush, DispatcherOf(request).Flush(HandleOf(info)));
}

void OnRelease(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  ServeStatus(request, Operation::kRelease, DispatcherOf(request).Release(HandleOf(info)));
}

void OnFsync(fuse_req_t request, fuse_ino_t, int, fuse_file_info* info) {
  ServeStatus(request, Operation::kSync, DispatcherOf(request).Sync(HandleOf(info)));
}

void OnFallocate(fuse_req_t request, fuse_ino_t, int mode, off_t offset, off_t length,
                 fuse_file_info* info) {
  if (mode != 0) {
    fuse_reply_err(request, EOPNOTSUPP);
    return;
  }
  ServeStatus(request, Operation::kAllocate,
              DispatcherOf(request).Extend(
                  HandleOf(info), static_cast<uint64_t>(offset) + static_cast<uint64_t>(length)));
}

// ---- The callbacks: directories

void OnOpendir(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) {
  PendingRequest pending(request, Operation::kOpenDirectory);
  Dispatcher& dispatcher = pending.session().dispatcher();
  const Result<HandleId> handle = dispatcher.OpenDirectory(InodeId(inode));
  if (!handle.ok()) {
    pending.Error(ErrnoFor(handle.code()));
    return;
  }
  info->fh = handle->value();
  if (!pending.Answer([&](fuse_req_t to) { return fuse_reply_open(to, info); })) {
    dispatcher.ReleaseDirectory(*handle).Ignore();
  }
}

// The buffer of one answer to a directory read.
class ListingBuffer {
 public:
  ListingBuffer(Pending pending, size_t size, bool plus)
      : pending_(std::move(pending)), size_(size), plus_(plus) {}

  bool Add(const Dispatcher::Listed& listed) {
    const size_t left = size_ - bytes_.size();
    const size_t old_size = bytes_.size();
    bytes_.resize(size_);
    const size_t used = Encode(listed, bytes_.data() + old_size, left);
    bytes_.resize(used <= left ? old_size + used : old_size);
    if (used > left) return false;
    if (listed.attributes != nullptr) told_.push_back(listed.entry.inode);
    return true;
  }
  // The kernel did not take the answer.
  void ForgetTold() const {
    for (const InodeId inode : told_) pending_->session().dispatcher().Forget(inode, 1);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  size_t Encode(const Dispatcher::Listed& listed, char* at, size_t left) {
    const fuse_req_t request = pending_->request();
    const auto next = static_cast<off_t>(listed.next);
    fuse_entry_param param{};
    if (plus_ && listed.attributes != nullptr) {
      param = ToEntryParam(*listed.attributes, pending_->session().options().io_bytes_preferred);
    } else {
      param.attr.st_ino = listed.entry.inode.value();
      param.attr.st_mode = ModeOfType(listed.entry.type);
    }
    const char* name = listed.entry.name.c_str();
    return plus_ ? fuse_add_direntry_plus(request, at, left, name, &param, next)
                 : fuse_add_direntry(request, at, left, name, &param.attr, next);
  }

  const Pending pending_;
  const size_t size_;
  const bool plus_;
  std::string bytes_;
  std::vector<InodeId> told_;
};

Task<void> ListDirectory(Pending pending, HandleId handle, uint64_t position, size_t size,
                         bool plus) {
  ListingBuffer buffer(pending, size, plus);
  const Status status = co_await pending->session().dispatcher().ReadDirectory(
      handle, position, plus, [&buffer, &pending](const Dispatcher::Listed& listed) {
        return !pending->answered() && buffer.Add(listed);
      });
  bool taken = false;
  if (!status.ok()) {
    pending->Error(ErrnoFor(status.code()));
  } else {
    taken = pending->Answer([&](fuse_req_t to) {
      return fuse_reply_buf(to, buffer.bytes().data(), buffer.bytes().size());
    });
  }
  if (!taken) buffer.ForgetTold();
}

void OnReaddir(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  Start(request, Operation::kReadDirectory, [=, handle = HandleOf(info)](Pending pending) {
    return ListDirectory(std::move(pending), handle, static_cast<uint64_t>(offset), size, false);
  });
}

void OnReaddirplus(fuse_req_t request, fuse_ino_t, size_t size, off_t offset,
                   fuse_file_info* info) {
  Start(request, Operation::kReadDirectory, [=, handle = HandleOf(info)](Pending pending) {
    return ListDirectory(std::move(pending), handle, static_cast<uint64_t>(offset), size, true);
  });
}

void OnReleasedir(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  PendingRequest pending(request, Operation::kReleaseDirectory);
  const Status status = pending.session().dispatcher().ReleaseDirectory(HandleOf(info));
  pending.Error(ErrnoFor(status.code()));
}

void OnFsyncdir(fuse_req_t request, fuse_ino_t inode, int, fuse_file_info*) {
  ServeStatus(request, Operation::kSyncDirectory,
              DispatcherOf(request).SyncDirectory(InodeId(inode)));
}

// ---- The callbacks: extended attributes

void OnGetxattr(fuse_req_t request, fuse_ino_t inode, const char* name, size_t size) {
  Serve(request, Operation::kGetXattr, DispatcherOf(request).GetXattr(InodeId(inode), name),
        [size](PendingRequest& pending, const std::string& value) {
          AnswerSized(pending, value, size);
        });
}

void OnListxattr(fuse_req_t request, fuse_ino_t inode, size_t size) {
  Serve(request, Operation::kListXattrs, DispatcherOf(request).ListXattrs(InodeId(inode)),
        [size](PendingRequest& pending, const std::string& list) {
          AnswerSized(pending, list, size);
        });
}

void OnSetxattr(fuse_req_t request, fuse_ino_t inode, const char* name, const char* value,
                size_t size, int flags) {
  SetXattrMode mode = SetXattrMode::kSet;
  if (flags == XATTR_CREATE) mode = SetXattrMode::kCreate;
  if (flags == XATTR_REPLACE) mode = SetXattrMode::kReplace;
  ServeStatus(request, Operation::kSetXattr,
              DispatcherOf(request).SetXattr(InodeId(inode), name, std::string(value, size), mode));
}

void OnRemovexattr(fuse_req_t request, fuse_ino_t inode, const char* name) {
  ServeStatus(request, Operation::kRemoveXattr,
              DispatcherOf(request).RemoveXattr(InodeId(inode), name));
}

// Not here, on purpose: access (the kernel checks, default_permissions), lseek for data and holes
// and copy_file_range (the kernel's own fallbacks do), locks (local to the kernel).
fuse_lowlevel_ops MakeOperations() {
  fuse_lowlevel_ops operations{};
  operations.init = OnInit;
  operations.lookup = OnLookup;
  operations.forget = OnForget;
  operations.forget_multi = OnForgetMulti;
  operations.getattr = OnGetattr;
  operations.setattr = OnSetattr;
  operations.readlink = OnReadlink;
  operations.mknod = OnMknod;
  operations.mkdir = OnMkdir;
  operations.symlink = OnSymlink;
  operations.unlink = OnUnlink;
  operations.rmdir = OnRmdir;
  operations.rename = OnRename;
  operations.link = OnLink;
  operations.statfs = OnStatfs;
  operations.create = OnCreate;
  operations.open = OnOpen;
  operations.read = OnRead;
  operations.write = OnWrite;
  operations.flush = OnFlush;
  operations.release = OnRelease;
  operations.fsync = OnFsync;
  operations.fallocate = OnFallocate;
  operations.opendir = OnOpendir;
  operations.readdir = OnReaddir;
  operations.readdirplus = OnReaddirplus;
  operations.releasedir = OnReleasedir;
  operations.fsyncdir = OnFsyncdir;
  operations.getxattr = OnGetxattr;
  operations.listxattr = OnListxattr;
  operations.setxattr = OnSetxattr;
  operations.removexattr = OnRemovexattr;
  return operations;
}

}  // namespace

const fuse_lowlevel_ops& FuseOperations() {
  static const fuse_lowlevel_ops operations = MakeOperations();
  return operations;
}

}  // namespace moraine::fs::mount
