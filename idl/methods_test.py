#!/usr/bin/env python3
"""idl/methods.h, the .thrift files and PROTOCOL.md name the same calls, types and shapes.

Usage: methods_test.py THRIFT_COMPILER IDL_FOLDER SCRATCH_FOLDER
"""
import json
import os
import re
import subprocess
import sys

METHOD = re.compile(r'Method<(\w+),\s*(\w+)>\s+k(\w+)\s*\{\s*"(\w+)"\s*\}')
FILES = ("common", "chunkserver", "metaserver")


def read_thrift(compiler, folder, scratch):
    """{call: (request, response)} of all services, and what is wrong with their shape."""
    os.makedirs(scratch, exist_ok=True)
    calls, wrong = {}, []
    for name in FILES:
        subprocess.run(
            [compiler, "--gen", "json", "-out", scratch, f"{folder}/{name}.thrift"], check=True
        )
        with open(f"{scratch}/{name}.json", encoding="utf-8") as file:
            program = json.load(file)
        for service in program["services"]:
            for function in service["functions"]:
                where = f"{name}.thrift: {service['name']}.{function['name']}"
                arguments = [
                    (a["key"], a["name"], a["type"].get("class")) for a in function["arguments"]
                ]
                errors = [
                    (e["key"], e["name"], e["type"].get("class")) for e in function["exceptions"]
                ]
                if [a[:2] for a in arguments] != [(1, "header"), (2, "request")]:
                    wrong.append(f"{where}: arguments are not (1: header, 2: request)")
                    continue
                if arguments[0][2] != "common.RequestHeader":
                    wrong.append(f"{where}: field 1 is not a RequestHeader")
                if errors != [(1, "error", "common.CallError")] or function["oneway"]:
                    wrong.append(f"{where}: does not throw (1: CallError error)")
                types = tuple(
                    t.split(".")[-1] for t in (arguments[1][2], function["returnType"]["class"])
                )
                if calls.setdefault(function["name"], types) != types:
                    wrong.append(f"{where}: the same name as another call with other types")
    return calls, wrong


def main():
    compiler, folder, scratch = sys.argv[1:]
    with open(f"{folder}/methods.h", encoding="utf-8") as file:
        text = file.read()
    table = {}
    calls, wrong = read_thrift(compiler, folder, scratch)
    for request, response, constant, name in METHOD.findall(text):
        if name in table:
            wrong.append(f"methods.h: {name} stands there twice")
        if constant != name[0].upper() + name[1:]:
            wrong.append(f"methods.h: k{constant} is called {name}")
        table[name] = (request, response)
    for name in sorted(set(calls) | set(table)):
        if calls.get(name) != table.get(name):
            wrong.append(
                f"{name}: {calls.get(name)} in the .thrift files, {table.get(name)} in methods.h"
            )
    walked = re.findall(r"visit\(k(\w+)\)", text)
    if sorted(walked) != sorted(n[0].upper() + n[1:] for n in table):
        wrong.append("methods.h: ForEachMethod does not visit each method once")
    with open(f"{folder}/PROTOCOL.md", encoding="utf-8") as file:
        rows = " ".join(line.split("|")[1] for line in file if line.startswith("| `"))
    documented = re.findall(r"`(\w+)`", rows)
    for name in sorted(set(documented) ^ set(table)):
        wrong.append(f"{name}: in only one of methods.h and the tables of PROTOCOL.md")
    if len(table) < 40:
        wrong.append(
            f"only {len(table)} methods were found: this test does not read methods.h any more"
        )
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(table)} calls agree" if not wrong else f"{len(wrong)} differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
