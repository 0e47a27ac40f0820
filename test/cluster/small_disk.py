"""Small file systems below a cluster's directory, and ways to fill them. Needs root."""
import contextlib
import errno
import os
import shutil
import threading

from harness import run


class SmallDisks:
    """tmpfs of a fixed size at DIR/NAME for each name; `prepare` fits Cluster(prepare=)."""

    def __init__(self, sizes):
        self.sizes = sizes
        self.mounted = {}

    def prepare(self, directory):
        for name, size in self.sizes.items():
            path = os.path.join(directory, name)
            run(["mount", "-t", "tmpfs", "-o", "size=%d" % size, "moraine-test", path], timeout=30)
            self.mounted[name] = path

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for path in self.mounted.values():
            run(["umount", "-l", path], timeout=30, check=False)
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)

    def free(self, name):
        stat = os.statvfs(self.mounted[name])
        return stat.f_bavail * stat.f_frsize

    def ballast(self, name):
        return os.path.join(self.mounted[name], "lost+found")

    def fill(self, name, leave=0):
        """Another program takes all but `leave` bytes."""
        handle = os.open(self.ballast(name), os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            for _ in range(1000):
                free = self.free(name)
                if free <= leave:
                    break
                try:
                    os.posix_fallocate(handle, os.fstat(handle).st_size, free - leave)
                except OSError as error:  # somebody else was quicker
                    if error.errno != errno.ENOSPC:
                        raise
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def kept_full(self, names):
        """Whatever is given back on these disks is taken at once by the other program."""
        stop = threading.Event()

        def keep():
            while not stop.wait(0.001):
                for name in names:
                    self.fill(name)

        for name in names:
            self.fill(name)
        thread = threading.Thread(target=keep, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def empty(self, name):
        os.unlink(self.ballast(name))
