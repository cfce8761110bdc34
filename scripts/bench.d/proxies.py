# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Shared by the proxy benchmarks in this directory: two network namespaces, a load between
them, and the cost of a proxy in the middle."""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time

import common

CLIENT, SERVER = "10.99.0.1", "10.99.0.2"
# Several ports, because a client that makes ten thousand connections per second to a single one
# would run out of source ports.
PORT, PORTS = 9000, 8
UID = 1337
LOAD = common.BIN / "sluice-load"


def run(*argv, **kwargs):
    return subprocess.run(argv, check=True, **kwargs)


@contextlib.contextmanager
def namespaces():
    """The names of a client's and a server's namespace, which are removed afterwards."""
    client, server = f"bench-c-{os.getpid()}", f"bench-s-{os.getpid()}"
    made = []
    try:
        for name in (client, server):
            run("ip", "netns", "add", name)
            made.append(name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", client, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0",
            "netns", server)
        for name, address in ((client, CLIENT), (server, SERVER)):
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            run("ip", "netns", "exec", name, "sysctl", "-qw",
                "net.ipv4.ip_local_port_range=1024 65535", "net.ipv4.tcp_tw_reuse=1")
        yield client, server
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name])


REDIRECT = f"""*nat
-A OUTPUT -p tcp -m owner ! --uid-owner {UID} ! -d 127.0.0.1/32 -j REDIRECT --to-ports 15001
COMMIT
"""
REDIRECT_IN = """*nat
-A PREROUTING -p tcp -i eth0 -j REDIRECT --to-ports 15006
COMMIT
"""


def in_namespace(name, uid, argv, **kwargs):
    change = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
    return subprocess.Popen(["ip", "netns", "exec", name, *change, *argv], **kwargs)


def tree(pid):
    """The process and its children (nginx and its workers)."""
    out = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            out += tree(int(child))
    return out


def cpu_seconds(pid):
    """The CPU time of all threads from the scheduler's statistics, in nanoseconds."""
    total = 0
    for process in tree(pid):
        for task in pathlib.Path(f"/proc/{process}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def user_bytes(pid):
    total = 0
    for process in tree(pid):
        for line in pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                total += int(line.split()[1]) * 1024
    return total


def syns_sent_again(name):
    """How many SYNs, and answers to SYNs, a namespace has sent again because nobody answered."""
    shown = run("ip", "netns", "exec", name, "nstat", "-asz", "TcpExtTCPSynRetrans", capture_output=True, text=True)
    return int(shown.stdout.split("TcpExtTCPSynRetrans")[1].split()[0])


def wait_listening(name, port, who):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        shown = run("ip", "netns", "exec", name, "ss", "-Hltn", f"sport = :{port}",
                    capture_output=True).stdout
        if shown.strip():
            return
        time.sleep(0.02)
    raise RuntimeError(f"{who} does not listen on {port}")


@contextlib.contextmanager
def started(process):
    try:
        yield process
    finally:
        # Children too: nginx's workers survive a master that is killed.
        for pid in tree(process.pid) if process.poll() is None else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def serve(stack, server):
    """Starts the server of the load; it is stopped with `stack`."""
    serving = in_namespace(server, 1000, [str(LOAD), "serve", str(PORT), str(PORTS)],
                           stdout=subprocess.PIPE, text=True)
    stack.enter_context(started(serving))
    serving.stdout.readline()


def redirect_to(stack, client, argv, who):
    """Starts a proxy to which all connections of the client are redirected, and returns its process id. It is
    stopped with `stack`."""
    return start_proxy(stack, client, argv, who, REDIRECT, 15001)


def redirect_in(stack, server, argv, who):
    """The same for what comes in to the server."""
    return start_proxy(stack, server, argv, who, REDIRECT_IN, 15006)


def start_proxy(stack, namespace, argv, who, rules, port):
    run("ip", "netns", "exec", namespace, "iptables-legacy-restore", input=rules.encode())
    proxy = in_namespace(namespace, UID, argv, stderr=subprocess.DEVNULL)
    stack.enter_context(started(proxy))
    wait_listening(namespace, port, who)
    return proxy.pid


def run_load(client, argv, pid, who):
    """What a load reports, and the CPU seconds of `pid` between its "begin" and its "end", or 0 without a
    proxy."""
    load = in_namespace(client, 1000, argv, stdout=subprocess.PIPE, text=True)
    with started(load):
        if load.stdout.readline() != "begin\n":
            raise RuntimeError(f"{who}: the load does not begin")
        before = cpu_seconds(pid) if pid else 0
        if load.stdout.readline() != "end\n":
            raise RuntimeError(f"{who}: the load broke off")
        cpu = (cpu_seconds(pid) if pid else 0) - before
        return json.loads(load.stdout.readline()), cpu
