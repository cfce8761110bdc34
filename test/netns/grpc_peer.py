#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""grpc_peer.py serve PLACE | call PLACE: one good call, one that fails, one that is cancelled, and a
stream of a hundred messages."""
import sys
import threading
from concurrent import futures

import grpc

DO, PLACE = sys.argv[1:]


def refuse(_, context):
    context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")


def wait(messages, context):
    next(messages)
    yield b"waiting"
    for _ in messages:
        pass


if DO == "serve":
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Cart", {
        "Add": grpc.unary_unary_rpc_method_handler(lambda message, _: message[::-1]),
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
        "Talk": grpc.stream_stream_rpc_method_handler(lambda messages, _: messages),
        "Wait": grpc.stream_stream_rpc_method_handler(wait),
    })])
    if server.add_insecure_port(PLACE) == 0:
        sys.exit(f"cannot listen on {PLACE}")
    server.start()
    print("listening", flush=True)
    server.wait_for_termination()

with grpc.insecure_channel(PLACE, [("grpc.enable_http_proxy", 0)]) as channel:
    assert channel.unary_unary("/test.Cart/Add")(b"abc" * 50000) == b"cba" * 50000
    try:
        channel.unary_unary("/test.Cart/Refuse")(b"")
        sys.exit("it was not refused")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED, error
    cancelled = threading.Event()

    def one_message_and_no_end():
        yield b"x"
        cancelled.wait()

    waiting = channel.stream_stream("/test.Cart/Wait")(one_message_and_no_end())
    assert next(waiting) == b"waiting"
    waiting.cancel()
    cancelled.set()
    talked = list(channel.stream_stream("/test.Cart/Talk")(b"%d" % i for i in range(100)))
    assert talked == [b"%d" % i for i in range(100)]
print("done")
