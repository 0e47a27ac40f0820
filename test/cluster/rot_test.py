"""Replicas of sealed chunks rot on the disk: clients never see it, and it is all repaired.

Invariant (D4, F5): with at most one damaged replica of a chunk, every read through a client with
cold caches gives the bytes that were written, without an error, whether or not the scrubber has
come by; afterwards every replica has again, byte for byte, what it had before, without anybody
restarting a server. Damage is single bits of data, checksums and headers, cut and lost files,
blocks as they were before, and bytes of other chunks.
"""
import os
import random
import time

import chunk_files
import damage
from harness import HEARTBEAT, Cluster, Mount, need_mount, run, say, wait_until

LONG = bool(os.environ.get("MORAINE_TEST_LONG"))
SEED = int(os.environ.get("MORAINE_SEED", str(random.SystemRandom().randrange(1 << 30))))
FILES = 250 if LONG else 100
BATCHES = 5 if LONG else 2  # of one flip in each chunk
NO_SCRUB = {**HEARTBEAT, "scrub-bytes-per-second": "0B"}
SCRUB = {**HEARTBEAT, "scrub-bytes-per-second": "1GiB", "scrub-pause": "1s"}


def write_files(mount, rng):
    content = {}
    os.mkdir(os.path.join(mount, "rot"))
    for i in range(FILES):
        size = rng.choice([4097, 9000, 70_000, rng.randrange(4097, 200_000)])
        if i == 0:
            size = 5_000_000  # several groups of blocks
        name = os.path.join("rot", "%03d.sst" % i)
        content[name] = rng.randbytes(size)
        with open(os.path.join(mount, name), "wb", buffering=0) as file:
            file.write(content[name])
            os.fsync(file.fileno())
    return content


def read_all(cluster, content, when):
    """Reads everything through a new mount. The kernel has nothing of it, nor has the client."""
    with Mount(cluster) as cold:
        for name, want in content.items():
            with open(os.path.join(cold.path, name), "rb") as file:
                got = file.read()
            assert got == want, "seed %d, %s: wrong bytes in %s" % (SEED, when, name)


def digests(cluster):
    return {
        chunk: {chunk_files.Replica(path).digest for path in by_server.values()}
        for chunk, by_server in chunk_files.replicas(cluster).items()
    }


class Damage:
    """What was done to one replica, and what tells that file from the one that replaces it."""

    def __init__(self, server, replica, kind, rng, others):
        self.path = replica.path
        self.words = "%s: %s" % (server, kind(replica, rng, others))
        self.header = chunk_files.header(self.path)
        self.at = time.monotonic()


def hurt(cluster, rng, kinds):
    """Damages one replica of every chunk: {chunk: Damage}."""
    found = chunk_files.replicas(cluster)
    seen = {
        chunk: {name: chunk_files.Replica(path) for name, path in by_server.items()}
        for chunk, by_server in found.items()
    }
    done = {}
    for number, (chunk, by_server) in enumerate(sorted(seen.items())):
        server = rng.choice(sorted(by_server))
        others = [
            replica
            for other, replicas in seen.items()
            if other != chunk
            for replica in replicas.values()
            if other not in done or done[other].path != replica.path
        ]
        kind = kinds[number % len(kinds)]
        done[chunk] = Damage(server, by_server[server], kind, rng, others)
    return done


def is_whole(paths, digest, hurt_one):
    """All replicas are again what they were, and the damaged file is not there any more: a header
    has fields of its own, which a comparison of replicas leaves out."""
    try:
        seen = [chunk_files.Replica(path) for path in paths]
    except FileNotFoundError:
        return False
    return (
        {replica.digest for replica in seen} == digest
        and all(replica.wanted == len(seen) for replica in seen)
        and (hurt_one.header is None or chunk_files.header(hurt_one.path) != hurt_one.header)
    )


def await_repair(cluster, truth, done):
    """Gives the longest time between a damage and its repair."""
    left = dict(done)
    longest = [0.0]

    def repaired():
        on_disk = chunk_files.replicas(cluster)
        for chunk, hurt_one in list(left.items()):
            if is_whole(on_disk.get(chunk, {}).values(), truth[chunk], hurt_one):
                longest[0] = max(longest[0], time.monotonic() - hurt_one.at)
                del left[chunk]
        return not left

    try:
        wait_until(repaired, 120, "repair of everything")
    except AssertionError:
        on_disk = chunk_files.replicas(cluster)
        for chunk, hurt_one in list(left.items())[:20]:
            say("left: chunk %d, %s: %s" % (chunk, hurt_one.words, on_disk.get(chunk)))
        raise AssertionError("seed %d: %d of %d damages stay" % (SEED, len(left), len(done)))
    cluster.wait_healthy()
    assert not chunk_files.differences(cluster) and digests(cluster) == truth
    for name in ("rot/000.sst", "rot/001.sst"):
        for chunk in cluster.locate("/" + name)["chunks"]:
            assert [r["state"] for r in chunk["replicas"]] == ["good"] * 3, chunk
    return longest[0]


