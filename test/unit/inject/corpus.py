#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""corpus.py PROGRAM DIRECTORY: every manifest below DIRECTORY goes through sluice-inject.

For each: the result parses; its objects are strictly what the schema of Kubernetes knows, when the
file's were; the text of the file is in the result, line by line where it is in block style; twice is
once; another configuration replaces the first, and back; uninject gives the file back and says so;
the JSON Patch makes of the parsed file what the text is when it is parsed. What is refused stays as
it is. JSON requests of an API server are taken apart: their object is a manifest too."""
import collections
import json
import pathlib
import sys

import yaml

from injector import (KINDS, Injector, Schemas, apply_patch, is_subsequence, load, objects, pod_of)

CONFIGURATIONS = (("--sidecar", "container", "--image", "example.org/other:1"),
                  ("--cni", "--mode", "TPROXY", "--proxy-memory-limit", "1Gi"))


class Corpus:
    def __init__(self, program, directory):
        self.injector = Injector(program)
        self.directory = directory
        self.schemas = Schemas(directory / "kubernetes-1.20.2-swagger.json")
        self.counts = collections.Counter()
        self.mistakes = []

    def manifests(self):
        """(name, bytes) of each."""
        for path in sorted(self.directory.rglob("*")):
            if not path.is_file() or path.name.endswith((".txt", "-swagger.json", ".report")):
                continue
            name = str(path.relative_to(self.directory))
            data = path.read_bytes()
            yield name, data
            if path.suffix == ".json" and "admission" in name:
                value = json.loads(data)
                request = value.get("request", value)
                if isinstance(request.get("object"), dict):
                    thing = request["object"]
                    thing.setdefault("kind", request.get("kind", {}).get("kind"))
                    thing.setdefault("apiVersion", "v1")
                    yield name + "#object", json.dumps(thing).encode()
                    yield name + "#indented", json.dumps(thing, indent=2).encode() + b"\n"

    def complain(self, name, what):
        self.mistakes.append(f"{name}: {what}")

    def check(self, name, data):
        self.counts["manifests"] += 1
        try:
            before = load(data)
        except (yaml.YAMLError, UnicodeDecodeError, ValueError):
            before = None
        done = self.injector.run("-f", "-", text=data)
        if done.returncode == 1:
            self.counts["unreadable"] += 1
            if before is not None:
                self.complain(name, f"is not read: {done.stderr.decode()}")
            return
        if done.returncode == 6:
            self.counts["refused"] += 1
            if done.stdout:
                self.complain(name, "is refused, and yet there is output")
            if b"refused: " not in done.stderr:
                self.complain(name, "is refused without a reason")
            return
        if done.returncode != 0:
            self.complain(name, f"exit code {done.returncode}: {done.stderr.decode()}")
            return
        if before is None:
            self.complain(name, "is read, but Python cannot")
            return
        if done.stdout == data:
            self.counts["unchanged"] += 1
            return
        self.counts["injected"] += 1
        self.check_result(name, data, before, done.stdout)
        for flags in CONFIGURATIONS:
            other = self.injector.run("-f", "-", *flags, text=data)
            if other.returncode == 0:
                self.check_result(name + " " + " ".join(flags), data, before, other.stdout, *flags)
                again = self.injector.inject(other.stdout)
                if again != done.stdout:
                    self.complain(name, f"injected over {flags} is another text")

    def check_result(self, name, data, before, result, *flags):
        try:
            after = load(result)
        except yaml.YAMLError as error:
            self.complain(name, f"the result does not parse: {error}")
            return
        if self.injector.inject(result, *flags) != result:
            self.complain(name, "twice is another text")
        if self.injector.patches(result, *flags):
            self.complain(name, "there is a patch for what is injected already")
        back = self.injector.uninject(result)
        if back.stdout != data:
            self.complain(name, "uninject does not give it back")
        if b"byte for byte" not in back.stderr or b"edited" in back.stderr:
            self.complain(name, f"uninject does not say so: {back.stderr.decode()}")
        if is_subsequence(data.split(b"\n")[:-1], result.split(b"\n")):
            self.counts["by lines"] += 1
        elif not is_subsequence(data.replace(b"null", b""), result):
            self.complain(name, "its text is not in the result")
        patched = list(before)
        for entry in self.injector.patches(data, *flags):
            patched[entry["document"]] = apply_patch(patched[entry["document"]], entry["patch"])
        if patched != after:
            self.complain(name, "the JSON Patch makes another object than the text")
        self.check_objects(name, before, after)

    def check_objects(self, name, before, after):
        for old, new in zip((each for document in before for each in objects(document)),
                            (each for document in after for each in objects(document))):
            if new.get("kind") not in KINDS:
                continue
            if old == new:
                continue
            if self.schemas.mistake(old) is None:
                self.counts["strict"] += 1
                mistake = self.schemas.mistake(new)
                if mistake:
                    self.complain(name, f"not what the schema has: {mistake}")
            names = [each["name"] for key in ("initContainers", "containers")
                     for each in pod_of(new)["spec"].get(key) or []]
            if names.count("sluice-proxy") != 1:
                self.complain(name, f"has the containers {names}")

    def run(self):
        for name, data in self.manifests():
            try:
                self.check(name, data)
            except Exception as error:  # pylint: disable=broad-except
                self.complain(name, f"{type(error).__name__}: {error}")
        print("FIGURE " + ", ".join(f"{count} {what}" for what, count in self.counts.items()))
        print("\n".join(self.mistakes[:40]))
        return 1 if self.mistakes or self.counts["injected"] < 100 else 0


if __name__ == "__main__":
    sys.exit(Corpus(sys.argv[1], pathlib.Path(sys.argv[2])).run())
