// What the operations on names share: checks, lookups, and the rules of tokens.
#pragma once

#include <optional>
#include <string_view>

#include "metaserver/store/transaction.h"

namespace moraine::metaserver {

// kInvalidArgument: empty, ".", "..", or with '/' or NUL inside. kNameTooLong.
Status CheckName(std::string_view name);

// A directory that is still linked. kNotFound, kNotDirectory.
Result<InodeRecord> GetDirectory(Transaction& transaction, InodeId inode);
Result<std::optional<DentryRecord>> FindEntry(Transaction& transaction, InodeId parent,
                                              std::string_view name);
// kNotFound "no 'x' in directory 7".
Result<DentryRecord> GetEntry(Transaction& transaction, InodeId parent, std::string_view name);
void PutEntry(Transaction& transaction, InodeId parent, std::string_view name, InodeId inode,
              FileType type);
void EraseEntry(Transaction& transaction, InodeId parent, std::string_view name);

// Data or attributes have changed now: ctime, version, and mtime if `data`.
void Touch(Transaction& transaction, InodeRecord& record, bool data);
// The same, for a directory whose entries have changed by `entries`.
void TouchDirectory(Transaction& transaction, InodeId inode, InodeRecord& record, int64_t entries);

// One name less. At zero the inode becomes an orphan, to be freed when nobody has it open.
Status DropLink(Transaction& transaction, InodeId inode, InodeRecord& record);

// The name of `inode` in `directory` goes: if it was the governing one (InodeRecord::parent) while
// others remain, the file is governed by nobody from now on. Does not write the record.
Status LeaveDirectory(Transaction& transaction, InodeId directory, std::string_view name,
                      InodeId inode, InodeRecord& record);

// Whose token a directory has; none if it is nobody's.
Result<SessionId> OwnerOf(Transaction& transaction, InodeId directory);

// May the directory lose its name? kNotEmpty, kBusy (another session owns it).
Status CheckRemovable(Transaction& transaction, InodeId directory, const InodeRecord& record);

// May a change of a name in `directory` carry `token`? kFenced, kBusy; see tokens in APPEND.md 8.
Status CheckToken(Transaction& transaction, InodeId directory, Token token);
// The same for a change of an inode itself: the directory that governs it decides.
Status CheckGoverningToken(Transaction& transaction, const InodeRecord& record, Token token);

}  // namespace moraine::metaserver
