"""Every process is killed at once under synced load and started again: what was synced is there."""
import os
import time

from harness import Cluster, acked, say, wait_until


def main():
    with Cluster() as cluster:
        for round_number in range(3):
            note = os.path.join(cluster.dir, "acked-%d" % round_number)
            db = "/crash-%d" % round_number
            # The first round syncs each write, the others let some be unsynced in between.
            sync_every = [1, 7, 50][round_number]
            writer = cluster.start_oracle(
                "write",
                db,
                note,
                "--keys",
                "1000000",
                "--sync-every",
                str(sync_every),
                "--seed",
                str(round_number + 1),
                "--until-failure",
            )
            wait_until(lambda: acked(note) >= 2000, 120, "2,000 acknowledged writes")
            cluster.kill_everything_at_once()
            writer.kill()
            writer.wait()
            before = acked(note)
            begin = time.monotonic()
            cluster.up()
            say(
                "round %d: killed after %d acknowledged writes, serving again after %.2f s"
                % (round_number, before, time.monotonic() - begin)
            )
            say(cluster.oracle("verify", db, note, "--seed", str(round_number + 1)).stdout.strip())
        cluster.wait_healthy()


main()
