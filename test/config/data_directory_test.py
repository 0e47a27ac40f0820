"""A server refuses a directory that is in use, not whole or not its own, and leaves it alone."""
import hashlib
import os
import shutil
import sys
import tempfile

from complaint import refusal
from harness import Cluster, run, say

ANYWHERE = "127.0.0.1:0"


def digest(folder):
    """The content of every file below a folder, locks left out."""
    found = {}
    for place, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(place, name)
            if name in ("LOCK",):
                continue
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = hashlib.sha256(file.read()).hexdigest()
    return found


class Directories:
    """Copies of two servers' directories, one for each case."""

    def __init__(self, folder, cluster):
        self.folder = folder
        self.cluster = cluster
        self.metaserver = cluster.metaserver
        self.cases = 0
        self.findings = []

    def copy(self, name):
        target = os.path.join(self.folder, "%s-%d" % (name, self.cases))
        shutil.copytree(os.path.join(self.cluster.dir, name), target)
        return target

    def refuses(self, what, program, path, words, options=(), opened=False):
        self.cases += 1
        command = ["moraine-" + program, "--dir=" + path, "--listen=" + ANYWHERE, *options]
        if program == "chunkserver" and not any("--metaserver" in word for word in options):
            command.append("--metaserver=" + self.metaserver)
        if program == "metaserver":
            command.append("--http=" + ANYWHERE)
        before = digest(path)
        fault = refusal(command, 1, [os.path.basename(path)] + words)
        after = digest(path)
        # RocksDB recovers its log before it can be asked what is in it.
        if after != before and not opened:
            changed = [n for n in {**before, **after} if before.get(n) != after.get(n)]
            fault += "\n    the directory has changed: %s" % sorted(changed)
        if fault:
            self.findings.append("%s: %s" % (what, fault))

    def chunkserver_cases(self):
        path = self.copy("chunkserver-1")
        with open(path + "/superblock", "r+b") as file:
            file.seek(8)
            file.write(bytes([9, 0, 0, 0]))
        self.refuses("newer store", "chunkserver", path, ["has format 9, this program knows 1"])

        path = self.copy("chunkserver-1")
        with open(path + "/superblock", "r+b") as file:
            file.seek(30)
            byte = file.read(1)
            file.seek(30)
            file.write(bytes([byte[0] ^ 1]))
        self.refuses("damaged superblock", "chunkserver", path, ["does not match its checksum"])

        path = self.copy("chunkserver-1")
        os.truncate(path + "/superblock", 0)
        self.refuses("empty superblock", "chunkserver", path, ["superblock", "not a superblock"])

        path = self.copy("chunkserver-1")
        os.unlink(path + "/superblock")
        self.refuses("superblock gone", "chunkserver", path, ["superblock is missing", "restore"])

        path = self.copy("chunkserver-1")
        os.unlink(path + "/superblock")
        shutil.rmtree(path + "/chunks")
        self.refuses("only the journal left", "chunkserver", path, ["journal", "superblock is mi"])

        path = self.copy("chunkserver-1")
        os.unlink(path + "/journal")
        self.refuses("journal gone", "chunkserver", path, ["journal is missing", "restore"])

        path = self.copy("chunkserver-1")
        shutil.rmtree(path + "/chunks")
        self.refuses("chunks gone", "chunkserver", path, ["chunks is missing", "restore"])

        path = self.copy("chunkserver-1")
        shutil.copy(os.path.join(self.cluster.dir, "chunkserver-2/journal"), path + "/journal")
        self.refuses("journal of another", "chunkserver", path, ["journal of another store"])

        path = self.copy("metaserver")
        self.refuses("wrong kind", "chunkserver", path, ["is a metaserver's directory"])

    def metaserver_cases(self):
        path = self.copy("metaserver")
        os.unlink(path + "/CURRENT")
        self.refuses("CURRENT gone", "metaserver", path, ["lost its file CURRENT", "restore"])

        path = self.copy("metaserver")
        for name in os.listdir(path):
            if name.startswith("MANIFEST"):
                os.unlink(os.path.join(path, name))
        self.refuses("MANIFEST gone", "metaserver", path, ["MANIFEST"])

        path = self.copy("metaserver")
        tables = [name for name in os.listdir(path) if name.endswith(".sst")]
        assert tables, "the metaserver has written no table yet"
        os.unlink(os.path.join(path, tables[0]))
        self.refuses(
            "a table gone", "metaserver", path, [os.path.splitext(tables[0])[0], "restore a copy"]
        )

        path = self.copy("metaserver")
        self.refuses(
            "another cluster",
            "metaserver",
            path,
            ["belongs to cluster", "not 0123"],
            ["--cluster=0123"],
            opened=True,
        )

        path = self.copy("chunkserver-1")
        self.refuses("wrong kind", "metaserver", path, ["is a chunkserver's directory"])

        if shutil.which("ldb"):
            path = self.copy("metaserver")
            run(["ldb", "--db=" + path, "create_column_family", "invented_later"])
            self.refuses("newer state", "metaserver", path, ["newer Moraine"])

            path = self.copy("metaserver")
            format_9 = ["--key_hex", "--value_hex", "0x666F726D6174", "0x09"]
            run(["ldb", "--db=" + path, "--try_load_options", "put", *format_9])
            self.refuses(
                "newer format",
                "metaserver",
                path,
                ["has format 9, this program knows"],
                opened=True,
            )


def main():
    folder = tempfile.mkdtemp(prefix="moraine-directories-")
    try:
        with Cluster(chunkservers=3) as cluster:
            note = os.path.join(folder, "acked")
            cluster.oracle("write", "/db", note, "--keys", "2000", "--sync-every", "10")
            directories = Directories(folder, cluster)
            for name in ("metaserver", "chunkserver-1"):
                self_path = os.path.join(cluster.dir, name)
                directories.cases += 1
                program = "moraine-" + name.split("-")[0]
                command = [program, "--dir=" + self_path, "--listen=" + ANYWHERE]
                command += (
                    ["--metaserver=" + cluster.metaserver]
                    if name != "metaserver"
                    else ["--http=" + ANYWHERE]
                )
                fault = refusal(command, 1, [name, "in use by another process"])
                if fault:
                    directories.findings.append("two on one directory: " + fault)
            # Stopped and started once, so that the metaserver has tables.
            cluster.dev("kill", "metaserver")
            cluster.dev("start", "metaserver")
            run([cluster.program("moraine"), "dev", "down", "--dir", cluster.dir])
            directories.chunkserver_cases()
            directories.metaserver_cases()
            with Cluster(chunkservers=1) as other:
                foreign(directories, other)
    finally:
        shutil.rmtree(folder)
    say("\n".join(directories.findings))
    say(
        "%d of %d directories are refused well"
        % (directories.cases - len(directories.findings), directories.cases)
    )
    assert directories.cases >= 6
    sys.exit(1 if directories.findings else 0)


def foreign(directories, other):
    """It opens its own store before it asks whom it belongs to, so the journal may move on."""
    directories.cases += 1
    path = directories.copy("chunkserver-1")
    command = ["moraine-chunkserver", "--dir=" + path, "--listen=" + ANYWHERE]
    fault = refusal(
        command + ["--metaserver=" + other.metaserver], 1, [other.metaserver, "cluster"]
    )
    if fault:
        directories.findings.append("of another cluster: " + fault)


main()
