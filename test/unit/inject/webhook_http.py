# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""What the webhook does with HTTP, TLS, limits, certificates that change, and signals."""
import contextlib
import copy
import json
import signal
import ssl
import subprocess
import threading
import time

from webhook_server import (POD, TIMEOUT, WebhookCase, http_request, make_certificate, read_response,
                            review)


class WebhookHttp(WebhookCase):
    def test_wrong_requests(self):
        good = json.dumps(review(POD))
        beta = good.replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1")
        for wanted, method, path, body, kind in (
                (405, "GET", "/inject", None, None),
                (405, "PUT", "/inject", good, "application/json"),
                (405, "POST", "/healthz", "", None),
                (404, "GET", "/", None, None),
                (415, "POST", "/inject", good, "text/plain"),
                (415, "POST", "/inject", good, None),
                (200, "POST", "/inject?timeout=5s", good, "application/json; charset=utf-8"),
                (400, "POST", "/inject", beta, "application/json"),
                (400, "POST", "/inject", "", "application/json"),
                (400, "POST", "/inject", "[]", "application/json"),
                (400, "POST", "/inject", "[" * 5000, "application/json"),
                (400, "POST", "/inject", good.replace("u-1", ""), "application/json"),
                (400, "POST", "/inject", json.dumps(review(None)), "application/json"),
                (413, "POST", "/inject", b" " * (4 * 1024 * 1024 + 1), "application/json")):
            with self.subTest(wanted=wanted, method=method, path=path, kind=kind):
                try:
                    status = self.server.ask(method, path, body, kind)[0]
                except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                    # The answer came before the whole body was read.
                    status = 413
                self.assertEqual(status, wanted)

    def test_large_pod_is_taken(self):
        pod = copy.deepcopy(POD)
        pod["metadata"]["annotations"]["big"] = "x" * (2 * 1024 * 1024)
        self.assertIn("patch", self.server.review(review(pod)))

    def test_keep_alive_and_pipelining(self):
        bodies = [json.dumps(review(POD, uid=f"u-{i}")).encode() for i in range(3)]
        with self.server.connect() as connection, connection.makefile("rb") as file:
            for _ in range(2):
                connection.sendall(b"".join(map(http_request, bodies)))
                for i in range(3):
                    status, _, body = read_response(file)
                    self.assertIn("200", status)
                    self.assertEqual(json.loads(body)["response"]["uid"], f"u-{i}")
            connection.sendall(http_request(bodies[0], "Connection: close"))
            self.assertIn("200", read_response(file)[0])
            self.assertEqual(file.read(), b"")

    def test_what_is_not_http(self):
        with self.server.connect() as connection, connection.makefile("rb") as file:
            connection.sendall(b"nonsense\r\n\r\n")
            self.assertIn("400", read_response(file)[0])

    def test_many_headers_are_refused(self):
        with self.server.connect() as connection, connection.makefile("rb") as file:
            connection.sendall(http_request(b"{}", "X: " + "x" * 20000))
            self.assertIn("431", file.readline().decode())

    def test_slow_client_is_closed_and_delays_nobody(self):
        with self.server.connect() as slow:
            slow.sendall(b"POST /inject HTTP/1.1\r\n")
            self.assertIn("patch", self.server.review(review(POD)))
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                self.assertEqual(slow.recv(1), b"")

    def test_health_and_metrics(self):
        for path in ("/healthz", "/healthz/ready"):
            self.assertEqual(self.server.ask("GET", path)[::2], (200, b"ok\n"))
        self.assertEqual(self.server.ask("HEAD", "/healthz")[2], b"")
        server = self.start()
        server.review(review(POD))
        server.review(review(POD, namespace="kube-system"))
        text = server.ask("GET", "/metrics")[2].decode()
        self.assertIn('sluice_webhook_reviews_total{result="injected"} 1\n', text)
        self.assertIn('sluice_webhook_reviews_total{result="skipped"} 1\n', text)
        self.assertIn("sluice_webhook_review_duration_seconds_count 2\n", text)
        expiry = float(text.split("\nsluice_webhook_certificate_expiry_timestamp_seconds ")[1].split()[0])
        self.assertAlmostEqual(expiry, time.time() + 2 * 86400, delta=3600)
        entry = server.wait_for("review")
        self.assertEqual((entry["level"], entry["result"], entry["uid"], entry["namespace"]),
                         ("info", "injected", "u-1", "default"))

    def test_most_connections(self):
        server = self.start("--max-connections=2")
        with server.connect() as first, server.connect() as second, server.connect() as third:
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                self.assertEqual(first.recv(1), b"")
            for each in (second, third):
                each.sendall(http_request(json.dumps(review(POD)).encode()))
                with each.makefile("rb") as file:
                    self.assertIn("200", read_response(file)[0])

    def test_memory_of_bodies(self):
        """Large bodies at once: one beyond the budget is answered 503, and a small one never."""
        large = 3 * 1024 * 1024
        taken = 4 * 1024 * 1024 - 64 * 1024  # memory grows by powers of two, and a part is free
        server = self.start("--max-body-memory=8")

        def metric(name):
            text = server.ask("GET", "/metrics")[2].decode()
            return int(float(text.split(f"\nsluice_webhook_{name} ")[1].split()[0]))

        def wait_for_memory(wanted):
            limit = time.monotonic() + TIMEOUT
            while metric("body_memory_bytes") != wanted:
                assert time.monotonic() < limit, metric("body_memory_bytes")
        request = http_request(b"x" * large)
        with contextlib.ExitStack() as stack:
            held = []
            for number in (1, 2):
                held.append(stack.enter_context(server.connect()))
                held[-1].sendall(request[:-1])
                wait_for_memory(number * taken)
            # What is announced, and not sent, takes nothing.
            stack.enter_context(server.connect()).sendall(http_request(b"x" * large)[:1000])
            for _ in range(3):
                with server.connect() as connection, connection.makefile("rb") as file:
                    with contextlib.suppress(ssl.SSLError, ConnectionError):
                        connection.sendall(request)  # it is answered before all is sent
                    status, headers, _ = read_response(file)
                    self.assertIn("503", status)
                    self.assertEqual(headers["Retry-After"], "1")
                    self.assertEqual(headers["Connection"], "close")
            self.assertEqual(metric("bodies_refused_total"), 3)
            self.assertEqual(metric("body_memory_bytes"), 2 * taken)
            self.assertIn("patch", server.review(review(POD)))
            # What had its memory is answered, and gives it back.
            for left, connection in ((1, held[0]), (0, held[1])):
                connection.sendall(request[-1:])
                with connection.makefile("rb") as file:
                    self.assertIn("400", read_response(file)[0])
                wait_for_memory(left * taken)
        # So does a client that goes away.
        with server.connect() as connection:
            connection.sendall(request[:-1])
            wait_for_memory(taken)
        wait_for_memory(0)

    # --- TLS ---
    def test_versions_of_tls(self):
        for version, good in (("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
            done = subprocess.run(["openssl", "s_client", version, "-cipher",
                                   "DEFAULT:@SECLEVEL=0", "-CAfile", self.server.crt,
                                   "-verify_return_error", "-connect",
                                   f"127.0.0.1:{self.server.port}"],
                                  input=b"", capture_output=True, timeout=TIMEOUT, check=False)
            self.assertEqual(done.returncode == 0, good, (version, done.stdout, done.stderr))

    def test_curl(self):
        body = json.dumps(review(POD))
        for flags in ((), ("--http1.0",), ("--http2",)):
            done = subprocess.run(["curl", "-sS", *flags, "--cacert", self.server.crt, "-H",
                                   "Content-Type: application/json", "--data-binary", "@-",
                                   f"https://localhost:{self.server.port}/inject"],
                                  input=body.encode(), capture_output=True, timeout=TIMEOUT,
                                  check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(json.loads(done.stdout)["response"]["allowed"])

    def test_reload(self):
        """As the kubelet replaces a Secret: by another link, while requests come."""
        mount = self.files / "mount"
        for name in ("one", "two"):
            (mount / name).mkdir(parents=True)
            crt, key = make_certificate(self.files, "new-" + name)
            crt.rename(mount / name / "tls.crt")
            key.rename(mount / name / "tls.key")
        (mount / "bad").mkdir()
        (mount / "bad" / "tls.crt").write_bytes((mount / "one" / "tls.crt").read_bytes())
        (mount / "bad" / "tls.key").write_bytes((mount / "two" / "tls.key").read_bytes())

        def point(name):
            (mount / "..tmp").symlink_to(name)
            (mount / "..tmp").rename(mount / "..data")
        point("one")
        server = self.start(certificate=(mount / "..data" / "tls.crt", mount / "..data" / "tls.key"))
        both = self.files / "both.crt"
        both.write_bytes(b"".join((mount / name / "tls.crt").read_bytes()
                                  for name in ("one", "two")))
        body = http_request(json.dumps(review(POD)).encode(), "Connection: close")
        failures = []
        stop = threading.Event()

        def ask():
            while not stop.is_set():
                try:
                    with server.connect(both) as connection, connection.makefile("rb") as file:
                        connection.sendall(body)
                        assert "200" in read_response(file)[0]
                except Exception as error:  # pylint: disable=broad-except
                    failures.append(error)
        workers = [threading.Thread(target=ask) for _ in range(2)]
        for each in workers:
            each.start()
        try:
            with server.connect(both) as early, early.makefile("rb") as file:
                point("bad")
                server.wait_for("the certificate stays as it was")
                point("two")
                server.process.send_signal(signal.SIGHUP)
                server.wait_for("certificate reloaded")
                # An earlier connection continues.
                early.sendall(body)
                self.assertIn("200", read_response(file)[0])
        finally:
            stop.set()
            for each in workers:
                each.join()
        self.assertEqual(failures, [])
        with server.connect(mount / "two" / "tls.crt"):
            pass
        with self.assertRaises(ssl.SSLError):
            server.connect(mount / "one" / "tls.crt")

    # --- the end ---
    def test_drain(self):
        server = self.start("--drain-duration=1s")
        body = json.dumps(review(POD)).encode()
        with server.connect() as idle, server.connect() as busy, busy.makefile("rb") as file:
            whole = http_request(body)
            busy.sendall(whole[:-1])
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("draining")
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                self.assertEqual(idle.recv(1), b"")
            # After the drain: a request that had begun is answered.
            busy.sendall(whole[-1:])
            status, headers, _ = read_response(file)
            self.assertIn("200", status)
            self.assertEqual(headers["Connection"], "close")
        self.assertEqual(server.process.wait(TIMEOUT), 0)

    def test_drain_says_so_and_goes_on_for_a_while(self):
        server = self.start("--drain-duration=1h")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        self.assertEqual(server.ask("GET", "/healthz/ready")[0], 503)
        self.assertEqual(server.ask("GET", "/healthz")[0], 200)
        self.assertIn("patch", server.review(review(POD)))
        self.assertEqual(server.stop(), 0)  # the second signal

    def test_what_cannot_begin(self):
        crt, key = self.certificate
        other = make_certificate(self.files, "other")
        locked = self.files / "locked.key"
        subprocess.run(["openssl", "ec", "-aes128", "-passout", "pass:x", "-in", key, "-out",
                        locked], check=True, capture_output=True)
        for flags, wanted in (((f"--tls-cert={crt}",), b"--tls-key"),
                              ((f"--tls-cert={crt}", f"--tls-key={locked}"), b"use the cert"),
                              ((f"--tls-cert={crt}", f"--tls-key={other[1]}"), b"use the cert"),
                              ((f"--tls-cert={key}", f"--tls-key={key}"), b"read the cert"),
                              ((f"--tls-cert={crt}", "--tls-key=/none"), b"/none"),
                              ((f"--tls-cert={crt}", f"--tls-key={key}", "--port=x"), b"--port"),
                              ((f"--tls-cert={crt}", f"--tls-key={key}", "-f", "-"), b"no files")):
            done = subprocess.run([self.program, "serve", "--port=0", *flags], capture_output=True,
                                  timeout=TIMEOUT, check=False)
            self.assertEqual(done.returncode, 2, done)
            self.assertIn(wanted, done.stderr)
        done = subprocess.run([self.program, "serve", f"--port={self.server.port}",
                               f"--tls-cert={crt}", f"--tls-key={key}"], capture_output=True,
                              timeout=TIMEOUT, check=False)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn(b"in use", done.stderr)
