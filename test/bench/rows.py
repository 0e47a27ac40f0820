"""The rows of file_system_bench.py: what is done to a target, and what comes out."""
import json
import multiprocessing
import os
import pty
import re
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time

MIB = 1 << 20
BLOCK = b'm' * 4096


class Results:
    """Every run of every row; medians at the end."""

    def __init__(self, path):
        self.path = path
        self.runs = {}  # row -> target -> [figure]
        self.cpu = {}   # row -> target -> [seconds]
        self.units = {}
        self.groups = {}

    def add(self, group, row, unit, target, figure, cpu):
        self.units[row] = unit
        self.groups.setdefault(group, [])
        if row not in self.groups[group]:
            self.groups[group].append(row)
        self.runs.setdefault(row, {}).setdefault(target, []).append(figure)
        self.cpu.setdefault(row, {}).setdefault(target, []).append(cpu)
        print(f'  {row:38} {target:7} {figure:12,.1f} {unit:8} CPU {cpu:6.2f} s', file=sys.stderr,
              flush=True)
        if self.path:
            with open(self.path, 'w') as file:
                json.dump({'runs': self.runs, 'cpu': self.cpu, 'units': self.units}, file, indent=1)

    def print_group(self, group):
        names = ['local', 'mount', 'plugin', 'peer']
        print(f'\n{group:38} ' + ''.join(f'{name:>12}' for name in names) +
              '  mount/local  mount/peer plugin/peer')
        for row in self.groups.get(group, []):
            medians = {t: statistics.median(r) for t, r in self.runs[row].items()}
            line = ''.join(f'{medians[n]:12,.1f}' if n in medians else f'{"-":>12}' for n in names)
            smaller_is_better = self.units[row] in ('ms', 's', 'us')

            def ratio(a, b):
                if a not in medians or b not in medians or not medians[a] or not medians[b]:
                    return f'{"-":>12}'
                value = medians[a] / medians[b]
                return f'{1 / value if smaller_is_better else value:11.2f}x'
            print(f'{row + ", " + self.units[row]:38} {line} {ratio("mount", "local")}'
                  f'{ratio("mount", "peer")}{ratio("plugin", "peer")}')
        for row in self.groups.get(group, []):
            cpu = {t: statistics.median(r) for t, r in self.cpu[row].items() if t != 'local'}
            if any(cpu.values()):
                print(f'  CPU s of {row:28} ' +
                      '  '.join(f'{t} {s:.2f}' for t, s in cpu.items()))
        sys.stdout.flush()

    @staticmethod
    def print_memory(all_targets):
        for target in all_targets:
            memory = target.memory
            if memory:
                print(f'memory of {target.name}, MiB: {sum(memory.values()):.0f} in all; ' +
                      ', '.join(f'{n.split(":")[0]} {m:.0f}' for n, m in memory.items()))


def drop_caches():
    os.sync()
    with open('/proc/sys/vm/drop_caches', 'w') as file:
        file.write('3\n')


class Measured:
    """CPU of a target's processes, and of the programs run meanwhile, over a with block."""

    def __init__(self, target):
        self.target = target

    def __enter__(self):
        self.begin_cpu = self.target.cpu()
        self.begin_own = self._children()
        self.begin = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.begin
        self.cpu = self.target.cpu() - self.begin_cpu
        self.tool_cpu = self._children() - self.begin_own

    @staticmethod
    def _children():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime


def in_processes(count, work):
    """Runs work(index, barrier) in `count` processes; seconds from the start of all to the end of
    the last."""
    context = multiprocessing.get_context('fork')
    barrier = context.Barrier(count + 1)
    processes = [context.Process(target=work, args=(i, barrier)) for i in range(count)]
    for process in processes:
        process.start()
    barrier.wait()
    begin = time.monotonic()
    for process in processes:
        process.join()
        if process.exitcode != 0:
            raise RuntimeError(f'a worker ended with {process.exitcode}')
    return time.monotonic() - begin


def fio(*words):
    command = ['fio', '--output-format=json', '--fallocate=none', '--invalidate=0',
               '--randrepeat=0', '--group_reporting', '--name=row', *words]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if run.returncode != 0:
        raise RuntimeError(f'fio: {run.stderr[-300:]} {run.stdout[-300:]}')
    return json.loads(run.stdout[run.stdout.index('{'):])['jobs'][0]


# ---- Groups. Each yields (row, unit, figure, cpu) for one target.

