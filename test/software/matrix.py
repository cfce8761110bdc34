#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""matrix.py PROGRAMS PACKAGES [clean|bad [SEED]] [NAME...]: real clients and servers through two proxies.

Two pods have the rules of sluice-init and a sluice-proxy each, from the directory PROGRAMS. All servers
run in one of them, all clients in the other one, over IPv4 and IPv6. What is transferred must be the same
at both ends, and both access logs must have the connections. Connections that are silent meanwhile must
still be there in the end. PACKAGES has Debian packages that are only unpacked, so that no service starts.
With `bad` the link between the pods loses, delays, doubles and reorders packets (bad_link.py). With NAMEs
only those cases run. Needs root."""
import collections
import concurrent.futures
import ctypes
import hashlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from cases import CASES, CLIENTS, SERVERS, SILENT
from pods import APPLICATION_UID, PATIENCE, Failed, Pod, connect, end_children, find_program, wait_for

HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77  # ctest's code for it; in CI that is a failure
PR_SET_CHILD_SUBREAPER = 36
# Of the proxies on the clean link: connections that are silent for longer must not mind it.
CONNECT_TIMEOUT = 5


class Matrix:
    """The pods with what runs in them."""

    def __init__(self, programs, packages, work, link, names):
        self.work, self.packages, self.link = work, packages, link
        self.cases = {name: case for name, case in CASES.items() if not names or name in names}
        wanted = {case.server for case in self.cases.values()}
        self.servers = {name: server for name, server in SERVERS.items() if name in wanted}
        self.silent = {} if link else {name: row for name, row in SILENT.items() if name in wanted}
        # The users of the pods may have no access to the clone.
        shutil.copy(programs / "sluice-proxy", work)
        size, rows = (1 << 20, 8000) if link is None else (256 << 10, 2000)
        (work / "blob").write_bytes(random.Random(1).randbytes(size))
        (work / "rows").write_text("".join(
            f"{row}\t{hashlib.sha256(b'%d' % row).hexdigest()}\n" for row in range(rows)))
        self.pods = []
        for number, name in enumerate(("client", "server"), 1):
            self.pods.append(Pod(name, number, work, packages))
        self.client, self.server = self.pods
        shutil.copy(HERE / "peers.py", self.server.work)
        connect(self.pods, link)
        timeout = ["--connect-timeout", f"{CONNECT_TIMEOUT}s" if link is None else "2m"]
        self.client.capture(programs, ["--redirect-dns", "--capture-all-dns"],
                            ["--dns-port", "15053", *timeout])
        self.server.capture(programs, [], timeout)

    def path(self, pod, program):
        """A variable with a program's path."""
        path = find_program(program, self.packages)
        # Of the clone, users in a pod may see nothing but its packages.
        path = path.replace(str(self.packages), str(pod.work / "packages"))
        return f"{program.replace('-', '_')}={path}"

    def prepare(self, name):
        """What a server's command is, when all is there that it needs."""
        server, folder = self.servers[name], self.server.work / name
        folder.mkdir()
        for file, text in server.files.items():
            (folder / file).write_text(text.format(folder))
        for path in (folder, *folder.iterdir()):
            os.chown(path, server.uid, server.uid)
        paths = (self.path(self.server, program) for program in (server.program, "initdb"))
        run = ["env", *paths, "sh", "-efc"]
        self.server.run([*run, server.prepare.format(folder)], server.uid)
        return [*run, "exec " + " ".join(server.command.format(folder).split())], server.uid

    def start_servers(self, pool):
        started = []
        for name, (command, uid) in zip(self.servers, pool.map(self.prepare, self.servers)):
            started.append((self.server.start(name, command, uid), self.servers[name].ready))
        for process, ready in started:
            self.server.wait_until_ready(process, ready)

    def words(self, name, family, script):
        """The command of a script in an empty directory, for one of the server's addresses."""
        folder = self.client.work / f"{name}{family}"
        folder.mkdir()
        os.chown(folder, APPLICATION_UID, APPLICATION_UID)
        host = self.server.addresses[family == 6]
        names = {"host": host, "url": host if family == 4 else f"[{host}]", "family": family,
                 "nobody": "192.0.2.53" if family == 4 else "2001:db8::53",
                 "blob": self.work / "blob", "rows": self.work / "rows", "server": self.server.work}
        return ["env", *(f"{name}={value}" for name, value in names.items()), self.path(self.client, "psql"),
                "sh", "-efc", f"cd {folder}\n{script}"]

    def run_case(self, name, family):
        began = time.monotonic()
        self.client.run(self.words(name, family, self.cases[name].script))
        print(f"{name} over IPv{family}: {time.monotonic() - began:.1f} s", flush=True)

    def say(self, process, name, word):
        process.stdin.write(SILENT[name][2].format(word).encode() + b"\n")
        process.stdin.flush()

        def answered():
            if process.poll() not in (None, 0):
                raise Failed(f"{process.name} ended:\n{self.client.output(process.name)}")
            return word in self.client.output(process.name).split()
        wait_for(lambda: f"{process.name} says {word}:\n{self.client.output(process.name)}", answered)

    def run(self):
        began = time.monotonic()
        both = [(name, family) for name in self.cases for family in (4, 6)]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            self.start_servers(pool)
            print(f"servers are ready: {time.monotonic() - began:.1f} s", flush=True)
            silent = []
            for name, (_, script, _) in self.silent.items():
                for family in (4, 6):
                    words = self.words(f"silent-{name}", family, script)
                    process = self.client.start(f"silent-{name}{family}", words, stdin=subprocess.PIPE)
                    silent.append((process, name))
            for process, name in silent:
                self.say(process, name, "first")
            quiet = time.monotonic()
            for _ in pool.map(lambda one: self.run_case(*one), both):
                pass
        if silent:
            # Not to wait for something: it is what is tested, and has passed already, as a rule.
            time.sleep(max(0, quiet + 1.2 * CONNECT_TIMEOUT - time.monotonic()))
        for process, name in silent:
            self.say(process, name, "last")
            process.stdin.close()
            if process.wait(PATIENCE) != 0:
                raise Failed(f"{process.name} ended badly:\n{self.client.output(process.name)}")
        self.check_access_logs()
        if self.link:
            segments, queries = sum(pod.sent_again() for pod in self.pods), self.client.asked_again()
            print(f"sent again: {segments} segments, {queries} DNS queries")
            if segments + queries == 0:
                raise Failed("the link has lost nothing")
        for pod in self.pods:
            pod.end_proxy()
        print(f"all: {time.monotonic() - began:.1f} s", flush=True)

    def check_access_logs(self):
        """Both proxies had each connection, and all that was transferred."""
        wanted, carried = collections.Counter(), collections.Counter()
        blob = (self.work / "blob").stat().st_size
        for case in self.cases.values():
            wanted[case.port] += case.connections
            carried[case.port] += case.blobs * blob
            if "$rows" in case.script:
                carried[case.port] += 2 * (self.work / "rows").stat().st_size
        for name in self.silent:
            wanted[SILENT[name][0]] += 1
        clusters = ((self.client, "PassthroughCluster"), (self.server, "InboundPassthroughCluster"))

        def counts():
            """Connections by address and port, of both."""
            both = []
            for pod, cluster in clusters:
                both.append(collections.Counter(line["downstream_local_address"] for line in pod.access_log()
                                                if line["upstream_cluster"] == cluster))
            return both

        places = {(f"{host}:{port}" if "." in host else f"[{host}]:{port}"): port
                  for host in self.server.addresses for port in wanted}
        # A line is written when the connection is over.
        wait_for(lambda: f"the access logs have all connections: {counts()}, at least {wanted}",
                 lambda: (both := counts()) and all(
                     both[0][place] == both[1][place] >= wanted[port] for place, port in places.items()
                     if port != 53))
        for pod, cluster in clusters:
            lines = pod.access_log()
            for line in lines:
                if line["response_flags"] != "-":
                    raise Failed(f"{pod.name}: a connection that went wrong: {line}")
            for place, port in places.items():
                size = sum(line["bytes_received"] + line["bytes_sent"] for line in lines
                           if line["downstream_local_address"] == place)
                if size < carried[port]:
                    raise Failed(f"{pod.name}: {cluster} {place}: {size} bytes of {carried[port]}")


