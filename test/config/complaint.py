"""Runs a program that must refuse, and checks how it says so."""
import os
import re
import subprocess
import time

from harness import BIN

LIMIT = 20  # seconds for anything that is refused; what takes longer hangs


def tree(folder):
    """Everything below a folder: path, kind and size."""
    found = []
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(place, name)
            size = os.lstat(path).st_size if os.path.isfile(path) else -1
            found.append((os.path.relpath(path, folder), size))
    return sorted(found)


def refusal(command, code, words, folder=None, env=None, user=None):
    """What is wrong with how the command refuses; empty when nothing is.

    `words` are regular expressions that the one line must match; nothing below `folder` may change.
    """
    command = [os.path.join(BIN, command[0])] + command[1:]
    before = tree(folder) if folder else None
    begin = time.monotonic()
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=LIMIT,
            env=dict(os.environ, **(env or {})),
            user=user,
        )
    except subprocess.TimeoutExpired:
        return "does not end within %d s" % LIMIT
    faults = []
    if done.returncode != code:
        faults.append("exit code %d, not %d" % (done.returncode, code))
    if done.stdout:
        faults.append("standard output: " + done.stdout[:200])
    if done.stderr.count("\n") != 1 or not done.stderr.endswith("\n"):
        faults.append("not one line")
    if "\x1b" in done.stderr:
        faults.append("colours without a terminal")
    for word in words:
        if not re.search(word, done.stderr):
            faults.append("nothing about %r" % word)
    if folder and tree(folder) != before:
        faults.append("left on the disk: %s" % sorted(set(tree(folder)) - set(before)))
    if not faults:
        return ""
    return "%s (after %.1f s):\n    %s" % (
        "; ".join(faults),
        time.monotonic() - begin,
        done.stderr.strip()[:600],
    )
