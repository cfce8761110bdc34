#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""corpus.py PROGRAM DIRECTORY: every manifest below DIRECTORY goes through sluice-inject.

For each: the result parses; its objects are valid by Kubernetes' strict schema, if the
file's were; the text of the file is in the result, line by line where it is in block style; two runs
equal one; another configuration replaces the first, and back; uninject gives the file back and says so;
the JSON Patch makes of the parsed file what the text is when it is parsed. What is refused stays as
it is. JSON requests of an API server are taken apart: their object is a manifest too. All files of a
configuration go through one process, which takes longer to start than to read a manifest."""
import collections
import json
import pathlib
import shutil
import sys
import tempfile

import yaml

from injector import KINDS, Injector, Schemas, is_subsequence, load, objects, pod_of
from json_patch import apply_patch

CONFIGURATIONS = ((),
                  ("--sidecar", "container", "--image", "example.org/other:1",
                   "--mtls-credentials", "secret/svid", "--mtls-outbound", "rules"),
                  ("--cni", "--mode", "TPROXY", "--proxy-memory-limit", "1Gi",
                   "--mtls-credentials", "csi-driver-spiffe", "--mtls-inbound", "strict",
                   "--mtls-allow", "spiffe://cluster.local/ns/*/sa/*"))


class Manifest:
    """A manifest to inject: its name, its file's name here, its text, its documents, and the result."""

    def __init__(self, name, file, data, before, result):
        self.name, self.file, self.data, self.before, self.result = name, file, data, before, result


class Corpus:
    def __init__(self, program, directory, work):
        self.injector = Injector(program)
        self.directory = directory
        self.work = work
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

    def first(self, name, data):
        """Injects a single manifest; returns its outcome, or None when there is no more to check."""
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
        elif done.returncode == 6:
            self.counts["refused"] += 1
            if done.stdout:
                self.complain(name, "is refused, and yet there is output")
            if b"refused: " not in done.stderr:
                self.complain(name, "is refused without a reason")
        elif done.returncode != 0:
            self.complain(name, f"exit code {done.returncode}: {done.stderr.decode()}")
        elif before is None:
            self.complain(name, "is read, but Python cannot")
        elif done.stdout == data:
            self.counts["unchanged"] += 1
        else:
            self.counts["injected"] += 1
            suffix = ".json" if data.lstrip().startswith(b"{") else ".yaml"
            return Manifest(name, f"{self.counts['injected']}{suffix}", data, before, done.stdout)
        return None

    def write(self, texts):
        """Writes each (file, text) into the program's directory, which then has no other files."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        for file, text in texts:
            (self.work / file).write_bytes(text)

    def run_all(self, *arguments):
        """Runs the program on the directory."""
        done = self.injector.run(*arguments, "-f", self.work)
        if done.returncode != 0:
            self.complain("all", f"{arguments}: exit code {done.returncode}: {done.stderr.decode()}")
        return done

    def accepted(self, manifests, *flags):
        """The ones not refused with these flags. If one in a directory is refused, none is changed."""
        self.write((each.file, each.data) for each in manifests)
        done = self.injector.run("--in-place", *flags, "-f", self.work)
        if done.returncode == 6 and any(self.text_of(each) != each.data for each in manifests):
            self.complain("all", f"{flags}: some are refused, and others written")
        refused = {pathlib.Path(line.split(b":")[0].decode()).name
                   for line in done.stderr.splitlines() if b" refused: " in line}
        return [each for each in manifests if each.file not in refused]

    def patches(self, *flags):
        """By the file's name, in order."""
        patches = collections.defaultdict(list)
        for entry in json.loads(self.run_all("-o", "json-patch", *flags).stdout):
            patches[pathlib.Path(entry["file"]).name].append(entry)
        return patches

    def text_of(self, manifest):
        return (self.work / manifest.file).read_bytes()

    def check_configuration(self, manifests, *flags):
        """All that was injected, with flags; one process for each question."""
        manifests = self.accepted(manifests, *flags)
        self.counts[" ".join(["accept", *flags])] = len(manifests)
        self.write((each.file, each.data) for each in manifests)
        patches = self.patches(*flags)
        self.run_all("--in-place", *flags)
        results = {each: self.text_of(each) for each in manifests}
        if not flags and any(text != each.result for each, text in results.items()):
            self.complain("all", "a directory makes other texts than the files by themselves")

        self.write((each.file, text) for each, text in results.items())
        for file in self.patches(*flags):
            self.complain(file, "there is a patch for what is injected already")
        self.run_all("--in-place", *flags)
        for each in manifests:
            if self.text_of(each) != results[each]:
                self.complain(each.name, "twice is another text")
        if flags:
            self.run_all("--in-place")
            for each in manifests:
                if self.text_of(each) != each.result:
                    self.complain(each.name, f"injected over {flags} is another text")

        self.write((each.file, text) for each, text in results.items())
        said = self.run_all("uninject", "--in-place").stderr.decode().splitlines()
        said = {each: [line for line in said if f"/{each.file}:" in line] for each in manifests}
        for each in manifests:
            if self.text_of(each) != each.data:
                self.complain(each.name, "uninject does not give it back")
            if not said[each] or any("byte for byte" not in line for line in said[each]):
                self.complain(each.name, f"uninject does not say so: {said[each]}")
            self.check_result(each, results[each], patches[each.file])

    def check_result(self, manifest, result, patches):
        name, data, before = manifest.name, manifest.data, manifest.before
        try:
            after = load(result)
        except yaml.YAMLError as error:
            self.complain(name, f"the result does not parse: {error}")
            return
        if is_subsequence(data.split(b"\n")[:-1], result.split(b"\n")):
            self.counts["by lines"] += 1
        elif not is_subsequence(data.replace(b"null", b""), result):
            self.complain(name, "its text is not in the result")
        patched = list(before)
        for entry in patches:
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
        manifests = [self.first(name, data) for name, data in self.manifests()]
        manifests = [each for each in manifests if each]
        for flags in CONFIGURATIONS:
            self.check_configuration(manifests, *flags)
        print("FIGURE " + ", ".join(f"{count} {what}" for what, count in self.counts.items()))
        print("\n".join(self.mistakes[:40]))
        return 1 if self.mistakes or self.counts["injected"] < 100 else 0


def main(program, directory):
    with tempfile.TemporaryDirectory() as work:
        return Corpus(program, pathlib.Path(directory), pathlib.Path(work) / "texts").run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
