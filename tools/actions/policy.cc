// policy list, get, set and define.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "base/options.h"
#include "tools/action.h"
#include "tools/cluster_choice.h"
#include "tools/command_manual.h"
#include "tools/json_text.h"

namespace moraine::tools {
namespace {

using Json = nlohmann::json;

// The inode of a path, with a line that answers calls about it.
struct Found {
  std::unique_ptr<MetaserverLink> link;
  idl::Attributes attributes;
};

Result<Found> Find(const ClusterChoice& choice, const std::string& path) {
  Found found;
  MORAINE_ASSIGN_OR_RETURN(found.link, choice.Connect(path));
  idl::PathRequest request;
  MORAINE_ASSIGN_OR_RETURN(request.path, choice.InsidePath(path));
  auto answer = found.link->Ask(idl::kResolve, request);
  if (!answer.ok()) return AboutPath(path, answer.status());
  found.attributes = answer->attributes;
  return found;
}

Json ToJson(const idl::Policy& policy) {
  return {{"name", policy.name},
          {"replicas", policy.replicas},
          {"quorum", policy.quorum},
          {"floor", policy.floor}};
}

std::string Explain(const idl::Policy& policy) {
  return fmt::format("{} copies, {} acknowledge an append, made on {} or more servers",
                     policy.replicas, policy.quorum, policy.floor);
}

Result<idl::RulesResponse> Rules(MetaserverLink& link, int64_t inode) {
  idl::InodeRequest request;
  request.inode = inode;
  return link.Ask(idl::kGetRules, request);
}

// A policy that the cluster is too small for would make every write below the directory fail.
Status CheckCanBeMet(MetaserverLink& link, const std::string& name) {
  MORAINE_ASSIGN_OR_RETURN(const idl::ListPoliciesResponse list,
                           link.Ask(idl::kListPolicies, idl::Empty()));
  std::string known;
  const idl::Policy* policy = nullptr;
  for (const idl::Policy& one : list.policies) {
    if (one.name == name) policy = &one;
    known += (known.empty() ? "" : ", ") + one.name;
  }
  if (policy == nullptr) {
    return {Code::kNotFound,
            fmt::format("no policy '{}'; there are {}, and moraine policy define makes others",
                        name, known)};
  }
  MORAINE_ASSIGN_OR_RETURN(const idl::ClusterStatus status,
                           link.Ask(idl::kClusterStatus, idl::Empty()));
  const auto servers = static_cast<int>(status.servers.size());
  if (policy->floor <= servers) return {};
  return {
      Code::kTooFewServers,
      fmt::format("policy '{}' needs {} chunkservers or more and the cluster has {}: files could "
                  "not be written; add chunkservers, or give --force",
                  name, policy->floor, servers)};
}

}  // namespace

int PolicyList(int argc, const char* const* argv) {
  OptionTable table("moraine policy list", "Lists the redundancy policies.");
  ClusterChoice choice(table);
  table.SetManual(CommandManual(
      Talks::kToACluster,
      "A policy says how many copies each chunk of a file has, how many of them acknowledge an "
      "append, and on how few servers a chunk is still made while others are down. `immutable`, "
      "`log` and `single` are built in.",
      {{"moraine policy list --dir /tmp/demo", "Of a dev cluster:"}}));
  if (const auto code = table.ParseOrExit(argc, argv)) return *code;
  auto link = choice.Connect(std::nullopt);
  if (!link.ok()) return Complain(table, link.status());
  auto list = (*link)->Ask(idl::kListPolicies, idl::Empty());
  if (!list.ok()) return Complain(table, list.status());
  if (choice.json) {
    Json json = Json::array();
    for (const idl::Policy& policy : list->policies) json.push_back(ToJson(policy));
    fmt::print("{}\n", JsonText(json));
    return 0;
  }
  for (const idl::Policy& policy : list->policies)
    fmt::print("{:<16} {}\n", policy.name, Explain(policy));
  return 0;
}

int PolicyGet(int argc, const char* const* argv) {
  OptionTable table("moraine policy get",
                    "Shows the policy of a file, or the rules for new files in a directory.");
  ClusterChoice choice(table);
  std::string path;
  table.AddArgument("path", &path, true, "A file or directory, as in moraine locate.");
  table.SetManual(CommandManual(
      Talks::kToACluster,
      "A file has the policy that it was made with. A directory has rules, of its own or those of "
      "the nearest directory above it that has some; the first whose glob matches a new file's "
      "name decides.",
      {{"moraine policy get /tmp/demo/mnt", "Which new files get how many copies:"}}));
  if (const auto code = table.ParseOrExit(argc, argv)) return *code;
  Result<Found> found = Find(choice, path);
  if (!found.ok()) return Complain(table, found.status());
  if (found->attributes.type != idl::FileType::kDirectory) {
    idl::InodeRequest request;
    request.inode = found->attributes.inode;
    auto located = found->link->Ask(idl::kLocate, request);
    if (!located.ok()) return Complain(table, located.status().Prefixed(path));
    if (choice.json) {
      fmt::print("{}\n", JsonText({{"path", path}, {"policy", ToJson(located->policy)}}));
    } else {
      fmt::print("{}: {} ({})\n", path, located->policy.name, Explain(located->policy));
    }
    return 0;
  }
  auto rules = Rules(*found->link, found->attributes.inode);
  if (!rules.ok()) return Complain(table, rules.status().Prefixed(path));
  if (choice.json) {
    Json list = Json::array();
    for (const idl::PolicyRule& rule : rules->rules)
      list.push_back({{"glob", rule.glob}, {"policy", rule.policy}});
    fmt::print("{}\n", JsonText({{"path", path}, {"rules", list}, {"from", rules->from_path}}));
    return 0;
  }
  const bool own = rules->from_inode == found->attributes.inode;
  fmt::print("{}: the first rule that matches a new file's name decides{}\n", path,
             own                        ? ""
             : rules->from_path.empty() ? " (the built-in rules)"
                                        : fmt::format(" (inherited from {})", rules->from_path));
  for (const idl::PolicyRule& rule : rules->rules)
    fmt::print("  {:<16} {}\n", rule.glob, rule.policy);
  return 0;
}

int PolicySet(int argc, const char* const* argv) {
  OptionTable table(
      "moraine policy set",
      "Sets a rule of a directory: new files below it whose names match the glob get the policy.");
  ClusterChoice choice(table);
  std::string path;
  std::string policy;
  std::string glob = "*";
  bool inherit = false;
  bool force = false;
  table.AddArgument("path", &path, true, "The directory.");
  table.AddArgument("policy", &policy, false, "Name of the policy; see moraine policy list.");
  table.AddString("glob", &glob, "Which file names; *, ? and [..] as in a shell.");
  table.AddBool("inherit", &inherit, "Drop this directory's rules, so that it inherits again.");
  table.AddBool("force", &force, "Also when the cluster has too few chunkservers for the policy.");
  table.SetManual(CommandManual(
      Talks::kToACluster,
      "The rule takes the place of the one with the same glob and comes first, but the glob `*` "
      "comes last. Files that exist keep their policy.",
      {{"mkdir /tmp/demo/mnt/scratch\nmoraine policy set /tmp/demo/mnt/scratch single",
        "One copy is enough here:"},
       {"moraine policy set /tmp/demo/mnt/scratch log --glob '*.journal'",
        "But not of these files:"},
       {"moraine policy set /tmp/demo/mnt/scratch --inherit", "As its parent again:"}}));
  table.AddRule([&]() -> Status {
    if (inherit == policy.empty()) return {};
    return {Code::kInvalidArgument, "give either a policy or --inherit"};
  });
  if (const auto code = table.ParseOrExit(argc, argv)) return *code;
  Result<Found> found = Find(choice, path);
  if (!found.ok()) return Complain(table, found.status());
  idl::SetRulesRequest request;
  request.inode = found->attributes.inode;
  if (!inherit) {
    auto rules = Rules(*found->link, request.inode);
    if (!rules.ok()) return Complain(table, rules.status().Prefixed(path));
    if (!force) {
      const Status met = CheckCanBeMet(*found->link, policy);
      if (!met.ok()) return Complain(table, met);
    }
    // The new rule replaces the one of the same glob; a catch-all stays last.
    for (const idl::PolicyRule& rule : rules->rules) {
      if (rule.glob != glob) request.rules.push_back(rule);
    }
    idl::PolicyRule rule;
    rule.glob = glob;
    rule.policy = policy;
    request.rules.insert(glob == "*" ? request.rules.end() : request.rules.begin(), rule);
  }
  auto answer = found->link->Ask(idl::kSetRules, request);
  if (!answer.ok()) return Complain(table, answer.status().Prefixed(path));
  if (choice.json) {
    Json json = {{"path", path}, {"glob", glob}, {"policy", policy}};
    if (inherit) json = {{"path", path}, {"inherit", true}};
    fmt::print("{}\n", JsonText(json));
  } else if (inherit) {
    fmt::print("{} inherits its rules again\n", path);
  } else {
    fmt::print("new files '{}' below {} get policy {}; files that are there keep theirs\n", glob,
               path, policy);
  }
  return 0;
}

int PolicyDefine(int argc, const char* const* argv) {
  OptionTable table("moraine policy define",
                    "Makes or changes a redundancy policy; chunks that are there keep theirs.");
  ClusterChoice choice(table);
  idl::Policy policy;
  policy.replicas = policy.quorum = 1;  // both must be given
  policy.floor = 0;
  table.AddArgument("name", &policy.name, true, "Name of the policy.");
  table.AddInt("replicas", &policy.replicas, 1, limits::kReplicasMax, "Copies of each chunk.",
               {.required = true});
  table.AddInt("quorum", &policy.quorum, 1, limits::kReplicasMax,
               "Copies that acknowledge an append.", {.required = true});
  table.AddInt("floor", &policy.floor, 0, limits::kReplicasMax,
               "Fewest servers a chunk may be made on while others are down; 0: the quorum.");
  table.AddRule([&]() -> Status {
    if (policy.name.size() > limits::kNameBytesMax) {
      return {Code::kInvalidArgument, fmt::format("the name of a policy must have at most {} bytes",
                                                  limits::kNameBytesMax)};
    }
    if (policy.quorum > policy.replicas) return table.Bad("quorum", "must be at most --replicas");
    if (policy.floor > policy.replicas) return table.Bad("floor", "must be at most --replicas");
    return {};
  });
  table.SetManual(CommandManual(
      Talks::kToACluster,
      "Files that are made from now on under a rule with this policy get it. Of n copies with a "
      "quorum of w, w - 1 machines may die at the same moment and no acknowledged byte is lost; n "
      "- w machines may be silent and appends go on without a pause.",
      {{"moraine policy define pair --replicas 2 --quorum 2 --dir /tmp/demo\n"
        "moraine policy list --dir /tmp/demo",
        "Two copies, both acknowledge:"}}));
  if (const auto code = table.ParseOrExit(argc, argv)) return *code;
  if (policy.floor == 0) policy.floor = policy.quorum;
  auto link = choice.Connect(std::nullopt);
  if (!link.ok()) return Complain(table, link.status());
  idl::SetPolicyRequest request;
  request.policy = policy;
  auto answer = (*link)->Ask(idl::kSetPolicy, request);
  if (!answer.ok()) return Complain(table, answer.status());
  if (choice.json) {
    fmt::print("{}\n", JsonText(ToJson(policy)));
  } else {
    fmt::print("policy {}: {}\n", policy.name, Explain(policy));
  }
  return 0;
}

}  // namespace moraine::tools
