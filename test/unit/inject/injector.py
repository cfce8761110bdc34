# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Shared by the tests of sluice-inject: running it, and strict schemas."""
import json
import re
import subprocess

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
KINDS = {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job",
         "CronJob", "Pod"}


class Injector:
    def __init__(self, program):
        self.program = program

    def run(self, *arguments, text=None, check=False):
        """The finished process; input and output are bytes."""
        data = text.encode() if isinstance(text, str) else text
        done = subprocess.run([self.program, *map(str, arguments)], input=data, check=False,
                              capture_output=True)
        if check and done.returncode != 0:
            raise AssertionError(f"exit code {done.returncode}: {done.stderr.decode()}")
        return done

    def inject(self, text, *flags):
        return self.run("-f", "-", *flags, text=text, check=True).stdout

    def uninject(self, text):
        return self.run("uninject", "-f", "-", text=text, check=True)

    def patches(self, text, *flags):
        done = self.run("-f", "-", "-o", "json-patch", *flags, text=text, check=True)
        return json.loads(done.stdout)


def load(text):
    """The documents of a stream."""
    return list(yaml.load_all(text, Loader=LOADER))


def objects(document):
    """A document's objects: those of its items when it is a List."""
    if isinstance(document, dict) and document.get("kind") == "List":
        for item in document.get("items") or []:
            yield from objects(item)
    elif isinstance(document, dict):
        yield document


def pod_of(thing):
    """The object with the pods' metadata and spec."""
    keys = {"Pod": (), "CronJob": ("spec", "jobTemplate", "spec", "template")}
    for key in keys.get(thing.get("kind"), ("spec", "template")):
        thing = thing[key]
    return thing


def is_subsequence(small, big):
    rest = iter(big)
    return all(each in rest for each in small)


class Schemas:
    """The objects of a swagger.json, strictly: unknown properties are errors."""

    def __init__(self, path):
        import jsonschema  # pylint: disable=import-outside-toplevel
        self.jsonschema = jsonschema
        text = path.read_text().replace("#/definitions/", "#/$defs/")
        self.definitions = json.loads(text)["definitions"]
        self.by_kind = {}
        for name, schema in self.definitions.items():
            if "properties" in schema:
                schema["additionalProperties"] = False
            if schema.get("format") == "int-or-string":
                schema.pop("type")
            # Quantities may also be numbers.
            if name.endswith(".Quantity"):
                schema.pop("type", None)
            # null means "absent"; the API server accepts it everywhere.
            for kind in schema.get("x-kubernetes-group-version-kind", []):
                version = f"{kind['group']}/{kind['version']}".lstrip("/")
                self.by_kind[version, kind["kind"]] = name
        self.validators = {}

    def mistake(self, thing):
        """What is wrong with an object; None if nothing is, or its kind is unknown."""
        name = self.by_kind.get((thing.get("apiVersion"), thing.get("kind")))
        if name is None:
            return None
        if name not in self.validators:
            self.validators[name] = self.jsonschema.Draft7Validator(
                {"$ref": f"#/$defs/{name}", "$defs": self.definitions})
        thing = json.loads(json.dumps(without_nulls(thing), default=str))
        pod = pod_of(thing) if thing["kind"] in KINDS else {"spec": {}}
        for container in pod["spec"].get("initContainers", []):
            # Native sidecars are younger than the schema.
            if container.get("name") == "sluice-proxy":
                assert container.pop("restartPolicy", "Always") == "Always"
        error = next(self.validators[name].iter_errors(thing), None)
        return None if error is None else re.sub(r"\s+", " ", error.message)[:200]


def without_nulls(value):
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [without_nulls(each) for each in value]
    return value
