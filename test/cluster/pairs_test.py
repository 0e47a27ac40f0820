"""Any two of five chunkservers are killed under write load: no acknowledged byte is lost.

Invariant (D1): with both dead, every byte that was synced or closed before or after the kill reads
back; writers see no error; when both are back, full redundancy returns and all replicas agree.
The two die at once, or one after the other under load, or the second while the chunks of the first
are being copied.
"""
import itertools
import os
import random
import time

import chunk_files
from harness import HEARTBEAT, Cluster, Mount, need_mount, say, wait_until
from load import Load

SEED = int(os.environ.get("MORAINE_SEED", str(random.SystemRandom().randrange(1 << 30))))
BALLAST_FILES = 96
KINDS = ("at once", "one after the other", "during re-replication")


def write_ballast(directory, rng):
    """Enough chunks that their repair takes a while."""
    content = {}
    for i in range(BALLAST_FILES):
        name = "ballast-%02d" % i
        content[name] = rng.randbytes(200_000)
        with open(os.path.join(directory, name), "wb") as file:
            file.write(content[name])
            file.flush()
            os.fsync(file.fileno())
    return content


def repairing(cluster):
    return cluster.metrics("metaserver")["moraine_meta_repairs_running"] > 0


def kill_pair(cluster, pair, kind, load, rng):
    if kind == "at once":
        cluster.kill_together(*pair)
        return
    cluster.kill_together(pair[0])
    if kind == "one after the other":
        more = load.acknowledged() + rng.randrange(1, 30)
        wait_until(lambda: load.acknowledged() >= more, 60, "writes with one dead")
    else:
        wait_until(lambda: repairing(cluster), 60, "the first copy of a repair")
    cluster.kill_together(pair[1])


def one_pair(cluster, pair, kind, loads, ballast, rng):
    begin = time.monotonic()
    with Load(cluster.mount, "pair%d" % len(loads), SEED) as load:
        loads.append(load)
        target = rng.randrange(15, 60)
        wait_until(lambda: load.acknowledged() >= target, 60, "%d writes" % target)
        kill_pair(cluster, pair, kind, load, rng)
        before = load.acknowledged()
        wait_until(lambda: load.acknowledged() >= before + 15, 60, "writes with both dead")
    for earlier in loads:
        assert not earlier.errors, earlier.errors
    with Mount(cluster) as cold:
        total = sum(earlier.verify(cold.path) for earlier in loads)
        for name, content in ballast.items():
            with open(os.path.join(cold.path, name), "rb") as file:
                assert file.read() == content, "seed %d: %s differs" % (SEED, name)
            total += len(content)
    verified = time.monotonic()
    cluster.start(*pair)
    cluster.wait_healthy()
    say(
        "%s and %s killed %s: %d acknowledged writes, %.1f MB verified with both dead; "
        "%.1f s, full redundancy %.1f s later"
        % (
            *pair,
            kind,
            load.acknowledged(),
            total / 1e6,
            verified - begin,
            time.monotonic() - verified,
        )
    )


def main():
    need_mount()
    say("seed %d" % SEED)
    rng = random.Random(SEED)
    configs = {"chunkserver": HEARTBEAT}
    with Cluster(mount=True, options=["--repair-grace", "2s"], configs=configs) as cluster:
        ballast = write_ballast(cluster.mount, rng)
        pairs = list(itertools.combinations(cluster.chunkservers(), 2))
        assert len(pairs) == 10
        rng.shuffle(pairs)
        loads = []
        for number, pair in enumerate(pairs):
            kind = KINDS[number % len(KINDS)]
            one_pair(cluster, rng.sample(pair, 2), kind, loads, ballast, rng)
        cluster.wait_settled()
        wait_until(lambda: not chunk_files.differences(cluster), 60, "replicas that agree")
        say("all replicas agree")


main()
