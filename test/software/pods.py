# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Two pods with rules and proxies, and programs in them."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
PLACES = ["usr/sbin", "usr/bin", "sbin", "bin", "usr/lib/postgresql/15/bin", "usr/lib/git-core"]
# Of this program's environment, what programs in pods get: flags of the proxy.
FLAGS = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("SLUICE_PROXY_")]
APPLICATION_UID = 1000
PROXY_UID = 1337
# What hangs for so many seconds has failed. No machine is that slow.
PATIENCE = 240
CAPTURE_ALL = ["-p", "15001", "-z", "15006", "-u", str(PROXY_UID), "-m", "REDIRECT", "-i", "*", "-b",
               "*", "-d", "15090,15020", "--dual-stack"]
# A pod has users, resolvers and a /run of its own, so that a server such as sshd finds what it wants,
# and the machine is not changed.
ROOT_FILES = """
mount -t tmpfs none /run
mount -t tmpfs -o mode=1777 none /dev/shm
mkdir -p /run/sshd "$(dirname "$(readlink -m /etc/resolv.conf)")"
test -e /etc/resolv.conf || touch "$(readlink -m /etc/resolv.conf)"
for name in passwd group resolv.conf; do mount --bind "$1/etc/$name" "/etc/$name"; done
test ! -d "$2" || mount --bind "$2" "$1/packages"
ip link set lo up
echo ready
exec cat
"""
PASSWD = """root:x:0:0:root:/root:/bin/sh
app:x:1000:1000:app:{home}:/bin/sh
proxy:x:1337:1337:proxy:/:/usr/sbin/nologin
sshd:x:110:65534:sshd:/run/sshd:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/:/usr/sbin/nologin
"""
GROUP = "root:x:0:\napp:x:1000:\nproxy:x:1337:\nnogroup:x:65534:\n"


class Failed(Exception):
    """Something did not happen, or not as it should."""


def wait_for(what, condition):
    """Asks until the condition holds; what it gives is returned."""
    deadline = time.monotonic() + PATIENCE
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"did not happen in {PATIENCE} s: {what() if callable(what) else what}")
        time.sleep(0.02)
    return result


def find_program(name, packages):
    """The path of a program: unpacked, which other users find below packages, or installed."""
    for place in PLACES:
        for found in packages.glob(f"*/{place}/{name}"):
            return str(found)
    return shutil.which(name, path=":".join(f"/{place}" for place in PLACES))


