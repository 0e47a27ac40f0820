"""The live ports are abused: garbage, impossible frames, and a thousand connections that dawdle.

Invariant (X2): the servers stay up with bounded memory, and a client that works meanwhile sees no
error and reads back what it wrote. Done to the metaserver's, a chunkserver's and a status port.
"""
import os
import random
import resource
import socket
import struct
import time

from harness import Cluster, Mount, is_running, need_mount, say, wait_until
from load import Load

LONG = bool(os.environ.get("MORAINE_TEST_LONG"))
SEED = int(os.environ.get("MORAINE_SEED", str(random.SystemRandom().randrange(1 << 30))))
BAD_PEERS = 10000 if LONG else 1000  # per port
SLOW_PEERS = 1000
SLOW_SECONDS = 30 if LONG else 4
MEMORY_GROWTH_MAX = 192 << 20


def resident(pid):
    with open("/proc/%d/status" % pid) as file:
        line = next(line for line in file if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def open_files(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def connect(endpoint):
    host, port = endpoint.rsplit(":", 1)
    peer = socket.create_connection((host, int(port)), timeout=10)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


def bad_bytes(rng):
    kind = rng.randrange(7)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 2000))
    if kind == 1:  # impossible lengths
        return struct.pack(">I", rng.choice([0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])) + bytes(64)
    if kind == 2:  # the largest frame that is allowed, never sent
        return struct.pack(">I", 8 << 20) + rng.randbytes(100)
    if kind == 3:  # a frame of garbage
        body = rng.randbytes(rng.randrange(1, 300))
        return struct.pack(">I", len(body)) + body
    if kind == 4:  # the head of a compact Thrift call with a name, then garbage
        name = rng.choice([b"handshake", b"append", b"create", b"heartbeat", b"nothing"])
        body = b"\x82\x21\x01" + bytes([len(name)]) + name + rng.randbytes(rng.randrange(0, 60))
        return struct.pack(">I", len(body)) + body
    if kind == 5:
        path = b"/" + b"a" * rng.randrange(0, 9000)
        return b"GET " + path + b" HTTP/1.1\r\nContent-Length: 9e9\r\n\r\n"
    return struct.pack(">Q", 1 << 63) + rng.randbytes(16)


def bad_peers(endpoint, rng):
    """Each says something bad; most leave at once, some wait for an answer."""
    for _ in range(BAD_PEERS):
        with connect(endpoint) as peer:
            try:
                peer.sendall(bad_bytes(rng))
                if rng.random() < 0.1:
                    peer.shutdown(socket.SHUT_WR)
                    peer.settimeout(10)
                    while peer.recv(65536):
                        pass
            except (ConnectionError, BrokenPipeError):
                pass  # it has thrown us out


def slow_peers(endpoint, rng, load):
    """A thousand connections that send a byte now and then, for some seconds."""
    peers = []
    for _ in range(SLOW_PEERS):
        peers.append(connect(endpoint))
        peers[-1].setblocking(False)
    end = time.monotonic() + SLOW_SECONDS
    before = load.acknowledged()
    frame = struct.pack(">I", 4000) + bytes(4000)
    sent = 0
    while time.monotonic() < end:
        for peer in peers:
            try:
                peer.send(frame[sent % len(frame) : sent % len(frame) + 1])
            except (ConnectionError, BrokenPipeError, BlockingIOError):
                pass
        sent += 1
        assert not load.errors, load.errors
        wait_until(lambda: time.monotonic() >= min(end, end - SLOW_SECONDS + sent), 10, "a second")
    wait_until(lambda: load.errors or load.acknowledged() > before, 60, "writes meanwhile")
    for peer in peers:
        peer.close()


def abuse(cluster, name, endpoint, rng, load):
    pid = cluster.pid(name)
    memory, files = resident(pid), open_files(pid)
    begin = time.monotonic()
    bad_peers(endpoint, rng)
    slow_peers(endpoint, rng, load)
    assert is_running(pid), "%s has ended:\n%s" % (name, cluster.log(name)[-4000:])
    grown = resident(pid) - memory
    assert grown < MEMORY_GROWTH_MAX, "%s has grown by %d bytes" % (name, grown)
    wait_until(lambda: open_files(pid) < files + 50, 60, "%s to let its bad peers go" % name)
    assert not load.errors, load.errors
    say(
        "%s at %s: %d bad and %d slow peers in %.1f s; %+.1f MB, %d writes so far"
        % (
            name,
            endpoint,
            BAD_PEERS,
            SLOW_PEERS,
            time.monotonic() - begin,
            grown / 1e6,
            load.acknowledged(),
        )
    )


def main():
    need_mount()
    say("seed %d" % SEED)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    rng = random.Random(SEED)
    with Cluster(mount=True) as cluster:
        with Load(cluster.mount, "good", SEED) as load:
            wait_until(lambda: load.errors or load.acknowledged() >= 5, 60, "writes")
            server = cluster.process("chunkserver:1")
            abuse(cluster, "metaserver", cluster.metaserver, rng, load)
            abuse(cluster, "chunkserver:1", server["endpoint"], rng, load)
            abuse(cluster, "chunkserver:1", server["http"], rng, load)
        assert not load.errors, load.errors
        with Mount(cluster) as cold:
            say("%d bytes verified" % load.verify(cold.path))
        cluster.wait_healthy()


main()
