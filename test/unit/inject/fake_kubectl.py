#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""A kubectl with its own cluster, just the file $FAKE_CLUSTER: namespaces, webhooks, pods, and what else is
applied. It asks webhooks as an API server does (selectors, service and name in the certificate,
AdmissionReview, JSON Patch), and runs the webhook's Deployment as a process of this machine, with its
arguments, Secret and ConfigMap. Real is `kubectl kustomize` ($REAL_KUBECTL). What scripts/try-webhook needs, and
no more. $FAKE_CLUSTER.calls has a line for each call.

It is started hundreds of times, so that what only some calls need is imported by them."""
# pylint: disable=import-outside-toplevel
import copy
import json
import os
import pathlib
import sys

STATE = pathlib.Path(os.environ["FAKE_CLUSTER"])
WEBHOOKS = "mutatingwebhookconfiguration"
EMPTY = {"namespace": {}, WEBHOOKS: {}}


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
        import urllib.parse
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
    import http.client
    import socket
    to = name if name in ("localhost", "127.0.0.1") else "127.0.0.1"
    connection = http.client.HTTPConnection(name, port)
    connection.sock = context.wrap_socket(socket.create_connection((to, port), 60), server_hostname=name)
    return connection


def ask(state, webhook, thing):
    import base64
    import ssl
    from json_patch import apply_patch
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
        sys.exit(f'Error from server (InternalError): failed calling webhook "{webhook["name"]}": '
                 f"{error}")
    if not response["allowed"]:
        sys.exit(f'Error: admission webhook "{webhook["name"]}" denied the request: '
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
            sys.exit(f'Error from server (NotFound): namespaces "{metadata["namespace"]}" not found')
        state.setdefault("applied", []).append(thing)


def start(state):
    """The first replica of the webhook."""
    import base64
    import subprocess
    import time
    pod = of_kind(state, "Deployment")[0]["spec"]["template"]["spec"]
    arguments = pod["containers"][0]["args"]
    for mount in pod["containers"][0]["volumeMounts"]:
        volume = next(each for each in pod["volumes"] if each["name"] == mount["name"])
        directory = STATE.with_name(f"mount-{mount['name']}")
        directory.mkdir(exist_ok=True)
        kind, name = ("Secret", volume["secret"]["secretName"]) if "secret" in volume else \
            ("ConfigMap", volume["configMap"]["name"])
        data = next(each["data"] for each in of_kind(state, kind) if each["metadata"]["name"] == name)
        for key, value in data.items():
            (directory / key).write_bytes(
                base64.b64decode(value) if kind == "Secret" else value.encode())
        arguments = [each.replace(mount["mountPath"], str(directory)) for each in arguments]
    arguments = ["--port=0" if each.startswith("--port=") else each for each in arguments]
    log = STATE.with_name("log")
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(  # pylint: disable=consider-using-with
            [os.environ["FAKE_PROGRAM"], *arguments[1:]], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=file, start_new_session=True)
    while not (line := log.read_text().partition("\n")[0]).endswith("}"):
        if process.poll() is not None:
            sys.exit(f"error: the replica ended: {log.read_text()}")
        time.sleep(0.05)
    state["pid"], state["port"] = process.pid, json.loads(line)["port"]


def delete(state, kind, names):
    for name in names:
        state[kind].pop(name, None)
        if kind != "namespace":
            continue
        if "pid" in state and any(each["metadata"]["namespace"] == name
                                  for each in of_kind(state, "Deployment")):
            import signal
            os.kill(state.pop("pid"), signal.SIGTERM)
            del state["port"]
        left = [each for each in state.pop("applied", []) if each["metadata"]["namespace"] != name]
        if left:
            state["applied"] = left


def documents(text):
    """Most of what is applied is JSON, which is read fast."""
    if text.startswith("{"):
        return [json.loads(text)]
    from injector import load
    return load(text)


def main(arguments):
    with pathlib.Path(str(STATE) + ".calls").open("a", encoding="utf-8") as calls:
        calls.write(" ".join(arguments) + "\n")
    state = json.loads(STATE.read_text()) if STATE.exists() else copy.deepcopy(EMPTY)
    while arguments[0] == "-n":
        arguments = arguments[2:]
    words = [each for each in arguments if not each.startswith("--")]
    if words[0] == "version":
        print(json.dumps({"serverVersion": {"major": "1", "minor": os.environ["FAKE_MINOR"],
                                            "gitVersion": "v1." + os.environ["FAKE_MINOR"]}}))
    elif words[0] == "config":
        print("fake")
    elif words[:1] == ["get"] and "-o" in words:
        print("\n".join(f"{words[1]}/{name}" for name in state[words[1]]))
    elif words[0] == "get":
        print(f"{words[2]} there" if words[2] in state[words[1]] else "", end="")
    elif words[0] == "delete":
        delete(state, words[1], words[2:])
    elif words[:2] == ["apply", "-k"]:
        import subprocess
        built = subprocess.run([os.environ["REAL_KUBECTL"], "kustomize", words[2]], check=True,
                               capture_output=True, text=True).stdout
        for thing in documents(built):
            take(state, thing)
    elif words[:2] == ["rollout", "status"]:
        if os.environ.get("FAKE_FAILURE"):
            sys.exit("error: timed out waiting for the condition")
        start(state)
    elif words[0] in ("create", "apply") and "-f" in words:
        source = words[words.index("-f") + 1]
        text = sys.stdin.read() if source == "-" else pathlib.Path(source).read_text()
        thing, = documents(text)
        if thing["kind"] == "Pod":
            print(json.dumps(create_pod(state, thing)))
        else:
            take(state, thing)
    elif words[0] != "logs" and words[:2] != ["create", "serviceaccount"]:
        sys.exit(f"fake kubectl does not know {arguments}")
    STATE.write_text(json.dumps(state))


main(sys.argv[1:])
