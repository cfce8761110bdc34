# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""The rows of `scripts/bench mesh` for mutual TLS: two proxies of one program speak it to one another."""
import contextlib
import dataclasses
import json
import pathlib
import shutil
import subprocess
import tempfile

import common
from proxies import (LOAD, PORT, PORTS, SERVER, UID, cpu_seconds, in_namespace, namespaces, redirect_in,
                     redirect_to, serve, started, user_bytes)
from rows import Goal, Row

# The application's side of the proxy that answers is connected to from where Sluice does it. A server
# address of 0.0.0.0 is where the connection was going.
HAPROXY = """
global
  nbthread {threads}
  maxconn 9900
  tune.ssl.cachesize 0
  tune.ssl.default-dh-param 2048
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-bind-curves X25519
  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
  ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-server-options ssl-min-ver TLSv1.3 no-tls-tickets
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
"""
HAPROXY_CLIENT = """
listen redirected
  bind :15001
  server original 0.0.0.0 ssl crt {files}/both.pem ca-file {files}/root-cert.pem verify required alpn istio no-ssl-reuse
"""
HAPROXY_SERVER = """
listen redirected
  bind :15006 ssl crt {files}/both.pem ca-file {files}/root-cert.pem verify required alpn istio
  server original 0.0.0.0 source 127.0.0.6
"""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A program at both ends: (directory, threads, is_server) -> argv. The directory has the credentials in the
    directories client and server."""
    name: str
    command: object


def haproxy(directory, threads, is_server):
    side = "server" if is_server else "client"
    config = directory / f"{side}.cfg"
    config.write_text(HAPROXY.format(threads=threads) +
                      (HAPROXY_SERVER if is_server else HAPROXY_CLIENT).format(files=directory / side))
    return ["haproxy", "-db", "-q", "-f", str(config)]


def sluice(program):
    def command(directory, threads, is_server):
        side = "server" if is_server else "client"
        role = (["--mtls-inbound=strict", "--mtls-allow=spiffe://cluster.local/**"] if is_server else
                [f"--mtls-outbound={directory}/rules"])
        return [str(program), f"--concurrency={threads}", f"--access-log={directory}/{side}.log",
                f"--mtls-credentials={directory / side}", *role]
    return command


SLUICE = Candidate("sluice-proxy", sluice(common.BIN / "sluice-proxy"))
HAPROXY_PAIR = Candidate("haproxy", haproxy)


def before(program):
    return Candidate("before", sluice(program))


def credentials(directory):
    for side in ("client", "server"):
        files = directory / side
        subprocess.run([str(common.BIN / "sluice-proxy"), "certificate", f"--ca={directory}/ca",
                        f"--directory={files}", f"--service-account={side}"],
                       check=True, stdout=subprocess.DEVNULL)
        # HAProxy wants both in one file.
        (files / "both.pem").write_text((files / "cert-chain.pem").read_text() +
                                        (files / "key.pem").read_text())
    (directory / "rules").write_text(f"{SERVER} {PORT}-{PORT + PORTS - 1} spiffe://cluster.local/ns/default/sa/server\n")
    subprocess.run(["chown", "-R", f"{UID}:{UID}", str(directory)], check=True)


@contextlib.contextmanager
def pair(candidate, threads):
    """Two proxies between a load and its server: the client's namespace, and the process ids of the client's and
    the server's proxy."""
    with contextlib.ExitStack() as stack:
        client, server = stack.enter_context(namespaces())
        directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-bench-"))
        stack.callback(shutil.rmtree, directory)
        credentials(directory)
        serve(stack, server)
        inside = redirect_in(stack, server, candidate.command(directory, threads, True), candidate.name)
        outside = redirect_to(stack, client, candidate.command(directory, threads, False), candidate.name)
        yield client, (outside, inside)


def load_argv(kind, connections, seconds):
    return [str(LOAD), kind, SERVER, str(PORT), str(PORTS), str(connections), str(seconds)]


def measure_load(candidate, threads, argv):
    """What a load reports, and the CPU seconds of the two proxies while it worked."""
    with pair(candidate, threads) as (client, pids):
        load = in_namespace(client, 1000, argv, stdout=subprocess.PIPE, text=True)
        with started(load):
            if load.stdout.readline() != "begin\n":
                raise RuntimeError(f"{candidate.name}: the load does not begin")
            at_first = [cpu_seconds(pid) for pid in pids]
            if load.stdout.readline() != "end\n":
                raise RuntimeError(f"{candidate.name}: the load broke off")
            cpu = [cpu_seconds(pid) - first for pid, first in zip(pids, at_first)]
            result = json.loads(load.stdout.readline())
        if result["errors"]:
            raise RuntimeError(f"{candidate.name}: {result['errors']} connections broke")
        return result, cpu


def measure_handshakes(candidate, threads, seconds):
    result, (client, server) = measure_load(candidate, threads, load_argv("short", 16, seconds))
    count = max(1, result["count"])
    return ((client + server) / count * 1e6, client / count * 1e6, server / count * 1e6,
            count / result["seconds"])


def measure_bulk(candidate, threads, seconds):
    result, (client, server) = measure_load(candidate, threads, load_argv("bulk", 8, seconds))
    gigabytes = result["bytes"] / 1e9
    return ((client + server) / gigabytes, client / gigabytes, server / gigabytes,
            gigabytes * 8 / result["seconds"])


# Each is a handshake of a millisecond or two, and all begin at once.
IDLE_CONNECTIONS = 2000


def measure_idle(candidate, threads, _):
    with pair(candidate, threads) as (client, pids):
        at_first = [user_bytes(pid) for pid in pids]
        load = in_namespace(client, 1000, load_argv("idle", IDLE_CONNECTIONS, 0),
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with started(load):
            if not load.stdout.readline().startswith("ready"):
                raise RuntimeError(f"{candidate.name}: not all connections came up")
            grown = [(user_bytes(pid) - first) / IDLE_CONNECTIONS
                     for pid, first in zip(pids, at_first)]
            return sum(grown), *grown


CANDIDATES = (SLUICE, HAPROXY_PAIR)
ROWS = (
    Row("handshakes", "mutual TLS: connect, handshake, one request, close",
        ("CPU µs each", "the client's", "the server's", "per s"), CANDIDATES, measure_handshakes,
        (Goal(0, HAPROXY_PAIR.name, 1.0),), before=before),
    Row("tls-bulk", "mutual TLS: bulk, 8 streams", ("CPU s/GB", "the client's", "the server's", "Gbit/s"),
        CANDIDATES, measure_bulk, (Goal(0, HAPROXY_PAIR.name, 0.9),), before=before),
    Row("tls-idle", f"mutual TLS: {IDLE_CONNECTIONS:,} idle connections, user memory",
        ("bytes each", "the client's", "the server's"), CANDIDATES, measure_idle,
        (Goal(0, HAPROXY_PAIR.name, 0.95),), rounds=1, before=before),
)
