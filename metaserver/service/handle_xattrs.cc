// Extended attributes, and the two that the metaserver makes up:
//   moraine.policy   of a file: the name of its policy; of a directory: its rules in force, one
//                    "glob=policy" per line. Setting it on a directory replaces its own rules (a
//                    bare policy name means "*=name"; nothing lets it inherit again).
//   moraine.locate   of a file: where its bytes are, as JSON. Read only.
#include <fmt/format.h>

#include "metaserver/namespace/names.h"
#include "metaserver/namespace/ops/ops.h"
#include "metaserver/namespace/policies.h"
#include "metaserver/service/convert.h"
#include "metaserver/service/core.h"

namespace moraine::metaserver {
namespace {

constexpr std::string_view kOwnPrefix = "moraine.";
constexpr std::string_view kPolicyName = "moraine.policy";
constexpr std::string_view kLocateName = "moraine.locate";

std::string RulesText(const std::vector<PolicyRule>& rules) {
  std::string text;
  for (const PolicyRule& rule : rules) text += fmt::format("{}={}\n", rule.glob, rule.policy);
  return text;
}

Result<std::vector<PolicyRule>> ParseRules(std::string_view text) {
  std::vector<PolicyRule> rules;
  size_t position = 0;
  while (position < text.size()) {
    const size_t end = std::min(text.find_first_of("\n,", position), text.size());
    std::string_view line = text.substr(position, end - position);
    position = end + 1;
    while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
    while (!line.empty() && line.back() == ' ') line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t equals = line.rfind('=');
    if (equals == std::string_view::npos) {
      rules.push_back({"*", std::string(line)});
    } else if (equals == 0 || equals + 1 == line.size()) {
      return Status(Code::kInvalidArgument, fmt::format("'{}' is not glob=policy", line));
    } else {
      rules.push_back({std::string(line.substr(0, equals)), std::string(line.substr(equals + 1))});
    }
  }
  return rules;
}

Result<std::string> GetOwn(Core& core, Transaction& transaction, InodeId inode,
                           std::string_view name) {
  MORAINE_ASSIGN_OR_RETURN(const InodeRecord record, transaction.Inode(inode));
  if (name == kPolicyName && record.type == FileType::kDirectory) {
    MORAINE_ASSIGN_OR_RETURN(const EffectiveRules rules, GetRules(transaction, inode));
    return RulesText(rules.rules);
  }
  if (name == kPolicyName && record.type == FileType::kRegular) return record.policy;
  if (name == kLocateName && record.type == FileType::kRegular) {
    MORAINE_ASSIGN_OR_RETURN(const auto located, LocateAnswer(transaction, inode, core.registry));
    return ToJson(located);
  }
  return Status(Code::kNoAttribute, fmt::format("no attribute '{}'", name));
}

Status SetOwn(Transaction& transaction, const SetXattrArgs& args) {
  if (args.name != kPolicyName) {
    return Status(Code::kNotPermitted, fmt::format("'{}' cannot be set", args.name));
  }
  MORAINE_ASSIGN_OR_RETURN(InodeRecord record, transaction.Inode(args.inode));
  MORAINE_RETURN_IF_ERROR(CheckGoverningToken(transaction, record, args.token));
  if (record.type == FileType::kDirectory) {
    MORAINE_ASSIGN_OR_RETURN(const auto rules, ParseRules(args.value));
    return SetRules(transaction, args.inode, rules);
  }
  if (record.type != FileType::kRegular) {
    return Status(Code::kNotPermitted, "only files and directories have a policy");
  }
  MORAINE_RETURN_IF_ERROR(FindPolicy(transaction, args.value).status());
  record.policy = args.value;
  Touch(transaction, record, false);
  transaction.PutInode(args.inode, record);
  transaction.effects().durable = true;
  return Status::Ok();
}

bool IsOwn(std::string_view name) { return name.starts_with(kOwnPrefix); }

Task<Result<idl::Empty>> SetCall(Core& core, rpc::CallContext& context,
                                 idl::SetXattrRequest request) {
  SetXattrArgs args{IdFromWire<InodeId>(request.inode),
                    std::move(request.name),
                    std::move(request.value),
                    request.create_only,
                    request.replace_only,
                    IdFromWire<Token>(request.token)};
  co_return co_await core.Change<idl::Empty>(
      idl::kSetXattr.name, context,
      [args = std::move(args)](Transaction& transaction) -> Result<idl::Empty> {
        MORAINE_RETURN_IF_ERROR(IsOwn(args.name) ? SetOwn(transaction, args)
                                                 : SetXattr(transaction, args));
        return idl::Empty();
      });
}

Task<Result<idl::Empty>> RemoveCall(Core& core, rpc::CallContext& context,
                                    idl::RemoveXattrRequest request) {
  co_return co_await core.Change<idl::Empty>(
      idl::kRemoveXattr.name, context,
      [request = std::move(request)](Transaction& transaction) -> Result<idl::Empty> {
        const auto inode = IdFromWire<InodeId>(request.inode);
        const auto token = IdFromWire<Token>(request.token);
        if (request.name == kPolicyName) {
          MORAINE_RETURN_IF_ERROR(GetDirectory(transaction, inode).status());
          MORAINE_RETURN_IF_ERROR(
              SetOwn(transaction, {inode, request.name, {}, false, false, token}));
        } else {
          MORAINE_RETURN_IF_ERROR(RemoveXattr(transaction, inode, request.name, token));
        }
        return idl::Empty();
      });
}

}  // namespace

void HandleXattrs(rpc::Server& server, Core& core) {
  server.Handle(idl::kGetXattr,
                [&core](rpc::CallContext& context,
                        idl::GetXattrRequest request) -> Task<Result<idl::GetXattrResponse>> {
                  auto value = core.Query<std::string>(context, [&](Transaction& transaction) {
                    const auto inode = IdFromWire<InodeId>(request.inode);
                    return IsOwn(request.name) ? GetOwn(core, transaction, inode, request.name)
                                               : GetXattr(transaction, inode, request.name);
                  });
                  if (!value.ok()) co_return value.status();
                  idl::GetXattrResponse response;
                  response.value = std::move(*value);
                  co_return response;
                });
  server.Handle(idl::kSetXattr, [&core](rpc::CallContext& context, idl::SetXattrRequest request) {
    return SetCall(core, context, std::move(request));
  });
  server.Handle(idl::kRemoveXattr,
                [&core](rpc::CallContext& context, idl::RemoveXattrRequest request) {
                  return RemoveCall(core, context, std::move(request));
                });
  server.Handle(idl::kListXattrs,
                [&core](rpc::CallContext& context,
                        idl::InodeRequest request) -> Task<Result<idl::ListXattrsResponse>> {
                  auto names =
                      core.Query<std::vector<std::string>>(context, [&](Transaction& transaction) {
                        return ListXattrs(transaction, IdFromWire<InodeId>(request.inode));
                      });
                  if (!names.ok()) co_return names.status();
                  idl::ListXattrsResponse response;
                  response.names = std::move(*names);
                  co_return response;
                });
}

}  // namespace moraine::metaserver
