# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Shared by the benches of long lists of ranges: the lists, and the cost of a connection through rules."""
import ctypes
import json
import pathlib
import random
import socket
import statistics
import subprocess
import threading
import time

import common

ARGUMENTS = ("-p", "15001", "-z", "15006", "-u", "1337", "-i", "*", "-b", "*", "--ipv6", "off")
# The server's address. No list excludes it, so that a packet takes the longest path through the rules.
TARGET = "198.51.100.1"
CLONE_NEWNET = 0x40000000


def ranges(count):
    """Every other /24 below 64.0.0.0, shuffled with a fixed seed: no two are adjacent."""
    numbers = [2 * number for number in range(count * 3)]
    random.Random(1).shuffle(numbers)
    return [f"{11 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/24" for n in sorted(numbers[:count])]


def plain_rules(excluded):
    """What the reference tool would restore: the same rules with the list written out."""
    text = subprocess.run([common.BIN / "sluice-init", *ARGUMENTS, "--backend", "iptables", "--dry-run"],
                          check=True, capture_output=True, text=True).stdout
    last = "-A ISTIO_OUTPUT -j ISTIO_REDIRECT\n"
    assert last in text
    listed = "".join(f"-A ISTIO_OUTPUT -d {item} -j RETURN\n" for item in excluded)
    return text.replace(last, listed + last).encode()


def arguments_with(excluded, directory):
    """The list is in a configuration file: an argument cannot be longer than 128 KiB."""
    path = pathlib.Path(directory) / f"{len(excluded)}.json"
    path.write_text(json.dumps({"istio-service-exclude-cidr": excluded}))
    return [*ARGUMENTS, "--config", str(path)]


class Namespace:
    """A new network namespace, made by a thread that stays in it."""

    def __init__(self, command):
        self._work, self._ready, self._result = None, threading.Semaphore(0), None
        self._start = threading.Semaphore(0)
        self._failure = None
        threading.Thread(target=self._live, args=(command,), daemon=True).start()
        self._ready.acquire()
        if self._failure:
            raise RuntimeError(self._failure)

    def _live(self, command):
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            if libc.unshare(CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "unshare")
            for argv in (["ip", "link", "set", "lo", "up"],
                         # A device of its own, so that connections do not leave by lo, which is
                         # exempt before any list is looked at.
                         ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer0"],
                         ["ip", "addr", "add", "192.0.2.2/24", "dev", "eth0"],
                         ["ip", "link", "set", "eth0", "up"],
                         ["ip", "link", "set", "peer0", "up"],
                         ["ip", "route", "add", "default", "dev", "eth0"], command):
                done = subprocess.run(argv, capture_output=True, text=True)
                if done.returncode != 0:
                    raise RuntimeError(f"{argv[:3]}: {done.stderr}")
            server = socket.create_server(("0.0.0.0", 15001), backlog=1024)
            threading.Thread(target=self._serve, args=(server,), daemon=True).start()
        except Exception as error:  # reported by the constructor's thread
            self._failure = str(error)
        self._ready.release()
        while not self._failure:
            self._start.acquire()
            self._result = self._work()
            self._ready.release()

    @staticmethod
    def _serve(server):
        while True:
            server.accept()[0].close()

    def run(self, work):
        self._work = work
        self._start.release()
        self._ready.acquire()
        return self._result


def connections(count):
    """Seconds of CPU time per connection through the rules, closed by reset so that none lingers.
    The time is this thread's own: the packet's way out, through the rules, is made in connect()."""
    begin = time.thread_time_ns()
    for _ in range(count):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.connect((TARGET, 80))
    return (time.thread_time_ns() - begin) / 1e9 / count


def connection_rates(sizes, backend, rounds, count, directory):
    """{size: (connections per second of CPU, the same as a part of that of sizes[0])}, paired by round."""
    init = [str(common.BIN / "sluice-init"), "--backend", backend]
    spaces = {size: Namespace([*init, *arguments_with(ranges(size), directory)]) for size in sizes}
    times = {size: [] for size in spaces}
    for number in range(rounds + 1):
        # In a different order each round, so that none is always first.
        for size, space in random.Random(number).sample(list(spaces.items()), len(spaces)):
            took = space.run(lambda: connections(count))
            if number > 0:
                times[size].append(took)
    print(f"connections through the rules of {backend}, medians of {rounds} rounds of {count}, alternating:")
    rates = {}
    for size, values in times.items():
        paired = statistics.median(none / with_list
                                   for none, with_list in zip(times[sizes[0]], values))
        rates[size] = (1 / statistics.median(values), paired)
        print(f"{size:7,} excluded ranges: {rates[size][0]:9,.0f} per second of CPU, {paired:.3f} of none")
    return rates
