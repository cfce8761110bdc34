#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""monitoring.py PROXY INJECT DEPLOY PROMTOOL: what deploy/ has for Prometheus and Grafana.

promtool reads the alerting rules, runs their tests, and reads every query of the dashboard. What rules
and queries name is what a running proxy and a running webhook serve, and promtool has nothing against
that either. Needs root, for a network namespace in which the proxy's ports are free."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "inject"))
import webhook_server  # pylint: disable=wrong-import-position

SKIPPED = 77
# Starts the proxy as its user, with its own loopback device, and prints what it serves.
PROXY = """
ip link set lo up
setpriv --reuid 1337 --regid 1337 --clear-groups "$1" --concurrency 1 --dns-port 15053 \
  --access-log off >&2 &
curl -sS --retry 600 --retry-delay 1 --retry-connrefused --max-time 60 \
  http://127.0.0.1:15090/stats/prometheus
code=$?
kill $!
wait $!
exit $code
"""


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(1 if os.environ.get("CI") == "true" else SKIPPED)


def served_by_proxy(program):
    return subprocess.run(["unshare", "--net", "sh", "-c", PROXY, "sh", program], check=True,
                          stdout=subprocess.PIPE).stdout.decode()


def served_by_webhook(program):
    with tempfile.TemporaryDirectory() as directory:
        files = webhook_server.make_certificate(pathlib.Path(directory), "localhost")
        server = webhook_server.Server(program, *files)
        try:
            server.review(webhook_server.review(webhook_server.POD))
            return server.ask("GET", "/metrics")[2].decode()
        finally:
            server.stop()


def names_of(text):
    """Of metrics, with the suffixes of histograms."""
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        names |= {name + end for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    return names


def named_in(query):
    return set(re.findall(r"\b(?:sluice|istio|process)_[a-z_]+", query))


def queries_of(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], re.fullmatch(r"label_values\((.+), \w+\)",
                                                 variable["query"]["query"]).group(1)


def main(proxy, inject, deploy, promtool):
    if os.geteuid() != 0:
        skip("a network namespace needs root")
    promtool = shutil.which("promtool") or shutil.which(promtool)
    if promtool is None:
        skip("there is no promtool: scripts/test unpacks it from the package prometheus")
    served = served_by_proxy(proxy) + served_by_webhook(inject)
    subprocess.run([promtool, "check", "metrics"], input=served.encode(), check=True)

    rules = pathlib.Path(deploy) / "prometheus/sluice.rules.yaml"
    subprocess.run([promtool, "check", "rules", "--lint-fatal", rules], check=True)
    subprocess.run([promtool, "test", "rules", rules.with_suffix(".test.yaml")], check=True)
    alerts = [rule for group in yaml.safe_load(rules.read_text())["groups"] for rule in group["rules"]]
    queries = [(rule["alert"], rule["expr"]) for rule in alerts]

    dashboard = json.loads((pathlib.Path(deploy) / "grafana/sluice.json").read_text())
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert len(identifiers) == len(set(identifiers)), "panels share an id"
    drawn = list(queries_of(dashboard))
    # promtool reads queries as those of rules only, without Grafana's variables.
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": [
            {"record": f"query{i}", "expr": query.replace("$__rate_interval", "5m")}
            for i, (_, query) in enumerate(drawn)]}]}, file)
        subprocess.run([promtool, "check", "rules", "--lint=none", file.name], check=True)

    known = names_of(served)
    mistakes = [f"{title}: nobody serves {', '.join(unknown)}" for title, query in queries + drawn
                if (unknown := named_in(query) - known)]
    tests = yaml.safe_load(rules.with_suffix(".test.yaml").read_text())
    mistakes += [f"{rule['alert']}: has no test" for rule in alerts if rule["alert"] not in str(tests)]
    print("\n".join(mistakes))
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
