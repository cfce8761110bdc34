#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""bad_link.py SEED NAMESPACE: a bad link between eth0 here and eth0 in another network namespace.

Makes both, as TUN devices, prints "ready", and carries packets until it is killed. Some are lost, some
arrive twice, all are late, and some so much that others overtake them. What happens to which comes from a
seeded generator."""
import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import stat
import struct
import sys
import time

# <linux/if_tun.h>, <linux/sched.h>
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000

LOST = 0.02
DOUBLED = 0.02
OVERTAKEN = 0.05
DELAY = (0.002, 0.004)  # seconds
MORE_DELAY = (0.005, 0.020)  # of those that are overtaken
# As a router's: what is more is lost.
QUEUE = 2000


def make_device():
    name = "/dev/net/tun"
    if not os.path.exists(name):
        # The pod's own /run.
        name = "/run/tun"
        if not os.path.exists(name):
            os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(10, 200))
    device = os.open(name, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TUN | IFF_NO_PI))
    return device


def enter(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    with open(namespace, "rb") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns({namespace})")


def carry(ends, chance):
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    queue, numbers = [], itertools.count()
    while True:
        wait = max(0, queue[0][0] - time.monotonic()) if queue else None
        ready = select.select(ends, [], [], wait)[0]
        now = time.monotonic()
        for end in ready:
            try:
                packet = os.read(end, 65536)
            except BlockingIOError:
                continue
            if chance.random() < LOST or len(queue) >= QUEUE:
                continue
            for _ in range(1 + (chance.random() < DOUBLED)):
                delay = chance.uniform(*DELAY)
                if chance.random() < OVERTAKEN:
                    delay += chance.uniform(*MORE_DELAY)
                heapq.heappush(queue, (now + delay, next(numbers), other[end], packet))
        while queue and queue[0][0] <= now:
            _, _, end, packet = heapq.heappop(queue)
            try:
                os.write(end, packet)
            except OSError:
                pass  # an interface that is not up yet loses it as well


def main():
    first = make_device()
    enter(sys.argv[2])
    ends = [first, make_device()]
    print("ready", flush=True)
    carry(ends, random.Random(int(sys.argv[1])))


main()