def sequential(target, quick):
    size = 128 if quick else 1024
    path = f'{target.three}/sequential.dat'
    with Measured(target) as m:
        fio(f'--filename={path}', '--rw=write', '--bs=1M', f'--size={size}M', '--end_fsync=1',
            '--ioengine=psync')
    yield f'sequential write {size} MiB + fsync', 'MiB/s', size / m.seconds, m.cpu
    yield 'CPU per GiB written', 's', m.cpu * 1024 / size, m.cpu
    drop_caches()
    with Measured(target) as m:
        fio(f'--filename={path}', '--rw=read', '--bs=1M', f'--size={size}M', '--ioengine=psync')
    yield 'sequential read, cold', 'MiB/s', size / m.seconds, m.cpu
    yield 'CPU per GiB read', 's', m.cpu * 1024 / size, m.cpu
    os.unlink(path)


def random_reads(target, quick):
    size = 128 if quick else 1024
    path = f'{target.three}/random.dat'
    fio(f'--filename={path}', '--rw=write', '--bs=1M', f'--size={size}M', '--end_fsync=1',
        '--ioengine=psync')
    for depth in (1, 16):
        drop_caches()
        with Measured(target) as m:
            job = fio(f'--filename={path}', '--rw=randread', '--bs=4k', f'--size={size}M',
                      f'--runtime={2 if quick else 6}', '--time_based', '--direct=1',
                      '--ioengine=libaio', f'--iodepth={depth}')
        yield f'4 KiB random read, depth {depth}', 'per s', job['read']['iops'], m.cpu
    with Measured(target) as m:
        job = fio(f'--filename={path}', '--rw=randwrite', '--bs=4k', f'--size={size}M',
                  f'--io_size={size // 16}M', '--end_fsync=1', '--ioengine=psync')
    yield '4 KiB random overwrite, one fsync', 'MiB/s', size / 16 / m.seconds, m.cpu
    os.unlink(path)