class Pod:
    """A network namespace with one interface, which is also a mount namespace."""

    def __init__(self, name, number, work, packages):
        self.name, self.work = name, work / name
        self.addresses = [f"10.244.7.{number}", f"fd00:244:7::{number}"]
        self.processes = []
        for folder in ("etc", "home", "packages"):
            (self.work / folder).mkdir(parents=True)
        (self.work / "etc/passwd").write_text(PASSWD.format(home=self.work / "home"))
        (self.work / "etc/group").write_text(GROUP)
        # A lost query must not cost much, and a slow machine is no reason to give up.
        (self.work / "etc/resolv.conf").write_text(
            "nameserver 10.244.7.2\nnameserver fd00:244:7::2\noptions timeout:1 attempts:5\n")
        os.chown(self.work / "home", APPLICATION_UID, APPLICATION_UID)
        # Dies with this process, whose end closes the pipe.
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--ipc", "sh", "-ec", ROOT_FILES, "pod", self.work, packages],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "ready\n":
            raise Failed(f"the pod {name} could not be made")

    def namespace(self, kind):
        return f"/proc/{self.holder.pid}/ns/{kind}"

    def inside(self, command, uid=APPLICATION_UID):
        """The words that run a command in the pod, by a user, until this process ends."""
        return ["nsenter", f"--net={self.namespace('net')}", f"--mount={self.namespace('mnt')}",
                f"--ipc={self.namespace('ipc')}",
                "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--pdeathsig=KILL",
                "env", "-i", *FLAGS, f"HOME={self.work / 'home'}", "LC_ALL=C.UTF-8",
                f"PATH={PATH}", *map(str, command)]

    def run(self, command, uid=APPLICATION_UID, **more):
        """Its output; it must succeed."""
        with subprocess.Popen(self.inside(command, uid), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", start_new_session=True, **more) as process:
            try:
                out, _ = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired as error:
                os.killpg(process.pid, signal.SIGKILL)
                raise Failed(f"{self.name}: hangs: {command}\n{process.communicate()[0]}") from error
        if process.returncode != 0:
            raise Failed(f"{self.name}: status {process.returncode} of {command}\n{out}")
        return out

    def start(self, name, command, uid=APPLICATION_UID, stdin=subprocess.DEVNULL, stdout=None):
        """Goes on running, and ends with the pod. Its output is in a file."""
        with open(self.work / f"{name}.log", "wb") as log:
            process = subprocess.Popen(self.inside(command, uid), stdin=stdin, stdout=stdout or log,
                                       stderr=log)
        process.name = name
        self.processes.append(process)
        return process

    def output(self, name):
        return (self.work / f"{name}.log").read_text(errors="replace")

    def listens(self, port, protocol="tcp"):
        """Whether something has this port, by /proc/net, which asks no server anything."""
        for family in (protocol, f"{protocol}6"):
            for line in open(f"/proc/{self.holder.pid}/net/{family}", encoding="ascii"):
                words = line.split()
                if words[1].endswith(f":{port:04X}") and words[3] in ("0A", "07"):
                    return True
        return False

    def sent_again(self):
        """How many segments its kernel has sent again."""
        with open(f"/proc/{self.holder.pid}/net/snmp", encoding="ascii") as file:
            names, values = (line.split() for line in file if line.startswith("Tcp:"))
        return int(values[names.index("RetransSegs")])

    def asked_again(self):
        """How many DNS queries its proxy has sent again."""
        out = self.run(["curl", "-sS", "--fail", "--noproxy", "*", "http://127.0.0.1:15090/stats/prometheus"])
        return sum(int(float(line.split()[1])) for line in out.splitlines()
                   if line.startswith("sluice_dns_upstream_timeouts_total "))

    def wait_until_ready(self, process, ready):
        """Until it listens on a port, or until a text is in its output; it must not end before."""
        def is_ready():
            if process.poll() is not None:
                raise Failed(f"{self.name}: {process.name} ended:\n{self.output(process.name)}")
            if isinstance(ready, int):
                return self.listens(ready)
            return ready in self.output(process.name)
        wait_for(lambda: f"{process.name} ready:\n{self.output(process.name)}", is_ready)

    def capture(self, programs, rules, flags):
        """Installs the rules, and starts the proxy."""
        self.run([programs / "sluice-init", *CAPTURE_ALL, *rules], uid=0)
        with open(self.work / "access.log", "wb") as log:
            process = self.start("sluice-proxy", [self.work.parent / "sluice-proxy", *flags], PROXY_UID,
                                 stdout=log)
        for port in (15001, 15006, 15020):
            self.wait_until_ready(process, port)

    def access_log(self):
        # A line that is still being written has no end.
        whole = (self.work / "access.log").read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def end_proxy(self):
        """It must end well, which a sanitizer may see differently."""
        process = next(each for each in self.processes if each.name == "sluice-proxy")
        process.terminate()
        status = process.wait(PATIENCE)
        if status != 0:
            raise Failed(f"{self.name}: status {status}:\n{self.output('sluice-proxy')}")

    def stop(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        self.holder.stdin.close()
        self.holder.wait()


def connect(pods, link):
    """Gives both pods eth0: a veth pair, or what the program `link` makes."""
    client, server = pods
    if link is None:
        client.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns",
                    str(server.holder.pid)], uid=0)
    else:
        process = client.start("link", [sys.executable, *link, server.namespace("net")], 0)
        client.wait_until_ready(process, "ready")
    for pod, other in (pods, reversed(pods)):
        pod.run(["sh", "-ec", f"""
          ip addr add {pod.addresses[0]}/24 dev eth0
          ip addr add {pod.addresses[1]}/64 dev eth0 nodad
          ip link set eth0 up
          ip route add default via {other.addresses[0]}
          ip -6 route add default via {other.addresses[1]}"""], uid=0)


def end_children():
    """Ends what programs have left to this process, which is their subreaper."""
    children = pathlib.Path(f"/proc/self/task/{os.getpid()}/children")
    while pids := children.read_text().split():
        for pid in map(int, pids):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
