# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""A kubectl with its own cluster: namespaces, webhooks, pods, and what else is applied. It asks webhooks as an
API server does (selectors, service and name in the certificate, AdmissionReview, JSON Patch), and runs the
webhook's Deployment as a process of this machine, with its arguments, Secret and ConfigMap. Real is
`kubectl kustomize`. What scripts/try-webhook needs, and no more.

The cluster is a thread of the test; the program named kubectl only asks it, since it is started hundreds of
times."""
import base64
import copy
import http.client
import json
import pathlib
import signal
import socket
import socketserver
import ssl
import subprocess
import threading
import time
import urllib.parse

from injector import load
from json_patch import apply_patch

WEBHOOKS = "mutatingwebhookconfiguration"
# Sends its arguments and, if one of them is "-", its input; gets its exit code, a line, and its output. To import
# socket takes as long as to start Python; _socket is in Python itself.
PROGRAM = """#!/usr/bin/python3 -SI
import _socket, sys
cluster = _socket.socket(_socket.AF_UNIX)
cluster.connect({path!r})
text = sys.stdin.read() if "-" in sys.argv else ""
cluster.sendall("\\0".join([*sys.argv[1:], text]).encode())
cluster.shutdown(_socket.SHUT_WR)
code, _, output = b"".join(iter(lambda: cluster.recv(65536), b"")).decode().partition("\\n")
(sys.stderr if int(code) else sys.stdout).write(output)
sys.exit(int(code))
"""


class Refused(Exception):
    """What kubectl says when it fails."""


def fits(selector, labels):
    for each in selector.get("matchExpressions", []):
        value = labels.get(each["key"])
        good = {"In": lambda: value in each["values"],
                "NotIn": lambda: value not in each["values"],
                "DoesNotExist": lambda: value is None}[each["operator"]]
        if not good():
            return False
    return True


def of_kind(state, kind):
    return [each for each in state.get("applied", []) if each["kind"] == kind]


def address_of(state, client):
    """(name in the certificate, port, path)"""
    if "url" in client:
        url = urllib.parse.urlsplit(client["url"])
        return url.hostname, url.port, url.path
    wanted = client["service"]
    service = next(each for each in of_kind(state, "Service")
                   if each["metadata"]["name"] == wanted["name"]
                   and each["metadata"]["namespace"] == wanted["namespace"])
    port = next(each for each in service["spec"]["ports"] if each["port"] == wanted["port"])
    pod = of_kind(state, "Deployment")[0]["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert port["targetPort"] in [each["name"] for each in pod["spec"]["containers"][0]["ports"]]
    return f"{wanted['name']}.{wanted['namespace']}.svc", state["port"], wanted["path"]


def connect(name, port, context):
    """To the machine here, whatever the name in the certificate is."""
    to = name if name in ("localhost", "127.0.0.1") else "127.0.0.1"
    connection = http.client.HTTPConnection(name, port)
    connection.sock = context.wrap_socket(socket.create_connection((to, port), 60), server_hostname=name)
    return connection


def ask(state, webhook, thing):
    client = webhook["clientConfig"]
    context = ssl.create_default_context(cadata=base64.b64decode(client["caBundle"]).decode())
    review = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": thing["metadata"]["namespace"], "operation": "CREATE", "object": thing}}
    try:
        name, port, path = address_of(state, client)
        connection = connect(name, port, context)
        connection.request("POST", path, json.dumps(review), {"Content-Type": "application/json"})
        response = json.load(connection.getresponse())["response"]
    except (OSError, KeyError, StopIteration) as error:
        raise Refused('Error from server (InternalError): failed calling webhook '
                      f'"{webhook["name"]}": {error}') from error
    if not response["allowed"]:
        raise Refused(f'Error: admission webhook "{webhook["name"]}" denied the request: '
                      f'{response["status"]["message"]}')
    patch = response.get("patch")
    return apply_patch(thing, json.loads(base64.b64decode(patch))) if patch else thing


def create_pod(state, thing):
    thing = copy.deepcopy(thing)
    labels = state["namespace"][thing["metadata"]["namespace"]]
    for configuration in state[WEBHOOKS].values():
        for webhook in configuration["webhooks"]:
            if fits(webhook["namespaceSelector"], labels) and \
                    fits(webhook["objectSelector"], thing["metadata"].get("labels", {})):
                thing = ask(state, webhook, thing)
    thing["spec"]["schedulerName"] = "default-scheduler"
    return thing


def take(state, thing):
    kind, metadata = thing["kind"].lower(), thing["metadata"]
    if kind == "namespace":
        state[kind][metadata["name"]] = \
            {"kubernetes.io/metadata.name": metadata["name"]} | metadata.get("labels", {})
    elif kind == WEBHOOKS:
        state[kind][metadata["name"]] = thing
    else:
        if metadata["namespace"] not in state["namespace"]:
            raise Refused(f'Error from server (NotFound): namespaces "{metadata["namespace"]}" not found')
        state.setdefault("applied", []).append(thing)


class Cluster:
    """To be used in a `with`. Needs the path of sluice-inject, of the real kubectl, and a directory where the
    program kubectl will be, with the cluster's files. `fails`: no replica gets ready."""
    def __init__(self, program, kubectl, directory, minor, fails):
        self.program, self.kubectl, self.directory = program, kubectl, directory
        self.minor, self.fails = minor, fails
        self.calls = []
        self.state = {"namespace": {}, WEBHOOKS: {}}
        self.replica = None
        self.server = None

    def __enter__(self):
        cluster = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                *arguments, text = self.rfile.read().decode().split("\0")
                try:
                    answer = "0\n" + cluster.call(arguments, text)
                except Refused as error:
                    answer = f"1\n{error}\n"
                self.wfile.write(answer.encode())

        path = str(self.directory / "cluster")
        self.server = socketserver.UnixStreamServer(path, Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        program = self.directory / "kubectl"
        program.write_text(PROGRAM.format(path=path))
        program.chmod(0o755)
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.stop()

    def start(self):
        """The first replica of the webhook."""
        pod = of_kind(self.state, "Deployment")[0]["spec"]["template"]["spec"]
        arguments = pod["containers"][0]["args"]
        for mount in pod["containers"][0]["volumeMounts"]:
            volume = next(each for each in pod["volumes"] if each["name"] == mount["name"])
            directory = self.directory / f"mount-{mount['name']}"
            directory.mkdir(exist_ok=True)
            kind, name = ("Secret", volume["secret"]["secretName"]) if "secret" in volume else \
                ("ConfigMap", volume["configMap"]["name"])
            data = next(each["data"] for each in of_kind(self.state, kind)
                        if each["metadata"]["name"] == name)
            for key, value in data.items():
                (directory / key).write_bytes(
                    base64.b64decode(value) if kind == "Secret" else value.encode())
            arguments = [each.replace(mount["mountPath"], str(directory)) for each in arguments]
        arguments = ["--port=0" if each.startswith("--port=") else each for each in arguments]
        log = self.directory / "log"
        with log.open("w", encoding="utf-8") as file:
            self.replica = subprocess.Popen(  # pylint: disable=consider-using-with
                [self.program, *arguments[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=file)
        while not (line := log.read_text().partition("\n")[0]).endswith("}"):
            if self.replica.poll() is not None:
                raise Refused(f"error: the replica ended: {log.read_text()}")
            time.sleep(0.05)
        self.state["port"] = json.loads(line)["port"]

    def stop(self):
        if self.replica is not None:
            self.replica.send_signal(signal.SIGTERM)
            self.replica.wait()
            self.replica = None
            self.state.pop("port", None)

    def delete(self, kind, names):
        for name in names:
            self.state[kind].pop(name, None)
            if kind != "namespace":
                continue
            if any(each["metadata"]["namespace"] == name for each in of_kind(self.state, "Deployment")):
                self.stop()
            left = [each for each in self.state.pop("applied", [])
                    if each["metadata"]["namespace"] != name]
            if left:
                self.state["applied"] = left

    def call(self, arguments, text):
        """What kubectl prints."""
        self.calls.append(" ".join(arguments))
        while arguments[0] == "-n":
            arguments = arguments[2:]
        words = [each for each in arguments if not each.startswith("--")]
        if words[0] == "version":
            return json.dumps({"serverVersion": {"major": "1", "minor": str(self.minor),
                                                 "gitVersion": f"v1.{self.minor}"}})
        if words[0] == "config":
            return "fake\n"
        if words[:1] == ["get"] and "-o" in words:
            return "".join(f"{words[1]}/{name}\n" for name in self.state[words[1]])
        if words[0] == "get":
            return f"{words[2]} there" if words[2] in self.state[words[1]] else ""
        if words[0] == "delete":
            self.delete(words[1], words[2:])
        elif words[:2] == ["apply", "-k"]:
            built = subprocess.run([self.kubectl, "kustomize", words[2]], check=True,
                                   capture_output=True, text=True).stdout
            for thing in load(built):
                take(self.state, thing)
        elif words[:2] == ["rollout", "status"]:
            if self.fails:
                raise Refused("error: timed out waiting for the condition")
            self.start()
        elif words[0] in ("create", "apply") and "-f" in words:
            source = words[words.index("-f") + 1]
            thing, = load(text if source == "-" else pathlib.Path(source).read_text())
            if thing["kind"] == "Pod":
                return json.dumps(create_pod(self.state, thing))
            take(self.state, thing)
        elif words[0] != "logs" and words[:2] != ["create", "serviceaccount"]:
            raise Refused(f"fake kubectl does not know {arguments}")
        return ""
