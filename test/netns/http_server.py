# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""An application for proxy_http_test.cc: http_server.py ADDRESS. Answers with what it has received, and
prints each request."""
import hashlib
import http.server
import json
import socket
import sys
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def parse_request(self):
        parsed = super().parse_request()
        print("asked for", self.requestline, flush=True)
        return parsed

    def answer(self, body, content_type="text/plain"):
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        """The body, and the lines of its trailers."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0))), []
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            assert self.rfile.readline() == b"\r\n"
        trailers = []
        while (line := self.rfile.readline()) != b"\r\n":
            trailers.append(line.decode().strip())
        return b"".join(parts), trailers

    def do_GET(self):
        target = urllib.parse.urlsplit(self.path)
        if target.path == "/headers":
            self.answer(json.dumps(list(self.headers.items())).encode())
        elif target.path == "/chunked":
            data = bytes(i * 7 % 251 for i in range(1000)) * int(target.query)
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Trailer", "X-Sum")
            self.end_headers()
            for i in range(0, len(data), 70_001):
                part = data[i : i + 70_001]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\nX-Sum: %s\r\n\r\n" % hashlib.sha256(data).hexdigest().encode())
        elif target.path == "/close":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"until the end")
            self.close_connection = True
        else:
            self.answer(target.path.encode())

    do_HEAD = do_GET

    def do_POST(self):
        data, trailers = self.body()
        digest = hashlib.sha256(data).hexdigest()
        self.answer(" ".join([str(len(data)), digest, *trailers]).encode())

    do_PUT = do_POST


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
    request_queue_size = 64


with Server((sys.argv[1], 8080), Handler) as server:
    print("listening", flush=True)
    server.serve_forever()
