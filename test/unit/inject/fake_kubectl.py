#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""A kubectl with its own cluster, just the file $FAKE_CLUSTER: namespaces, webhooks and pods.
It asks webhooks as an API server does (selectors, AdmissionReview, JSON Patch). What scripts/try-webhook
--local needs, and no more."""
import base64
import copy
import json
import os
import pathlib
import ssl
import sys
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from injector import apply_patch  # pylint: disable=wrong-import-position

STATE = pathlib.Path(os.environ["FAKE_CLUSTER"])


def fits(selector, labels):
    for each in selector.get("matchExpressions", []):
        value = labels.get(each["key"])
        good = {"In": lambda: value in each["values"],
                "NotIn": lambda: value not in each["values"],
                "DoesNotExist": lambda: value is None}[each["operator"]]
        if not good():
            return False
    return True


def ask(webhook, thing):
    client = webhook["clientConfig"]
    context = ssl.create_default_context(cadata=base64.b64decode(client["caBundle"]).decode())
    review = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": thing["metadata"]["namespace"], "operation": "CREATE", "object": thing}}
    request = urllib.request.Request(client["url"], json.dumps(review).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60, context=context) as answer:
        response = json.load(answer)["response"]
    if not response["allowed"]:
        sys.exit(f'Error: admission webhook "{webhook["name"]}" denied the request: '
                 f'{response["status"]["message"]}')
    patch = response.get("patch")
    return apply_patch(thing, json.loads(base64.b64decode(patch))) if patch else thing


def create_pod(state, thing):
    thing = copy.deepcopy(thing)
    namespace = thing["metadata"]["namespace"]
    labels = state["namespace"][namespace] | {"kubernetes.io/metadata.name": namespace}
    for configuration in state["mutatingwebhookconfiguration"].values():
        for webhook in configuration["webhooks"]:
            if fits(webhook["namespaceSelector"], labels) and \
                    fits(webhook["objectSelector"], thing["metadata"].get("labels", {})):
                thing = ask(webhook, thing)
    thing["spec"]["schedulerName"] = "default-scheduler"
    return thing


def main(arguments):
    state = json.loads(STATE.read_text()) if STATE.exists() else {
        "namespace": {}, "mutatingwebhookconfiguration": {}}
    verb = arguments[0]
    if verb == "get":
        print(f"{arguments[2]} there" if arguments[2] in state[arguments[1]] else "", end="")
    elif verb == "delete":
        for name in arguments[2:]:
            state[arguments[1]].pop(name, None)
    elif verb in ("create", "apply"):
        thing = json.load(sys.stdin)
        kind = thing["kind"].lower()
        if kind == "pod":
            print(json.dumps(create_pod(state, thing)))
        elif kind == "namespace":
            state[kind][thing["metadata"]["name"]] = thing["metadata"]["labels"]
        else:
            state[kind][thing["metadata"]["name"]] = thing
    elif arguments[2:4] != ["create", "serviceaccount"]:
        sys.exit(f"fake kubectl does not know {arguments}")
    STATE.write_text(json.dumps(state))


main(sys.argv[1:])
