#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""webhook.py PROGRAM [DIRECTORY]: the admission webhook, asked by real clients over HTTPS.

The patch applied to a request's object gives the command line's result for that object: for the pods
below, and, when there is a DIRECTORY of manifests, for every recorded request in it and for the pod
of every workload. Then HTTP, TLS, limits, reload of the certificate, and the end."""
import base64
import contextlib
import copy
import http.client
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from injector import Injector, apply_patch, load, objects, pod_of

TIMEOUT = 60
CORPUS = None
PROGRAM = None

POD = {"kind": "Pod", "apiVersion": "v1",
       "metadata": {"generateName": "web-7d-", "creationTimestamp": None,
                    "labels": {"app": "web"}, "annotations": {"own/a~b": "1"}},
       "spec": {"containers": [{"name": "web", "image": "nginx", "resources": {}}],
                "restartPolicy": "Always", "nodeSelector": None}}
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


def review(thing, uid="u-1", namespace="default", **fields):
    request = {"uid": uid, "kind": {"group": "", "version": "v1", "kind": "Pod"},
               "resource": {"group": "", "version": "v1", "resource": "pods"},
               "namespace": namespace, "operation": "CREATE", "object": thing, "oldObject": None,
               "dryRun": False}
    request.update(fields)
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


def make_certificate(directory, name):
    """NAME.crt and NAME.key of localhost, by openssl."""
    crt, key = directory / f"{name}.crt", directory / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    f"/CN={name}", "-addext", "subjectAltName=DNS:localhost",
                    "-keyout", key, "-out", crt], check=True, capture_output=True)
    return crt, key


class Server:
    def __init__(self, crt, key, *flags):
        self.crt = crt
        self.process = subprocess.Popen(
            [PROGRAM, "serve", "--port=0", f"--tls-cert={crt}", f"--tls-key={key}", *flags],
            stderr=subprocess.PIPE)
        self.lines = []
        self.condition = threading.Condition()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        self.port = self.wait_for("listening")["port"]

    def read(self):
        for line in self.process.stderr:
            with self.condition:
                self.lines.append(line.decode())
                self.condition.notify_all()
        with self.condition:
            self.lines.append('{"message": "end of the log"}')
            self.condition.notify_all()

    def find(self, message):
        for line in self.lines:
            try:
                entry = json.loads(line)
            except ValueError:
                raise AssertionError(f"this line of the log is no JSON: {line}") from None
            if entry["message"] == message:
                return entry
        return None

    def wait_for(self, message):
        """The first log line that contains it."""
        with self.condition:
            assert self.condition.wait_for(
                lambda: self.find(message) or self.find("end of the log"), TIMEOUT), self.lines
            found = self.find(message)
        assert found, f"no {message}: {self.lines}"
        return found

    def context(self, crt=None):
        return ssl.create_default_context(cafile=crt or self.crt)

    def connect(self, crt=None):
        plain = socket.create_connection(("127.0.0.1", self.port), TIMEOUT)
        return self.context(crt).wrap_socket(plain, server_hostname="localhost")

    @contextlib.contextmanager
    def client(self):
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=TIMEOUT,
                                                 context=self.context())
        try:
            yield connection
        finally:
            connection.close()

    def ask(self, method, path, body=None, kind="application/json", client=None):
        """(status, headers, body)"""
        with contextlib.ExitStack() as stack:
            client = client or stack.enter_context(self.client())
            client.request(method, path, body, {"Content-Type": kind} if kind else {})
            answer = client.getresponse()
            return answer.status, answer.headers, answer.read()

    def review(self, asked, client=None):
        status, headers, body = self.ask("POST", "/inject", json.dumps(asked), client=client)
        assert status == 200, (status, body)
        assert headers["Content-Type"] == "application/json", headers
        value = json.loads(body)
        assert value["apiVersion"] == "admission.k8s.io/v1" and value["kind"] == "AdmissionReview"
        response = value["response"]
        assert response["uid"] == asked["request"]["uid"]
        assert ("patch" in response) == ("patchType" in response), response
        return response

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(TIMEOUT)
        self.reader.join()
        self.process.stderr.close()
        return code


def patch_of(response):
    assert response["patchType"] == "JSONPatch"
    return json.loads(base64.b64decode(response["patch"], validate=True))


def patched(thing, response):
    return apply_patch(thing, patch_of(response)) if "patch" in response else thing


def has_float(value):
    if isinstance(value, dict):
        return any(map(has_float, value.values()))
    return any(map(has_float, value)) if isinstance(value, list) else isinstance(value, float)


def http_request(body, *headers):
    head = ["POST /inject?timeout=5s HTTP/1.1", "Host: a", "Content-Type: application/json",
            f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def read_response(file):
    """(status line, headers, body)"""
    status = file.readline().decode()
    headers = http.client.parse_headers(file)
    return status, headers, file.read(int(headers["Content-Length"]))


class Webhook(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="sluice-webhook.")
        cls.files = pathlib.Path(cls.directory.name)
        cls.certificate = make_certificate(cls.files, "one")
        cls.server = Server(*cls.certificate)
        cls.injector = Injector(PROGRAM)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop(signal.SIGKILL)
        cls.directory.cleanup()

    def start(self, *flags, certificate=None):
        server = Server(*(certificate or self.certificate), *flags)
        self.addCleanup(lambda: server.stop(signal.SIGKILL))
        return server

    maxDiff = None

    # --- one decision ---
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

    # --- HTTP ---
    def test_wrong_requests(self):
        good = json.dumps(review(POD))
        beta = good.replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1")
        for wanted, method, path, body, kind in (
                (405, "GET", "/inject", None, None),
                (405, "PUT", "/inject", good, "application/json"),
                (405, "POST", "/healthz", "", None),
                (404, "GET", "/", None, None),
                (415, "POST", "/inject", good, "text/plain"),
                (415, "POST", "/inject", good, None),
                (200, "POST", "/inject?timeout=5s", good, "application/json; charset=utf-8"),
                (400, "POST", "/inject", beta, "application/json"),
                (400, "POST", "/inject", "", "application/json"),
                (400, "POST", "/inject", "[]", "application/json"),
                (400, "POST", "/inject", "[" * 5000, "application/json"),
                (400, "POST", "/inject", good.replace("u-1", ""), "application/json"),
                (400, "POST", "/inject", json.dumps(review(None)), "application/json"),
                (413, "POST", "/inject", b" " * (4 * 1024 * 1024 + 1), "application/json")):
            with self.subTest(wanted=wanted, method=method, path=path, kind=kind):
                try:
                    status = self.server.ask(method, path, body, kind)[0]
                except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                    # The answer came before the whole body was read.
                    status = 413
                self.assertEqual(status, wanted)

    def test_large_pod_is_taken(self):
        pod = copy.deepcopy(POD)
        pod["metadata"]["annotations"]["big"] = "x" * (2 * 1024 * 1024)
        self.assertIn("patch", self.server.review(review(pod)))

    def test_keep_alive_and_pipelining(self):
        bodies = [json.dumps(review(POD, uid=f"u-{i}")).encode() for i in range(3)]
        with self.server.connect() as connection, connection.makefile("rb") as file:
            for _ in range(2):
                connection.sendall(b"".join(map(http_request, bodies)))
                for i in range(3):
                    status, _, body = read_response(file)
                    self.assertIn("200", status)
                    self.assertEqual(json.loads(body)["response"]["uid"], f"u-{i}")
            connection.sendall(http_request(bodies[0], "Connection: close"))
            self.assertIn("200", read_response(file)[0])
            self.assertEqual(file.read(), b"")

    def test_what_is_not_http(self):
        with self.server.connect() as connection, connection.makefile("rb") as file:
            connection.sendall(b"nonsense\r\n\r\n")
            self.assertIn("400", read_response(file)[0])

    def test_many_headers_are_refused(self):
        with self.server.connect() as connection, connection.makefile("rb") as file:
            connection.sendall(http_request(b"{}", "X: " + "x" * 20000))
            self.assertIn("431", file.readline().decode())

    def test_slow_client_is_closed_and_delays_nobody(self):
        with self.server.connect() as slow:
            slow.sendall(b"POST /inject HTTP/1.1\r\n")
            self.assertIn("patch", self.server.review(review(POD)))
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                self.assertEqual(slow.recv(1), b"")

    def test_health_and_metrics(self):
        for path in ("/healthz", "/healthz/ready"):
            self.assertEqual(self.server.ask("GET", path)[::2], (200, b"ok\n"))
        self.assertEqual(self.server.ask("HEAD", "/healthz")[2], b"")
        server = self.start()
        server.review(review(POD))
        server.review(review(POD, namespace="kube-system"))
        text = server.ask("GET", "/metrics")[2].decode()
        self.assertIn('sluice_webhook_reviews_total{result="injected"} 1\n', text)
        self.assertIn('sluice_webhook_reviews_total{result="skipped"} 1\n', text)
        self.assertIn("sluice_webhook_review_duration_seconds_count 2\n", text)
        expiry = float(text.split("\nsluice_webhook_certificate_expiry_timestamp_seconds ")[1].split()[0])
        self.assertAlmostEqual(expiry, time.time() + 2 * 86400, delta=3600)
        entry = server.wait_for("review")
        self.assertEqual((entry["level"], entry["result"], entry["uid"], entry["namespace"]),
                         ("info", "injected", "u-1", "default"))

    def test_most_connections(self):
        server = self.start("--max-connections=2")
        with server.connect() as first, server.connect() as second, server.connect() as third:
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                self.assertEqual(first.recv(1), b"")
            for each in (second, third):
                each.sendall(http_request(json.dumps(review(POD)).encode()))
                with each.makefile("rb") as file:
                    self.assertIn("200", read_response(file)[0])

    def test_memory_of_bodies(self):
        """Large bodies at once: one beyond the budget is answered 503, and a small one never."""
        large = 3 * 1024 * 1024
        taken = 4 * 1024 * 1024 - 64 * 1024  # memory grows by powers of two, and a part is free
        server = self.start("--max-body-memory=8")

        def metric(name):
            text = server.ask("GET", "/metrics")[2].decode()
            return int(float(text.split(f"\nsluice_webhook_{name} ")[1].split()[0]))

        def wait_for_memory(wanted):
            limit = time.monotonic() + TIMEOUT
            while metric("body_memory_bytes") != wanted:
                assert time.monotonic() < limit, metric("body_memory_bytes")
        request = http_request(b"x" * large)
        with contextlib.ExitStack() as stack:
            held = []
            for number in (1, 2):
                held.append(stack.enter_context(server.connect()))
                held[-1].sendall(request[:-1])
                wait_for_memory(number * taken)
            # What is announced, and not sent, takes nothing.
            stack.enter_context(server.connect()).sendall(http_request(b"x" * large)[:1000])
            for _ in range(3):
                with server.connect() as connection, connection.makefile("rb") as file:
                    with contextlib.suppress(ssl.SSLError, ConnectionError):
                        connection.sendall(request)  # it is answered before all is sent
                    status, headers, _ = read_response(file)
                    self.assertIn("503", status)
                    self.assertEqual(headers["Retry-After"], "1")
                    self.assertEqual(headers["Connection"], "close")
            self.assertEqual(metric("bodies_refused_total"), 3)
            self.assertEqual(metric("body_memory_bytes"), 2 * taken)
            self.assertIn("patch", server.review(review(POD)))
            # What had its memory is answered, and gives it back.
            for left, connection in ((1, held[0]), (0, held[1])):
                connection.sendall(request[-1:])
                with connection.makefile("rb") as file:
                    self.assertIn("400", read_response(file)[0])
                wait_for_memory(left * taken)
        # So does a client that goes away.
        with server.connect() as connection:
            connection.sendall(request[:-1])
            wait_for_memory(taken)
        wait_for_memory(0)

    # --- TLS ---
    def test_versions_of_tls(self):
        for version, good in (("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
            done = subprocess.run(["openssl", "s_client", version, "-cipher",
                                   "DEFAULT:@SECLEVEL=0", "-CAfile", self.server.crt,
                                   "-verify_return_error", "-connect",
                                   f"127.0.0.1:{self.server.port}"],
                                  input=b"", capture_output=True, timeout=TIMEOUT, check=False)
            self.assertEqual(done.returncode == 0, good, (version, done.stdout, done.stderr))

    def test_curl(self):
        body = json.dumps(review(POD))
        for flags in ((), ("--http1.0",), ("--http2",)):
            done = subprocess.run(["curl", "-sS", *flags, "--cacert", self.server.crt, "-H",
                                   "Content-Type: application/json", "--data-binary", "@-",
                                   f"https://localhost:{self.server.port}/inject"],
                                  input=body.encode(), capture_output=True, timeout=TIMEOUT,
                                  check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(json.loads(done.stdout)["response"]["allowed"])

    def test_reload(self):
        """As the kubelet replaces a Secret: by another link, while requests come."""
        mount = self.files / "mount"
        for name in ("one", "two"):
            (mount / name).mkdir(parents=True)
            crt, key = make_certificate(self.files, "new-" + name)
            crt.rename(mount / name / "tls.crt")
            key.rename(mount / name / "tls.key")
        (mount / "bad").mkdir()
        (mount / "bad" / "tls.crt").write_bytes((mount / "one" / "tls.crt").read_bytes())
        (mount / "bad" / "tls.key").write_bytes((mount / "two" / "tls.key").read_bytes())

        def point(name):
            (mount / "..tmp").symlink_to(name)
            (mount / "..tmp").rename(mount / "..data")
        point("one")
        server = self.start(certificate=(mount / "..data" / "tls.crt", mount / "..data" / "tls.key"))
        both = self.files / "both.crt"
        both.write_bytes(b"".join((mount / name / "tls.crt").read_bytes()
                                  for name in ("one", "two")))
        body = http_request(json.dumps(review(POD)).encode(), "Connection: close")
        failures = []
        stop = threading.Event()

        def ask():
            while not stop.is_set():
                try:
                    with server.connect(both) as connection, connection.makefile("rb") as file:
                        connection.sendall(body)
                        assert "200" in read_response(file)[0]
                except Exception as error:  # pylint: disable=broad-except
                    failures.append(error)
        workers = [threading.Thread(target=ask) for _ in range(2)]
        for each in workers:
            each.start()
        try:
            with server.connect(both) as early, early.makefile("rb") as file:
                point("bad")
                server.wait_for("the certificate stays as it was")
                point("two")
                server.process.send_signal(signal.SIGHUP)
                server.wait_for("certificate reloaded")
                # An earlier connection continues.
                early.sendall(body)
                self.assertIn("200", read_response(file)[0])
        finally:
            stop.set()
            for each in workers:
                each.join()
        self.assertEqual(failures, [])
        with server.connect(mount / "two" / "tls.crt"):
            pass
        with self.assertRaises(ssl.SSLError):
            server.connect(mount / "one" / "tls.crt")

    # --- the end ---
    def test_drain(self):
        server = self.start("--drain-duration=1s")
        body = json.dumps(review(POD)).encode()
        with server.connect() as idle, server.connect() as busy, busy.makefile("rb") as file:
            whole = http_request(body)
            busy.sendall(whole[:-1])
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("draining")
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                self.assertEqual(idle.recv(1), b"")
            # After the drain: a request that had begun is answered.
            busy.sendall(whole[-1:])
            status, headers, _ = read_response(file)
            self.assertIn("200", status)
            self.assertEqual(headers["Connection"], "close")
        self.assertEqual(server.process.wait(TIMEOUT), 0)

    def test_drain_says_so_and_goes_on_for_a_while(self):
        server = self.start("--drain-duration=1h")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        self.assertEqual(server.ask("GET", "/healthz/ready")[0], 503)
        self.assertEqual(server.ask("GET", "/healthz")[0], 200)
        self.assertIn("patch", server.review(review(POD)))
        self.assertEqual(server.stop(), 0)  # the second signal

    def test_what_cannot_begin(self):
        crt, key = self.certificate
        other = make_certificate(self.files, "other")
        locked = self.files / "locked.key"
        subprocess.run(["openssl", "ec", "-aes128", "-passout", "pass:x", "-in", key, "-out",
                        locked], check=True, capture_output=True)
        for flags, wanted in (((f"--tls-cert={crt}",), b"--tls-key"),
                              ((f"--tls-cert={crt}", f"--tls-key={locked}"), b"use the cert"),
                              ((f"--tls-cert={crt}", f"--tls-key={other[1]}"), b"use the cert"),
                              ((f"--tls-cert={key}", f"--tls-key={key}"), b"read the cert"),
                              ((f"--tls-cert={crt}", "--tls-key=/none"), b"/none"),
                              ((f"--tls-cert={crt}", f"--tls-key={key}", "--port=x"), b"--port"),
                              ((f"--tls-cert={crt}", f"--tls-key={key}", "-f", "-"), b"no files")):
            done = subprocess.run([PROGRAM, "serve", "--port=0", *flags], capture_output=True,
                                  timeout=TIMEOUT, check=False)
            self.assertEqual(done.returncode, 2, done)
            self.assertIn(wanted, done.stderr)
        done = subprocess.run([PROGRAM, "serve", f"--port={self.server.port}",
                               f"--tls-cert={crt}", f"--tls-key={key}"], capture_output=True,
                              timeout=TIMEOUT, check=False)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn(b"in use", done.stderr)


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv[1])
    CORPUS = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    del sys.argv[1:3]
    unittest.main(verbosity=1)
