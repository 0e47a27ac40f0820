// Policies by name, and the rules that choose one for a new file.
//
// `immutable`, `log` and `single` are built in; operators define more. A file's policy is decided
// when it is made: by the first matching rule of the nearest directory, upwards, that has rules;
// above the root stand the built-in rules.
#pragma once

#include <string_view>
#include <vector>

#include "metaserver/store/transaction.h"

namespace moraine::metaserver {

// kInvalidArgument "no policy 'x'".
Result<PolicyRecord> FindPolicy(Transaction& transaction, std::string_view name);
// Defines or changes a policy; files keep the name, new chunks get the new numbers.
// kInvalidArgument for bad numbers or names, kNotPermitted for built-in ones.
Status SetPolicy(Transaction& transaction, const PolicyRecord& policy);
Result<std::vector<PolicyRecord>> ListPolicies(Transaction& transaction);

// Replaces the rules of a directory; none lets it inherit again. kInvalidArgument for a bad
// pattern, an unknown policy, or too many rules.
Status SetRules(Transaction& transaction, InodeId directory, const std::vector<PolicyRule>& rules);

struct EffectiveRules {
  std::vector<PolicyRule> rules;
  InodeId from;  // the directory that has them; none: built in
};
Result<EffectiveRules> GetRules(Transaction& transaction, InodeId directory);
// The policy for a new file of this name.
Result<std::string> PolicyForName(Transaction& transaction, InodeId directory,
                                  std::string_view name);

// "/a/b" of a directory, by its parents. kLoop if they never end.
Result<std::string> PathOfDirectory(Transaction& transaction, InodeId directory);

}  // namespace moraine::metaserver
