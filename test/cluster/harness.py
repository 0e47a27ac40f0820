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


def is_running(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def stop(pid):
    """SIGSTOP; on return the process does nothing more."""

    def stopped():
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "T"

    os.kill(pid, signal.SIGSTOP)
    wait_until(stopped, 15, "process %d to stop" % pid)


def acked(path):
    """How many writes an oracle has noted as acknowledged."""
    return os.path.getsize(path) // 16 if os.path.exists(path) else 0


def synced(path):
    """How many of them it had asked to be synced."""
    with open(path, "rb") as file:
        notes = file.read()
    return sum(notes[at + 8] for at in range(0, len(notes) - 15, 16))


def wait_until(condition, limit, what):
    """Until condition() is true; gives its value. A function as `what` is asked at the end."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            what = what() if callable(what) else what
            raise AssertionError("waited %s s for %s" % (limit, what))
        time.sleep(0.05)


# A dead chunkserver is known after --repair-grace; this must be several heartbeats.
HEARTBEAT = {"heartbeat": "250ms"}


class Cluster:
    """`options` go to `moraine dev up`; `configs` are more options by kind of process, for example
    {"chunkserver": {"scrub-pause": "1s"}}; `prepare` is called with the directory when everything
    has been started and stopped once: it may give the servers empty disks."""

    def __init__(
        self,
        chunkservers=5,
        mount=False,
        directory=None,
        options=(),
        configs=None,
        prepare=None,
    ):
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
        for kind, config in (configs or {}).items():
            self.configure(kind, config)
        self.up()
        if prepare:
            self.dev("down")
            prepare(self.dir)
            self.up()

    @staticmethod
    def program(name):
        return os.path.join(BIN, name)

    def configure(self, kind, config):
        """Options that processes of this kind take when they are started the next time."""
        with open(os.path.join(self.dir, kind + ".toml"), "w") as file:
            for name, value in config.items():
                file.write("%s = %s\n" % (name, json.dumps(value)))

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
        if kind is not None and os.environ.get("MORAINE_KEEP"):
            say("kept: " + self.dir)
        elif self.own:
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

    def directory_of(self, name):
        return self.process(name)["dir"]

    def pid(self, name):
        return self.process(name)["pid"]

    def log(self, name):
        with open(os.path.join(self.dir, name.replace(":", "-") + ".log"), errors="replace") as f:
            return f.read()

    def chunkservers(self):
        self.reload()
        return [p["name"] for p in self.info["processes"] if p["name"].startswith("chunkserver:")]

    def chunkservers_at(self, endpoints):
        """The names of those that `locate` calls by these endpoints."""
        return [name for name in self.chunkservers() if self.process(name)["endpoint"] in endpoints]

    def dev(self, verb, *names, env=None, check=True):
        return run(
            [self.program("moraine"), "dev", verb, "--dir", self.dir, *names],
            timeout=90,
            env=env,
            check=check,
        )

    def kill(self, *names):
        self.dev("kill", *names)

    def kill_together(self, *names):
        """SIGKILL to all of them before anything else happens."""
        self.kill_pids([self.pid(name) for name in names])

    @staticmethod
    def kill_pids(pids):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            wait_until(lambda: not is_running(pid), 15, "the end of process %d" % pid)

    def start(self, *names, faults=None):
        """`faults`: fault points that are armed in what is started (base/fault_point.h)."""
        env = dict(os.environ, MORAINE_FAULTS=faults) if faults else None
        self.dev("start", *names, env=env)

    def start_and_heal(self, *names):
        """They are back, and so are all replicas; gives the seconds that this took."""
        begin = time.monotonic()
        self.start(*names)
        self.wait_healthy()
        return time.monotonic() - begin

    def kill_everything_at_once(self):
        self.reload()
        self.kill_pids([p["pid"] for p in self.info["processes"] if p["pid"]])

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
            pipesize=1 << 20,  # most tests read it at the end
        )

    def wait_healthy(self, limit=120, all_servers=True):
        """Every chunk has its replicas; with `all_servers`, every known server is there too."""

        def healthy():
            status = self.status()
            alive = sum(1 for server in status["servers"] if server["alive"])
            return (
                (alive == len(status["servers"]) or not all_servers)
                and status["under_replicated_chunks"] == 0
                and status["lost_chunks"] == 0
            )

        wait_until(healthy, limit, "full redundancy")

    def wait_settled(self, limit=120):
        """No chunk is open and none is being deleted: what is on the disks stays as it is."""

        def settled():
            status = self.status()
            return status["open_chunks"] == 0 and status["deleting_chunks"] == 0

        wait_until(settled, limit, "the seals and deletions")


class Mount:
    """One more mount of a cluster, with nothing in its caches."""

    def __init__(self, cluster, *options):
        self.path = tempfile.mkdtemp(prefix="mnt-", dir=cluster.dir)
        self.log_path = self.path + ".log"
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen(
            [
                cluster.program("moraine-mount"),
                cluster.metaserver,
                self.path,
                "--foreground",
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        try:
            wait_until(self.is_mounted, 30, "the mount at " + self.path)
        except AssertionError:
            self.process.kill()
            raise AssertionError("the mount did not start: " + open(self.log_path).read())

    def is_mounted(self):
        assert self.process.poll() is None, open(self.log_path).read()
        with open("/proc/self/mounts") as mounts:
            return any(line.split()[1] == self.path for line in mounts)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        run(["umount", "-l", self.path], timeout=30, check=False)
        self.log.close()


class Fio:
    """A fio job that reads back and checks what it has written to one file."""

    def __init__(self, directory, name, *words):
        self.path = os.path.join(directory, name)
        self.process = subprocess.Popen(
            [
                "fio",
                "--name=" + name,
                "--filename=" + self.path,
                "--size=48M",
                "--bs=16k",
                "--verify=xxhash",
                "--verify_fatal=1",
                "--verify_state_save=0",
                "--fallocate=none",
                "--ioengine=psync",
                *words,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def is_over(self):
        return self.process.poll() is not None

    def finish(self):
        """It must end without an error of writing, reading or comparing."""
        try:
            output, _ = self.process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert self.process.returncode == 0 and "err= 0" in output, output[-3000:]


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