def missing(packages):
    programs = CLIENTS + [server.program for server in SERVERS.values()]
    names = [name for name in programs if not find_program(name, packages)]
    for module in ("grpc", "websockets"):
        try:
            __import__(module)
        except ImportError:
            names.append(f"the module {module} of Python")
    return names


def skip(reason):
    print(f"skipped: {reason}")
    return 1 if os.environ.get("CI") == "true" else SKIPPED


def main():
    programs, packages, *rest = sys.argv[1:]
    programs, packages = pathlib.Path(programs).resolve(), pathlib.Path(packages).resolve()
    if os.geteuid() != 0:
        return skip("needs root, for network namespaces")
    if lacks := missing(packages):
        return skip(f"these are missing (scripts/packages): {', '.join(lacks)}")
    link = None
    if rest.pop(0) == "bad":
        seed = rest.pop(0) if rest and rest[0].isdigit() else str(random.randrange(1 << 32))
        print(f"the link's seed: {seed}", flush=True)
        link = [HERE / "bad_link.py", seed]
    # Cleans up also when it is to end early.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    matrix = None
    work = pathlib.Path(tempfile.mkdtemp(prefix="sluice-software."))
    work.chmod(0o755)
    try:
        matrix = Matrix(programs, packages, work, link, rest)
        matrix.run()
    except Failed as failure:
        print(failure)
        for pod in matrix.pods if matrix else []:
            ended = [f"{one.name} ({one.returncode})" for one in pod.processes if one.poll() is not None]
            print(f"== {pod.name}: ended: {', '.join(ended)}; access log, and what the proxy says\n"
                  f"{(pod.work / 'access.log').read_text()[-20000:]}\n{pod.output('sluice-proxy')[-5000:]}")
        return 1
    finally:
        for pod in matrix.pods if matrix else []:
            pod.stop()
        end_children()
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
