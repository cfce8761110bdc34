#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""webhook.py PROGRAM [DIRECTORY]: the admission webhook, asked by real clients over HTTPS.

The patch applied to a request's object gives the command line's result for that object: for the pods
below, and, when there is a DIRECTORY of manifests, for every recorded request in it and for the pod
of every workload. The rest is in webhook_http.py."""
import copy
import json
import os
import pathlib
import sys
import unittest

from injector import load, objects, pod_of
# unittest.main() runs all tests that have a name here.
from webhook_http import WebhookHttp  # pylint: disable=unused-import
from webhook_server import POD, WebhookCase, patched, review

CORPUS = None

PODS = (
    POD,
    {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "bare"},
     "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "b"}]}},
    {"kind": "Pod", "apiVersion": "v1", "spec": {"containers": [{"name": "a"}]}},
    {"kind": "Pod", "apiVersion": "v1",
     "metadata": {"name": "nulls", "annotations": None, "labels": None},
     "spec": {"containers": [{"name": "a"}], "initContainers": None}},
    {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "host", "annotations": {}},
     "spec": {"hostNetwork": True, "containers": [{"name": "a"}]}},
    {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "empty", "annotations": {}},
     "spec": {"containers": [{"name": "ä \"<&>", "args": ["\u2028", "\\", "a\nb"]}],
              "initContainers": []}},
    {"kind": "Pod", "apiVersion": "v1",
     "metadata": {"name": "out", "labels": {"sidecar.istio.io/inject": "false"}},
     "spec": {"containers": [{"name": "a"}]}},
    {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "ours"},
     "spec": {"containers": [{"name": "a", "securityContext": {"runAsUser": 1337}}]}},
)


def has_float(value):
    if isinstance(value, dict):
        return any(map(has_float, value.values()))
    return any(map(has_float, value)) if isinstance(value, list) else isinstance(value, float)


class Webhook(WebhookCase):
    maxDiff = None

    def check_same(self, asked, client):
        """The webhook's result for a request is the command line's result for its object."""
        thing = asked["request"]["object"]
        text = json.dumps(thing, separators=(",", ":"), ensure_ascii=False)
        done = self.injector.run("-f", "-", text=text)
        response = self.server.review(asked, client)
        if done.returncode == 6:
            self.assertFalse(response["allowed"])
            self.assertIn(response["status"]["message"].encode(), done.stderr)
            return "refused"
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(response["allowed"])
        wanted = load(done.stdout)[0]
        result = patched(thing, response)
        if has_float(thing):
            # 1.5 is written differently, which makes a different original text.
            for each in (result, wanted):
                each.get("metadata", {}).get("annotations", {}).pop("sluice.dev/status", None)
        self.assertEqual(result, wanted)
        if wanted != thing and not has_float(thing):
            # Again, with what an API server and others add to our containers.
            again = self.server.review(review(wanted), client)
            self.assertNotIn("patch", again)
            later = copy.deepcopy(wanted)
            for each in later["spec"]["initContainers"][:2]:
                each["terminationMessagePath"] = "/dev/termination-log"
                each["volumeMounts"] = [{"name": "t", "mountPath": "/var/run/secrets"}]
            later["spec"]["containers"].append({"name": "of-another-webhook"})
            self.assertNotIn("patch", self.server.review(review(later), client))
        return "injected" if wanted != thing else "skipped"

    def test_pods(self):
        with self.server.client() as client:
            became = [self.check_same(review(pod), client) for pod in PODS]
        self.assertEqual(became.count("injected"), 5)
        self.assertEqual(became.count("skipped"), 2)
        self.assertEqual(became.count("refused"), 1)

    def test_corpus(self):
        if CORPUS is None:
            return
        counts = {}
        with self.server.client() as client:
            for asked in self.requests():
                became = self.check_same(asked, client)
                counts[became] = counts.get(became, 0) + 1
        print("FIGURE requests:", counts)
        self.assertGreater(counts["injected"], 200)

    def requests(self):
        for path in sorted(CORPUS.rglob("*.json")):
            if "admission" in str(path.parent):
                value = json.loads(path.read_bytes())
                asked = value if "request" in value else review({}) | {"request": value}
                if asked["request"].get("kind", {}).get("kind") == "Pod" and \
                        isinstance(asked["request"].get("object"), dict):
                    asked["request"]["object"].setdefault("kind", "Pod")
                    asked["request"]["object"].setdefault("apiVersion", "v1")
                    yield asked
        for path in sorted(CORPUS.rglob("*")):
            if path.suffix not in (".yaml", ".yml") or not path.is_file():
                continue
            try:
                documents = load(path.read_bytes())
            except Exception:  # pylint: disable=broad-except  # no YAML, whatever it is
                continue
            for thing in (each for document in documents for each in objects(document)):
                try:
                    pod = pod_of(thing)
                except (KeyError, TypeError):
                    continue
                if isinstance(pod, dict) and isinstance(pod.get("spec"), dict):
                    pod = json.loads(json.dumps(pod, default=str))
                    yield review(pod | {"kind": "Pod", "apiVersion": "v1"})

    def test_another_configuration_replaces(self):
        text = self.injector.inject(json.dumps(POD), "--image=example.org/other:1")
        before = load(text)[0]
        response = self.server.review(review(before))
        wanted = load(self.injector.inject(json.dumps(POD, separators=(",", ":"))))[0]
        result = patched(before, response)
        for each in (wanted, result):
            each["metadata"]["annotations"].pop("sluice.dev/status")
        self.assertEqual(result, wanted)

    def test_flags_are_those_of_the_command_line(self):
        flags = ("--cni", "--image=example.org/s:2", "--proxy-cpu=1")
        server = self.start(*flags)
        text = json.dumps(POD, separators=(",", ":"))
        self.assertEqual(patched(POD, server.review(review(POD))),
                         load(self.injector.inject(text, *flags))[0])

    def test_two_replicas_say_the_same(self):
        other = self.start()
        body = json.dumps(review(POD))
        self.assertEqual(self.server.ask("POST", "/inject", body)[2],
                         other.ask("POST", "/inject", body)[2])

    def test_what_passes(self):
        passes = (
            review(POD, namespace="kube-system"), review(POD, operation="DELETE"),
            review(POD, operation="UPDATE"), review(POD, subResource="ephemeralcontainers"),
            review(POD, kind={"group": "apps", "version": "v1", "kind": "Deployment"}),
            review(POD | {"kind": "Secret"}))
        for asked in passes:
            response = self.server.review(asked)
            self.assertEqual(response, {"uid": "u-1", "allowed": True})

    def test_warnings_are_given(self):
        pod = copy.deepcopy(POD)
        pod["spec"]["containers"][0]["readinessProbe"] = {"tcpSocket": {"port": 80}}
        pod["metadata"]["annotations"]["sidecar.istio.io/interceptionMode"] = "TPROXY"
        self.assertIn("tcpSocket", self.server.review(review(pod))["warnings"][0])

    def test_wrong_annotation_is_refused(self):
        pod = copy.deepcopy(POD)
        pod["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"] = "80,x"
        response = self.server.review(review(pod))
        self.assertFalse(response["allowed"])
        self.assertNotIn("patch", response)
        self.assertIn("excludeInboundPorts", response["status"]["message"])


if __name__ == "__main__":
    WebhookCase.program = os.path.abspath(sys.argv[1])
    CORPUS = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    del sys.argv[1:3]
    unittest.main(verbosity=1)
