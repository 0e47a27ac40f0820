"""A table of wrong configurations: one line each, exit code 2 (or 1), nothing made on the disk.

2: the options or the configuration file are wrong. 1: what they name does not fit the world.
"""
import os
import shutil
import socket
import sys
import tempfile

from complaint import refusal
from harness import say

META, CHUNK, MOUNT, TOOL = "moraine-metaserver", "moraine-chunkserver", "moraine-mount", "moraine"
DEAD = "127.0.0.1:1"  # nobody listens there
NOBODY = 65534

# (name, command, what the line must say); {d} is a folder of the case's own. Exit code 2.
OPTIONS = [
    ("nothing", [META], ["--dir: must be set", "path"]),
    ("unknown option", [META, "--dri={d}/m"], ["--dri: no such option", "did you mean --dir"]),
    ("unlike any option", [META, "--xyzzyx=1"], ["--xyzzyx", "--help lists all"]),
    ("underscore", [META, "--session_ttl=1s"], ["did you mean --session-ttl"]),
    ("short option", [META, "-d", "x"], ["-d: no such option"]),
    ("no value", [META, "--dir"], ["--dir: needs a path"]),
    ("empty path", [META, "--dir="], ["--dir=: must be a path that is not empty"]),
    ("given twice", [META, "--dir=a", "--dir=b"], ["--dir=b: the option is given twice"]),
    ("stray word", [META, "--dir={d}/m", "start"], ["'start': unexpected argument", "usage:"]),
    ("no unit", [META, "--dir={d}/m", "--session-ttl=5"], ["session-ttl=5: must be a time from"]),
    ("bad unit", [META, "--dir={d}/m", "--lazy-sync=5sec"], ["lazy-sync=5sec: must be a time"]),
    ("time too short", [META, "--dir={d}/m", "--session-ttl=1ms"], ["from 500ms to 1h"]),
    (
        "dead between two heartbeats",
        [META, "--dir={d}/m", "--repair-grace=1500ms"],
        ["--repair-grace=1500ms: must be a time from 2s to"],
    ),
    ("time too long", [META, "--dir={d}/m", "--alive-for=2h"], ["alive-for=2h", "to 1h"]),
    ("size too small", [META, "--dir={d}/m", "--block-cache-bytes=1KiB"], ["from 1MiB to 1TiB"]),
    ("bad size", [META, "--dir={d}/m", "--block-cache-bytes=1QB"], ["=1QB: must be a size"]),
    ("number too small", [META, "--dir={d}/m", "--repair-copies=0"], ["from 1 to 1024"]),
    ("no number", [META, "--dir={d}/m", "--repair-copies=many"], ["=many: must be a whole number"]),
    ("half a copy", [META, "--dir={d}/m", "--repair-copies=1.5"], ["=1.5: must be a whole number"]),
    ("no port", [META, "--dir={d}/m", "--listen=here"], ["--listen=here: must be host:port"]),
    ("port too large", [META, "--dir={d}/m", "--listen=a:65536"], ["must be host:port"]),
    ("host too long", [META, "--dir={d}/m", "--listen=" + "h" * 300 + ":1"], ["host:port"]),
    (
        "one address twice",
        [META, "--dir={d}/m", "--listen=127.0.0.1:7440", "--http=127.0.0.1:7440"],
        ["--http=127.0.0.1:7440", "another address than --listen"],
    ),
    ("log level", [META, "--dir={d}/m", "--log-level=loud"], ["one of debug, info, warning"]),
    ("no cluster id", [META, "--dir={d}/m", "--cluster=" + "x" * 256], ["--cluster=x", "status"]),
    ("help with value", [META, "--help=me"], ["--help: takes no value"]),
    ("no metaserver", [CHUNK, "--dir={d}/c"], ["--metaserver: must be set", "host:port"]),
    ("port 0 to call", [CHUNK, "--dir={d}/c", "--metaserver=h:0"], ["=h:0: must be host"]),
    (
        "too many domains",
        [CHUNK, "--dir={d}/c", "--metaserver=" + DEAD, "--location=a/b/c/d"],
        ["--location=a/b/c/d", "zone/rack/host"],
    ),
    (
        "empty domain",
        [CHUNK, "--dir={d}/c", "--metaserver=" + DEAD, "--location=a//c"],
        ["--location=a//c", "zone/rack/host"],
    ),
    (
        "long domain",
        [CHUNK, "--dir={d}/c", "--metaserver=" + DEAD, "--location=" + "l" * 256],
        ["--location=l", "at most 255 bytes"],
    ),
    (
        "everywhere is nowhere",
        [CHUNK, "--dir={d}/c", "--metaserver=" + DEAD, "--listen=0.0.0.0:7420"],
        ["--listen=0.0.0.0:7420", "--advertise must say"],
    ),
    (
        "one address twice at a chunkserver",
        [CHUNK, "--dir={d}/c", "--metaserver=" + DEAD, "--listen=h:7420", "--http=h:7420"],
        ["--http=h:7420", "another address than --listen"],
    ),
    (
        "chunkserver log level",
        [CHUNK, "--dir={d}/c", "--metaserver=" + DEAD, "--log-level=loud"],
        ["one of debug, info"],
    ),
    (
        "small journal",
        [CHUNK, "--dir={d}/c", "--metaserver=" + DEAD, "--journal-bytes=1MiB"],
        ["--journal-bytes=1MiB", "from 4MiB to 64GiB"],
    ),
    (
        "negative rate",
        [CHUNK, "--dir={d}/c", "--metaserver=" + DEAD, "--scrub-bytes-per-second=-1"],
        ["=-1: must be a size from 0"],
    ),
    (
        "neither true nor false",
        [CHUNK, "--dir={d}/c", "--metaserver=" + DEAD, "--verify-reads=maybe"],
        ["--verify-reads=maybe: must be true or false"],
    ),
    (
        "slow heartbeat",
        [CHUNK, "--dir={d}/c", "--metaserver=" + DEAD, "--heartbeat=1h"],
        ["--heartbeat=1h", "from 50ms to 1m"],
    ),
    (
        "for ever",
        [CHUNK, "--dir={d}/c", "--metaserver=" + DEAD, "--trash-grace=forever"],
        ["--trash-grace=forever: must be a time"],
    ),
    ("mount nothing", [MOUNT], ["--metaserver: must be set"]),
    ("mount where", [MOUNT, "--metaserver=" + DEAD], ["MOUNTPOINT is missing", "usage:"]),
    ("mount what", [MOUNT, "{d}/mnt"], ["--metaserver: must be set"]),
    ("mount at no port", [MOUNT, "nowhere", "{d}/mnt"], ["--metaserver=nowhere: must be host"]),
    ("mount twice", [MOUNT, DEAD, "{d}/a", "{d}/b"], ["b': unexpected argument"]),
    ("mount option", [MOUNT, DEAD, "{d}/m", "-o", "timout=3s"], ["did you mean --timeout"]),
    ("mount -o alone", [MOUNT, DEAD, "{d}/m", "-o"], ["-o: needs a value"]),
    ("mount timeout", [MOUNT, DEAD, "{d}/m", "-o", "timeout=0s"], ["timeout=0s", "from 1s to 1h"]),
    ("mount http", [MOUNT, DEAD, "{d}/m", "--http=nowhere"], ["--http=nowhere: must be host:port"]),
    ("mount flag", [MOUNT, DEAD, "{d}/m", "--mount-flag=fast"], ["mount-flag=fast", "noexec"]),
    ("mount read-ahead", [MOUNT, DEAD, "{d}/m", "-o", "read_ahead=2GiB"], ["from 0 to 1GiB"]),
    ("no command", [TOOL], ["which command", "moraine --help"]),
    ("unknown command", [TOOL, "polcy", "list"], ["no command 'polcy list'", "'policy list'"]),
    ("half a command", [TOOL, "dev"], ["no command 'dev'", "did you mean 'dev up'"]),
    ("no cluster", [TOOL, "status"], ["which cluster", "--metaserver HOST:PORT"]),
    (
        "two clusters",
        [TOOL, "status", "--dir={d}", "--metaserver=" + DEAD],
        ["both name a cluster", "one of them"],
    ),
    ("dev up where", [TOOL, "dev", "up"], ["moraine dev up: --dir: must be set"]),
    (
        "no chunkservers",
        [TOOL, "dev", "up", "--dir={d}/new", "--chunkservers=0"],
        ["--chunkservers=0", "from 1 to 64"],
    ),
    (
        "dev cluster that never settles",
        [TOOL, "dev", "up", "--dir={d}/new", "--repair-grace=500ms"],
        ["--repair-grace=500ms", "from 2s to 1d|from 2s to 24h"],
    ),
    ("dev kill whom", [TOOL, "dev", "kill", "--dir={d}"], ["process is missing", "usage:"]),
    (
        "quorum above replicas",
        [TOOL, "policy", "define", "p", "--replicas=3", "--quorum=4", "--metaserver=" + DEAD],
        ["--quorum=4", "at most --replicas"],
    ),
    (
        "floor above replicas",
        [TOOL, "policy", "define", "p", "--replicas=2", "--quorum=1", "--floor=3"],
        ["--floor=3", "at most --replicas"],
    ),
    (
        "more replicas than there can be",
        [TOOL, "policy", "define", "p", "--replicas=10", "--quorum=1"],
        ["--replicas=10", "from 1 to 9"],
    ),
    (
        "policy name too long",
        [TOOL, "policy", "define", "p" * 256, "--replicas=3", "--quorum=1", "--metaserver=" + DEAD],
        ["policy", "at most 255 bytes"],
    ),
    ("policy of what", [TOOL, "policy", "set", "/"], ["either a policy or --inherit"]),
    (
        "both ways",
        [TOOL, "policy", "set", "/", "log", "--inherit"],
        ["either a policy or --inherit"],
    ),
    ("locate what", [TOOL, "locate"], ["path is missing", "usage:"]),
    (
        "relative path",
        [TOOL, "locate", "some/file", "--metaserver=" + DEAD],
        ["'some/file'", "absolute path"],
    ),
    ("no patience", [TOOL, "status", "--timeout=0s"], ["--timeout=0s", "from 100ms"]),
]

