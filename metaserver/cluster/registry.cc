#include "metaserver/cluster/registry.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/encoding.h"
#include "base/log.h"

namespace moraine::metaserver {
namespace {

constexpr size_t kTextBytesMax = 1024;

}  // namespace

Status Registry::Load(Store& store) {
  Transaction transaction(store);
  Cursor cursor = transaction.Scan(Family::kServers, kServerPrefix);
  for (; cursor.Valid(); cursor.Next()) {
    MORAINE_ASSIGN_OR_RETURN(const ServerRecord record, ServerRecord::Decode(cursor.value()));
    Registered(ServerId(NumberInKey(cursor.key(), kServerPrefix.size())), record);
  }
  return cursor.status();
}

Result<ServerRecord> Registry::RecordFor(const Registration& registration) const {
  for (const std::string* text :
       {&registration.incarnation, &registration.endpoint, &registration.location}) {
    if (text->size() > kTextBytesMax) {
      return Status(Code::kInvalidArgument, "a registration with too long a text");
    }
  }
  if (registration.incarnation.empty() || registration.start_id == 0) {
    return Status(Code::kInvalidArgument, "a registration without incarnation or start id");
  }
  MORAINE_RETURN_IF_ERROR(ParseEndpoint(registration.endpoint).status());
  ServerRecord record;
  record.incarnation = registration.incarnation;
  record.endpoint = registration.endpoint;
  record.location = registration.location;
  record.total_bytes = registration.space.total_bytes;
  record.free_bytes = registration.space.free_bytes;
  record.start_id = registration.start_id;
  return record;
}

Result<ServerId> Registry::Register(Transaction& transaction, const Registration& registration) {
  MORAINE_ASSIGN_OR_RETURN(const ServerRecord record, RecordFor(registration));
  const std::string key = IncarnationKey(registration.incarnation);
  MORAINE_ASSIGN_OR_RETURN(const auto known, transaction.Get(Family::kServers, key));
  ServerId id;
  if (known.has_value()) {
    id = ServerId(NumberInKey(*known, 0));
  }
  if (!registration.claimed.IsNone() && registration.claimed != id) {
    return Status(Code::kWrongCluster,
                  fmt::format("the store says that it is server {}, which it never was here",
                              registration.claimed.value()));
  }
  if (id.IsNone()) {
    MORAINE_ASSIGN_OR_RETURN(id, transaction.store().NewServer());
    std::string value;
    moraine::Writer(&value).Big64(id.value());
    transaction.Put(Family::kServers, key, value);
  }
  transaction.Put(Family::kServers, ServerKey(id), record.Encode());
  transaction.effects().durable = true;
  return id;
}

void Registry::Registered(ServerId id, const ServerRecord& record) {
  Server& server = servers_[id];
  server.record = record;
  server.location = Location::Parse(record.location);
  server.heard = loop_.Now();
}

bool Registry::Heartbeat(ServerId id, uint64_t start_id, ServerSpace space, bool quarantined) {
  const auto it = servers_.find(id);
  if (it == servers_.end() || it->second.record.start_id != start_id ||
      it->second.record.state == ServerState::kDead) {
    return false;
  }
  Server& server = it->second;
  server.heard = loop_.Now();
  server.load /= 2;
  server.record.total_bytes = space.total_bytes;
  server.record.free_bytes = space.free_bytes;
  if (quarantined && !server.record.quarantined) {
    LogWarning("chunkserver {} ({}) has put its disk into quarantine", id.value(),
               server.record.endpoint);
  }
  server.record.quarantined = quarantined;
  return true;
}

bool Registry::NoteHeard(ServerId id) {
  if (IsDead(id)) return false;
  servers_.at(id).heard = loop_.Now();
  return true;
}

std::vector<ServerId> Registry::Overdue(Duration tick) {
  std::vector<ServerId> overdue;
  const Instant now = loop_.Now();
  const Duration missed = missed_.Look(now.time_since_epoch(), tick, options_.repair_grace);
  for (auto& [id, server] : servers_) server.heard = std::min(server.heard + missed, now);
  for (const auto& [id, server] : servers_) {
    if (server.record.state == ServerState::kLive &&
        loop_.Now() - server.heard > options_.repair_grace) {
      overdue.push_back(id);
    }
  }
  return overdue;
}

Status Registry::DeclareDead(Transaction& transaction, ServerId id) {
  ServerRecord record = servers_.at(id).record;
  record.state = ServerState::kDead;
  transaction.Put(Family::kServers, ServerKey(id), record.Encode());
  return Status::Ok();
}

void Registry::DeclaredDead(ServerId id) {
  Server& server = servers_.at(id);
  server.record.state = ServerState::kDead;
  LogWarning("chunkserver {} ({}) has been silent too long; its replicas are made anew", id.value(),
             server.record.endpoint);
}

const ServerRecord* Registry::Find(ServerId id) const {
  const auto it = servers_.find(id);
  return it == servers_.end() ? nullptr : &it->second.record;
}

bool Registry::IsAlive(ServerId id) const {
  const auto it = servers_.find(id);
  return it != servers_.end() && it->second.record.state == ServerState::kLive &&
         loop_.Now() - it->second.heard <= options_.alive_for;
}

bool Registry::IsDead(ServerId id) const {
  const ServerRecord* record = Find(id);
  return record == nullptr || record->state == ServerState::kDead;
}

Duration Registry::Silence(ServerId id) const {
  const auto it = servers_.find(id);
  return it == servers_.end() ? Duration::max() : loop_.Now() - it->second.heard;
}

std::span<const ServerView> Registry::Views() {
  views_.clear();
  for (const auto& [id, server] : servers_) {
    ServerView view;
    view.id = id;
    view.location = server.location;
    const bool alive = IsAlive(id);
    const bool serves = alive && !server.record.quarantined;
    view.full = serves && server.record.free_bytes <= options_.reserve_bytes;
    view.placeable = serves && !view.full;
    view.free_bytes = server.record.free_bytes;
    view.load = server.load;
    view.start_id = alive ? server.record.start_id : 0;
    views_.push_back(std::move(view));
  }
  return views_;
}

void Registry::NotePlaced(ServerId id) {
  const auto it = servers_.find(id);
  if (it != servers_.end()) ++it->second.load;
}

std::vector<ServerId> Registry::All() const {
  std::vector<ServerId> all;
  for (const auto& [id, server] : servers_) all.push_back(id);
  return all;
}

size_t Registry::AliveCount() const {
  size_t count = 0;
  for (const auto& [id, server] : servers_) count += IsAlive(id);
  return count;
}

}  // namespace moraine::metaserver
