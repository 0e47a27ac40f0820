"""Disks fill up: one, two and all chunkservers', and the metaserver's.

Invariant (D5): while enough disks have room nobody notices; when they have not, write, fsync or
close says ENOSPC (RocksDB: no space) and nothing else; nothing that was acknowledged is lost;
deletes work while everything is full; when there is room again, everything works again without a
restart of any server.
"""
import errno
import os
import random
import shutil
import time

from harness import HEARTBEAT, Cluster, Mount, is_running, need_mount, say, wait_until
from load import Load
from small_disk import SmallDisks

SEED = int(os.environ.get("MORAINE_SEED", str(random.SystemRandom().randrange(1 << 30))))
MIB = 1 << 20
DISK = 96 * MIB
CONFIGS = {
    "chunkserver": {**HEARTBEAT, "reserve-bytes": "8MiB", "trash-grace": "1s"},
    "metaserver": {
        "server-reserve-bytes": "8MiB",
        "reserve-bytes": "16MiB",
        "write-buffer-bytes": "1MiB",
    },
    "mount": {"timeout": "10s"},
}


def write_file(path, data):
    """Synced and closed; an error names the call that said it."""
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view[:MIB]) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def content_of(name, size):
    return random.Random("%d/%s" % (SEED, name)).randbytes(size)


def fill_by_writing(directory, prefix):
    """Files of 4 MiB until there is no room: their names, and the error."""
    for number in range(10000):
        name = "%s%04d.sst" % (prefix, number)
        try:
            write_file(os.path.join(directory, name), content_of(name, 4 * MIB))
        except OSError as error:
            return ["%s%04d.sst" % (prefix, i) for i in range(number)], name, error
    raise AssertionError("the disks never fill")


def check_files(cluster, names):
    with Mount(cluster) as cold:
        for name in names:
            with open(os.path.join(cold.path, name), "rb") as file:
                assert file.read() == content_of(name, 4 * MIB), "seed %d: %s" % (SEED, name)


def some_full(cluster, disks, count):
    names = ["chunkserver-%d" % (i + 1) for i in range(count)]
    with Load(cluster.mount, "some%d" % count, SEED) as load:
        wait_until(lambda: load.errors or load.acknowledged() >= 10, 60, "writes")
        for name in names:
            disks.fill(name)
        more = load.acknowledged() + 100
        wait_until(lambda: load.errors or load.acknowledged() >= more, 60, "writes when full")
    assert not load.errors, load.errors
    for name in names:
        disks.empty(name)
    with Mount(cluster) as cold:
        load.verify(cold.path)
    assert not any(server["quarantined"] for server in cluster.status()["servers"])
    cluster.wait_healthy()
    for name in os.listdir(cluster.mount):
        os.unlink(os.path.join(cluster.mount, name))
    return "%d full: %d writes went on" % (count, load.acknowledged())


def all_full(cluster, disks):
    kept, refused, error = fill_by_writing(cluster.mount, "fill")
    assert error.errno == errno.ENOSPC, "seed %d: %r after %d files" % (SEED, error, len(kept))
    # Whatever little room is left goes as well: not even a journal or a checksum page fits.
    for name in disks.sizes:
        if name.startswith("chunkserver"):
            disks.fill(name)
    try:
        write_file(os.path.join(cluster.mount, "more.sst"), bytes(4 * MIB))
        raise AssertionError("a full cluster took 4 MiB")
    except OSError as again:
        assert again.errno == errno.ENOSPC, again
    check_files(cluster, kept)
    # Deletes, small files and names go on.
    for name in kept[::2] + [refused, "more.sst"]:
        os.unlink(os.path.join(cluster.mount, name))
    write_file(os.path.join(cluster.mount, "small"), b"fits into its record")
    for name in disks.sizes:
        if name.startswith("chunkserver"):
            disks.empty(name)

    def room():
        try:
            write_file(os.path.join(cluster.mount, "again.sst"), content_of("again.sst", 4 * MIB))
            return True
        except OSError as still:
            assert still.errno == errno.ENOSPC, still
            return False

    wait_until(room, 60, "room for a file after deletes")
    check_files(cluster, kept[1::2] + ["again.sst"])
    assert not any(server["quarantined"] for server in cluster.status()["servers"])
    cluster.wait_healthy()
    for name in os.listdir(cluster.mount):
        os.unlink(os.path.join(cluster.mount, name))
    words = "all full after %d files of 4 MiB: %s; works again"
    return words % (len(kept), os.strerror(error.errno))


def has_room(cluster):
    """On each chunkserver's disk; deleted files give theirs back a little later."""
    room = [os.statvfs(cluster.directory_of(name)) for name in cluster.chunkservers()]
    return all(disk.f_bavail * disk.f_frsize > DISK / 2 for disk in room)


