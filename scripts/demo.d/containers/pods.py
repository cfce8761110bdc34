#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""pods.py DIRECTORY <MANIFESTS: what a cluster makes of Deployments and Services, for `podman kube play`.

Writes NAME.yaml for each replica, NAME.probes for its kubelet (lines "CONTAINER KIND PORT PATH"), and
services ("NAME PORT TARGET-PORT"). With --annotations it prints those of the pods, as a runtime gives
them to CNI plugins.

podman 4.3 is no cluster: it knows one replica, no Service and no Secret as a volume, publishes each
containerPort on the host, wants systemd for a probe, refuses annotations of more than 63 characters, and
removes an init container that has run."""
import base64
import json
import pathlib
import sys

import yaml

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def probes_of(container):
    """Takes them out."""
    for kind in PROBES:
        if probe := container.pop(kind, None):
            yield f"{container['name']} {kind} {probe['httpGet']['port']} {probe['httpGet']['path']}"


def write_volume(directory, files):
    """As a kubelet does: the names are links through ..data, which is a link to the files, so that it can
    replace all of them at once."""
    (directory / "..first").mkdir(parents=True)
    (directory / "..data").symlink_to("..first")
    for name, content in files.items():
        (directory / "..first" / name).write_bytes(content)
        (directory / name).symlink_to(f"..data/{name}")


def files_of(volume, objects):
    """Those of a volume that is a Secret or a ConfigMap, or None."""
    if "secret" in volume:
        data = objects["Secret", volume["secret"]["secretName"]]["data"]
        return {name: base64.b64decode(content) for name, content in data.items()}
    if "configMap" in volume:
        data = objects["ConfigMap", volume["configMap"]["name"]]["data"]
        return {name: content.encode() for name, content in data.items()}
    return None


def pod_of(name, template, directory, objects):
    """The pod, and its probes. Its volumes are made in the directory."""
    metadata = {**template["metadata"], "name": name}
    metadata["annotations"] = {key: value for key, value in metadata.get("annotations", {}).items()
                               if len(value) <= 63}
    metadata["annotations"]["io.podman.annotations.init.container.type"] = "always"
    # With Always podman restarts an init container that has ended well.
    spec = {**template["spec"], "restartPolicy": "OnFailure"}
    probes = []
    for container in spec["containers"]:
        container.pop("ports", None)
        probes += probes_of(container)
    for volume in spec.get("volumes", []):
        if (files := files_of(volume, objects)) is not None:
            path = directory.absolute() / "volumes" / name / volume["name"]
            write_volume(path, files)
            volume.pop("secret", None)
            volume.pop("configMap", None)
            volume["hostPath"] = {"path": str(path), "type": "Directory"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, probes


def main():
    documents = [each for each in yaml.safe_load_all(sys.stdin) if each]
    deployments = [each for each in documents if each["kind"] == "Deployment"]
    if sys.argv[1] == "--annotations":
        found = [each["spec"]["template"]["metadata"]["annotations"] for each in deployments]
        for each in found:
            each.pop("sluice.dev/status")  # how to take the containers out again
        if any(each != found[0] for each in found):
            sys.exit("pods.py: the pods differ in what they ask for")
        print(json.dumps(found[0]))
        return
    directory = pathlib.Path(sys.argv[1])
    objects = {(each["kind"], each["metadata"]["name"]): each for each in documents}
    for deployment in deployments:
        replicas = deployment["spec"].get("replicas", 1)
        for number in range(1, replicas + 1):
            name = deployment["metadata"]["name"] + (f"-{number}" if replicas > 1 else "")
            # A copy for each, which is changed.
            template = json.loads(json.dumps(deployment["spec"]["template"]))
            pod, probes = pod_of(name, template, directory, objects)
            (directory / f"{name}.yaml").write_text(yaml.safe_dump(pod, sort_keys=False))
            (directory / f"{name}.probes").write_text("".join(f"{each}\n" for each in probes))
    (directory / "services").write_text("".join(
        f"{each['metadata']['name']} {port['port']} {port['targetPort']}\n"
        for each in documents if each["kind"] == "Service" for port in each["spec"]["ports"]))


main()