# (name, text of the file, what the line must say); {f} is the file. Exit code 2.
FILES = [
    ("unknown key", "dir = '/x'\n\nsesion-ttl = '1s'\n", ["{f}:3: sesion-ttl", "session-ttl"]),
    (
        "text for a number",
        "dir = '/x'\nrepair-copies = '4'\n",
        ["{f}:2: repair-copies = '4'", "whole"],
    ),
    ("number for a time", "session-ttl = 5\n", ["{f}:1: session-ttl = 5", "text in quotes"]),
    (
        "out of range",
        "dir = '/x'\nrepair-copies = 5000\n",
        ["{f}:2: repair-copies = 5000", "1 to 1024"],
    ),
    (
        "bad unit in a file",
        "dir = '/x'\nalive-for = '3 days'\n",
        ["{f}:2: alive-for = '3 days'", "a time from"],
    ),
    ("no value in a file", "dir =\n", ["{f}:1: expected a value"]),
    ("no key", "= 3\n", ["{f}:1: expected name = value"]),
    ("no quotes", "dir = /x\n", ["{f}:1: expected a value", "quotes"]),
    ("open quotes", "dir = '/x\n", ["{f}:1: a text without its closing '"]),
    ("a section", "[meta]\ndir = '/x'\n", ["{f}:1: sections are not used"]),
    ("twice in a file", "dir = '/x'\ndir = '/y'\n", ["{f}:2: dir is set twice"]),
    ("bad escape", 'dir = "\\q"\n', ["{f}:1: unknown escape"]),
    ("two on a line", "dir = '/x' lazy-sync = '1s'\n", ["{f}:1: expected the end of the line"]),
    ("a list for a text", "dir = ['/x']\n", ["{f}:1: dir = ", "a text in quotes"]),
    ("an open list", "dir = ['/x'\n", ["{f}:2?: ?|{f}:"]),
    ("leading zero", "repair-copies = 007\n", ["{f}:1: expected a value"]),
    ("control character", "dir = '\x01'\n", ["{f}:1: a control character"]),
    ("empty path in a file", "dir = ''\n", ["{f}:1: dir = ''", "not empty"]),
    ("large file", "#" * (1 << 20) + "\n\n", ["--config={f}: larger than 1 MiB"]),
    (
        "rule over a file",
        "dir = '/x'\nlisten = '127.0.0.1:7440'\nhttp = '127.0.0.1:7440'\n",
        ["{f}:3: http = 127.0.0.1:7440", "another address"],
    ),
]

