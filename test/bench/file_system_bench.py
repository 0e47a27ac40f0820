#!/usr/bin/env python3
"""Measures Moraine beside a local directory, and beside MooseFS where its packages are.

  file_system_bench.py [--rows seq,append,random,meta,small,db,open] [--repetitions 3] [--quick]
                       [--peer SCRIPT] [--dir DIR] [--pin] [--json FILE]

Runs every row on every target in turn, several times, and prints the medians, their ratio to the
local directory and to the peer. A target (a local cluster of one metaserver and five chunkservers
below DIR) is started for its rows and ended after them: no other one runs beside it. Everything
stands on one disk: copies share it, so the local directory is the limit of one copy. Nothing passes
or fails here. CPU is that of all processes of a target's servers and its mount or, for the plugin,
the program itself.

The targets: `local` (the directory itself), `mount` (moraine-mount), `plugin` (the RocksDB file
system, database rows only), and `peer`: a script with the verbs up, down and pids that mounts
directories g3 and g5 with three and five copies (--peer).
"""
import argparse
import json
import os
import shutil
import sys

import rows
import targets

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', default='seq,append,random,meta,small,db,open',
                        help='groups of rows, separated by commas (default: all)')
    parser.add_argument('--targets', default='local,mount,plugin,peer')
    parser.add_argument('--repetitions', type=int, default=3, help='medians are of so many runs')
    parser.add_argument('--quick', action='store_true', help='a tenth of the data')
    parser.add_argument('--peer', metavar='SCRIPT',
                        help='brings a peer up and down; default: ../shared/lab/peers/moosefs.sh '
                        'beside this tree, where that is')
    parser.add_argument('--dir', default='/var/tmp/moraine-bench', help='where everything is kept')
    parser.add_argument('--bin', default=os.path.join(ROOT, 'build', 'release', 'bin'))
    parser.add_argument('--pin', action='store_true',
                        help='everything on one CPU: no price for waking another one')
    parser.add_argument('--json', metavar='FILE', help='writes every single run there')
    options = parser.parse_args()
    beside = os.path.join(ROOT, '..', 'shared', 'lab', 'peers', 'moosefs.sh')
    if options.peer is None and os.path.exists(beside) and shutil.which('mfsmaster'):
        options.peer = os.path.abspath(beside)
    return options


def main():
    options = parse()
    if os.geteuid() != 0:
        sys.exit('file_system_bench: needs root: it mounts and drops caches')
    if options.pin:
        os.sched_setaffinity(0, {0})
    all_targets = targets.chosen(options)
    shutil.rmtree(options.dir, ignore_errors=True)
    os.makedirs(options.dir)
    results = rows.Results(options.json)
    for group in options.rows.split(','):
        if group not in rows.GROUPS:
            known = ', '.join(rows.GROUPS)
            sys.exit(f'file_system_bench: no rows {group!r}; there are {known}')
        rows.run_group(group, all_targets, options, results)
        results.print_group(group)
    results.print_memory(all_targets)
    shutil.rmtree(options.dir, ignore_errors=True)


if __name__ == '__main__':
    main()