def fill_in_a_compaction(writer, disks):
    """Fills the chunkservers' disks while a compaction runs; gives all that the writer said."""
    lines = []
    for line in writer.stdout:
        lines.append(line.strip())
        if line.startswith("compaction begins"):
            break
    # Tables that a flush or this compaction replaces give room back, which would let it end well.
    with disks.kept_full([name for name in disks.sizes if name.startswith("chunkserver")]):
        rest, _ = writer.communicate(timeout=120)
    return lines + rest.splitlines()


def rocksdb_full(cluster, disks):
    """The disks fill up while a database compacts."""
    wait_until(lambda: has_room(cluster), 60, "the deletion of what earlier files have left")
    note = os.path.join(cluster.dir, "acked-full")
    words = ("write", "/db", note, "--keys", "10000000", "--sync-every", "20", "--until-failure")
    writer = cluster.start_oracle(*words)
    said = fill_in_a_compaction(writer, disks)
    assert writer.returncode == 3, said
    failed = [line for line in said if line.startswith("write ")]
    assert len(failed) == 1 and "No space left" in failed[0], said
    compactions = [line for line in said if line.startswith("compaction ends")]
    assert any("No space left" in line for line in compactions), said
    for name in disks.sizes:
        if name.startswith("chunkserver"):
            disks.empty(name)

    def verified():
        done = cluster.oracle("verify", "/db", note, check=False)
        assert done.returncode == 0 or "No space left" in done.stdout, done.stdout
        return done.stdout.strip() if done.returncode == 0 else None

    kept = wait_until(verified, 60, "room to open again")
    return "RocksDB, full in a compaction: %s; then %s" % (failed[0], kept)


def refuses_names(directory):
    """Whether a new name is refused for want of space; any other error fails the test."""
    path = os.path.join(directory, "probe")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
        os.unlink(path)
        return False
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        return True


def metaserver_full(cluster, disks):
    root = os.path.join(cluster.mount, "names")
    os.mkdir(root)
    for i in range(200):
        write_file(os.path.join(root, "%03d" % i), b"content %d" % i)
    # Full but for its reserve: nothing new, everything else.
    disks.fill("metaserver", leave=12 * MIB)
    wait_until(lambda: refuses_names(cluster.mount), 60, "ENOSPC for a new name")
    for i in range(0, 200, 2):
        os.unlink(os.path.join(root, "%03d" % i))
    os.rename(os.path.join(root, "001"), os.path.join(root, "renamed"))
    os.chmod(os.path.join(root, "003"), 0o600)
    # Wholly full: it may end, and is started again when there is room.
    disks.fill("metaserver")
    for i in range(1000):  # until the log of its store meets the end of the disk
        if not is_running(cluster.pid("metaserver")) or not change_mode(root, i):
            break
    disks.empty("metaserver")
    cluster.kill("metaserver")
    cluster.start("metaserver")
    wait_until(lambda: not refuses_names(cluster.mount), 60, "new names again")
    want = {"%03d" % i: b"content %d" % i for i in range(3, 200, 2)}
    want["renamed"] = b"content 1"
    with Mount(cluster) as cold:
        got = {}
        for name in os.listdir(os.path.join(cold.path, "names")):
            with open(os.path.join(cold.path, "names", name), "rb") as file:
                got[name] = file.read()
        assert got == want, "names differ: %s" % sorted(set(got) ^ set(want))
        assert os.stat(os.path.join(cold.path, "names", "003")).st_mode & 0o777 == 0o600
    cluster.wait_healthy()
    shutil.rmtree(root)
    return "metaserver full: new names refused, deletes done, nothing acknowledged lost"


def change_mode(root, number):
    """A change that is allowed on a full disk; false when there is nobody to make it."""
    try:
        os.chmod(os.path.join(root, "005"), 0o600 + number % 8)
        return True
    except OSError as error:
        assert error.errno in (errno.EIO, errno.ETIMEDOUT, errno.ENOSPC), error
        return False


def main():
    need_mount()
    say("seed %d" % SEED)
    sizes = {"chunkserver-%d" % (i + 1): DISK for i in range(5)}
    sizes["metaserver"] = 64 * MIB
    with SmallDisks(sizes) as disks:
        options = ["--journal-bytes", "8MiB", "--repair-grace", "2s"]
        with Cluster(
            mount=True, options=options, configs=CONFIGS, prepare=disks.prepare
        ) as cluster:
            scenarios = (
                lambda: metaserver_full(cluster, disks),
                lambda: some_full(cluster, disks, 1),
                lambda: some_full(cluster, disks, 2),
                lambda: all_full(cluster, disks),
                lambda: rocksdb_full(cluster, disks),
            )
            for scenario in scenarios:
                begin = time.monotonic()
                say("%s (%.1f s)" % (scenario(), time.monotonic() - begin))


main()
