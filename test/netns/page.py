#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""page.py SLUICE-INIT SLUICE-PROXY BACKEND PICTURES: the page of the admin port, in Chromium.

Makes a pod with captured connections and a peer, opens the page in a headless browser, and looks at
what the script made of it, at what it asked for and at what it complained about; the same without
scripts, and with a hostile picture. Writes screenshots to the directory PICTURES, for people. Needs
root."""
import base64
import contextlib
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

INIT, PROXY, BACKEND, PICTURES = sys.argv[1:5]
# ctest's code for a skipped test; in CI that is a failure.
SKIPPED = 77
BROWSERS = ["chromium", "chromium-headless-shell"]
# Where the browser finds the page.
HERE = "http://localhost:15000/"
# What hangs for so many seconds has failed. No machine is that slow.
PATIENCE = 120
APPLICATION, PROXY_USER = 1000, 1337
POD, PEER = "10.244.0.5", "10.244.0.1"
LINK = """set -e
ip link set lo up
ip link add eth0 type veth peer name eth0 netns {peer}
ip addr add {pod}/24 dev eth0
ip link set eth0 up
ip route add default via {other}
"""
# Serves as many bytes as the client names, and keeps the connection open.
SERVER = """
import os, socket, subprocess, sys, threading
address, port = sys.argv[1], int(sys.argv[2])
listener = socket.create_server((address, port))
print("ready", flush=True)
open_ones = []
while True:
    one, _ = listener.accept()
    open_ones.append(one)
    one.sendall(b"x" * int(one.makefile().readline()))
