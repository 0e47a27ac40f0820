"""What file_system_bench.py measures: directories with processes behind them.

A target is up only while it is measured (a with block): what the servers of another do in the
background, even those that have nothing to do, costs a name on one disk and two CPUs a third.
"""
import json
import os
import shutil
import subprocess
import sys

TICKS = os.sysconf('SC_CLK_TCK')


def process_seconds(pid):
    """User and system seconds of a process so far."""
    try:
        with open(f'/proc/{pid}/stat') as stat:
            fields = stat.read().rsplit(')', 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def process_memory(pid):
    """Resident MiB of a process."""
    try:
        with open(f'/proc/{pid}/status') as status:
            for line in status:
                if line.startswith('VmRSS'):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


class Target:
    """A directory for three copies, one for five, and the processes that serve them."""

    name = None
    three = five = None  # while it is up; None if other programs see no directory

    def __init__(self):
        self.memory = {}  # of each process in MiB, when all together had most

    def _up(self):
        raise NotImplementedError

    def _down(self):
        raise NotImplementedError

    def pids(self):
        """[(name, pid)]"""
        return []

    def __enter__(self):
        try:
            self._up()
        except BaseException:
            self._down()
            raise
        return self

    def __exit__(self, *_):
        memory = {f'{name}:{pid}': process_memory(pid) for name, pid in self.pids()}
        self.memory = max(memory, self.memory, key=lambda m: sum(m.values()))
        self._down()
        os.sync()  # what was removed is not the next one's work

    def cpu(self):
        return sum(process_seconds(pid) for _, pid in self.pids())

    def db_bench(self, name):
        """The arguments that make a database of this name, and the environment."""
        return [f'--db={self.three}/{name}'], dict(os.environ)


class Local(Target):
    name = 'local'

    def __init__(self, options):
        super().__init__()
        self.three = self.five = os.path.join(options.dir, 'local')

    def _up(self):
        os.makedirs(self.three)

    def _down(self):
        shutil.rmtree(self.three, ignore_errors=True)


class Cluster(Target):
    """A local cluster of Moraine's processes."""

    def __init__(self, options):
        super().__init__()
        self.moraine = os.path.join(options.bin, 'moraine')
        self.where = os.path.join(options.dir, 'cluster')
        self.cluster = {'processes': []}

    def _start(self, *words):
        subprocess.run([self.moraine, 'dev', 'up', '--dir', self.where, *words], check=True,
                       stdout=subprocess.DEVNULL)
        with open(os.path.join(self.where, 'cluster.json')) as file:
            self.cluster = json.load(file)

    def _down(self):
        subprocess.run([self.moraine, 'dev', 'down', '--dir', self.where, '--delete'],
                       stdout=subprocess.DEVNULL)

    def pids(self):
        return [(p['name'], p['pid']) for p in self.cluster['processes']]


class Mount(Cluster):
    name = 'mount'

    def __init__(self, options):
        super().__init__(options)
        self.mount = os.path.join(options.dir, 'mount')

    def _up(self):
        os.makedirs(self.mount, exist_ok=True)
        self._start('--mount', self.mount)
        # One directory for both: the name of a file decides how many copies it gets.
        self.three = self.five = os.path.join(self.mount, 'files')
        os.mkdir(self.three)


class Plugin(Cluster):
    """The RocksDB file system; has no directory that other programs see."""

    name = 'plugin'

    def _up(self):
        self._start()

    def db_bench(self, name):
        environment = dict(os.environ, LD_PRELOAD=self.cluster['plugin'])
        return [f'--fs_uri={self.cluster["uri"]}', f'--db=/{name}'], environment


class Peer(Target):
    name = 'peer'

    def __init__(self, options):
        super().__init__()
        self.script = options.peer
        self.mount = '/mnt/mfs' if 'moosefs' in self.script else '/mnt/gfs'

    def _up(self):
        subprocess.run([self.script, 'up'], check=True, stdout=subprocess.DEVNULL)
        if not os.path.ismount(self.mount):
            raise RuntimeError(f'{self.script} says that the peer is up, but nothing is mounted on '
                               f'{self.mount}')
        self.three, self.five = f'{self.mount}/g3', f'{self.mount}/g5'

    def _down(self):
        subprocess.run([self.script, 'down'], stdout=subprocess.DEVNULL)

    def pids(self):
        text = subprocess.run([self.script, 'pids'], stdout=subprocess.PIPE, text=True).stdout
        pairs = [line.split() for line in text.splitlines()]
        return [(p[0], int(p[1])) for p in pairs if len(p) == 2 and p[1].isdigit()]


def chosen(options):
    """Those of --targets, as far as they are here."""
    classes = {c.name: c for c in (Local, Mount, Plugin, Peer)}
    names = options.targets.split(',')
    for name in names:
        if name not in classes:
            sys.exit(f'file_system_bench: no target {name!r}; there are {", ".join(classes)}')
    return [classes[name](options) for name in names if name != 'peer' or options.peer]