# The plugin's URI, through db_bench: (name, URI, what is said).
URIS = [
    ("URI without a port", "moraine://host/x", ["host", "HOST:PORT"]),
    ("URI without a host", "moraine:///x", ["MORAINE_METASERVER is not set"]),
    ("URI port", "moraine://h:0/x", ["h:0", "1 to 65535"]),
    ("URI option", "moraine://h:1/x?timout=1s", ["'timout'", "did you mean 'timeout'"]),
    ("URI time", "moraine://h:1/x?timeout=1", ["timeout=1", "from 100ms to 1h"]),
    ("URI size", "moraine://h:1/x?window=1KiB", ["window=1KiB", "from 64KiB to 1GiB"]),
    ("URI no value", "moraine://h:1/x?log", ["'log'", "option=value"]),
    ("URI level", "moraine://h:1/x?log=loud", ["log=loud", "debug, info"]),
    ("URI policy", "moraine://h:1/x?policy.table=" + "p" * 256, ["table=p", "1 to 255 bytes"]),
    ("URI name", "moraine://h:1/x?name=" + "n" * 256, ["name=n", "1 to 255 bytes"]),
    ("URI twice", "moraine://h:1/x?log=info&log=off", ["'log' twice"]),
]


class Table:
    def __init__(self, folder):
        self.folder = folder
        self.count = 0
        self.findings = []

    def case(self, name, command, code, words, prepare=None, user=None, env=None, check_disk=True):
        """`prepare` fills the case's folder first."""
        self.count += 1
        own = os.path.join(self.folder, "case-%d" % self.count)
        os.mkdir(own)
        os.chmod(own, 0o777)
        if prepare:
            prepare(own)
        command = [word.replace("{d}", own) for word in command]
        words = [word.replace("{f}", own + "/moraine.toml") for word in words]
        fault = refusal(command, code, words, own if check_disk else None, env, user)
        if fault:
            self.findings.append("%s: %s\n    %s" % (name, fault, " ".join(command)[:300]))


