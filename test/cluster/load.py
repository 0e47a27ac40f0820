"""Writers on a mount that remember what was acknowledged, and the check that it is all there.

A log gets records that are synced one by one; tables are written whole, synced and closed. Both
follow from the seed and the name, so that nothing has to be kept to check them.
"""
import hashlib
import os
import random
import threading


def record(seed, name, number):
    rng = random.Random("%d/%s/%d" % (seed, name, number))
    return rng.randbytes(rng.choice([30, 300, 3000, 9000]))


def table(seed, name):
    rng = random.Random("%d/%s" % (seed, name))
    return rng.randbytes(rng.choice([5000, 70000, 300000, 1200000]))


class Load:
    """One log and a series of tables under `directory`, until stop(). Errors are kept."""

    def __init__(self, directory, name, seed):
        self.directory = directory
        self.log_name = name + ".log"
        self.table_prefix = name + "-"
        self.seed = seed
        self.records = 0  # acknowledged
        self.tables = []  # names of acknowledged ones
        self.errors = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, args=(write,), daemon=True)
            for write in (self._write_log, self._write_tables)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.stop()

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            if thread.is_alive():
                self.errors.append("a writer does not end")

    def acknowledged(self):
        return self.records + len(self.tables)

    def _keep(self, write):
        try:
            write()
        except OSError as error:
            self.errors.append("%s: %s" % (write.__name__, error))

    def _write_log(self):
        handle = os.open(
            os.path.join(self.directory, self.log_name),
            os.O_CREAT | os.O_WRONLY | os.O_APPEND,
            0o644,
        )
        try:
            while not self._stop.is_set():
                data = record(self.seed, self.log_name, self.records)
                assert os.write(handle, data) == len(data)
                os.fsync(handle)
                self.records += 1
        finally:
            os.close(handle)

    def _write_tables(self):
        number = 0
        while not self._stop.is_set():
            name = "%s%05d.sst" % (self.table_prefix, number)
            with open(os.path.join(self.directory, name), "wb", buffering=0) as file:
                data = memoryview(table(self.seed, name))
                while data:
                    data = data[file.write(data) :]
                os.fsync(file.fileno())
            self.tables.append(name)
            number += 1

    def verify(self, directory):
        """Every acknowledged byte, read from `directory`; gives how many there are."""
        total = 0
        for name in self.tables:
            want = table(self.seed, name)
            with open(os.path.join(directory, name), "rb") as file:
                got = file.read()
            assert (
                hashlib.sha256(got).digest() == hashlib.sha256(want).digest()
            ), "seed %d: table %s differs (%d bytes of %d)" % (self.seed, name, len(got), len(want))
            total += len(want)
        if self.records == 0:
            return total
        with open(os.path.join(directory, self.log_name), "rb") as file:
            got = file.read()
        want = b"".join(record(self.seed, self.log_name, i) for i in range(self.records))
        assert got[: len(want)] == want, "seed %d: log %s differs in its %d acknowledged bytes" % (
            self.seed,
            self.log_name,
            len(want),
        )
        # One record may have been under way.
        rest = got[len(want) :]
        assert record(self.seed, self.log_name, self.records).startswith(
            rest
        ), "seed %d: log %s has %d bytes that were never written" % (
            self.seed,
            self.log_name,
            len(rest),
        )
        return total + len(want)
