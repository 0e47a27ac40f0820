"""Ordinary programs on the mount: they work, agree with local copies, and survive kills."""
import hashlib
import os
import random
import shutil

from harness import Cluster, Fio, need, need_mount, run, say, wait_until

SEED = int(os.environ.get("MORAINE_SEED", "7"))


def tree_digest(root):
    digest = hashlib.sha256()
    for directory, names, files in os.walk(root):
        names.sort()
        for name in sorted(files):
            path = os.path.join(directory, name)
            digest.update(os.path.relpath(path, root).encode())
            digest.update(
                os.readlink(path).encode() if os.path.islink(path) else open(path, "rb").read()
            )
            digest.update(oct(os.lstat(path).st_mode).encode())
    return digest.hexdigest()


def make_repository(path):
    run(["git", "init", "-q", path])
    rng = random.Random(SEED)
    for i in range(120):
        directory = os.path.join(path, "d%d" % (i % 7))
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "f%d" % i), "wb") as file:
            file.write(rng.randbytes(rng.choice([0, 10, 4095, 4096, 4097, 70000, 300000])))
    run(["git", "-C", path, "add", "."])
    run(["git", "-C", path, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "all"])


def posix_basics(mount):
    """What programs lean on without saying so."""
    path = os.path.join(mount, "basics")
    os.mkdir(path)
    file = os.path.join(path, "file")
    with open(file, "wb") as out:
        out.write(b"a" * 10000)
        out.seek(3000)
        out.write(b"b" * 100)
        out.flush()
        os.fsync(out.fileno())
    data = open(file, "rb").read()
    assert data == b"a" * 3000 + b"b" * 100 + b"a" * 6900, len(data)
    os.truncate(file, 3050)
    assert open(file, "rb").read() == b"a" * 3000 + b"b" * 50
    os.truncate(file, 5000)
    assert open(file, "rb").read() == b"a" * 3000 + b"b" * 50 + b"\0" * 1950
    with open(file, "r+b") as out:  # a hole far behind the end
        out.seek(1 << 20)
        out.write(b"end")
    data = open(file, "rb").read()
    assert (
        len(data) == (1 << 20) + 3
        and data[-3:] == b"end"
        and data[5000 : 1 << 20].strip(b"\0") == b""
    )
    os.link(file, os.path.join(path, "hard"))
    assert os.stat(file).st_nlink == 2
    os.symlink("file", os.path.join(path, "soft"))
    assert os.readlink(os.path.join(path, "soft")) == "file"
    os.rename(os.path.join(path, "hard"), os.path.join(path, "moved"))
    os.chmod(file, 0o640)
    os.utime(file, ns=(1_000_000_000_123_456_789, 2_000_000_000_987_654_321))
    stat = os.stat(file)
    assert stat.st_mode & 0o7777 == 0o640 and stat.st_mtime_ns == 2_000_000_000_987_654_321
    os.setxattr(file, "user.color", b"blue")
    assert os.getxattr(file, "user.color") == b"blue" and "user.color" in os.listxattr(file)
    os.removexattr(file, "user.color")
    handle = open(file, "r+b")
    os.unlink(file)
    os.unlink(os.path.join(path, "moved"))
    handle.seek(0)
    assert handle.read(3000) == b"a" * 3000, "a file that is open outlives its name"
    handle.write(b"still")
    handle.close()
    appender = os.open(os.path.join(path, "log"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    for i in range(300):
        os.write(appender, b"%05d\n" % i)
    os.close(appender)
    assert open(os.path.join(path, "log")).read().split() == ["%05d" % i for i in range(300)]
    for bad, error in (("x" * 256, 36),):
        try:
            open(os.path.join(path, bad), "w")
            raise AssertionError("a name of 256 bytes was taken")
        except OSError as refused:
            assert refused.errno == error, refused
    for i in range(3000):
        open(os.path.join(path, "many%04d" % i), "w").close()
    assert len([n for n in os.listdir(path) if n.startswith("many")]) == 3000
    os.statvfs(mount)
    shutil.rmtree(path)
    assert "basics" not in os.listdir(mount)


def random_model(mount, operations=1500):
    """Random writes, reads and truncates against a byte array."""
    rng = random.Random(SEED)
    path = os.path.join(mount, "model")
    model = bytearray()
    handle = os.open(path, os.O_CREAT | os.O_RDWR)
    for step in range(operations):
        kind = rng.random()
        offset = rng.randrange(0, 400_000)
        length = rng.choice([1, 17, 4096, 10_000, 150_000])
        if kind < 0.5:
            data = rng.randbytes(length)
            os.pwrite(handle, data, offset)
            if len(model) < offset:
                model.extend(b"\0" * (offset - len(model)))
            model[offset : offset + length] = data
        elif kind < 0.85:
            got = os.pread(handle, length, offset)
            assert got == bytes(
                model[offset : offset + length]
            ), "seed %d step %d: read differs" % (SEED, step)
        elif kind < 0.92:
            os.ftruncate(handle, offset)
            if offset < len(model):
                del model[offset:]
            else:
                model.extend(b"\0" * (offset - len(model)))
        elif kind < 0.97:
            os.fsync(handle)
        else:
            os.close(handle)
            handle = os.open(path, os.O_RDWR)
        assert os.fstat(handle).st_size == len(model), "seed %d step %d: size differs" % (
            SEED,
            step,
        )
    os.close(handle)
    assert open(path, "rb").read() == bytes(model), "seed %d: content differs" % SEED
    os.unlink(path)


def main():
    need_mount()
    need(shutil.which("git") or "git", "git")
    need(shutil.which("fio") or "fio", "fio")
    with Cluster(mount=True) as cluster:
        mount = cluster.mount
        posix_basics(mount)
        say("POSIX basics: ok")
        random_model(mount)
        say("random writes, reads and truncates agree with a model (seed %d)" % SEED)
        repository = os.path.join(cluster.dir, "repository")
        make_repository(repository)
        copy = os.path.join(mount, "clone")
        run(["git", "clone", "-q", "--no-hardlinks", repository, copy], timeout=200)
        assert run(["git", "-C", copy, "status", "--porcelain"]).stdout == ""
        run(["git", "-C", copy, "fsck", "--full"])
        run(["tar", "-cf", os.path.join(mount, "all.tar"), "-C", mount, "clone"])
        os.mkdir(os.path.join(mount, "untarred"))
        run(["tar", "-xf", os.path.join(mount, "all.tar"), "-C", os.path.join(mount, "untarred")])
        assert tree_digest(copy) == tree_digest(os.path.join(mount, "untarred", "clone"))
        run(["cp", "-a", copy, os.path.join(mount, "copied")])
        assert tree_digest(copy) == tree_digest(os.path.join(mount, "copied"))
        say("git clone, fsck, tar and cp agree")

        # Kills of every kind of server under fio's verify: it must end without an error.
        jobs = [
            Fio(mount, "sequential", "--rw=write"),
            Fio(mount, "random", "--rw=randwrite", "--fdatasync=64"),
        ]
        cluster.kill("chunkserver:2")
        cluster.kill("metaserver")
        cluster.start("metaserver")
        cluster.start("chunkserver:2")
        for job in jobs:
            job.finish()
        say("fio --verify went through kills of a chunkserver and the metaserver")
        cluster.wait_healthy()
        shutil.rmtree(os.path.join(mount, "untarred"))
        assert sorted(os.listdir(mount)) == ["all.tar", "clone", "copied", "random", "sequential"]


main()
