#include "test/sim/processes.h"

namespace moraine::simulation {

MetaProcess::MetaProcess(sim::SimLoop& loop, MetaDisk* disk, Stage* stage,
                         metaserver::MetaserverOptions options)
    : loop_(loop), disk_(disk), stage_(stage), files_(disk->files), env_(disk->files) {
  options.store.env = &env_;
  auto opened = metaserver::Metaserver::Open(loop, std::move(options), metrics_);
  Status status = opened.status();
  if (opened.ok()) {
    server_ = std::move(*opened);
    status = server_->Start();
  }
  if (status.ok()) {
    loop.Spawn(RunJobs());
  } else {
    stage->Fail("metaserver: " + status.ToString());
  }
}

MetaProcess::~MetaProcess() {
  if (!loop_.machine().powered()) {
    disk_->files = files_->AfterPowerCut(disk_->random);
    ++stage_->meta_cuts;
  }
  env_.RunJobs();
}

Task<void> MetaProcess::RunJobs() {
  while (true) {
    co_await loop_.Sleep(10ms);
    env_.RunJobs();
    if (!server_->health().ok()) stage_->Fail("metaserver: " + server_->health().ToString());
  }
}

ChunkserverProcess::ChunkserverProcess(sim::SimLoop& loop, Stage* stage,
                                       chunkserver::ChunkserverOptions options)
    : loop_(loop), stage_(stage), server_(loop, std::move(options), metrics_) {
  loop.Spawn(Run(this));
}

Task<void> ChunkserverProcess::Run(ChunkserverProcess* self) {
  const Status started = co_await self->server_.Start();
  if (started.ok()) {
    self->started_ = true;
    co_return;
  }
  sim::Machine& machine = self->loop_.machine();
  self->stage_->world.Note(machine.name() + " does not start: " + started.ToString());
  const Code code = started.code();
  if (code != Code::kIo && code != Code::kNoSpace && code != Code::kQuarantined) {
    self->stage_->Fail(machine.name() + " does not start: " + started.ToString());
    co_return;
  }
  // The disk is at fault; whatever looks after the process starts it again.
  self->stage_->world.At(200ms, [&machine, life = self->loop_.life()] {
    if (life.expired()) return;
    machine.Kill();
    machine.Restart();
  });
}

ClientProcess::ClientProcess(sim::SimLoop& loop, fs::ClientOptions options,
                             std::vector<Workload*> workloads)
    : loop_(loop), client_(loop, std::move(options), metrics_), workloads_(std::move(workloads)) {
  loop.Spawn(Run(this));
}

Task<void> ClientProcess::Run(ClientProcess* self) {
  while (true) {
    const Status started = co_await self->client_.Start();
    if (started.ok()) break;
    co_await self->loop_.Sleep(50ms);
  }
  self->started_ = true;
  if (self->workloads_.empty()) co_return;
  self->running_ = self->workloads_.size();
  for (Workload* workload : self->workloads_) self->loop_.Spawn(RunOne(self, workload));
}

Task<void> ClientProcess::RunOne(ClientProcess* self, Workload* workload) {
  co_await workload->Run(self->client_);
  if (--self->running_ > 0) co_return;
  (co_await self->client_.Stop()).Ignore();
  self->ended_ = true;
}

}  // namespace moraine::simulation