def append_worker(directory, name, seconds, counts, times):
    def work(index, barrier):
        descriptor = os.open(f'{directory}/{index}.{name}', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        own = []
        barrier.wait()
        end = time.monotonic() + seconds
        while True:
            begin = time.monotonic()
            if begin >= end:
                break
            os.write(descriptor, BLOCK)
            os.fdatasync(descriptor)
            own.append(time.monotonic() - begin)
        counts[index] = len(own)
        if index == 0 and own:
            own.sort()
            times[0], times[1] = own[len(own) // 2], own[len(own) * 99 // 100]
        os.close(descriptor)
    return work


def appends(target, quick):
    seconds = 2 if quick else 5
    for policy, name in (('immutable', 'dat'), ('log', 'log')):
        directory = (target.three if policy == 'immutable' else target.five) + '/append'
        for writers in (1, 8):
            os.makedirs(directory)
            counts = multiprocessing.Array('l', writers)
            times = multiprocessing.Array('d', 2)
            with Measured(target) as m:
                in_processes(writers, append_worker(directory, name, seconds, counts, times))
            row = f'4 KiB append + fdatasync, {policy}, {writers}'
            yield row, 'per s', sum(counts) / seconds, m.cpu
            if writers == 1:
                yield f'  p50, {policy}', 'us', times[0] * 1e6, 0.0
                yield f'  p99, {policy}', 'us', times[1] * 1e6, 0.0
            shutil.rmtree(directory)


def each_name(directory, index, count):
    return [f'{directory}/{index}/{i:06d}' for i in range(count)]


def name_worker(directory, count, operation):
    def work(index, barrier):
        names = each_name(directory, index, count)
        barrier.wait()
        for name in names:
            operation(name)
    return work


def create(name):
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def write_small(name, sync=False):
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(descriptor, BLOCK)
    if sync:
        os.fsync(descriptor)
    os.close(descriptor)


def read_small(name):
    descriptor = os.open(name, os.O_RDONLY)
    if len(os.read(descriptor, 8192)) != len(BLOCK):
        raise RuntimeError(f'{name} is short')
    os.close(descriptor)


def names(target, quick):
    count = 1000 if quick else 4000
    for processes in (1, 4):
        directory = f'{target.three}/names'
        for index in range(processes):
            os.makedirs(f'{directory}/{index}')
        steps = [('create', create, False), ('stat cold', os.stat, True),
                 ('rename', lambda n: os.rename(n, n + 'r'), False),
                 ('unlink', lambda n: os.unlink(n + 'r'), False)]
        for what, operation, cold in steps if processes == 1 else steps[:1]:
            if cold:
                drop_caches()
            with Measured(target) as m:
                seconds = in_processes(processes, name_worker(directory, count, operation))
            yield (f'{what}, {processes} process{"es" if processes > 1 else ""}', 'per s',
                   count * processes / seconds, m.cpu)
        shutil.rmtree(directory)


def small_files(target, quick):
    count = 500 if quick else 3000
    directory = f'{target.three}/small'
    os.makedirs(f'{directory}/0')
    steps = [('4 KiB files written', write_small, count, False),
             ('4 KiB files read, cold', read_small, count, True)]
    for what, operation, number, cold in steps:
        if cold:
            drop_caches()
        with Measured(target) as m:
            seconds = in_processes(1, name_worker(directory, number, operation))
        yield what, 'per s', number / seconds, m.cpu
    shutil.rmtree(directory)
    os.makedirs(f'{directory}/0')
    with Measured(target) as m:
        seconds = in_processes(1, name_worker(directory, count // 3,
                                              lambda name: write_small(name, True)))
    yield '4 KiB files written + fsync', 'per s', count // 3 / seconds, m.cpu
    shutil.rmtree(directory)


FIGURE = re.compile(r'^\w+\s*:\s*[\d.]+ micros/op (\d+) ops/sec', re.M)


def db_bench_command(target, name, *words):
    where, environment = target.db_bench(name)
    return ['db_bench', '--key_size=100', '--value_size=400', '--compression_type=none',
            '--cache_size=8388608', *where, *words], environment


def db_bench(target, name, *words):
    command, environment = db_bench_command(target, name, *words)
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         env=environment, timeout=600)
    figure = FIGURE.search(run.stdout)
    if run.returncode != 0 or not figure:
        raise RuntimeError(f'db_bench on {target.name}: {run.stdout[-300:]} {run.stderr[-300:]}')
    return int(figure.group(1))


def seconds_to_figure(target, name, *words):
    """Until db_bench has done its work; how it closes the database is not in it."""
    command, environment = db_bench_command(target, name, *words)
    ours, theirs = pty.openpty()  # its lines come as they are written
    begin = time.monotonic()
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as run:
        os.close(theirs)
        limit = threading.Timer(600, run.kill)
        limit.start()
        said, seconds = '', None
        while seconds is None:
            try:
                said += os.read(ours, 4096).decode(errors='replace')
            except OSError:  # the other end has gone
                limit.cancel()
                raise RuntimeError(f'db_bench on {target.name}: {said[-300:]}') from None
            if FIGURE.search(said.replace('\r', '')):
                seconds = time.monotonic() - begin
        try:
            while os.read(ours, 4096):
                pass
        except OSError:
            pass
        os.close(ours)
        run.wait()
        limit.cancel()
    if run.returncode != 0:
        raise RuntimeError(f'db_bench on {target.name}: {said[-300:]}')
    return seconds


def databases(target, quick):
    number = f'--num={100000 if quick else 1000000}'
    seconds = f'--duration={3 if quick else 8}'
    for row, name, words, cold in (
            ('db_bench fillseq', 'seq', ['--benchmarks=fillseq', number], False),
            ('db_bench fillrandom, sync', 'sync',
             ['--benchmarks=fillrandom', '--sync=1', number, seconds], False),
            ('db_bench readrandom, cold', 'seq',
             ['--benchmarks=readrandom', '--use_existing_db=1', number, seconds], True)):
        if cold:
            drop_caches()
        with Measured(target) as m:
            figure = db_bench(target, name, *words)
        cpu = m.cpu + (m.tool_cpu if target.name == 'plugin' else 0)
        yield row, 'per s', figure, cpu


def opens(target, quick):
    number = f'--num={200000 if quick else 2000000}'
    db_bench(target, 'open', '--benchmarks=fillseq', number, '--target_file_size_base=8388608',
             '--write_buffer_size=8388608', '--disable_wal=1')
    for row, cold in (('database open + first read, cold', True),
                      ('database open + first read, warm', False)):
        if cold:
            drop_caches()
        with Measured(target) as m:
            seconds = seconds_to_figure(target, 'open', '--benchmarks=readrandom', '--reads=1',
                                        '--use_existing_db=1', number)
        yield row, 'ms', seconds * 1000, m.cpu


# name -> (rows, whether they need a directory)
GROUPS = {
    'seq': (sequential, True), 'append': (appends, True), 'random': (random_reads, True),
    'meta': (names, True), 'small': (small_files, True), 'db': (databases, False),
    'open': (opens, False),
}


def run_group(group, all_targets, options, results):
    rows, needs_directory = GROUPS[group]
    for repetition in range(options.repetitions):
        print(f'{group}, run {repetition + 1} of {options.repetitions}', file=sys.stderr,
              flush=True)
        for target in all_targets:
            if needs_directory and target.name == 'plugin':
                continue
            with target:
                for row, unit, figure, cpu in rows(target, options.quick):
                    results.add(group, row, unit, target.name, figure, cpu)
