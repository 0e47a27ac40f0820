"""A chunkserver dies under a streaming write: the write finishes and redundancy comes back.

Invariant (A2): through the mount and through RocksDB, a writer whose chunkserver is killed ends
well, what it wrote reads back, and the replicas that were lost are made anew. The longest stall is
printed; it depends on the machine and is not judged.
"""
import hashlib
import os
import random
import re
import threading
import time

from harness import HEARTBEAT, Cluster, Mount, acked, need_mount, say, wait_until

SEED = int(os.environ.get("MORAINE_SEED", str(random.SystemRandom().randrange(1 << 30))))
STREAM_BYTES = 192 << 20
PIECE = 1 << 20
ROUNDS = 2


class Stream:
    """Writes one file in pieces; times each write."""

    def __init__(self, path, seed):
        self.path = path
        self.rng = random.Random(seed)
        self.written = 0
        self.longest = 0.0
        self.digest = hashlib.sha256()
        self.error = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _timed(self, call, *arguments):
        begin = time.monotonic()
        done = call(*arguments)
        self.longest = max(self.longest, time.monotonic() - begin)
        return done

    def _run(self):
        try:
            piece = self.rng.randbytes(PIECE)
            handle = os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o644)
            while self.written < STREAM_BYTES:
                data = self.written.to_bytes(8, "little") + piece[8:]
                assert self._timed(os.write, handle, data) == PIECE
                self.digest.update(data)
                self.written += PIECE
            self._timed(os.fsync, handle)
            os.close(handle)
        except (OSError, AssertionError) as error:
            self.error = error

    def finish(self):
        self.thread.join(120)
        assert not self.thread.is_alive(), "the writer does not end"
        assert self.error is None, self.error


def holder_of(cluster, path):
    """A chunkserver that has a replica of the open chunk at the file's end."""

    def look():
        located = cluster.locate(path)["chunks"]
        return [c for c in located if c["state"] == "open"] and located[-1]

    chunk = wait_until(look, 60, "an open chunk of " + path)
    return cluster.chunkservers_at([chunk["replicas"][0]["server"]])[0]


def through_the_mount(cluster, number, rng):
    name = "stream-%d.%s" % (number, "sst" if number % 2 == 0 else "log")
    stream = Stream(os.path.join(cluster.mount, name), SEED + number)
    begin_at = rng.randrange(STREAM_BYTES // 8, STREAM_BYTES // 2)
    wait_until(lambda: stream.error or stream.written >= begin_at, 120, "the stream to flow")
    victim = holder_of(cluster, "/" + name)
    cluster.kill_together(victim)
    killed_at = stream.written
    assert killed_at < STREAM_BYTES, "the stream was over before the kill"
    stream.finish()
    ended = time.monotonic()
    with Mount(cluster) as cold:
        digest = hashlib.sha256()
        with open(os.path.join(cold.path, name), "rb") as file:
            while data := file.read(1 << 20):
                digest.update(data)
    assert digest.digest() == stream.digest.digest(), "seed %d: %s differs" % (SEED, name)
    if name.endswith(".sst"):  # a log wants all five servers
        cluster.wait_healthy(all_servers=False)
    say(
        "mount, %s: %s killed at %d MiB; longest write or fsync %.0f ms; "
        "verified and copied %.1f s after the end"
        % (name, victim, killed_at >> 20, stream.longest * 1000, time.monotonic() - ended)
    )
    cluster.start_and_heal(victim)


def through_rocksdb(cluster, rng):
    note = os.path.join(cluster.dir, "acked-stall")
    writer = cluster.start_oracle(
        "write", "/stall", note, "--keys", "10000", "--sync-every", "1", "--until-failure"
    )
    wait_until(lambda: acked(note) >= rng.randrange(300, 2000), 120, "writes of RocksDB")
    victim = rng.choice(cluster.chunkservers())
    longest, last, seen = 0.0, time.monotonic(), acked(note)
    killed = False
    while writer.poll() is None:
        if not killed:
            cluster.kill_together(victim)
            killed = True
        now_seen, now = acked(note), time.monotonic()
        if now_seen > seen:
            longest, last, seen = max(longest, now - last), now, now_seen
        assert now - last < 60, "RocksDB has made no progress for a minute"
        time.sleep(0.001)
    output = writer.stdout.read()
    assert writer.returncode == 0 and re.search(r"wrote 10000 keys", output), output
    say(cluster.oracle("verify", "/stall", note).stdout.strip())
    say("RocksDB: %s killed; longest pause between writes %.0f ms" % (victim, longest * 1000))
    cluster.start_and_heal(victim)


def main():
    need_mount()
    say("seed %d" % SEED)
    rng = random.Random(SEED)
    configs = {"chunkserver": HEARTBEAT}
    with Cluster(mount=True, options=["--repair-grace", "2s"], configs=configs) as cluster:
        for number in range(ROUNDS):
            through_the_mount(cluster, number, rng)
        through_rocksdb(cluster, rng)


main()
