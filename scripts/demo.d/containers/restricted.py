#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""restricted.py FILE...: whether the pods of these manifests pass PodSecurity "restricted" (Pod Security
Standards, Kubernetes 1.25 and later). Says what does not, and fails then."""
import sys

import yaml

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
           "projected", "secret"}
SYSCTLS = {"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
           "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range"}


def of_pod(spec):
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield f"{name} is true"
    for volume in spec.get("volumes", []):
        for kind in set(volume) - {"name"} - VOLUMES:
            yield f"a volume is of {kind}"
    for sysctl in spec.get("securityContext", {}).get("sysctls", []):
        if sysctl["name"] not in SYSCTLS:
            yield f"{sysctl['name']} is set"


def of_container(container, pod):
    own = container.get("securityContext", {})

    def setting(name):
        return own.get(name, pod.get(name))

    if own.get("privileged"):
        yield "it is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities do not drop ALL"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield f"capabilities are added: {capabilities['add']}"
    if setting("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if setting("runAsUser") == 0:
        yield "runAsUser is 0"
    if (setting("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "there is no seccompProfile"
    if own.get("procMount", "Default") != "Default":
        yield "procMount is not Default"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "it has a hostPort"


def main():
    mistakes = []
    for name in sys.argv[1:]:
        with open(name, encoding="utf-8") as file:
            spec = yaml.safe_load(file)["spec"]
        mistakes += [f"{name}: {each}" for each in of_pod(spec)]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            mistakes += [f"{name}: {container['name']}: {each}"
                         for each in of_container(container, spec.get("securityContext", {}))]
    print("\n".join(mistakes), end="\n" if mistakes else "")
    return 1 if mistakes else 0


sys.exit(main())
