"""A database moves by being opened elsewhere: closed by one process, then taken from a living one.

Prints times and metadata calls beside an open on the local file system; times are not asserted.
"""
import os
import re
import tempfile

from harness import Cluster, acked, run, say, wait_until

KEYS = int(os.environ.get("MORAINE_OPEN_TEST_KEYS", "2000000"))  # about 1.1 GiB of values


def opened(words):
    match = re.search(r"open_ms=([\d.]+) first_read_ms=([\d.]+) ssts=(\d+)", words)
    return float(match.group(1)), float(match.group(2)), int(match.group(3))


def stored_bytes(cluster):
    return cluster.status()["stored_bytes"]


def main():
    with Cluster() as cluster:
        note = os.path.join(cluster.dir, "acked")
        say(
            cluster.oracle(
                "write", "/db", note, "--keys", str(KEYS), "--sync-every", "100000", timeout=500
            )
            .stdout.strip()
            .splitlines()[-1]
        )
        before = stored_bytes(cluster)
        calls = cluster.metadata_calls()
        times = opened(cluster.oracle("open", "/db", "--key", "12345").stdout)
        calls = cluster.metadata_calls() - calls
        say(
            "closed database of %d SSTs: opened elsewhere in %.1f ms, first read %.2f ms later, "
            "%d metadata calls" % (times[2], times[0], times[1], calls)
        )
        assert times[2] >= 100, "the database has too few SSTs to mean anything"

        # Once more while its owner is alive and writing.
        live_note = os.path.join(cluster.dir, "live")
        owner = cluster.start_oracle(
            "write",
            "/db",
            live_note,
            "--keys",
            "10000000",
            "--sync-every",
            "10",
            "--start",
            str(KEYS),
            "--until-failure",
        )
        wait_until(lambda: acked(live_note) >= 500, 120, "500 writes of the living owner")
        calls = cluster.metadata_calls()
        times = opened(cluster.oracle("open", "/db", "--key", "12345").stdout)
        calls = cluster.metadata_calls() - calls
        output, _ = owner.communicate(timeout=60)
        assert owner.returncode == 3 and "fenced=1" in output, output
        say(
            "taken from a living writer (now fenced): opened in %.1f ms, first read %.2f ms later, "
            "%d metadata calls" % (times[0], times[1], calls)
        )
        say(cluster.oracle("verify_subset", "/db", live_note, "--start", str(KEYS)).stdout.strip())
        after = stored_bytes(cluster)
        # Only the log's replay and new small files were written: no table was copied.
        assert after - before < before * 0.2, (before, after)

        with tempfile.TemporaryDirectory(prefix="moraine-local-") as local:
            command = [cluster.program("moraine_oracle")]
            run(
                command
                + [
                    "write",
                    "-",
                    local + "/db",
                    local + "/acked",
                    "--keys",
                    str(KEYS),
                    "--sync-every",
                    "100000",
                ],
                timeout=500,
            )
            times = opened(run(command + ["open", "-", local + "/db", "--key", "12345"]).stdout)
            say(
                "the same on the local file system: opened in %.1f ms, first read %.2f ms later"
                % times[:2]
            )


main()