def with_text(text):
    def prepare(own):
        with open(own + "/moraine.toml", "w") as file:
            file.write(text)

    return prepare


def with_file(name):
    return lambda own: open(os.path.join(own, name), "w").close()


def with_foreign_folder(own):
    os.mkdir(own + "/dir")
    with_file("dir/thesis.txt")(own)


def unreadable_folder(own):
    os.mkdir(own + "/dir", 0o700)


def unreadable_text(own):
    with_text("dir = '/x'\n")(own)
    os.chmod(own + "/moraine.toml", 0o000)


def the_world(table, taken):
    """What is right by itself and does not fit what is there. Exit code 1."""
    free = "127.0.0.1:0"
    meta = [META, "--listen=" + free, "--http=" + free]
    chunk = [CHUNK, "--metaserver=" + DEAD, "--listen=" + free]
    missing = ["[Nn]o such file", "parent"]
    table.case(
        "metaserver's port",
        [META, "--dir={d}/m", "--listen=" + taken, "--http=" + free],
        1,
        ["--listen", taken, "Address already in use", "another"],
    )
    table.case(
        "metaserver's http port",
        [META, "--dir={d}/m", "--listen=" + free, "--http=" + taken],
        1,
        ["--http", taken, "Address already in use"],
    )
    table.case(
        "foreign address",
        [META, "--dir={d}/m", "--listen=192.0.2.1:7440", "--http=" + free],
        1,
        ["192.0.2.1:7440", "no interface"],
    )
    table.case(
        "chunkserver's port",
        [CHUNK, "--dir={d}/c", "--metaserver=" + DEAD, "--listen=" + taken],
        1,
        ["--listen", taken, "Address already in use"],
    )
    table.case(
        "chunkserver's http port",
        chunk + ["--dir={d}/c", "--http=" + taken],
        1,
        ["--http", taken, "Address already in use"],
    )
    table.case("metaserver without parent", meta + ["--dir={d}/no/m"], 1, ["{d}|no/m"] + missing)
    table.case("chunkserver without parent", chunk + ["--dir={d}/no/c"], 1, ["no/c"] + missing)
    for program, base in ((META, meta), (CHUNK, chunk)):
        table.case(
            program + " on a file",
            base + ["--dir={d}/file"],
            1,
            ["/file", "directory"],
            with_file("file"),
        )
        table.case(
            program + " among other files",
            base + ["--dir={d}/dir"],
            1,
            ["/dir", "not empty", "'thesis.txt'"],
            with_foreign_folder,
        )
        table.case(
            program + " with a long name",
            base + ["--dir={d}/" + "n" * 256],
            1,
            ["File name too long"],
        )
        table.case(
            program + " logs to a folder",
            base + ["--dir={d}/m", "--log-file={d}/dir"],
            1,
            ["log file", "/dir"],
            lambda own: os.mkdir(own + "/dir"),
        )
        if os.geteuid() == 0:
            table.case(
                program + " may not",
                base + ["--dir={d}/dir"],
                1,
                ["/dir", "ermission denied|read"],
                unreadable_folder,
                NOBODY,
            )
    table.case(
        "cluster of nothing",
        meta + ["--dir={d}/m", "--cluster=abc"],
        1,
        ["/m", "has no state yet"],
    )
    if shutil.disk_usage(table.folder).free < 64 << 30:
        table.case(
            "journal larger than the disk",
            chunk + ["--dir={d}/c", "--journal-bytes=64GiB"],
            1,
            ["free", "--journal-bytes"],
        )
    if os.path.exists("/dev/fuse"):
        table.case("mount on nothing", [MOUNT, DEAD, "{d}/mnt"], 1, ["/mnt: no such directory"])
        table.case(
            "mount on a file", [MOUNT, DEAD, "{d}/f"], 1, ["/f: not a directory"], with_file("f")
        )
        table.case(
            "mount's http port",
            [MOUNT, DEAD, "{d}", "--http=" + taken, "--timeout=1s"],
            1,
            ["--http", taken, "Address already in use"],
        )
        table.case(
            "mount of nobody", [MOUNT, DEAD, "{d}", "--timeout=1s"], 1, ["metaserver " + DEAD]
        )
    table.case("nobody there", [TOOL, "status", "--metaserver=" + DEAD], 1, [DEAD, "not answer"])
    table.case(
        "no dev cluster", [TOOL, "dev", "down", "--dir={d}"], 1, ["no dev cluster", "dev up"]
    )
    table.case(
        "dev up among other files",
        [TOOL, "dev", "up", "--dir={d}/dir"],
        1,
        ["/dir is not empty", "'thesis.txt'"],
        with_foreign_folder,
    )
    # `dev down --delete` would take what the mount covers.
    for mount in ("{d}/dir", "{d}/dir/mnt"):
        table.case(
            "dev up over files in " + mount,
            [TOOL, "dev", "up", "--dir={d}", "--mount=" + mount],
            1,
            ["is not empty", "files in 'dir'"],
            with_foreign_folder,
        )


