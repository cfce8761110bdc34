#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""init_schemas.py PROGRAM: sluice-init's JSON output follows the schemas in docs/, in new
network namespaces. Needs root."""
import json
import os
import pathlib
import subprocess
import sys

import jsonschema

PROGRAM = sys.argv[1]
DOCS = pathlib.Path(__file__).resolve().parent.parent.parent / "docs"
ALL = ["-i", "*", "-b", "*", "-d", "15090", "--ipv6", "off"]
# ctest's code for a skipped test; in CI that is a failure.
SKIPPED = 77


EXPLAIN = jsonschema.Draft202012Validator(json.loads((DOCS / "explain.schema.json").read_text()))


def schema(name):
    text = json.loads((DOCS / f"sluice-init.{name}.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(text)
    return text


class Namespace:
    """A process that sleeps in its own network namespace, with a pod's interface."""

    def __init__(self):
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c",
             "ip link set lo up && ip link add eth0 type veth peer name far && ip addr add 10.1.2.3/24 dev eth0 "
             "&& ip link set eth0 up && ip link set far up && echo ready && exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def explain(self, *words):
        """The answers for many connections, each checked with its schema."""
        connections = [
            {"to": "198.51.100.1:80", "from_uid": 1000}, {"to": "10.1.2.200:80", "from_uid": 1000},
            {"to": "10.1.2.9:80", "from_uid": 1337}, {"to": "[2001:db8::1]:80", "from_uid": 0},
            {"to": "10.1.2.3:80", "from": "10.1.2.4"}, {"to": "10.1.2.9:7000", "from_uid": 1000},
            {"to": "10.1.2.9:80", "from_uid": 1000, "ctstate": "ESTABLISHED"}]
        done = subprocess.run([PROGRAM, "--network-namespace", f"pid:{self.process.pid}", "explain",
                               "--output", "json", "--batch", "-", *words],
                              input="".join(json.dumps(one) + "\n" for one in connections),
                              capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(answers) == len(connections)
        for answer in answers:
            EXPLAIN.validate(answer)
        return answers

    def trace(self, *words):
        """The lines of a trace of two connections and its report, each checked with its schema."""
        tracing = subprocess.Popen(
            [PROGRAM, "--network-namespace", f"pid:{self.process.pid}", "--log-format", "json", "trace",
             "--output", "json", "--count", "2", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert "tracing" in tracing.stderr.readline()
        # Both are redirected to a port where nobody listens.
        connect = ("import socket, sys\ns = [socket.socket(), socket.socket()]\n"
                   "for i, s in enumerate(s):\n s.setblocking(False)\n"
                   " s.connect_ex(('10.1.2.9', 80 + i))\nsys.stdin.read()")
        client = subprocess.Popen(["nsenter", f"--net=/proc/{self.process.pid}/ns/net",
                                   sys.executable, "-c", connect], stdin=subprocess.PIPE)
        out, err = tracing.communicate(timeout=300)
        client.communicate()
        assert tracing.returncode == 0, err
        jsonschema.validate(json.loads(err), schema("report"))
        lines = [json.loads(line) for line in out.splitlines()]
        for line in lines:
            jsonschema.validate(line, schema("trace"))
        return lines

    def run(self, *words, code):
        """Its output and its report; both must follow their schemas."""
        done = subprocess.run([PROGRAM, "--network-namespace", f"pid:{self.process.pid}",
                               "--log-format", "json", *words],
                              capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == code, (words, done.returncode, done.stderr)
        report = json.loads(done.stderr)
        jsonschema.validate(report, schema("report"))
        assert report["exit_code"] == code, report
        if words[0] not in ("show", "diff", "verify", "doctor"):
            return report
        out = json.loads(done.stdout)
        jsonschema.validate(out, schema(words[0]))
        return out


def main():
    if os.geteuid() != 0:
        print("needs root")
        return SKIPPED
    json_of = ["--output", "json"]
    with Namespace() as pod:
        nothing = pod.run("show", *json_of, code=0)
        assert nothing.pop("backend")["name"] in ("iptables", "nftables")
        assert nothing == {"tables": [], "network": {}, "foreign": [], "foreign_captures": [],
                           "unseen": []}
        sick = pod.run("doctor", *json_of, code=10)
        assert sick["result"] == "problem" and sick["checks"][0]["name"] == "rules", sick
        before = pod.run("doctor", *json_of, *ALL, code=0)
        assert before["result"] == "ok" and before["checks"][0]["state"] != "problem", before
        drift = pod.run("diff", *json_of, *ALL, code=10)
        assert drift["drift"] and any("-N ISTIO_OUTPUT" in part["added"] for part in drift["parts"])
        assert all(part["removed"] == [] for part in drift["parts"])
        failed = pod.run("verify", *json_of, *ALL, code=126)
        assert failed["result"] == "failed", failed
        assert any(check["status"] == "failed" for check in failed["checks"])

        assert pod.run(*ALL, code=0)["changed"]
        drift = pod.run("diff", *json_of, *ALL, code=0)
        assert not drift["drift"] and not any(part["differs"] for part in drift["parts"]), drift
        passed = pod.run("verify", *json_of, *ALL, code=0)
        assert passed["result"] == "passed", passed
        shown = pod.run("show", *json_of, code=0)
        assert shown["tables"] and not shown["foreign"], shown
        # The checks have counted on some rules of nat, not on all.
        counted = pod.run("show", "--nonzero", *json_of, code=0)

        def rules(state):
            return [rule for table in state["tables"] for chain in table["chains"]
                    for rule in chain["rules"]]
        assert 0 < len(rules(counted)) < len(rules(shown)), counted
        assert all(rule["packets"] > 0 for rule in rules(counted))
        drift = pod.run("diff", *json_of, "-i", "*", "--ipv6", "off", code=10)
        assert any(part["removed"] for part in drift["parts"]), drift
        pod.run("-p", "0", code=2)
    for backend in ("iptables", "nftables"):
        with Namespace() as pod:
            assert pod.explain()[1]["landing"] == "direct"
            options = ["--backend", backend, *ALL, "-x", "10.1.2.128/25"]
            pod.run(*options, code=0)
            for words in ([], ["--planned", *options]):
                answers = pod.explain(*words)
                assert [one["landing"] for one in answers][1:3] == ["direct"] * 2, answers
                assert answers[1]["decided_by"]["backend"] == backend, answers[1]
                assert answers[1]["decided_by"]["flag"] == "--istio-service-exclude-cidr=10.1.2.128/25"
                assert answers[6]["landing"] == "unknown", answers[6]
            assert [one["landing"] for one in pod.trace()] == ["outbound"] * 2
    return 0


sys.exit(main())
