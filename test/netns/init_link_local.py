#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""init_link_local.py PROGRAM: connections to link-local addresses of IPv6 (fe80::2%eth0) arrive although
everything is captured and no proxy runs, in both directions. Needs root."""
import os
import subprocess
import sys

PROGRAM = sys.argv[1]
SKIPPED = 77  # in CI a failure

LISTEN = r"""
import socket, sys
with socket.create_server((sys.argv[1], 8080, 0, socket.if_nametoindex("eth0")),
                          family=socket.AF_INET6) as listener:
    print("listening", flush=True)
    peer, address = listener.accept()
    with peer:
        peer.sendall(b"hello to " + address[0].split("%")[0].encode())
"""
CONNECT = r"""
import socket, sys
with socket.socket(socket.AF_INET6) as client:
    client.settimeout(60)
    client.connect((sys.argv[1], 8080, 0, socket.if_nametoindex("eth0")))
    data = b""
    while part := client.recv(100):
        data += part
print(data.decode())
"""


def namespace(prepare):
    """A process that sleeps in its own network namespace."""
    process = subprocess.Popen(
        ["unshare", "--net", "sh", "-ec", f"ip link set lo up\n{prepare}\necho ready\nexec cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def inside(process, *words):
    return ["nsenter", f"--net=/proc/{process.pid}/ns/net", *words]


def talk(server, address, client, expected):
    with subprocess.Popen(inside(server, sys.executable, "-c", LISTEN, address),
                          stdout=subprocess.PIPE, text=True) as listener:
        try:
            assert listener.stdout.readline() == "listening\n"
            done = subprocess.run(inside(client, sys.executable, "-c", CONNECT, address),
                                  capture_output=True, text=True, check=False, timeout=300)
            assert done.returncode == 0, done.stderr
            assert done.stdout == f"hello to {expected}\n", done.stdout
        finally:
            listener.kill()


def main():
    if os.geteuid() != 0:
        print("needs root")
        return SKIPPED
    address = "ip link set eth0 addrgenmode none up && ip addr add {}/64 dev eth0 nodad"
    other = namespace("true")
    pod = namespace(f"ip link add eth0 type veth peer name eth0 netns {other.pid}\n" +
                    address.format("fe80::1"))
    try:
        subprocess.run(inside(other, "sh", "-ec", address.format("fe80::2")), check=True)
        for mode in ("REDIRECT", "TPROXY"):
            subprocess.run(inside(pod, PROGRAM, "-m", mode, "-i", "*", "-b", "*", "--dual-stack"),
                           check=True)
            talk(other, "fe80::2", pod, "fe80::1")
            talk(pod, "fe80::1", other, "fe80::2")
    finally:
        for process in (pod, other):
            process.stdin.close()
            process.wait()
    return 0


sys.exit(main())
