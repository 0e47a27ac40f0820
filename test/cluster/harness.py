"""A local cluster for tests: starts it, hands out its addresses, breaks it, removes it.

Every wait has a limit and a condition; nothing sleeps for a guess.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

BIN = os.environ.get("MORAINE_BIN") or os.path.join(os.getcwd(), "bin")


def say(words):
    print(words, flush=True)


def run(command, timeout=300, check=True, env=None, **kwargs):
    """Runs a command; its output is shown when it fails."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        env=env,
        stdin=subprocess.DEVNULL,
        **kwargs
    )
    if check and done.returncode != 0:
        raise AssertionError(
            "%s ended with %d:\n%s" % (" ".join(command), done.returncode, done.stdout[-4000:])
        )
    return done


def wait_until(condition, limit, what):
    """Until condition() is true; gives its value."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %s s for %s" % (limit, what))
        time.sleep(0.05)


class Cluster:
    def __init__(self, chunkservers=5, mount=False, directory=None, options=()):
        self.own = directory is None
        self.dir = directory or tempfile.mkdtemp(prefix="moraine-test-")
        self.mount = os.path.join(self.dir, "mnt") if mount else None
        command = [
            self.program("moraine"),
            "dev",
            "up",
            "--dir",
            self.dir,
            "--chunkservers",
            str(chunkservers),
        ]
        if mount:
            command += ["--mount", self.mount]
        self.options = list(options)
        self.up_command = command + self.options
        self.up()

    @staticmethod
    def program(name):
        return os.path.join(BIN, name)

    def up(self):
        run(self.up_command, timeout=120)
        with open(os.path.join(self.dir, "cluster.json")) as file:
            self.info = json.load(file)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.show_logs()
        run([self.program("moraine"), "dev", "down", "--dir", self.dir], timeout=120, check=False)
        if self.own:
            shutil.rmtree(self.dir, ignore_errors=True)

    def show_logs(self):
        for name in sorted(os.listdir(self.dir)):
            if name.endswith(".log"):
                with open(os.path.join(self.dir, name), errors="replace") as file:
                    say("---- %s\n%s" % (name, "".join(file.readlines()[-40:])))

    def reload(self):
        with open(os.path.join(self.dir, "cluster.json")) as file:
            self.info = json.load(file)

    @property
    def uri(self):
        return self.info["uri"]

    @property
    def metaserver(self):
        return self.info["metaserver"]

    def process(self, name):
        self.reload()
        return next(p for p in self.info["processes"] if p["name"] == name)

    def dev(self, verb, *names):
        return run([self.program("moraine"), "dev", verb, "--dir", self.dir, *names], timeout=90)

    def kill(self, *names):
        self.dev("kill", *names)

    def start(self, *names):
        self.dev("start", *names)

    def kill_everything_at_once(self):
        self.reload()
        pids = [p["pid"] for p in self.info["processes"] if p["pid"]]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def moraine(self, *words, check=True):
        return run([self.program("moraine"), *words, "--dir", self.dir], check=check, timeout=60)

    def status(self):
        return json.loads(self.moraine("status", "--json").stdout)

    def locate(self, path):
        return json.loads(self.moraine("locate", path, "--json").stdout)

    def metrics(self, name):
        """The numbers of one process's /metrics."""
        with urllib.request.urlopen(
            "http://%s/metrics" % self.process(name)["http"], timeout=10
        ) as answer:
            text = answer.read().decode()
        numbers = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                key, value = line.rsplit(" ", 1)
                numbers[key] = float(value)
        return numbers

    def metadata_calls(self):
        return sum(
            v
            for k, v in self.metrics("metaserver").items()
            if k.startswith("moraine_rpc_calls_total{")
            and not any(m in k for m in ('"heartbeat"', '"renewSession"', '"clusterStatus"'))
        )

    def rocksdb_env(self):
        env = dict(os.environ)
        env["LD_PRELOAD"] = self.info["plugin"]
        return env

    def rocksdb(self, program, *words, timeout=300, check=True):
        """A stock RocksDB tool on this file system."""
        return run(
            [program, *words, "--fs_uri=" + self.uri],
            env=self.rocksdb_env(),
            timeout=timeout,
            check=check,
        )

    def oracle(self, *words, timeout=300, check=True):
        return run(
            [self.program("moraine_oracle"), words[0], self.uri, *words[1:]],
            env=self.rocksdb_env(),
            timeout=timeout,
            check=check,
        )

    def start_oracle(self, *words):
        return subprocess.Popen(
            [self.program("moraine_oracle"), words[0], self.uri, *words[1:]],
            env=self.rocksdb_env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_healthy(self, limit=120):
        def healthy():
            status = self.status()
            alive = sum(1 for server in status["servers"] if server["alive"])
            return (
                alive == len(status["servers"])
                and status["under_replicated_chunks"] == 0
                and status["lost_chunks"] == 0
            )

        wait_until(healthy, limit, "full redundancy")


def need(path, what):
    """Tests that cannot run here say so loudly and count as skipped (exit code 77)."""
    if not os.path.exists(path):
        say("SKIPPED: this test needs %s (%s), which is not here." % (what, path))
        sys.exit(77)


def need_mount():
    need("/dev/fuse", "FUSE")
    if os.geteuid() != 0:
        say("SKIPPED: this test needs root to mount.")
        sys.exit(77)
