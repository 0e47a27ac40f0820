"""The metaserver dies at each of its write sites, and by SIGKILL under fio.

Invariant (D3): a client that works through the mount sees no error, each change is done exactly
once, and afterwards the tree, the attributes and the contents are what the acknowledged changes
make of them, nothing half done; the chunks that nobody needs are gone. Every fault point of the
metaserver gets its crash; a point that no load reaches fails the test.
Invariant (A1): a fio job with verification goes through three kills without an error, and a file
that was open before has its handle still.
"""
import multiprocessing
import os
import random
import shutil
import tempfile
import time

from harness import (
    HEARTBEAT,
    Cluster,
    Fio,
    Mount,
    is_running,
    need,
    need_mount,
    run,
    say,
    wait_until,
)

LONG = bool(os.environ.get("MORAINE_TEST_LONG"))
SEED = int(os.environ.get("MORAINE_SEED", str(random.SystemRandom().randrange(1 << 30))))
# Hit at every start, before anything is served.
AT_START = {"meta_store.write_ids", "meta_store.wrote_ids"}
# Hit once in a metaserver's life.
AT_FIRST_START = {"meta_store.make", "meta_store.made"}
# Need a client to die with files open, or a chunkserver for good.
AFTER_CLIENT = {
    "session.ended",
    "recovery.before_finish",
    "recovery.finished",
    "seal.fencing_recorded",
}
AFTER_SERVER = {
    "repair.copied",
    "repair.noted",
    "server.declared_dead",
    "server.replicas_marked",
}
RARE = AFTER_CLIENT | AFTER_SERVER | {"orphan.part_freed"}
CONFIGS = {"metaserver": {"write-buffer-bytes": "1MiB"}, "chunkserver": HEARTBEAT}


