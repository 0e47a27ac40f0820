"""`moraine` as somebody meets it who makes every mistake; and the examples of its manual."""
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile

from complaint import refusal
from harness import BIN, Cluster, run, say

NOBODY = 65534
MORAINE = os.path.join(BIN, "moraine")
findings = []
checks = 0


def refuses(what, words, command, code=1, **kwargs):
    global checks
    checks += 1
    fault = refusal(["moraine", *command], code, words, **kwargs)
    if fault:
        findings.append("%s: %s\n    moraine %s" % (what, fault, " ".join(command)))


def check(what, holds, words=""):
    global checks
    checks += 1
    if not holds:
        findings.append("%s: %s" % (what, words))


def prints_json(what, *command):
    done = run([MORAINE, *command], check=False, timeout=90)
    try:
        json.loads(done.stdout)
    except ValueError:
        check(what, False, done.stdout[:300])
    else:
        check(what, done.returncode == 0, done.stdout[:300])


def on_a_terminal(command, env):
    """What the command writes when its output is a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [MORAINE, *command],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        env=dict(os.environ, **env),
    )
    os.close(follower)
    text = b""
    while select.select([leader], [], [], 30)[0]:
        try:
            part = os.read(leader, 4096)
        except OSError:
            break
        if not part:
            break
        text += part
    process.wait(timeout=30)
    os.close(leader)
    return text.decode(errors="replace")


def check_colours(cluster):
    command = ["status", "--dir", cluster.dir]
    text = on_a_terminal(command, {"TERM": "xterm", "NO_COLOR": ""})
    check("colours on a terminal", "\x1b[32m" in text, text[:300])
    text = on_a_terminal(command, {"TERM": "xterm", "NO_COLOR": "1"})
    check("NO_COLOR", "\x1b" not in text and "health" in text, text[:300])
    text = on_a_terminal(command, {"TERM": "dumb", "NO_COLOR": ""})
    check("a dumb terminal", "\x1b" not in text and "health" in text, text[:300])
    check("no colours in a pipe", "\x1b" not in run([MORAINE, *command]).stdout)


def check_living(cluster):
    at = ["--dir", cluster.dir]
    refuses("no such path", ["/no/such", "no such|not found|no '"], ["locate", "/no/such", *at])
    refuses("no such directory", ["/no"], ["policy", "get", "/no/such/dir", *at])
    refuses("not in a mount", ["absolute path"], ["locate", "some/file", *at], code=2)
    refuses("name too long", ["255|too long"], ["locate", "/" + "n" * 300, *at])
    refuses(
        "no such policy",
        ["'nosuch'", "immutable, log, single", "policy define"],
        ["policy", "set", "/", "nosuch", *at],
    )
    run([MORAINE, "policy", "define", "wide", "--replicas", "9", "--quorum", "5", *at])
    refuses(
        "policy that cannot be met",
        ["'wide' needs 5 chunkservers", "has 3", "--force"],
        ["policy", "set", "/", "wide", *at],
    )
    refuses(
        "built-in policy",
        ["'log'", "built in"],
        ["policy", "define", "log", "--replicas=3", "--quorum=2", *at],
    )
    refuses("bad glob", [r"\["], ["policy", "set", "/", "log", "--glob", "[a", *at], code=2)
    refuses(
        "no such process",
        ["'chunkserver:9'", "chunkserver:3"],
        ["dev", "kill", *at, "chunkserver:1", "chunkserver:9"],
    )
    check(
        "none was killed", "running" in run([MORAINE, "dev", "status", *at]).stdout.split("\n")[2]
    )
    refuses(
        "not that large",
        ["--chunkservers=7", "another value"],
        ["dev", "up", *at, "--chunkservers=7"],
        code=2,
    )
    refuses(
        "not that large, and with a mount",
        ["--chunkservers=7", "another value"],
        ["dev", "up", *at, "--chunkservers=7", "--mount", os.path.join(cluster.dir, "mnt")],
        code=2,
    )
    check("no mount was added", "mount" not in run([MORAINE, "dev", "status", *at]).stdout)
    endpoint = cluster.process("chunkserver:1")["endpoint"]
    refuses(
        "a chunkserver is no metaserver",
        ["metaserver|role"],
        ["status", "--metaserver", endpoint, "--timeout=2s"],
    )
    refuses(
        "a web server is no metaserver",
        [cluster.process("metaserver")["http"]],
        ["status", "--metaserver", cluster.process("metaserver")["http"], "--timeout=2s"],
    )
    for command in (
        ["status"],
        ["policy", "list"],
        ["policy", "get", "/"],
        ["locate", "/"],
        ["dev", "status"],
        ["dev", "start", "chunkserver:1"],
        ["policy", "set", "/", "log", "--glob", "*.x"],
        ["policy", "define", "p", "--replicas=2", "--quorum=1"],
        ["dev", "pause", "chunkserver:1"],
        ["dev", "resume", "chunkserver:1"],
    ):
        prints_json(" ".join(command) + " --json", *command, *at, "--json")
    # Names may hold any bytes, JSON may not.
    odd = os.fsdecode(b"odd\xff")
    define = ["policy", "define", odd, "--replicas=2", "--quorum=1"]
    for command in (define, ["policy", "set", "/", odd, "--glob", "*.odd"], ["policy", "list"]):
        prints_json(ascii(command), *command, *at, "--json")
    if os.geteuid() == 0:
        refuses("no right to look", ["ermission denied"], ["status", *at], user=NOBODY)
        refuses("no right to stop it", ["ermission denied"], ["dev", "down", *at], user=NOBODY)


def check_half_dead(cluster):
    at = ["--dir", cluster.dir]
    cluster.kill("chunkserver:2", "chunkserver:3")
    text = run([MORAINE, "dev", "status", *at]).stdout
    check("dev status of half a cluster", text.count("stopped") == 2, text)
    refuses(
        "pause what is dead",
        ["chunkserver:2 does not run", "dev start"],
        ["dev", "pause", *at, "chunkserver:2"],
    )
    prints_json("status of half a cluster", "status", *at, "--json")
    cluster.dev("pause", "metaserver")
    refuses(
        "a metaserver that is paused",
        [cluster.metaserver, "does not answer"],
        ["status", *at, "--timeout=1s"],
    )
    refuses(
        "start what is paused",
        ["metaserver is paused", "dev resume"],
        ["dev", "start", *at, "metaserver"],
    )
    cluster.dev("resume", "metaserver")
    cluster.kill("metaserver")
    for command in (
        ["status"],
        ["locate", "/x"],
        ["policy", "list"],
        ["policy", "get", "/"],
        ["policy", "set", "/", "log"],
    ):
        refuses(
            "dead: " + " ".join(command),
            [cluster.metaserver, "does not answer"],
            [*command, *at, "--timeout=1s"],
        )
    text = run([MORAINE, "dev", "status", *at]).stdout
    check("dev status of a dead cluster", text.count("stopped") == 3, text)
    cluster.dev("start", "metaserver", "chunkserver:2", "chunkserver:3")
    prints_json("it is back", "status", *at, "--json")


def check_one_that_cannot_start(cluster):
    """It said "serves" as long as the metaserver had not missed the one that was killed."""
    name = "chunkserver:2"
    cluster.kill(name)
    with open(os.path.join(cluster.directory_of(name), "journal"), "r+b", buffering=0) as journal:
        page = journal.read(4096)
        journal.seek(0)
        journal.write(bytes(4096))
        refuses(
            "start of one with a damaged journal",
            [name + " did not start", "not a journal"],
            ["dev", "start", "--dir", cluster.dir, name],
        )
        journal.seek(0)
        journal.write(page)
    cluster.start(name)


def check_wrong_directory():
    with tempfile.TemporaryDirectory(prefix="moraine-wrong-") as folder:
        for command in (
            ["dev", "down"],
            ["dev", "status"],
            ["dev", "kill", "mount"],
            ["status"],
            ["policy", "list"],
            ["locate", "/x"],
        ):
            refuses(
                "no cluster: " + " ".join(command),
                [folder, "no dev cluster", "dev up"],
                [*command, "--dir", folder],
                folder=folder,
            )
        with open(folder + "/file", "w"):
            pass
        refuses(
            "a file for a directory",
            [folder + "/file"],
            ["dev", "up", "--dir", folder + "/file"],
            folder=folder,
        )
        refuses(
            "below a file",
            [folder + "/file"],
            ["status", "--dir", folder + "/file/x"],
            folder=folder,
        )
        os.mkdir(folder + "/c")
        refuses(
            "a name that JSON cannot hold",
            ["not UTF-8"],
            ["dev", "up", "--dir", folder + "/" + os.fsdecode(b"odd\xff")],
            code=2,
            folder=folder,
        )
        process = '{"processes": [{"name": "metaserver", "pid": %s}], "mount": %s}'
        for text in ("{", "[]", "7", '{"processes": 7}', process % (1, 2), process % ('"1"', '""')):
            with open(folder + "/c/cluster.json", "w") as file:
                file.write(text)
            refuses(
                "damaged cluster.json: " + text,
                ["/c/cluster.json is damaged"],
                ["dev", "status", "--dir", folder + "/c"],
                folder=folder,
            )


def examples_of(*words):
    """The command lines below "Examples:" or "Try it:" of a --help."""
    text = run([MORAINE, *words, "--help"]).stdout
    lines = re.split(r"\n(?:Examples|Try it):\n", text)[1].splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("  #")]


def check_examples(mount):
    """In an order that makes sense: a cluster is made, used, broken and removed."""
    folder = tempfile.mkdtemp(prefix="moraine-examples-")
    demo = folder + "/demo"
    commands = []
    up, *_, gone = examples_of("dev", "up")
    commands.append(up)
    for words in (
        ["dev", "status"],
        ["status"],
        ["locate"],
        ["policy", "list"],
        ["policy", "get"],
        ["policy", "set"],
        ["policy", "define"],
        ["dev", "pause"],
        ["dev", "resume"],
        ["dev", "kill"],
        ["dev", "start"],
        ["dev", "down"],
    ):
        commands += examples_of(*words)
    commands += examples_of()
    commands += [up, gone]
    env = dict(os.environ, PATH=BIN + ":" + os.environ["PATH"])
    try:
        for command in commands:
            if not mount:
                command = command.replace(" --mount /tmp/demo/mnt", "")
                if "/mnt" in command:
                    continue
            command = command.replace("/tmp/demo", demo)
            done = run(["bash", "-c", command], check=False, timeout=120, env=env)
            check("example: " + command, done.returncode == 0, done.stdout[-500:])
        check("the examples leave nothing", not os.path.exists(demo), os.listdir(folder))
    finally:
        if os.path.exists(demo):
            run([MORAINE, "dev", "down", "--dir", demo], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def main():
    os.environ.pop("MORAINE_METASERVER", None)
    mount = os.path.exists("/dev/fuse") and os.geteuid() == 0
    check_wrong_directory()
    with Cluster(chunkservers=3) as cluster:
        check_living(cluster)
        check_colours(cluster)
        check_half_dead(cluster)
        check_one_that_cannot_start(cluster)
    check_examples(mount)
    say("\n".join(findings))
    say(
        "%d of %d checks hold%s"
        % (
            checks - len(findings),
            checks,
            "" if mount else " (no mount here: its examples left out)",
        )
    )
    sys.exit(1 if findings else 0)


main()
