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
BALLAST_FILES = 160
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


def await_repair_under_way(cluster):
    """Until many chunks wait and some have been copied; gives how many are left. The chunks of a
    dead server are many; a few are also made on too few servers and copied at once."""
    most = 0

    def left():
        nonlocal most
        waiting = cluster.metrics("metaserver")["moraine_meta_under_replicated_chunks"]
        most = max(most, waiting)
        return waiting if BALLAST_FILES / 8 <= waiting < most else 0

    return wait_until(left, 60, "the repair of a dead server's chunks")


def kill_pair(cluster, pair, kind, load, rng):
    """Kills both; gives how it was done, in words."""
    if kind == "at once":
        cluster.kill_together(*pair)
        return kind
    cluster.kill_together(pair[0])
    if kind == "one after the other":
        more = load.acknowledged() + rng.randrange(1, 30)
        wait_until(lambda: load.acknowledged() >= more, 60, "writes with one dead")
    else:
        kind += " (%d chunks left)" % await_repair_under_way(cluster)
    cluster.kill_together(pair[1])
    return kind


def one_pair(cluster, pair, kind, loads, ballast, rng):
    begin = time.monotonic()
    with Load(cluster.mount, "pair%d" % len(loads), SEED) as load:
        loads.append(load)
        target = rng.randrange(15, 60)
        wait_until(lambda: load.acknowledged() >= target, 60, "%d writes" % target)
        done = kill_pair(cluster, pair, kind, load, rng)
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
    healing = cluster.start_and_heal(*pair)
    say(
        "%s and %s killed %s: %d acknowledged writes, %.1f MB verified with both dead; "
        "%.1f s, full redundancy %.1f s later"
        % (
            *pair,
            done,
            load.acknowledged(),
            total / 1e6,
            verified - begin,
            healing,
        )
    )


def await_agreement(cluster):
    """The replicas of every chunk that has a record are alike. First bytes of a chunk that its
    writer left empty may come after its deletion; what they make is kept for --unknown-grace."""
    cluster.wait_settled()
    left = []

    def agree():
        left[:] = chunk_files.differences(cluster)
        alike = len(chunk_files.replicas(cluster)) - len(left)
        return alike == cluster.status()["chunks"]

    try:
        wait_until(agree, 60, "replicas that agree")
    except AssertionError:
        say("\n".join(left[:20]))
        raise
    say("all replicas agree; %d chunks without a record" % len(left))


def main():
    need_mount()
    say("seed %d" % SEED)
    rng = random.Random(SEED)
    # Few copies at a time, so that a second death meets them.
    configs = {
        "chunkserver": HEARTBEAT,
        "metaserver": {"repair-copies": 2, "repair-copies-per-server": 1},
    }
    with Cluster(mount=True, options=["--repair-grace", "2s"], configs=configs) as cluster:
        ballast = write_ballast(cluster.mount, rng)
        pairs = list(itertools.combinations(cluster.chunkservers(), 2))
        assert len(pairs) == 10
        rng.shuffle(pairs)
        loads = []
        for number, pair in enumerate(pairs):
            kind = KINDS[number % len(KINDS)]
            one_pair(cluster, rng.sample(pair, 2), kind, loads, ballast, rng)
        await_agreement(cluster)


main()
