#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""What crosses a network namespace, as segments of TCP over IPv4.

capture.py FILE                appends a line for each that has content: the lower one of its ports, and
                               the content in hexadecimal. Prints "ready" when it listens.
capture.py FILE PORT TEXT      whether TEXT has crossed, to or from PORT
capture.py FILE PORT --first HEX
                               the first content that begins like that, as it looks; fails if there is
                               none"""
import socket
import struct
import sys

ETH_P_ALL = 3
TCP = 6


def capture(path):
    with (socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)) as packets,
          open(path, "w", buffering=1, encoding="ascii") as out):
        print("ready", flush=True)
        while True:
            packet, origin = packets.recvfrom(65536)
            # Only what comes in: a router sees each packet twice.
            if origin[2] == socket.PACKET_OUTGOING or packet[0] >> 4 != 4 or packet[9] != TCP:
                continue
            length = struct.unpack("!H", packet[2:4])[0]
            segment = packet[(packet[0] & 15) * 4:length]
            content = segment[(segment[12] >> 4) * 4:]
            if content:
                print(min(struct.unpack("!HH", segment[:4])), content.hex(), file=out)


def contents(path, port):
    with open(path, encoding="ascii") as lines:
        for line in lines:
            words = line.split()
            # The last line may be under way.
            if line.endswith("\n") and words[0] == port:
                yield bytes.fromhex(words[1])


def show(content, most=96):
    for at in range(0, min(len(content), most), 16):
        part = content[at:at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        print(f"  {part.hex(' '):<47}  {text}")


def main():
    path, *rest = sys.argv[1:]
    if not rest:
        capture(path)
    elif rest[1] == "--first":
        first = bytes.fromhex(rest[2])
        found = next((each for each in contents(path, rest[0]) if each.startswith(first)), None)
        if found is None:
            sys.exit(1)
        show(found)
    else:
        sys.exit(rest[1].encode() not in b"".join(contents(path, rest[0])))


main()
