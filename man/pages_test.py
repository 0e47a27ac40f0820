"""The manual pages: complete, without a finding of mandoc's lint, one for each command.

usage: pages_test.py FOLDER-OF-PAGES MORAINE
"""
import glob
import os
import re
import shutil
import subprocess
import sys

PROGRAM_SECTIONS = [
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "OPTIONS",
    "FILES",
    "ENVIRONMENT",
    "SIGNALS",
    "EXIT STATUS",
    "METRICS",
    "ERRORS",
    "EXAMPLES",
    "SEE ALSO",
]
COMMAND_SECTIONS = [
    s for s in PROGRAM_SECTIONS if s not in ("FILES", "ENVIRONMENT", "SIGNALS", "METRICS", "ERRORS")
]

findings = []


def check(holds, words):
    if not holds:
        findings.append(words)


def output(*command):
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    ).stdout


def wanted_sections(name):
    if name.endswith(".8"):
        return PROGRAM_SECTIONS
    if name.startswith("moraine-"):
        return COMMAND_SECTIONS + ["ERRORS", "ENVIRONMENT"]
    if name == "moraine.1":
        return COMMAND_SECTIONS + ["COMMANDS"]
    return ["NAME", "DESCRIPTION", "SEE ALSO"]


def check_page(path):
    name = os.path.basename(path)
    with open(path) as file:
        text = file.read()
    sections = re.findall(r"^\.SH (.*)$", text, re.M)
    for section in wanted_sections(name):
        check(section in sections, "%s has no section %s" % (name, section))
    if shutil.which("mandoc"):
        lint = output("mandoc", "-Tlint", "-Wwarning", path)
        check(not lint, "mandoc -Tlint:\n" + lint)
    # Each option of a table: a default or "must be set", and what is allowed.
    if name != "moraine.1" and "OPTIONS" in sections and not name.endswith(".7"):
        body = text.split(".SH OPTIONS\n")[1].split("\n.SH ")[0]
        entries = body.split(".TP\n")[1:]
        check(len(entries) >= 6, "%s has %d options" % (name, len(entries)))
        for entry in entries:
            option = entry.split("\n")[0]
            built_in = re.search(r"config|help|version|man\\fR", option) and "FILE" not in option
            if built_in:
                continue
            words = entry.replace("\n", " ")
            check(
                ("Default:" in words or "Must be set." in words) and "Allowed:" in words,
                "%s: %s has no default or no bounds" % (name, option),
            )
    # References lead somewhere.
    folder = os.path.dirname(path)
    for page, section in re.findall(r"^\.BR (\S+) \((\d)\)", text, re.M):
        page = page.replace("\\-", "-")
        if page.startswith("moraine"):
            check(
                os.path.exists(os.path.join(folder, "%s.%s" % (page, section))),
                "%s refers to %s(%s), which does not exist" % (name, page, section),
            )


def main():
    folder, moraine = sys.argv[1:]
    pages = sorted(glob.glob(os.path.join(folder, "*.[1-8]")))
    names = [os.path.basename(page) for page in pages]
    commands = output(moraine, "--help").split("Commands:\n")[1].split("\n\n")[0]
    for line in commands.splitlines():
        page = "moraine-%s.1" % line[2:16].strip().replace(" ", "-")
        check(page in names, "no page " + page)
    check(len(pages) >= 19, "only %d pages" % len(pages))
    for page in pages:
        check_page(page)
    if not shutil.which("mandoc"):
        print("mandoc is missing: the pages were not linted; tools/install-deps installs it")
    print("\n".join(findings) or "%d pages are good" % len(pages))
    sys.exit(1 if findings else 0)


main()