class Worker:
    """Changes in a directory of its own, and what they must come to. They are made by a process
    that starts no others: a process that is started closes the files it inherits, and so would wait
    for the very metaserver that it is to start."""

    def __init__(self, root, name, seed):
        self.root = os.path.join(root, name)
        self.name = name
        self.rng = random.Random(seed)
        self.model = {}  # name -> (mode, content), ("link", target) or ("dir",)
        self.number = 0
        self.shared_number = multiprocessing.Value("Q", 0, lock=False)
        self.failed = multiprocessing.Event()
        self.stopping = multiprocessing.Event()
        self.process = None
        self.result = None
        os.mkdir(self.root)

    def start(self):
        self.stopping.clear()
        self.result, far_end = multiprocessing.Pipe(duplex=False)
        self.process = multiprocessing.Process(target=self._run, args=(far_end,), daemon=True)
        self.process.start()
        far_end.close()

    def done(self):
        return self.shared_number.value

    def stop(self):
        """The process ends; its model is ours from here on."""
        self.stopping.set()
        assert self.result.poll(90), self.name + " hangs"
        error, self.model, self.number, state = self.result.recv()
        self.rng.setstate(state)
        self.process.join(30)
        assert error is None, "seed %d, %s: %s" % (SEED, self.name, error)

    def _run(self, result):
        operations = (
            self.create,
            self.create,
            self.append,
            self.rename,
            self.rename,
            self.remove,
            self.attributes,
            self.truncate,
            self.directory,
            self.symlink,
        )
        error = None
        try:
            while not self.stopping.is_set():
                operation = self.rng.choice(operations)
                operation()
                self.number += 1
                self.shared_number.value = self.number
        except (OSError, AssertionError) as wrong:
            error = "%s: %r" % (operation.__name__, wrong)
            self.failed.set()
        result.send((error, self.model, self.number, self.rng.getstate()))

    def path(self, name):
        return os.path.join(self.root, name)

    def some(self, kind=int):
        names = sorted(n for n, v in self.model.items() if isinstance(v[0], kind))
        return self.rng.choice(names) if names else None

    def create(self):
        # A log is sealed with three replicas of five, the others are noted later.
        name = "f%d%s" % (self.number, self.rng.choice(["", ".log", ".sst"]))
        data = self.rng.randbytes(self.rng.choice([0, 100, 4096, 5000, 40000]))
        handle = os.open(self.path(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640)
        assert os.write(handle, data) == len(data)
        if self.rng.random() < 0.5:
            os.fsync(handle)
        os.close(handle)
        self.model[name] = (0o640, data)

    def append(self):
        name = self.some()
        if name is None:
            return
        data = self.rng.randbytes(self.rng.choice([10, 3000, 9000]))
        handle = os.open(self.path(name), os.O_WRONLY | os.O_APPEND)
        assert os.write(handle, data) == len(data)
        os.fsync(handle)
        os.close(handle)
        mode, content = self.model[name]
        self.model[name] = (mode, content + data)

    def rename(self):
        name = self.some()
        if name is None:
            return
        # Half of the time over another file.
        target = self.some() if self.rng.random() < 0.5 else "r%d" % self.number
        os.rename(self.path(name), self.path(target))
        if target != name:
            self.model[target] = self.model.pop(name)

    def remove(self):
        name = self.some()
        if name is None:
            return
        if self.rng.random() < 0.3:  # an orphan for a moment
            with open(self.path(name), "rb") as file:
                os.unlink(self.path(name))
                assert file.read() == self.model[name][1], "a file that is open is not its bytes"
        else:
            os.unlink(self.path(name))
        del self.model[name]

    def attributes(self):
        name = self.some()
        if name is None:
            return
        mode = self.rng.choice([0o600, 0o644, 0o755, 0o444])
        os.chmod(self.path(name), mode)
        os.setxattr(self.path(name), "user.n", b"%d" % self.number)
        self.model[name] = (mode, self.model[name][1])

    def truncate(self):
        name = self.some()
        if name is None:
            return
        size = self.rng.randrange(0, 12000)
        os.truncate(self.path(name), size)
        mode, content = self.model[name]
        self.model[name] = (mode, content[:size] + bytes(max(0, size - len(content))))

    def directory(self):
        name = "d%d" % self.number
        os.mkdir(self.path(name), 0o755)
        self.model[name] = ("dir", b"")
        old = self.some(str)
        if old != name and self.model[old][0] == "dir":
            os.rmdir(self.path(old))
            del self.model[old]

    def symlink(self):
        name = "s%d" % self.number
        os.symlink("target %d" % self.number, self.path(name))
        self.model[name] = ("link", b"target %d" % self.number)

    def verify(self, root):
        root = os.path.join(root, self.name)
        assert sorted(os.listdir(root)) == sorted(self.model), "seed %d, %s: names differ: %s" % (
            SEED,
            self.name,
            sorted(set(os.listdir(root)) ^ set(self.model)),
        )
        for name, (mode, content) in self.model.items():
            path = os.path.join(root, name)
            if mode == "dir":
                assert os.path.isdir(path), path
            elif mode == "link":
                assert os.fsencode(os.readlink(path)) == content, path
            else:
                assert os.stat(path).st_mode & 0o7777 == mode, path
                with open(path, "rb") as file:
                    assert file.read() == content, "seed %d: %s differs" % (SEED, path)


def fault_points(cluster):
    """All places where the metaserver may be made to fail; a mutant's place is a missing check."""
    env = dict(os.environ, MORAINE_FAULTS="list")
    names = run([cluster.program("moraine-metaserver")], env=env).stdout.split()
    return [name for name in names if not name.startswith("mutant.")]


class Client:
    """A mount that dies with a file open for writing."""

    def __init__(self, cluster):
        self.mount = Mount(cluster)
        self.handle = os.open(
            os.path.join(self.mount.path, "left-%d.log" % self.mount.process.pid),
            os.O_CREAT | os.O_WRONLY,
        )
        for _ in range(3):
            os.write(self.handle, b"left behind " * 1000)
            os.fsync(self.handle)

    def die(self):
        self.mount.process.kill()
        self.mount.process.wait(15)
        try:
            os.close(self.handle)
        except OSError:
            pass  # there is nobody left to answer
        self.mount.__exit__(None, None, None)


class KeptTable:
    """A file that outlives all changes: who takes one of its servers away has something to repair.
    Of the workers' files none might have been on that server and still be there."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.path = os.path.join(cluster.mount, "kept.sst")
        with open(self.path, "wb") as file:
            file.write(b"kept " * 10000)
            file.flush()
            os.fsync(file.fileno())

    def replicas(self):
        """Of its one chunk, once each is good and none is surplus."""
        where = self.cluster.locate(self.path)
        replicas = [replica for chunk in where["chunks"] for replica in chunk["replicas"]]
        good = all(replica["state"] == "good" for replica in replicas)
        return replicas if good and len(replicas) == where["replicas"] else None

    def holder(self, rng):
        """The name of a chunkserver that holds one of its replicas."""
        replicas = wait_until(self.replicas, 60, "all replicas of " + self.path)
        return rng.choice(self.cluster.chunkservers_at([r["server"] for r in replicas]))


def crashes(cluster, point):
    return cluster.log("metaserver").count("fault point %s: crash\n" % point)


def crash_at(cluster, workers, kept, point, rng):
    """One life of the metaserver that ends at the fault point, and the next one."""
    hit = 1 if point in RARE or point in AT_START else rng.randrange(1, 40)
    client = Client(cluster) if point in AFTER_CLIENT else None
    victim = kept.holder(rng) if point in AFTER_SERVER else None
    cluster.kill_together("metaserver")
    env = dict(os.environ, MORAINE_FAULTS="%s=crash@%d" % (point, hit))
    crashed_before = crashes(cluster, point)
    # It says whether it serves; it may crash before.
    cluster.dev("start", "metaserver", env=env, check=False)
    pid = cluster.pid("metaserver")
    for worker in workers:
        worker.start()
    if client is not None:
        client.die()
    if victim is not None:
        cluster.kill_together(victim)
    wait_until(lambda: not is_running(pid), 40, "the crash at %s@%d" % (point, hit))
    assert crashes(cluster, point) == crashed_before + 1, "the metaserver ended otherwise"
    cluster.kill("metaserver")
    cluster.start("metaserver")
    before = [worker.done() for worker in workers]
    wait_until(
        lambda: all(w.failed.is_set() or w.done() > n + 2 for w, n in zip(workers, before)),
        60,
        "changes after the restart",
    )
    for worker in workers:
        worker.stop()
    if victim is not None:
        cluster.start(victim)
    with Mount(cluster) as cold:
        for worker in workers:
            worker.verify(cold.path)


def crash_at_first_start(point):
    """The next start makes the cluster that this one did not, or goes on with it."""
    directory = tempfile.mkdtemp(prefix="moraine-test-")
    env = dict(os.environ, MORAINE_FAULTS="%s=crash" % point)
    up = [Cluster.program("moraine"), "dev", "up", "--dir", directory, "--chunkservers", "3"]
    try:
        done = run(up, env=env, check=False, timeout=60)
        assert done.returncode != 0 and "metaserver did not start" in done.stdout, done.stdout
        with Cluster(chunkservers=3, directory=directory) as cluster:
            assert crashes(cluster, point) == 1
            cluster.wait_healthy()
            assert cluster.status()["inodes"] == 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def crash_at_every_point(cluster, rng):
    workers = [Worker(cluster.mount, "w%d" % i, SEED + i) for i in range(3)]
    kept = KeptTable(cluster)
    points = [p for p in fault_points(cluster) if p not in AT_FIRST_START]
    assert len(points) >= 15, points
    for point in sorted(AT_FIRST_START):
        crash_at_first_start(point)
        say("%s: crashed and went on" % point)
    for point in points:
        begin = time.monotonic()
        crash_at(cluster, workers, kept, point, rng)
        say("%s: crashed and went on (%.1f s)" % (point, time.monotonic() - begin))
    cluster.wait_healthy()
    for worker in workers:
        for name, value in worker.model.items():
            (os.rmdir if value[0] == "dir" else os.unlink)(worker.path(name))
        os.rmdir(worker.root)
    for name in os.listdir(cluster.mount):
        os.unlink(os.path.join(cluster.mount, name))
    # Nothing is left of what was removed: neither inodes but the root, nor chunks.
    wait_until(
        lambda: [cluster.status()[k] for k in ("inodes", "chunks", "deleting_chunks")] == [1, 0, 0],
        60,
        lambda: "the last of the removed files to go: %s" % cluster.status(),
    )
    changes = sum(worker.number for worker in workers)
    total = len(points) + len(AT_FIRST_START)
    say("%d points; %d changes agree with the model" % (total, changes))


def kill_under_fio(cluster):
    path = os.path.join(cluster.mount, "held")
    held = open(path, "w+b", buffering=0)
    held.write(b"before ")
    job = Fio(cluster.mount, "verified", "--rw=randwrite", "--fdatasync=16")
    under_way = 0
    for _ in range(3):
        calls = cluster.metadata_calls()
        wait_until(lambda: cluster.metadata_calls() > calls + 5 or job.is_over(), 60, "fio")
        under_way += not job.is_over()
        cluster.kill_together("metaserver")
        cluster.start("metaserver")
        held.write(b"and after ")
        os.fsync(held.fileno())
    job.finish()
    assert under_way == 3, "fio was over after %d kills" % under_way
    held.seek(0)
    assert held.read() == b"before " + b"and after " * 3
    held.close()
    os.unlink(path)
    os.unlink(job.path)
    say("fio --verify and an open file went through 3 kills of the metaserver")


def main():
    need_mount()
    need("/usr/bin/fio", "fio")
    say("seed %d" % SEED)
    rng = random.Random(SEED)
    options = ["--repair-grace", "2s", "--session-ttl", "3s"]
    with Cluster(mount=True, options=options, configs=CONFIGS) as cluster:
        kill_under_fio(cluster)
        for _ in range(5 if LONG else 1):
            crash_at_every_point(cluster, rng)


main()