"""
# A picture as nobody should write it. In an <img> none of it may run.
HOSTILE = """<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30" onload="fetch('/drain',
{method:'POST'})"><script>fetch('/drain', {method: 'POST'})</script>
<image href="http://10.244.0.1/image"/><style>@import url("http://10.244.0.1/style");</style>
<foreignObject width="9" height="9"><img xmlns="http://www.w3.org/1999/xhtml" src="/logging"
onerror="fetch('/drain', {method: 'POST'})"/></foreignObject></svg>
"""


def wait_for(what, condition):
    """Asks until the condition holds; what it gives is returned."""
    deadline = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < deadline, f"did not happen in {PATIENCE} s: {what}"
        time.sleep(0.02)
    return result


def check(is_true, what):
    if not is_true:
        raise AssertionError(what)


class Browser:
    """Chromium, over the pipe of its DevTools protocol."""

    def __init__(self, program, home):
        # It reads commands from descriptor 3 and writes to 4.
        theirs_in, self.to = os.pipe()
        self.of, theirs_out = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--disable-background-networking", "--disable-component-update", "--no-first-run",
                 "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
                 "--remote-debugging-pipe", f"--user-data-dir={home}", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "sh", program, *flags],
            pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, env={**os.environ, "HOME": home})
        os.close(theirs_in)
        os.close(theirs_out)
        self.left = b""
        self.count = 0
        self.session = None
        self.requests, self.complaints, self.loaded = [], [], 0
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.next(f"an answer to {method}")
            if answer.get("id") == self.count:
                check("error" not in answer, f"{method}: {answer.get('error')}")
                return answer["result"]

    def next(self, what):
        """One message; what events say is kept."""
        while b"\0" not in self.left:
            ready, _, _ = select.select([self.of], [], [], PATIENCE)
            check(ready, f"the browser does not send {what}")
            got = os.read(self.of, 1 << 20)
            check(got, f"the browser ended before {what}")
            self.left += got
        text, self.left = self.left.split(b"\0", 1)
        message = json.loads(text)
        method, event = message.get("method"), message.get("params")
        if method == "Network.requestWillBeSent":
            self.requests.append(event["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(event["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(event["args"])
        elif method == "Log.entryAdded":
            self.complaints.append(event["entry"])
        elif method == "Page.loadEventFired":
            self.loaded += 1
        return message

    def open(self, url):
        before = self.loaded
        self.call("Page.navigate", url=url)
        while self.loaded == before:
            self.next("that the page is there")

    def run(self, script):
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                           awaitPromise=True, userGesture=True)
        check("exceptionDetails" not in answer, f"{script}: {answer.get('exceptionDetails')}")
        return answer["result"].get("value")

    def click(self, selector):
        """As a mouse does it."""
        at = self.run(f"""(() => {{ const it = document.querySelector({json.dumps(selector)});
            it.scrollIntoView({{block: 'center'}}); const box = it.getBoundingClientRect();
            return {{x: box.x + box.width / 2, y: box.y + box.height / 2}}; }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def width(self, pixels, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=pixels, height=900, deviceScaleFactor=1,
                  mobile=False)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def screenshot(self, name):
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path = pathlib.Path(PICTURES) / f"{BACKEND}-{name}.png"
        path.write_bytes(base64.b64decode(picture))

    def close(self):
        os.close(self.to)
        # Ends when the pipe does; its helpers are in its session.
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.of)


# The rows that are seen, as lists of texts. The header says which cell is which.
ROWS = """[...document.querySelectorAll('#connections tbody tr')].filter(row => !row.hidden)
          .map(row => [...row.cells].map(cell => cell.textContent))"""
DIRECTION, STATE, CLIENT, DESTINATION, UPSTREAM, AGE, RECEIVED, SENT = range(8)


def get(path):
    with urllib.request.urlopen(HERE + path, timeout=PATIENCE) as answer:
        return answer.read().decode()


class Pod:
    """This namespace with rules and a proxy, and a peer in another one."""

    def __init__(self, stack, work):
        self.stack = stack
        self.picture = work / "rules.svg"
        holder = self.start(["unshare", "--net", "sh", "-c", "echo ready; exec cat"],
                            stdin=subprocess.PIPE)
        self.peer = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        subprocess.run(["sh", "-c", LINK.format(peer=holder.pid, pod=POD, other=PEER)], check=True)
        subprocess.run([*self.peer, "sh", "-ec", f"ip link set lo up; ip addr add {PEER}/24 dev eth0;"
                        "ip link set eth0 up"], check=True)
        self.start([*self.peer, sys.executable, "-c", SERVER, PEER, "80"])
        self.start([sys.executable, "-c", SERVER, POD, "8080"], user=APPLICATION, group=APPLICATION)
        subprocess.run([INIT, "--backend", BACKEND, "-b", "*", "-i", "*", "-x", "192.0.2.0/24", "-u",
                        str(PROXY_USER), "-d", "15090,15020", "--ipv6", "off"], check=True,
                       stderr=subprocess.DEVNULL)
        self.drawer = self.start([INIT, "graph", "--backend", BACKEND, "--output", "svg", "--file",
                                  str(self.picture), "--every", "100ms"], wait=False)
        self.start([PROXY, "--rules-graph", str(self.picture), "--access-log", "off",
                    "--concurrency", "1"], user=PROXY_USER, group=PROXY_USER, wait=False)
        wait_for("the proxy answers", self.is_ready)

    def start(self, command, wait=True, **options):
        process = self.stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, extra_groups=[], **options))
        self.stack.callback(process.kill)
        if wait:
            check(process.stdout.readline() == b"ready\n", f"{command} does not start")
        return process

    @staticmethod
    def is_ready():
        try:
            return "serving" in get("") and "<svg" not in get("connections")
        except OSError:
            return False

    def connect(self, size, *inside):
        """A connection that stays open after so many bytes; from the peer if `inside` is a command."""
        script = f"""import socket, sys
one = socket.create_connection((sys.argv[1], int(sys.argv[2])))
one.sendall(b"{size}\\n")
left = {size}
while left: left -= len(one.recv(left))
print("ready", flush=True)
sys.stdin.read()"""
        to = (POD, "8080") if inside else (PEER, "80")
        user = {} if inside else {"user": APPLICATION, "group": APPLICATION}
        self.start([*inside, sys.executable, "-c", script, *to], stdin=subprocess.PIPE, **user)


