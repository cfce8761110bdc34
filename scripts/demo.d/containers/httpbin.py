#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""httpbin.py PORT...: a small httpbin, over IPv4 and IPv6. It answers with what it saw of the request:
/get, /headers, /status/CODE, /delay/SECONDS. "origin" is the other end of its socket."""
import http.server
import json
import os
import signal
import socket
import socketserver
import sys
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        code = 200
        match self.path.strip("/").split("/"):
            case ["get" | "headers"]:
                pass
            case ["status", number] if number.isdigit() and 200 <= int(number) < 600:
                code = int(number)
            case ["delay", number] if number.isdigit() and int(number) < 10:
                time.sleep(int(number))
            case _:
                code = 404
        said = {"host": socket.gethostname(), "url": self.path,
                "origin": self.client_address[0].removeprefix("::ffff:"),
                "headers": dict(self.headers.items())}
        body = json.dumps(said).encode() + b"\n"
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """The proxy's access log is what the demo is about."""


class Server(socketserver.ThreadingTCPServer):
    # Not http.server.HTTPServer, which asks the DNS for its own name, and there is none here.
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def main():
    # The first process of a container has to end by itself when it is told to. At once: a thread that
    # still serves while Python ends would need libgcc to end (pthread_exit).
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    *others, last = [Server(("::", int(port)), Handler) for port in sys.argv[1:]]
    for server in others:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    last.serve_forever()


# Without a port only what it needs is loaded: the image of the demo is made of that.
if len(sys.argv) > 1:
    main()
