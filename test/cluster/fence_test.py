"""A paused writer loses its directory to another process; when it wakes, nothing it does counts."""
import os
import re
import signal

from harness import Cluster, acked, run, say, stop, synced, wait_until


def main():
    with Cluster() as cluster:
        first_note = os.path.join(cluster.dir, "first")
        second_note = os.path.join(cluster.dir, "second")
        first = cluster.start_oracle(
            "write",
            "/owned",
            first_note,
            "--keys",
            "10000000",
            "--sync-every",
            "3",
            "--until-failure",
        )
        wait_until(lambda: acked(first_note) >= 1000, 60, "1,000 writes of the first owner")
        stop(first.pid)
        taken_at = synced(first_note)
        # The second owner opens the same directory and goes on behind what the first has synced.
        out = cluster.oracle(
            "write",
            "/owned",
            second_note,
            "--keys",
            "2000",
            "--sync-every",
            "1",
            "--seed",
            "99",
            timeout=120,
        )
        say("second owner: " + out.stdout.strip().splitlines()[-1])
        os.kill(first.pid, signal.SIGCONT)
        output, _ = first.communicate(timeout=60)
        say("first owner: " + output.strip().splitlines()[-1])
        assert first.returncode == 3, output
        assert re.search(r"fenced=1", output), (
            "the first owner's RocksDB must report IOFenced: " + output
        )
        # At most the sync that was under way when it was stopped may have been acknowledged since;
        # writes that are not synced say nothing.
        assert synced(first_note) <= taken_at + 1, (synced(first_note), taken_at)
        # The second's data is there, and so is everything that the first had synced.
        verified = run(
            [
                cluster.program("moraine_oracle"),
                "verify_subset",
                cluster.uri,
                "/owned",
                second_note,
                "--seed",
                "99",
            ],
            env=cluster.rocksdb_env(),
            timeout=120,
        )
        say(verified.stdout.strip())
        verified = run(
            [cluster.program("moraine_oracle"), "verify_subset", cluster.uri, "/owned", first_note],
            env=cluster.rocksdb_env(),
            timeout=120,
        )
        say(verified.stdout.strip())


main()
