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
FILES = 250
BATCHES = 40 if LONG else 4  # of one flip in each chunk
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


def hurt(cluster, rng, kinds):
    """Damages one replica of every chunk; says what was done to whom."""
    found = chunk_files.replicas(cluster)
    seen = {
        chunk: {name: chunk_files.Replica(path) for name, path in by_server.items()}
        for chunk, by_server in found.items()
    }
    done = {}
    for number, (chunk, by_server) in enumerate(sorted(seen.items())):
        server = rng.choice(sorted(by_server))
        others = [r for other, rs in seen.items() if other != chunk for r in rs.values()]
        kind = kinds[number % len(kinds)]
        done[chunk] = "%s: %s" % (server, kind(by_server[server], rng, others))
    return done


def await_repair(cluster, truth, done):
    begin = time.monotonic()

    def repaired():
        wrong = chunk_files.differences(cluster)
        return not wrong and digests(cluster) == truth

    try:
        wait_until(repaired, 120, "repair of everything")
    except AssertionError:
        left = chunk_files.differences(cluster)
        for line in left[:20]:
            say("left: %s; damage: %s" % (line, done.get(int(line.split()[1].rstrip(":")))))
        raise AssertionError("seed %d: %d of %d damages stay" % (SEED, len(left), len(done)))
    cluster.wait_healthy()
    for name in ("rot/000.sst", "rot/001.sst"):
        for chunk in cluster.locate("/" + name)["chunks"]:
            assert [r["state"] for r in chunk["replicas"]] == ["good"] * 3, chunk
    return time.monotonic() - begin


def failures(cluster):
    return sum(
        cluster.metrics(name)["moraine_checksum_failures_total"] for name in cluster.chunkservers()
    )


def restart_with(cluster, config):
    cluster.configure("chunkserver", config)
    names = cluster.chunkservers()
    cluster.kill_together(*names)
    cluster.start(*names)
    cluster.wait_healthy()


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
        said = cluster.log(name)[before:]
        for i in range(20, 40):
            file.write(b"%08d" % i * 100)
            os.fsync(file.fileno())
    if started.returncode != 0:
        assert len(started.stdout.strip().splitlines()) == 1, started.stdout
        outcome = "refused: " + started.stdout.strip()
    else:
        index = cluster.chunkservers().index(name)
        endpoint = cluster.process(name)["endpoint"]
        server = next(s for s in cluster.status()["servers"] if s["endpoint"] == endpoint)
        assert server["alive"], (index, server)
        outcome = "quarantined" if server["quarantined"] else "as if torn at its end"
        if server["quarantined"]:
            assert "journal" in said, said
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
        took = await_repair(cluster, truth, done)
        say("%d flips, %d of them met by a reader, repaired in %.1f s" % (len(done), found, took))

        for batch in range(1, BATCHES):
            done = hurt(cluster, rng, [damage.data_bit])
            read_all(cluster, content, "one flip in each chunk, batch %d" % batch)
            took = await_repair(cluster, truth, done)
            say("%d flips under the scrubber, repaired in %.1f s" % (len(done), took))

        done = hurt(cluster, rng, damage.KINDS)
        read_all(cluster, content, "every kind of damage")
        took = await_repair(cluster, truth, done)
        say("%d kinds of damage, repaired in %.1f s" % (len(damage.KINDS), took))

        for how in ("its first page is lost", "a frame is lost", "200 bits"):
            hurt_journal(cluster, rng, how)
        read_all(cluster, content, "journals damaged")


main()
