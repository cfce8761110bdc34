#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""peers.py serve|talk grpc|websocket HOST:PORT: what is sent comes back.

A client sends the lines of its standard input, each as a message, and prints the answers; when it gets a
file as well, that is sent and compared first."""
import asyncio
import sys

ROLE, PROTOCOL, PLACE = sys.argv[1:4]
FILE = open(sys.argv[4], "rb").read() if len(sys.argv) > 4 else b""
LIMIT = 64 << 20


def lines():
    if FILE:
        yield FILE
    for line in sys.stdin:
        yield line.strip().encode()


def show(sent, answer):
    assert answer == sent, f"{len(sent)} bytes were sent, {len(answer)} others came back"
    if sent is not FILE:
        print(answer.decode(), flush=True)


def grpc_peer():
    import grpc
    options = [("grpc.max_receive_message_length", LIMIT)]
    if ROLE == "serve":
        from concurrent import futures
        server = grpc.server(futures.ThreadPoolExecutor(8), options=options)
        echo = grpc.stream_stream_rpc_method_handler(lambda messages, _: messages)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("Echo", {"Talk": echo})])
        assert server.add_insecure_port(PLACE)
        server.start()
        server.wait_for_termination()
    # Without a proxy of the environment.
    with grpc.insecure_channel(PLACE, [*options, ("grpc.enable_http_proxy", 0)]) as channel:
        sent = []

        def messages():
            for line in lines():
                sent.append(line)
                yield line
        for answer in channel.stream_stream("/Echo/Talk")(messages(), timeout=600, wait_for_ready=True):
            show(sent.pop(0), answer)


async def websocket_peer():
    import websockets
    host, _, port = PLACE.rpartition(":")
    # The library's own pings would be traffic.
    options = {"ping_interval": None, "max_size": LIMIT, "compression": None}
    if ROLE == "serve":
        async def echo(socket, *_):
            async for message in socket:
                await socket.send(message)
        async with websockets.serve(echo, host.strip("[]"), int(port), **options):
            await asyncio.Future()
    async with websockets.connect(f"ws://{PLACE}/", open_timeout=600, **options) as socket:
        source = lines()
        while (line := await asyncio.to_thread(next, source, None)) is not None:
            await socket.send(line)
            show(line, await socket.recv())


if PROTOCOL == "grpc":
    grpc_peer()
else:
    asyncio.run(websocket_peer())
