#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""debugging.py PROGRAM [--write]: the commands in docs/debugging.md print the output shown there.

Each section gets a network namespace with a pod's interface. In its blocks of `console`, a line that
begins with "# " is a command, and the lines up to the next one are its standard output. With --write,
the output is written into the document. Needs root."""
import difflib
import os
import pathlib
import re
import subprocess
import sys

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
DOCUMENT = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "debugging.md"
# ctest's code for a skipped test; in CI that is a failure.
SKIPPED = 77
POD = """set -e
ip link set lo up
ip link add eth0 type veth peer name far
ip addr add 10.244.0.5/24 dev eth0
ip link set eth0 up
ip link set far up
ip route add default via 10.244.0.1
"""
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)


class Pod:
    """A shell in its own namespace."""

    def __init__(self):
        path = f"{PROGRAM.parent}:{os.environ['PATH']}"
        self.shell = subprocess.Popen(
            ["unshare", "--net", "bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PATH": path})
        self.run(POD + "set +e")

    def run(self, command):
        mark = "this command is done"
        self.shell.stdin.write(f"{command}\necho; echo {mark}\n")
        self.shell.stdin.flush()
        lines = []
        for line in self.shell.stdout:
            if line == mark + "\n":
                # The empty line of `echo`, or the end of output without a final newline.
                return "".join(lines[:-1]) if lines[-1] == "\n" else "".join(lines)
            lines.append(line)
        raise RuntimeError(f"the shell ended in: {command}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shell.stdin.close()
        self.shell.wait(60)
        self.shell.stdout.close()


def run_block(pod, block):
    out = []
    for line in block.splitlines():
        if line.startswith("# "):
            out.append(line + "\n" + pod.run(line[2:]))
    return "".join(out)


def run_section(section):
    with Pod() as pod:
        return BLOCK.sub(lambda block: run_block(pod, block.group()), section)


def main():
    if os.geteuid() != 0:
        print("skipped: needs root, for a network namespace")
        return SKIPPED
    text = DOCUMENT.read_text()
    sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    assert sum(bool(BLOCK.search(section)) for section in sections) >= 7, "seven questions"
    now = "".join(run_section(each) if BLOCK.search(each) else each for each in sections)
    if "--write" in sys.argv:
        DOCUMENT.write_text(now)
        return 0
    sys.stdout.writelines(difflib.unified_diff(
        text.splitlines(True), now.splitlines(True), "docs/debugging.md", "what is printed"))
    return 0 if now == text else 1


if __name__ == "__main__":
    sys.exit(main())
