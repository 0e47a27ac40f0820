"""The demo of the quickstart, as a test."""
import os
import shutil
import sys

from harness import Cluster, need, need_mount, run, say


def main():
    need_mount()
    for program in ("git", "fio", "db_bench", "ldb"):
        need(shutil.which(program) or program, program)
    with Cluster(mount=True) as cluster:
        demo = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "demo")
        done = run(
            [sys.executable, "-u", demo, "--dir", cluster.dir, "--bin", os.environ["MORAINE_BIN"]],
            timeout=840,
        )
        say(done.stdout)


main()
