# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""A running admission webhook, its clients, and what tests of it share."""
import base64
import contextlib
import http.client
import json
import pathlib
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest

from injector import Injector
from json_patch import apply_patch

TIMEOUT = 60

POD = {"kind": "Pod", "apiVersion": "v1",
       "metadata": {"generateName": "web-7d-", "creationTimestamp": None,
                    "labels": {"app": "web"}, "annotations": {"own/a~b": "1"}},
       "spec": {"containers": [{"name": "web", "image": "nginx", "resources": {}}],
                "restartPolicy": "Always", "nodeSelector": None}}


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
    """`sluice-inject serve`, and clients of it."""

    def __init__(self, program, crt, key, *flags):
        self.crt = crt
        self.process = subprocess.Popen(
            [program, "serve", "--port=0", f"--tls-cert={crt}", f"--tls-key={key}", *flags],
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


def http_request(body, *headers):
    head = ["POST /inject?timeout=5s HTTP/1.1", "Host: a", "Content-Type: application/json",
            f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def read_response(file):
    """(status line, headers, body)"""
    status = file.readline().decode()
    headers = http.client.parse_headers(file)
    return status, headers, file.read(int(headers["Content-Length"]))


class WebhookCase(unittest.TestCase):
    """A webhook for the tests of a class; the program is known before they run."""

    program = None

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="sluice-webhook.")
        cls.files = pathlib.Path(cls.directory.name)
        cls.certificate = make_certificate(cls.files, "one")
        cls.server = Server(cls.program, *cls.certificate)
        cls.injector = Injector(cls.program)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop(signal.SIGKILL)
        cls.directory.cleanup()

    def start(self, *flags, certificate=None):
        server = Server(self.program, *(certificate or self.certificate), *flags)
        self.addCleanup(lambda: server.stop(signal.SIGKILL))
        return server
