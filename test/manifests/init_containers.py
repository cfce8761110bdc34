#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Runs `sluice-init --dry-run` with the command lines of init containers.

  init_containers.py --program SLUICE_INIT --table FILE
      those of a table: arguments, variables, exit code, and what must be printed
  init_containers.py --program SLUICE_INIT --manifests DIRECTORY
      those of every init container for capture in the manifests below DIRECTORY (or below
      $SLUICE_MANIFESTS): in YAML, JSON, admission reviews, patches, and in texts inside of them

Each is run as an argument of sluice-init (`sluice-init istio-iptables -p ...`), as a program of
that name (`command: [istio-iptables, -p, ...]`), and without the word. Exit code 77: skipped.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

SKIPPED = 77
WORDS = ("istio-iptables", "istio-clean-iptables")
NAMES = ("istio-init", "istio-validation")
# So that the result does not depend on this machine's addresses.
FIXED = {"SLUICE_IPV6": "on"}


def is_init_container(value):
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return False
    words = command_line(value)
    return value["name"] in NAMES or any(word in WORDS for word in words[:2])


def command_line(container):
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    return ["" if word is None else str(word) for word in words]


def variables(container):
    entries = container.get("env") or []
    return {entry["name"]: str(entry["value"]) for entry in entries
            if isinstance(entry, dict) and entry.get("value") is not None}


def containers_in(value):
    """Every init container for capture in a document, at any depth."""
    if is_init_container(value) and ("image" in value or "args" in value or "command" in value):
        yield value
        return
    if isinstance(value, dict):
        for member in value.values():
            yield from containers_in(member)
    elif isinstance(value, list):
        for item in value:
            yield from containers_in(item)
    elif isinstance(value, str) and any(name in value for name in NAMES):
        # A manifest in a string: kubectl's last-applied-configuration, a template.
        for document in documents(value):
            if not isinstance(document, str):
                yield from containers_in(document)


def documents(text):
    import yaml
    # Remove actions of a Go template; the rest may then parse as a manifest.
    for attempt in (text, re.sub(r"\{\{.*?\}\}", "", text, flags=re.DOTALL)):
        try:
            return list(yaml.load_all(attempt, Loader=getattr(yaml, "CSafeLoader",
                                                              yaml.SafeLoader)))
        except yaml.YAMLError:
            continue
    return []


def run(program, arguments, extra):
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), **extra, **FIXED}
    done = subprocess.run([program, *arguments], env=environment, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr


def forms(programs, words):
    """The ways in which a container may start the program with these words."""
    bare = words[1:] if words[:1] and words[0] in WORDS else words
    name = words[0] if bare is not words else WORDS[0]
    yield programs[name], bare
    if name == WORDS[0]:
        yield programs["sluice-init"], bare
    yield programs["sluice-init"], [name, *bare]


def value_of(words, letter):
    return words[words.index(letter) + 1] if letter in words[:-1] else None


def expected_rules(words):
    """What the rules of an ordinary command line must contain, derived in another way."""
    out = []
    if value_of(words, "-i"):
        out.append(f"-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {value_of(words, '-p')}")
    if value_of(words, "-u"):
        out.append(f"--uid-owner {value_of(words, '-u')} -j RETURN")
    if value_of(words, "-b") == "*" and value_of(words, "-m") == "REDIRECT":
        out.append("-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT")
    return out


def check(programs, name, words, environment, expected):
    """Yields what is wrong with one command line."""
    for program, arguments in forms(programs, words):
        # At the end, since a name of the reference tool comes first.
        code, out, err = run(program, [*arguments, "--dry-run"], environment)
        shown = " ".join([pathlib.PurePath(program).name, *(word or "''" for word in arguments)])
        if code != expected.get("exit", 0):
            yield f"{name}: {shown}: exit code {code}: {err.strip()}"
            continue
        for text in expected.get("rules", []):
            if text not in out:
                yield f"{name}: {shown}: no rule has {text!r}:\n{out}"
        for text in expected.get("no_rules", []):
            if text in out:
                yield f"{name}: {shown}: a rule has {text!r}:\n{out}"
        for text in expected.get("says", []):
            if text not in err:
                yield f"{name}: {shown}: does not say {text!r} but {err!r}"
        if "stderr" in expected and err != expected["stderr"]:
            yield f"{name}: {shown}: says {err!r}"
        if expected.get("json") and json.loads(err)["exit_code"] != code:
            yield f"{name}: {shown}: {err!r} has another exit code"


def check_table(programs, path):
    cases = json.loads(pathlib.Path(path).read_text())
    mistakes = []
    for case in cases:
        mistakes += check(programs, case["name"], case["args"], case.get("env", {}), case)
    print(f"{len(cases)} command lines of the table, {len(mistakes)} mistakes")
    return mistakes


def check_manifests(programs, directory):
    mistakes, seen, total, unused = [], set(), 0, 0
    for path in sorted(pathlib.Path(directory).rglob("*")):
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        if not any(name in text for name in (*NAMES, *WORDS)):
            continue
        for document in documents(text):
            for container in containers_in(document):
                words = command_line(container)
                # Without a word it says nothing; a word that is no flag is another program.
                if not any(word.startswith("-") for word in words):
                    unused += 1
                    continue
                total += 1
                key = json.dumps([words, variables(container)])
                if key in seen:
                    continue
                seen.add(key)
                rules = expected_rules(words)
                mistakes += check(programs, f"{path.name} ({container['name']})", words,
                                  variables(container), {"rules": rules})
    print(f"{total} init containers, {len(seen)} of them different, {unused} without a command "
          f"line, {len(mistakes)} mistakes")
    if total == 0:
        mistakes.append(f"{directory} has no init container")
    return mistakes


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--table")
    parser.add_argument("--manifests")
    given = parser.parse_args()
    directory = os.environ.get("SLUICE_MANIFESTS") or given.manifests
    if not given.table:
        if not pathlib.Path(directory).is_dir():
            print(f"skipped: there is no directory {directory}")
            return SKIPPED
        try:
            import yaml  # noqa: F401
        except ImportError:
            print("skipped: python3-yaml is not installed")
            return SKIPPED
    with tempfile.TemporaryDirectory() as links:
        programs = {"sluice-init": given.program}
        for name in WORDS:
            programs[name] = os.path.join(links, name)
            os.symlink(os.path.abspath(given.program), programs[name])
        mistakes = (check_table(programs, given.table) if given.table
                    else check_manifests(programs, directory))
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
