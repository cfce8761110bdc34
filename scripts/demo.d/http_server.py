#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""http_server.py NAME PORT: answers every GET with its name and the client's address, over IPv4 and
IPv6. Prints "ready" when it listens."""
import http.server
import socket
import socketserver
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        peer = self.client_address[0].removeprefix("::ffff:")
        body = f"{sys.argv[1]} answers GET {self.path}; the peer of its socket is {peer}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
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


with Server(("::", int(sys.argv[2])), Handler) as server:
    print("ready", flush=True)
    server.serve_forever()
