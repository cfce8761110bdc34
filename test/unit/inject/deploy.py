#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""deploy.py PROGRAM DIRECTORY [SCHEMA]: certificates, and the webhook's manifests in DIRECTORY.

What `sluice-inject certificate` prints makes a webhook that a client trusts under the name of its
service, also through a rotation. kubectl builds what is for kustomize, the SCHEMA of Kubernetes has
nothing against it, and its parts fit each other."""
import base64
import functools
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

from fake_kubectl import WEBHOOKS, Cluster
from injector import Schemas, load
from webhook_server import Server, WebhookCase

DIRECTORY = SCHEMA = None
HOST = "sluice-webhook.sluice-system.svc"
LABEL = {"app.kubernetes.io/name": "sluice-webhook"}


def run(*arguments):
    return subprocess.run([WebhookCase.program, *map(str, arguments)], capture_output=True, text=True,
                          timeout=60, check=False)


def certificate(*flags):
    """The configuration and the Secret."""
    done = run("certificate", *flags)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return load(done.stdout)


@functools.cache
def built(name):
    """The text that kubectl builds from a directory."""
    kubectl = shutil.which("kubectl")
    assert kubectl, "there is no kubectl: install the packages of scripts/packages, group test"
    done = subprocess.run([kubectl, "kustomize", DIRECTORY / name], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(name):
    """Its objects by kind and name."""
    return {(each["kind"], each["metadata"]["name"]): each for each in load(built(name))}


@functools.cache
def schemas():
    """None if there is no schema."""
    return Schemas(SCHEMA) if SCHEMA is not None and SCHEMA.exists() else None


def bundles(configuration):
    return {base64.b64decode(each["clientConfig"]["caBundle"]).decode()
            for each in configuration["webhooks"]}


class Deploy(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="sluice-deploy.")
        self.addCleanup(directory.cleanup)
        self.files = pathlib.Path(directory.name)

    def write(self, secret):
        for name, data in secret["data"].items():
            (self.files / name).write_bytes(base64.b64decode(data, validate=True))

    def start(self):
        server = Server(WebhookCase.program, self.files / "tls.crt", self.files / "tls.key")
        self.addCleanup(lambda: server.stop(signal.SIGKILL))
        return server

    @staticmethod
    def connect(server, bundle, host=HOST):
        plain = socket.create_connection(("127.0.0.1", server.port), 60)
        with ssl.create_default_context(cadata=bundle).wrap_socket(plain, server_hostname=host) as it:
            return ssl.cert_time_to_seconds(it.getpeercert()["notAfter"])

    def test_certificate_is_trusted(self):
        configuration, secret = certificate()
        self.assertEqual(secret["type"], "kubernetes.io/tls")
        self.assertEqual(secret["metadata"]["name"], "sluice-webhook-tls")
        self.write(secret)
        self.assertEqual(bundles(configuration), {(self.files / "ca.crt").read_text()})
        server = self.start()
        for bundle in bundles(configuration):
            self.connect(server, bundle)
            self.connect(server, bundle, HOST + ".cluster.local")
            with self.assertRaises(ssl.SSLError):
                self.connect(server, bundle, "localhost")
        done = subprocess.run(["openssl", "verify", "-x509_strict", "-purpose", "sslserver",
                               "-CAfile", self.files / "ca.crt", self.files / "tls.crt"],
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done)

    def test_rotation(self):
        configuration, secret = certificate()
        old = bundles(configuration)
        self.write(secret)
        server = self.start()
        shutil.copy(self.files / "ca.crt", self.files / "old.crt")
        configuration, secret = certificate("--trust", self.files / "old.crt")
        # The cluster trusts both before the webhook has the new certificate.
        for bundle in bundles(configuration):
            self.connect(server, bundle)
        self.write(secret)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("certificate reloaded")
        for bundle in bundles(configuration):
            self.connect(server, bundle)
        for bundle in old:
            with self.assertRaises(ssl.SSLError):
                self.connect(server, bundle)

    def test_other_names(self):
        began = time.time()
        configuration, secret = certificate("--namespace=a", "--service=b", "--validity=1.5h",
                                            "--failure-policy=Ignore")
        self.assertEqual(secret["metadata"]["namespace"], "a")
        self.assertEqual(secret["metadata"]["name"], "b-tls")
        for each in configuration["webhooks"]:
            self.assertEqual(each["failurePolicy"], "Ignore")
            self.assertEqual(each["clientConfig"]["service"],
                             {"namespace": "a", "name": "b", "path": "/inject", "port": 443})
        self.write(secret)
        ends = self.connect(self.start(), bundles(configuration).pop(), "b.a.svc")
        self.assertGreaterEqual(ends, int(began) + 5400)

    def test_wrong_flags(self):
        bad = self.files / "bad.crt"
        bad.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        for flags in (("--namespace=A",), ("--service=-a",), ("--validity=1s",),
                      ("--failure-policy=x",), ("--trust", bad), ("--trust", __file__),
                      ("-f", "-"), ("--port=1",)):
            done = run("certificate", *flags)
            self.assertEqual((done.returncode, done.stdout), (2, ""), (flags, done.stderr))
        self.assertEqual(run("certificate", "--trust", "/none").returncode, 1)

    def test_base(self):
        base = build("base")
        kinds = [kind for kind, _ in base]
        self.assertEqual(sorted(kinds), ["ConfigMap", "Deployment", "Namespace", "NetworkPolicy",
                                         "PodDisruptionBudget", "ResourceQuota", "Service",
                                         "ServiceAccount"])
        for (kind, _), thing in base.items():
            if kind != "Namespace":
                self.assertEqual(thing["metadata"]["namespace"], "sluice-system")
        deployment = base["Deployment", "sluice-webhook"]["spec"]
        self.assertEqual(deployment["replicas"], 2)
        pod = deployment["template"]
        for selector in (deployment["selector"]["matchLabels"],
                         base["Service", "sluice-webhook"]["spec"]["selector"],
                         base["PodDisruptionBudget", "sluice-webhook"]["spec"]["selector"]
                         ["matchLabels"],
                         base["NetworkPolicy", "sluice-webhook"]["spec"]["podSelector"]
                         ["matchLabels"]):
            self.assertEqual(selector, LABEL)
            self.assertLessEqual(selector.items(), pod["metadata"]["labels"].items())
        # A quota allows the priority class, for both replicas and one that replaces them.
        quota = base["ResourceQuota", "sluice-webhook"]["spec"]
        self.assertEqual(quota["scopeSelector"]["matchExpressions"][0]["values"],
                         [pod["spec"]["priorityClassName"]])
        self.assertGreater(int(quota["hard"]["pods"]), deployment["replicas"])
        config = next(thing for (kind, _), thing in base.items() if kind == "ConfigMap")
        volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
        self.assertEqual(volumes["config"]["configMap"]["name"], config["metadata"]["name"])
        self.assertEqual(volumes["tls"]["secret"]["secretName"],
                         certificate()[1]["metadata"]["name"])
        (self.files / "config.json").write_text(config["data"]["config.json"])
        done = run("print-config", "--config", self.files / "config.json")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_cert_manager(self):
        objects = build("cert-manager")
        self.assertLess(build("base").keys(), objects.keys())
        configuration = objects["MutatingWebhookConfiguration", "sluice-webhook"]
        source = configuration["metadata"].pop("annotations")["cert-manager.io/inject-ca-from"]
        issued = objects["Certificate", source.split("/")[1]]
        self.assertEqual(issued["metadata"]["namespace"], source.split("/")[0])
        wanted, secret = certificate()
        self.assertEqual(issued["spec"]["secretName"], secret["metadata"]["name"])
        self.assertIn(HOST, issued["spec"]["dnsNames"])
        for each in wanted["webhooks"]:
            del each["clientConfig"]["caBundle"]
        self.assertEqual(configuration, wanted)

    def test_mutual_tls(self):
        """The example: its parts fit, also injected, and nothing is warned of."""
        text = built("../mutual-tls")
        (self.files / "all.yaml").write_text(text)
        done = run("-f", self.files / "all.yaml")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("warning", done.stderr)
        objects = {(each["kind"], each["metadata"]["name"]): each
                   for each in load(done.stdout)}
        rules = objects["ConfigMap", "mutual-tls"]
        bound = {each["name"] for each in objects["RoleBinding", "mutual-tls"]["subjects"]}
        for name in ("cart", "till"):
            spec = objects["Deployment", name]["spec"]["template"]["spec"]
            self.assertIn(spec["serviceAccountName"], bound)
            self.assertIn(("ServiceAccount", spec["serviceAccountName"]), objects)
            csi, policy = spec["volumes"]
            self.assertEqual(csi["csi"]["driver"], "spiffe.csi.cert-manager.io")
            self.assertEqual(policy["configMap"]["name"], rules["metadata"]["name"])
            proxy = spec["initContainers"][1]
            file = next(arg for arg in proxy["args"] if arg.startswith("--mtls-outbound="))
            self.assertIn(file.rsplit("/", 1)[1], rules["data"])
        self.assertIn("/ns/shop/sa/cart", rules["data"]["mtls-outbound"])
        args = objects["Deployment", "cart"]["spec"]["template"]["spec"]["initContainers"][1]["args"]
        self.assertIn("--mtls-allow=spiffe://cluster.local/ns/shop/sa/till", args)
        self.assertFalse([arg for arg in args if "plaintext" in arg])
        back = subprocess.run([WebhookCase.program, "uninject", "-f", "-"], input=done.stdout,
                              capture_output=True, text=True, check=True, timeout=60)
        self.assertEqual(back.stdout, text)
        if schemas() is not None:
            for thing in (*build("../mutual-tls").values(), *objects.values()):
                self.assertIsNone(schemas().mistake(thing), thing)

    def trial(self, *flags, minor=32, fails=False):
        """scripts/try-webhook, in a simulated cluster, and what kubectl was told."""
        here = pathlib.Path(__file__).resolve().parent
        directory = pathlib.Path(tempfile.mkdtemp(dir=self.files))
        with Cluster(WebhookCase.program, shutil.which("kubectl"), directory, minor, fails) as cluster:
            environment = os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"}
            done = subprocess.run([sys.executable, here.parents[2] / "scripts/try-webhook", "--bin",
                                   pathlib.Path(WebhookCase.program).parent, *flags], env=environment,
                                  capture_output=True, text=True, timeout=300, check=False)
            # Nothing is left, whatever happened.
            self.assertEqual(cluster.state, {"namespace": {}, WEBHOOKS: {}})
            self.assertIsNone(cluster.replica)
        return done, cluster.calls

    def test_trial_of_a_webhook_here(self):
        for address in ("127.0.0.1", "localhost"):
            done, _ = self.trial("--local", address)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("all is well", done.stdout)

    def test_trial_in_the_cluster(self):
        """What kustomize builds, run with the Secret and the names of the service."""
        for image in ("registry.example.org:5000/mesh/sluice:0.1.0", "sluice",
                      "example.org/sluice@sha256:" + "a" * 64):
            done, calls = self.trial("--image", image)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("all is well", done.stdout)
            self.assertIn("--sidecar native", done.stdout)
            # The Secret and the replicas come before what makes the cluster ask them.
            order = [call for call in calls if "apply" in call or "rollout" in call]
            self.assertEqual([call.split()[0] for call in order],
                             ["apply", "apply", "apply", "-n", "apply"])
            self.assertEqual(order[2].split()[1], "-k")
            self.assertIn("--ignore-not-found", calls[-1])

    def test_trial_in_an_old_cluster(self):
        done, _ = self.trial(minor=28)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("--sidecar container", done.stdout)

    def test_trial_that_fails_says_why_and_cleans_up(self):
        done, calls = self.trial(fails=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("the replicas are not ready: error: timed out", done.stderr)
        self.assertTrue([call for call in calls if "get events" in call])
        self.assertTrue([call for call in calls if call.startswith("delete namespace")])

    def test_schema(self):
        if schemas() is None:
            return
        known = 0
        for thing in (*build("base").values(), *build("cert-manager").values(), *certificate()):
            self.assertIsNone(schemas().mistake(thing), thing)
            known += (thing["apiVersion"], thing["kind"]) in schemas().by_kind
        self.assertGreater(known, 12)


if __name__ == "__main__":
    WebhookCase.program = os.path.abspath(sys.argv[1])
    DIRECTORY = pathlib.Path(sys.argv[2]).resolve()
    SCHEMA = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
    del sys.argv[1:4]
    unittest.main(verbosity=1)
