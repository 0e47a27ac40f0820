"""Writers are paused for longer than their session lives, and what they wrote is taken over.

Invariant (F1): after SIGCONT every late write of the old owner is refused; the new owner's data is
what everybody reads; nothing that the old one had synced before is lost. The old owner is a
process with RocksDB that loses its directory, or a mount that loses the lease of a file.
"""
import errno
import os
import random
import re
import signal
import subprocess
import sys

from harness import Cluster, Mount, acked, need_mount, say, stop, synced, wait_until

SEED = int(os.environ.get("MORAINE_SEED", str(random.SystemRandom().randrange(1 << 30))))
PAUSES = 5  # of each kind
REFUSED = (errno.ESTALE, errno.EIO)

RECORD = 200  # so that the file outgrows its inode record before it is taken

# Writes one synced record after the other and says so; after an error it says which, and goes on
# trying on the same handle, as a program that does not give up would.
WRITER = """
import os, sys
handle = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
number, refused = 0, 0
while refused < 3:
    rest = (b"old %08d" % number).ljust(199) + b"\\n"
    try:
        while rest:  # a record on two pages goes in two parts; the second may fail alone
            rest = rest[os.write(handle, rest):]
        os.fsync(handle)
        number += 1
        print("done", number, flush=True)
    except OSError as error:
        refused += 1
        print("refused", error.errno, flush=True)
try:
    os.close(handle)
except OSError as error:
    print("close", error.errno, flush=True)
"""


def sessions(cluster):
    return cluster.status()["sessions"]


def pause_rocksdb(cluster, number):
    db = "/owned-%d" % number
    notes = [os.path.join(cluster.dir, "%s-%d" % (who, number)) for who in ("first", "second")]
    wait_until(lambda: sessions(cluster) == 0, 60, "the end of earlier sessions")
    words = ("write", db, notes[0], "--keys", "10000000", "--sync-every", "3", "--until-failure")
    first = cluster.start_oracle(*words)
    try:
        wait_until(lambda: acked(notes[0]) >= 300, 60, "300 writes of the first owner")
        stop(first.pid)
        taken_at = synced(notes[0])
        if number % 2 == 0:  # half of the time it is taken while the session still lives
            wait_until(lambda: sessions(cluster) == 0, 60, "the end of its session")
        words = ("write", db, notes[1], "--keys", "300", "--sync-every", "1", "--seed", "99")
        cluster.oracle(*words, timeout=120)
        # The rest of the pause: until its session has ended, too.
        wait_until(lambda: sessions(cluster) == 0, 60, "the end of its session")
    finally:
        os.kill(first.pid, signal.SIGCONT)
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 3 and re.search(r"fenced=1", output), output
    # At most the sync that was under way when it was stopped.
    assert synced(notes[0]) <= taken_at + 1, (synced(notes[0]), taken_at)
    cluster.oracle("verify_subset", db, notes[1], "--seed", "99")
    cluster.oracle("verify_subset", db, notes[0])
    say("RocksDB %d: %s" % (number, output.strip().splitlines()[-1]))


def lines_of(path):
    with open(path, errors="replace") as file:
        return [line.split() for line in file.read().splitlines(True) if line.endswith("\n")]


def pause_mount(cluster, new, number, rng):
    """`new` is the mount of the next owner."""
    name = "taken-%d.%s" % (number, rng.choice(["log", "sst"]))
    said = os.path.join(cluster.dir, "said-%d" % number)
    wait_until(lambda: sessions(cluster) == 1, 60, "the end of all sessions but the new mount's")
    with Mount(cluster) as old, open(said, "wb") as output:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, os.path.join(old.path, name)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: len(lines_of(said)) >= 30, 60, "30 writes of the old owner")
            stop(old.process.pid)
            try:
                acknowledged = len(lines_of(said))
                take_over(os.path.join(new.path, name), acknowledged)
                wait_until(lambda: sessions(cluster) == 1, 60, "the end of its session")
            finally:
                old.process.send_signal(signal.SIGCONT)
            writer.wait(60)
        finally:
            if writer.poll() is None:
                writer.kill()
        check_refused(lines_of(said), acknowledged)
        want = new_content(acknowledged)
        with Mount(cluster) as cold:
            for mount in (cold, new):
                with open(os.path.join(mount.path, name), "rb") as file:
                    got = file.read()
                check_content(got, want, acknowledged)
    say("mount %d: %d writes, then %s" % (number, acknowledged, lines_of(said)[-1]))


def new_content(acknowledged):
    return b"".join(record(b"new", i) for i in range(acknowledged, acknowledged + 50))


def record(word, number):
    return (b"%s %08d" % (word, number)).ljust(RECORD - 1) + b"\n"


def take_over(path, acknowledged):
    handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    for i in range(acknowledged, acknowledged + 50):
        os.write(handle, record(b"new", i))
        os.fsync(handle)
    os.close(handle)


def check_refused(lines, acknowledged):
    done = [line for line in lines if line[0] == "done"]
    refused = [int(line[1]) for line in lines if line[0] == "refused"]
    # One write may have been acknowledged on its way when the mount was stopped.
    assert len(done) <= acknowledged + 1, (len(done), acknowledged)
    assert len(refused) == 3 and all(code in REFUSED for code in refused), lines[-10:]


def check_content(got, want, acknowledged):
    old = b"".join(record(b"old", i) for i in range(acknowledged + 1))
    end = got.find(b"new ")
    assert end >= 0 and got[end:] == want, "the new owner's data is not what it wrote"
    assert (
        old.startswith(got[:end]) and end >= RECORD * acknowledged
    ), "%d bytes before the new owner's, %d were acknowledged" % (end, RECORD * acknowledged)


def main():
    need_mount()
    say("seed %d" % SEED)
    rng = random.Random(SEED)
    with Cluster(options=["--session-ttl", "2s"]) as cluster:
        for number in range(PAUSES):
            pause_rocksdb(cluster, number)
        with Mount(cluster) as new:
            for number in range(PAUSES):
                pause_mount(cluster, new, number, rng)
        cluster.wait_healthy()


main()