def failures(cluster):
    return sum(
        cluster.metrics(name)["moraine_checksum_failures_total"] for name in cluster.chunkservers()
    )


def restart_with(cluster, config):
    cluster.configure("chunkserver", config)
    names = cluster.chunkservers()
    cluster.kill_together(*names)
    cluster.start_and_heal(*names)


def damage_journal(path, rng, how):
    size = os.path.getsize(path)
    with open(path, "r+b", buffering=0) as file:
        if how == "its first page is lost":
            file.write(bytes(chunk_files.PAGE))
        elif how == "a frame is lost":
            handle = file.fileno()
            used = [at for at in range(4096, size, 4096) if os.pread(handle, 8, at) == b"MRNFRAME"]
            file.seek(rng.choice(used[:-1] or used))
            file.write(bytes(chunk_files.PAGE))
        else:  # bits
            for _ in range(200):
                at = rng.randrange(4096, min(size, 1 << 20))
                byte = os.pread(file.fileno(), 1, at)
                os.pwrite(file.fileno(), bytes([byte[0] ^ (1 << rng.randrange(8))]), at)


def newest_of(cluster, name):
    """Those that had the endpoint before lost their disks."""
    endpoint = cluster.process(name)["endpoint"]
    known = [s for s in cluster.status()["servers"] if s["endpoint"] == endpoint]
    return max(known, key=lambda server: server["server"])


def hurt_journal(cluster, rng, how):
    """A chunkserver with a damaged journal refuses or says what it lost; the cluster heals."""
    name = rng.choice(cluster.chunkservers())
    path = os.path.join(cluster.mount, "journal-%d.log" % rng.randrange(1 << 30))
    with open(path, "wb", buffering=0) as file:
        for i in range(20):
            file.write(b"%08d" % i * 100)
            os.fsync(file.fileno())
        cluster.kill_together(name)
        damage_journal(os.path.join(cluster.directory_of(name), "journal"), rng, how)
        before = len(cluster.log(name))
        started = cluster.dev("start", name, check=False)
        for i in range(20, 40):
            file.write(b"%08d" % i * 100)
            os.fsync(file.fileno())
    if started.returncode != 0:
        assert len(started.stdout.strip().splitlines()) == 1, started.stdout
        outcome = "refused: " + started.stdout.strip()
    else:
        # Its own word: after a pause of the metaserver the old life may still count as heard of.
        wait_until(lambda: "serving on" in cluster.log(name)[before:], 30, name + " to serve")
        said = cluster.log(name)[before:]
        outcome = "quarantined" if "in quarantine" in said else "as if torn at its end"
        if outcome == "quarantined":
            assert "journal" in said, said
            wait_until(lambda: newest_of(cluster, name)["quarantined"], 30, "its quarantine")
    with Mount(cluster) as cold:
        with open(os.path.join(cold.path, os.path.basename(path)), "rb") as file:
            assert file.read() == b"".join(b"%08d" % i * 100 for i in range(40))
    if started.returncode != 0 or outcome == "quarantined":
        # What an operator does: the server gets an empty disk and so is a new one.
        if started.returncode == 0:
            cluster.kill_together(name)
        run(["rm", "-rf", cluster.directory_of(name)])
        cluster.start(name)
    cluster.wait_healthy(all_servers=False)
    say("journal of %s, %s: %s; the cluster is whole again" % (name, how, outcome))


def main():
    need_mount()
    say("seed %d" % SEED)
    rng = random.Random(SEED)
    with Cluster(
        mount=True, options=["--repair-grace", "2s"], configs={"chunkserver": NO_SCRUB}
    ) as cluster:
        content = write_files(cluster.mount, rng)
        cluster.wait_healthy()
        cluster.wait_settled()
        wait_until(lambda: not chunk_files.differences(cluster), 60, "sealed files")
        truth = digests(cluster)
        assert len(truth) >= FILES

        # Nobody looks for it: what a client meets on its way is all that tells.
        done = hurt(cluster, rng, [damage.data_bit])
        read_all(cluster, content, "one flip in each chunk, no scrubber")
        found = failures(cluster)
        assert found > 0, "no read has met a damaged replica"
        restart_with(cluster, SCRUB)
        longest = await_repair(cluster, truth, done)
        flips = len(done)
        say("%d flips, %d met by a reader, all repaired in %.1f s" % (flips, found, longest))

        for batch in range(1, BATCHES):
            done = hurt(cluster, rng, [damage.data_bit])
            read_all(cluster, content, "one flip in each chunk, batch %d" % batch)
            longest = max(longest, await_repair(cluster, truth, done))
            flips += len(done)
        say("%d flips, all found; longest repair %.1f s" % (flips, longest))

        done = hurt(cluster, rng, damage.KINDS)
        read_all(cluster, content, "every kind of damage")
        longest = await_repair(cluster, truth, done)
        say(
            "%d damages of %d kinds, all found; longest repair %.1f s"
            % (len(done), len(damage.KINDS), longest)
        )

        for how in ("its first page is lost", "a frame is lost", "200 bits"):
            hurt_journal(cluster, rng, how)
        read_all(cluster, content, "journals damaged")


main()
