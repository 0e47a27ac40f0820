// What two clients that take one directory from each other know of it: the current term and what
// its owner was told. A term begins when an acquisition is answered; what that answer lists is the
// truth of the new term.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "test/sim/stage.h"

namespace moraine::simulation {

struct Ownership {
  struct Name {
    InodeId inode;
    uint64_t cuts = 0;     // Stage::meta_cuts when it was acknowledged
    bool durable = false;  // survives a power cut of the metaserver
  };
  uint64_t term = 0;
  Token token;                           // of the term
  std::map<std::string, InodeId> given;  // at the beginning of the term
  std::map<std::string, Name> names;     // now
  std::map<InodeId, FileModel*> files;
  // Of operations of this term whose outcome nobody knows, or which are under way.
  std::set<std::string> doubt;
  uint64_t cuts = 0;  // Stage::meta_cuts at the beginning of the term
};

}  // namespace moraine::simulation
