"""What file_system_bench.py measures: directories with processes behind them."""
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

    def __init__(self, name, three, five, pids):
        self.name = name
        self.three = three
        self.five = five
        self.pids = pids  # a function: [(name, pid)]
        self.database = None  # db_bench's arguments and environment, where --db is not enough

    def cpu(self):
        return sum(process_seconds(pid) for _, pid in self.pids())

    def memory(self):
        return {f'{name}:{pid}': round(process_memory(pid), 1) for name, pid in self.pids()}

    def db_bench(self, name):
        """The arguments that make a database of this name, and the environment."""
        return [f'--db={self.three}/{name}'], dict(os.environ)


class Plugin(Target):
    """The RocksDB file system; has no directory that other programs see."""

    def __init__(self, cluster, pids):
        super().__init__('plugin', None, None, pids)
        self.uri = cluster['uri']
        self.plugin = cluster['plugin']

    def db_bench(self, name):
        environment = dict(os.environ, LD_PRELOAD=self.plugin)
        return [f'--fs_uri={self.uri}', f'--db=/plugin/{name}'], environment


class Targets:
    """Brings everything up, and down again at the end."""

    def __init__(self, options, wanted):
        self.options = options
        self.wanted = wanted
        self.list = []

    def __enter__(self):
        try:
            self._up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __iter__(self):
        return iter(self.list)

    def _up(self):
        local = os.path.join(self.options.dir, 'local')
        if 'local' in self.wanted:
            os.makedirs(local)
            self.list.append(Target('local', local, local, lambda: []))
        if 'mount' in self.wanted or 'plugin' in self.wanted:
            self._cluster_up()
        if 'peer' in self.wanted and self.options.peer:
            self._peer_up()

    def _moraine(self, *words):
        return subprocess.run([os.path.join(self.options.bin, 'moraine'), *words], check=True,
                              stdout=subprocess.PIPE, text=True).stdout

    def _cluster_up(self):
        where = os.path.join(self.options.dir, 'cluster')
        mount = os.path.join(self.options.dir, 'mount')
        os.makedirs(mount)
        self._moraine('dev', 'up', '--dir', where, '--mount', mount)
        with open(os.path.join(where, 'cluster.json')) as file:
            cluster = json.load(file)
        servers = [(p['name'], p['pid']) for p in cluster['processes']]
        os.makedirs(os.path.join(mount, 'three'))
        os.makedirs(os.path.join(mount, 'plugin'))
        if 'mount' in self.wanted:
            # One directory for both: the name of a file decides how many copies it gets.
            three = os.path.join(mount, 'three')
            self.list.append(Target('mount', three, three, lambda: servers))
        if 'plugin' in self.wanted:
            without_mount = [s for s in servers if s[0] != 'mount']
            self.list.append(Plugin(cluster, lambda: without_mount))

    def _peer_up(self):
        script = self.options.peer
        subprocess.run([script, 'up'], check=True, stdout=subprocess.DEVNULL)
        mount = '/mnt/mfs' if 'moosefs' in script else '/mnt/gfs'

        def pids():
            text = subprocess.run([script, 'pids'], stdout=subprocess.PIPE, text=True).stdout
            pairs = [line.split() for line in text.splitlines()]
            return [(p[0], int(p[1])) for p in pairs if len(p) == 2 and p[1].isdigit()]
        self.list.append(Target('peer', f'{mount}/g3', f'{mount}/g5', pids))

    def __exit__(self, *_):
        where = os.path.join(self.options.dir, 'cluster')
        if os.path.exists(where):
            subprocess.run([os.path.join(self.options.bin, 'moraine'), 'dev', 'down', '--dir',
                            where, '--delete'], stdout=subprocess.DEVNULL)
        if 'peer' in self.wanted and self.options.peer:
            subprocess.run([self.options.peer, 'down'], stdout=subprocess.DEVNULL)
