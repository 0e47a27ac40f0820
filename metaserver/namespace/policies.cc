#include "metaserver/namespace/policies.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/glob.h"
#include "base/limits.h"
#include "metaserver/namespace/names.h"
#include "protocol/policy.h"

namespace moraine::metaserver {
namespace {

constexpr size_t kRulesPerDirectoryMax = 256;
constexpr int kDepthMax = limits::kPathBytesMax;

PolicyRecord Named(std::string_view name, const protocol::Policy& policy) {
  return PolicyRecord{std::string(name), static_cast<uint32_t>(policy.n),
                      static_cast<uint32_t>(policy.w), static_cast<uint32_t>(policy.floor)};
}

const std::vector<PolicyRecord>& BuiltIn() {
  static const std::vector<PolicyRecord> policies = {Named("immutable", protocol::kImmutablePolicy),
                                                     Named("log", protocol::kLogPolicy),
                                                     Named("single", protocol::kSinglePolicy)};
  return policies;
}

// The names of RocksDB's files that are appended to and synced; everything else is written once.
const std::vector<PolicyRule>& BuiltInRules() {
  static const std::vector<PolicyRule> rules = {
      {"*.log", "log"},    {"MANIFEST-*", "log"}, {"CURRENT", "log"}, {"OPTIONS-*", "log"},
      {"IDENTITY", "log"}, {"*.dbtmp", "log"},    {"*", "immutable"}};
  return rules;
}

}  // namespace

Result<PolicyRecord> FindPolicy(Transaction& transaction, std::string_view name) {
  for (const PolicyRecord& policy : BuiltIn()) {
    if (policy.name == name) return policy;
  }
  MORAINE_ASSIGN_OR_RETURN(auto policy, transaction.Find<PolicyRecord>(Family::kPolicies, name));
  if (!policy.has_value()) {
    return Status(Code::kInvalidArgument, fmt::format("no policy '{}'", name));
  }
  return std::move(*policy);
}

Status SetPolicy(Transaction& transaction, const PolicyRecord& policy) {
  MORAINE_RETURN_IF_ERROR(CheckName(policy.name));
  if (std::ranges::find(BuiltIn(), policy.name, &PolicyRecord::name) != BuiltIn().end()) {
    return Status(Code::kNotPermitted,
                  fmt::format("policy '{}' is built in and cannot be changed", policy.name));
  }
  const auto number = [](uint32_t value) {
    return static_cast<int>(std::min<uint32_t>(value, limits::kReplicasMax + 1));
  };
  const protocol::Policy checked{
      .n = number(policy.replicas), .w = number(policy.quorum), .floor = number(policy.floor)};
  MORAINE_RETURN_IF_ERROR(checked.Validate());
  transaction.Put(Family::kPolicies, policy.name, policy.Encode());
  transaction.effects().durable = true;
  return Status::Ok();
}

Result<std::vector<PolicyRecord>> ListPolicies(Transaction& transaction) {
  std::vector<PolicyRecord> policies = BuiltIn();
  Cursor cursor = transaction.Scan(Family::kPolicies, {});
  for (; cursor.Valid(); cursor.Next()) {
    MORAINE_ASSIGN_OR_RETURN(PolicyRecord policy, PolicyRecord::Decode(cursor.value()));
    policies.push_back(std::move(policy));
  }
  MORAINE_RETURN_IF_ERROR(cursor.status());
  return policies;
}

Status SetRules(Transaction& transaction, InodeId directory, const std::vector<PolicyRule>& rules) {
  MORAINE_RETURN_IF_ERROR(GetDirectory(transaction, directory).status());
  if (rules.size() > kRulesPerDirectoryMax) {
    return Status(Code::kInvalidArgument,
                  fmt::format("{} rules, allowed are {}", rules.size(), kRulesPerDirectoryMax));
  }
  for (const PolicyRule& rule : rules) {
    MORAINE_RETURN_IF_ERROR(CheckGlob(rule.glob));
    if (rule.glob.size() > limits::kNameBytesMax) {
      return Status(Code::kNameTooLong, "a pattern longer than any name");
    }
    MORAINE_RETURN_IF_ERROR(FindPolicy(transaction, rule.policy).status());
  }
  if (rules.empty()) {
    transaction.Delete(Family::kRules, InodeKey(directory));
  } else {
    transaction.Put(Family::kRules, InodeKey(directory), RulesRecord{rules}.Encode());
  }
  transaction.effects().durable = true;
  return Status::Ok();
}

Result<EffectiveRules> GetRules(Transaction& transaction, InodeId directory) {
  InodeId at = directory;
  for (int depth = 0; depth < kDepthMax; ++depth) {
    MORAINE_ASSIGN_OR_RETURN(auto record,
                             transaction.Find<RulesRecord>(Family::kRules, InodeKey(at)));
    if (record.has_value()) return EffectiveRules{std::move(record->rules), at};
    if (at == kRootInode) return EffectiveRules{BuiltInRules(), InodeId()};
    MORAINE_ASSIGN_OR_RETURN(const InodeRecord inode, transaction.Inode(at));
    at = inode.parent;
  }
  return Status(Code::kLoop, fmt::format("directory {} has no end of parents", directory.value()));
}

Result<std::string> PolicyForName(Transaction& transaction, InodeId directory,
                                  std::string_view name) {
  MORAINE_ASSIGN_OR_RETURN(const EffectiveRules effective, GetRules(transaction, directory));
  for (const PolicyRule& rule : effective.rules) {
    if (GlobMatch(rule.glob, name)) return rule.policy;
  }
  return std::string("immutable");
}

Result<std::string> PathOfDirectory(Transaction& transaction, InodeId directory) {
  if (directory.IsNone() || directory == kRootInode) return std::string("/");
  std::string path;
  InodeId at = directory;
  for (int depth = 0; depth < kDepthMax && at != kRootInode; ++depth) {
    MORAINE_ASSIGN_OR_RETURN(const InodeRecord record, transaction.Inode(at));
    // Directories do not store their own name; it is found in the parent.
    Cursor cursor = transaction.Scan(Family::kDentries, InodeKey(record.parent));
    std::string name = "?";
    for (; cursor.Valid(); cursor.Next()) {
      MORAINE_ASSIGN_OR_RETURN(const DentryRecord entry, DentryRecord::Decode(cursor.value()));
      if (entry.inode != at) continue;
      name = cursor.key().substr(sizeof(uint64_t));
      break;
    }
    MORAINE_RETURN_IF_ERROR(cursor.status());
    path = "/" + name + path;
    at = record.parent;
  }
  if (at != kRootInode) return Status(Code::kLoop, "a directory without an end of parents");
  return path;
}

}  // namespace moraine::metaserver
