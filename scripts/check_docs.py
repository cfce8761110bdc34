#!/usr/bin/env python3
"""check_docs.py --bin DIRECTORY: what the documentation names must exist.

In README.md, CONTRIBUTING.md, docs/ and deploy/ (Markdown): links to files, files of the repository
that are named in code (`scripts/demo`, `test/netns/netns_test.cc`), programs (`sluice-proxy`,
`build/release/bin/sluice-init`), and the flags on command lines of our programs, which must be in
their --help. Prints one line per mistake, and fails then."""
import argparse
import pathlib
import re
import shlex
import subprocess
import sys

REPO = pathlib.Path(__file__).resolve().parent.parent
ROOMS = ("base", "iptables", "netns", "proxy", "cmd", "test", "scripts", "deploy", "docs", "cmake")
PROGRAMS = ("sluice-init", "sluice-proxy", "sluice-netns", "istio-iptables")
# istio-iptables is the name under which sluice-init is installed.
HELP_OF = {"istio-iptables": "sluice-init"}

FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(rf"(?<![\w./-])(?:\./)?((?:{'|'.join(ROOMS)}|\.ci)/[\w.+/-]*[\w+/-])")
FLAG = re.compile(r"^(--[a-z][a-z0-9-]*|-[A-Za-z])(?:=|$)")


def documents():
    found = [REPO / name for name in ("README.md", "CONTRIBUTING.md")]
    for folder in ("docs", "deploy"):
        found += sorted((REPO / folder).rglob("*.md"))
    return [path for path in found if path.exists()]


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def code_of(text):
    """(line number, text) of each line of a code block and of each code span."""
    for block in FENCE.finditer(text):
        # A continued line is one command.
        joined = block.group(1).replace("\\\n", "  ")
        first = line_of(text, block.start(1))
        for offset, line in enumerate(joined.split("\n")):
            yield first + offset, line
    prose = FENCE.sub(lambda block: "\n" * block.group(0).count("\n"), text)
    for span in SPAN.finditer(prose):
        yield line_of(prose, span.start()), span.group(1)


def link_mistakes(path, text):
    for link in LINK.finditer(text):
        target = link.group(1).split("#")[0]
        if not target or re.match(r"[a-z]+:", target):
            continue
        if not (path.parent / target).exists():
            yield line_of(text, link.start()), f"the link {target} leads nowhere"


def path_mistakes(code):
    for match in PATH.finditer(code):
        name = match.group(1)
        # `docs/rules/*.md` and `scripts/bench.d/NAME` stand for several files.
        rest = code[match.end():match.end() + 1]
        if rest in ("*", "<", "{", "$") or re.search(r"/[A-Z]+$", name):
            name = name.rsplit("/", 1)[0]
        if not (REPO / name).exists() and not list(REPO.glob(name + ".*")):
            yield f"{match.group(1)} does not exist"


class Helps:
    """The --help of our programs, and what it names."""

    def __init__(self, directory):
        self.directory = directory
        self.flags = {}

    def exists(self, program):
        return (self.directory / HELP_OF.get(program, program)).exists()

    def knows(self, program, flag):
        binary = HELP_OF.get(program, program)
        if binary not in self.flags:
            done = subprocess.run([self.directory / binary, "--help"], text=True, check=True,
                                  capture_output=True)
            # "-p [ --envoy-port ] arg", as Boost.Program_options prints it, or "-p, --envoy-port".
            self.flags[binary] = set(re.findall(r"(?<![\w-])(--[a-z][a-z0-9-]*|-[A-Za-z])(?![\w-])",
                                                done.stdout))
        return flag in self.flags[binary]


def command_mistakes(code, helps):
    built = re.search(r"build/\w+/bin/([\w-]+)", code)
    if built and not (helps.directory / built.group(1)).exists():
        yield f"{built.group(0)} is not built"
    try:
        words = shlex.split(code, comments=True)
    except ValueError:  # a quote that is prose's, not a shell's
        return
    names = [pathlib.PurePath(word).name for word in words]
    program = next((name for name in names if name in PROGRAMS), None)
    if program is None:
        return
    if not helps.exists(program):
        yield f"{program} is not built"
        return
    if program == "sluice-netns":  # subcommands, no flags
        return
    for word in words[names.index(program) + 1:]:
        if word in ("|", "||", "&&", ";", "&", ">", ">>", "<"):
            break
        flag = FLAG.match(word)
        if flag and not helps.knows(program, flag.group(1)):
            yield f"{program} --help does not know {flag.group(1)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    helps = Helps(parser.parse_args().bin)
    mistakes = []
    for path in documents():
        text = path.read_text()
        found = list(link_mistakes(path, text))
        for line, code in code_of(text):
            found += [(line, what) for what in path_mistakes(code)]
            found += [(line, what) for what in command_mistakes(code, helps)]
        mistakes += [f"{path.relative_to(REPO)}:{line}: {what}" for line, what in sorted(found)]
    print("\n".join(mistakes), end="\n" if mistakes else "")
    return 1 if mistakes else 0


sys.exit(main())