def look(browser, pod):
    """The page with its script."""
    browser.width(1500)
    browser.open(HERE)
    check(browser.run("document.title") == "sluice-proxy", "the page is not there")
    check(browser.run("!document.getElementById('tools').hidden"), "the script has not begun")
    rows = browser.run(ROWS)
    check(sorted(row[DIRECTION] for row in rows) == ["inbound", "outbound", "outbound", "outbound"],
          f"connections: {rows}")
    failures = browser.run("[...document.querySelectorAll('table')].map(t => t.innerText).join()")
    check("connect_refused" in failures, f"the failure is not there: {failures}")

    # Sorted by bytes, largest first: as numbers, 9 kB before 1.2 MB as text.
    head = "#connections th:nth-child(8)"
    browser.click(head)
    sent = [row[SENT] for row in browser.run(ROWS)]
    check(sent == ["1.20 MB", "70 kB", "9 kB", "300 B"], f"sorted by bytes: {sent}")
    browser.click(head)
    sent = [row[SENT] for row in browser.run(ROWS)]
    check(sent == ["300 B", "9 kB", "70 kB", "1.20 MB"], f"the other way round: {sent}")
    browser.click("#connections th:nth-child(1)")
    check(browser.run(ROWS)[0][DIRECTION] == "inbound", "sorted by direction")

    browser.click("#filter")
    browser.type("InBound")
    rows = browser.run(ROWS)
    check([row[DESTINATION] for row in rows] == [f"{POD}:8080"], f"filtered: {rows}")

    # An update keeps what the user chose, and has a new picture, with new counters.
    picture = browser.run("document.querySelector('#rules img').src")
    pod.connect(500)
    wait_for("an update with the fifth connection",
             lambda: browser.run("document.querySelectorAll('#connections tbody tr').length") == 5)
    rows = browser.run(ROWS)
    check([row[DIRECTION] for row in rows] == ["inbound"], f"filtered, after an update: {rows}")
    check(browser.run("document.querySelector('#rules img').src") != picture, "the picture is old")
    browser.run("wanted.value = ''; arrange()")
    check(len(browser.run(ROWS)) == 5, "the filter does not go")

    size = browser.run("""(() => { const it = document.querySelector('#rules img');
        return it.complete && [it.naturalWidth, it.naturalHeight]; })()""")
    check(size and min(size) > 200, f"the picture of the rules: {size}")
    wait_for("two samples, for the plots", lambda: browser.run(
        "document.querySelectorAll('polyline[points*=\" \"]').length") >= 4)
    browser.screenshot("light")
    browser.width(1500, dark=True)
    browser.screenshot("dark")
    browser.width(480)
    browser.screenshot("narrow")
    browser.width(1500)


def look_without_scripts(browser):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(HERE)
    # DevTools may still ask.
    check(browser.run("document.getElementById('tools').hidden"), "controls that do nothing")
    check(len(browser.run(ROWS)) == 5, "connections without scripts")
    check(browser.run("document.querySelector('#rules img').naturalWidth") > 200, "the picture")
    browser.call("Emulation.setScriptExecutionDisabled", value=False)


def look_at_what_is_hostile(browser, pod):
    # Whoever can write the file is not the proxy's operator, in the worst case.
    pod.drawer.send_signal(signal.SIGTERM)
    check(pod.drawer.wait(PATIENCE) == 0, "the drawing does not end well")
    check(pod.picture.read_text().startswith("<svg "), "the last picture is not whole")
    pod.picture.write_text(HOSTILE)
    browser.open(HERE)
    check(browser.run("document.querySelector('#rules img').naturalWidth") == 90, "not shown")
    # What it would have started has been by now: this comes behind it in the browser.
    browser.run("fetch('/stats').then(answer => answer.text())")
    check("is serving" in get(""), "the picture drained the proxy")
    for bad, said in (("<html>", "it is not what sluice-init"), ("", "it is not what"), (None, "No such")):
        pod.picture.write_text(bad) if bad is not None else pod.picture.unlink()
        browser.open(HERE)
        text = browser.run("document.querySelector('main').textContent")
        check(f"There is no picture: {said}" in text, f"{bad}: {text}")
    check(browser.run("document.querySelector('#rules')") is None, "a picture")


def main():
    if os.geteuid() != 0:
        print("skipped: needs root, for a network namespace")
        return SKIPPED
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        print(f"skipped: needs one of {' and '.join(BROWSERS)}")
        return SKIPPED
    if "SLUICE_PAGE_INSIDE" not in os.environ:
        os.environ["SLUICE_PAGE_INSIDE"] = "yes"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    pathlib.Path(PICTURES).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, contextlib.ExitStack() as stack:
        os.chmod(work, 0o755)
        pod = Pod(stack, pathlib.Path(work))
        for size in (9_000, 1_200_000, 300):
            pod.connect(size)
        pod.connect(70_000, *pod.peer)
        # Refused by the peer.
        subprocess.run([sys.executable, "-c", f"""import socket
one = socket.create_connection(("{PEER}", 81))
try: one.recv(1)
except ConnectionResetError: pass"""], user=APPLICATION, check=True)
        # Root's home may be read-only.
        browser = Browser(program, work + "/browser")
        stack.callback(browser.close)
        look(browser, pod)
        look_without_scripts(browser)
        look_at_what_is_hostile(browser, pod)
        elsewhere = [url for url in browser.requests
                     if not url.startswith((HERE, "data:", "about:blank"))]
        check(not elsewhere, f"asked elsewhere: {elsewhere}")
        check(HERE in browser.requests, "no request was seen at all")
        check(not browser.complaints, f"the browser complains: {json.dumps(browser.complaints)}")
        # Whatever the browser had opened by itself would have been captured.
        opened = 'istio_tcp_connections_opened_total{reporter="source"} 5\n'
        check(opened in get("stats"), "somebody else opened connections")
        print(f"the screenshots are in {PICTURES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
