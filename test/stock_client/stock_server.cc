// A server with a few fixed answers for clients made by Thrift's own compiler. Prints its port on
// the first line and ends when its standard input does.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "base/log.h"
#include "base/loop/uring_loop.h"
#include "rpc/server.h"

namespace moraine {
namespace {

Task<Result<idl::ClusterStatus>> ClusterStatus() {
  idl::ClusterStatus status;
  status.cluster = "stock";
  status.inodes = 1'000'000'007;
  status.user_bytes = int64_t{1} << 50;
  idl::ServerStatus server;
  server.server_id = 3;
  server.endpoint = "127.0.0.1:1";
  server.location = "z/r/h";
  server.alive = true;
  status.servers = {server, server};
  co_return status;
}

Task<Result<idl::AttributesResponse>> GetAttributes(int64_t inode) {
  if (inode < 0) co_return Status(Code::kNotFound, fmt::format("no inode {}", inode));
  idl::AttributesResponse response;
  response.attributes.inode = inode;
  response.attributes.type = idl::FileType::kRegular;
  response.attributes.mode = 0644;
  response.attributes.mtime_ns = -1;
  co_return response;
}

// Raw bytes behind the answer: of no use to a stock client, which has to fail cleanly.
Task<Result<idl::ReadResponse>> Read(rpc::CallContext* context) {
  auto bytes = Buffer::Allocate(1000);
  std::fill(bytes.bytes().begin(), bytes.bytes().end(), std::byte{0x5a});
  context->bulk_out.Add(std::move(bytes).Share());
  idl::ReadResponse response;
  response.visible = 1000;
  co_return response;
}

void Register(rpc::Server& server) {
  server.Handle(idl::kClusterStatus,
                [](rpc::CallContext&, idl::Empty) -> Task<Result<idl::ClusterStatus>> {
                  return ClusterStatus();
                });
  server.Handle(
      idl::kGetAttributes,
      [](rpc::CallContext&, idl::InodeRequest request) -> Task<Result<idl::AttributesResponse>> {
        return GetAttributes(request.inode);
      });
  server.Handle(idl::kRead,
                [](rpc::CallContext& context, idl::ReadRequest) -> Task<Result<idl::ReadResponse>> {
                  return Read(&context);
                });
}

Task<void> StopWhenInputEnds(UringLoop* loop, rpc::Server* server) {
  std::byte bytes[64];
  while (true) {
    const Result<size_t> got = co_await loop->ReadDescriptor(STDIN_FILENO, bytes);
    if (!got.ok() || *got == 0) break;
  }
  server->Close();
  co_await server->Drain();
  loop->Stop();
}

int Main() {
  auto loop = UringLoop::Create();
  if (!loop.ok()) {
    fmt::print(stderr, "{}\n", loop.status().ToString());
    return 1;
  }
  MetricRegistry metrics;
  rpc::ServerOptions options;
  options.listen = {"127.0.0.1", 0};
  rpc::Server server(**loop, {idl::Role::kMetaserver, "stock", "stock server", ServerId()}, options,
                     metrics);
  Register(server);
  if (const Status started = server.Start(); !started.ok()) {
    fmt::print(stderr, "{}\n", started.ToString());
    return 1;
  }
  fmt::print("{}\n", server.local().port);
  std::fflush(stdout);
  (*loop)->Spawn(StopWhenInputEnds(loop->get(), &server));
  (*loop)->Run();
  return 0;
}

}  // namespace
}  // namespace moraine

int main() { return moraine::Main(); }