def configuration_files(table):
    for name, text, words in FILES:
        table.case(name, [META, "--config={d}/moraine.toml"], 2, words, with_text(text))
    table.case(
        "no such file", [META, "--config={d}/moraine.toml"], 2, ["--config={f}: No such file"]
    )
    table.case("a folder", [META, "--config={d}"], 2, ["--config=", "Is a directory"])
    if os.geteuid() == 0:
        table.case(
            "unreadable file",
            [META, "--config={d}/moraine.toml"],
            2,
            ["--config={f}: Permission denied"],
            unreadable_text,
            NOBODY,
        )
    table.case(
        "environment",
        [TOOL, "status"],
        2,
        ["MORAINE_METASERVER", "'here'", "HOST:PORT"],
        env={"MORAINE_METASERVER": "here"},
    )


def uris(table):
    bench = shutil.which("db_bench")
    if bench is None:
        say("SKIPPED: the plugin's URIs need db_bench (tools/install-deps).")
        return
    plugin = os.path.join(os.environ["MORAINE_BIN"], "..", "lib", "libmoraine_rocksdb.so")
    for name, uri, words in URIS:
        command = [bench, "--benchmarks=fillseq", "--num=1", "--db={d}/db", "--fs_uri=" + uri]
        env = {"LD_PRELOAD": os.path.abspath(plugin), "MORAINE_METASERVER": ""}
        table.case(name, command, 1, words, env=env)


def main():
    os.environ.pop("MORAINE_METASERVER", None)
    os.environ.pop("MORAINE_LOG", None)
    folder = tempfile.mkdtemp(prefix="moraine-config-")
    os.chmod(folder, 0o755)
    busy = socket.socket()
    try:
        table = Table(folder)
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        for name, command, words in OPTIONS:
            table.case(name, command, 2, words)
        configuration_files(table)
        the_world(table, "127.0.0.1:%d" % busy.getsockname()[1])
        uris(table)
    finally:
        busy.close()
        shutil.rmtree(folder)
    say("\n".join(table.findings))
    say(
        "%d of %d wrong configurations are refused well"
        % (table.count - len(table.findings), table.count)
    )
    assert table.count >= 60, "the table has shrunk"
    sys.exit(1 if table.findings else 0)


main()
