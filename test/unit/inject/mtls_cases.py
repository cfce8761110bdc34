# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Mutual TLS of injected proxies."""
from case import MTLS, POD, TRAFFIC, Case, template


class MtlsTest(Case):
    def proxy(self, text, *flags):
        """The proxy's container, and the warnings."""
        containers = self.pod(text, *flags)["spec"]["initContainers"]
        return next(each for each in containers if each["name"] == "sluice-proxy")

    def warnings(self, text, *flags):
        done = self.injector.run("-f", "-", *flags, text=text, check=True)
        return [line for line in done.stderr.decode().split("\n") if "mutual TLS: " in line]

    def test_nothing_unless_asked_for(self):
        self.assertNotIn("volumes", self.pod(POD)["spec"])
        self.assertNotIn("volumeMounts", self.proxy(POD))

    def test_a_secret(self):
        spec = self.pod(POD, *MTLS)["spec"]
        self.assertEqual(spec["volumes"], [{"name": "sluice-mtls-credentials",
                                            "secret": {"secretName": "svid"}}])
        proxy = self.proxy(POD, *MTLS)
        self.assertEqual(proxy["volumeMounts"], [
            {"name": "sluice-mtls-credentials", "mountPath": "/var/run/secrets/spiffe.io",
             "readOnly": True}])
        self.assertEqual([arg for arg in proxy["args"] if "mtls" in arg],
                         ["--mtls-credentials=/var/run/secrets/spiffe.io", "--mtls-inbound=strict",
                          "--mtls-allow=spiffe://cluster.local/ns/shop/sa/*"])
        # Nobody but the proxy sees the key.
        for container in [*spec["containers"], spec["initContainers"][0]]:
            self.assertNotIn("volumeMounts", container)

    def test_csi_driver_and_rules(self):
        flags = ("--mtls-credentials", "csi-driver-spiffe", "--mtls-outbound", "rules")
        for form in ("native", "container"):
            spec = self.pod(POD, *flags, "--sidecar", form)["spec"]
            csi, rules = spec["volumes"]
            self.assertEqual(csi["csi"]["driver"], "spiffe.csi.cert-manager.io")
            self.assertEqual(csi["csi"]["volumeAttributes"],
                             {"spiffe.csi.cert-manager.io/fs-group": "1337"})
            self.assertEqual(rules["configMap"], {"name": "rules"})
        proxy = self.proxy(POD, *flags)
        self.assertIn("--mtls-outbound=/etc/sluice/policy/mtls-outbound", proxy["args"])
        self.assertEqual({each["name"]: each["mountPath"] for each in proxy["volumeMounts"]},
                         {"sluice-mtls-credentials": "/var/run/secrets/spiffe.io",
                          "sluice-mtls-policy": "/etc/sluice/policy"})

    def test_volumes_that_are_there(self):
        for volumes in ("  volumes:\n  - name: own\n    emptyDir: {}\n", "  volumes:\n",
                        "  volumes: []\n", "  volumes: [{name: own, emptyDir: {}}]\n"):
            names = [each["name"] for each in self.pod(POD + volumes, *MTLS)["spec"]["volumes"]]
            self.assertEqual(set(names) - {"own"}, {"sluice-mtls-credentials"})
        taken = "  volumes:\n  - name: sluice-mtls-credentials\n    emptyDir: {}\n"
        self.refused(POD + taken, "put there by hand", *MTLS)
        self.refused(template("containers:\n- name: a\n  x: &v []\nvolumes: *v"),
                     "would change what &v names", *MTLS)
        # Where nothing goes in, an anchor does no harm.
        self.injected(POD + "  volumes: &v\n  - name: own\n")

    def test_without_mutual_tls_again(self):
        """Another configuration replaces this one, volumes included."""
        result = self.injected(POD, *MTLS)
        self.assertEqual(self.injector.inject(result), self.injector.inject(POD))

    def test_ports_of_probes_take_plaintext(self):
        text = (POD + "    ports: [{name: web, containerPort: 8081}]\n"
                "    livenessProbe: {httpGet: {port: web}}\n"
                "    readinessProbe: {grpc: {port: 9000}}\n"
                "    startupProbe: {exec: {command: [\"true\"]}}\n"
                "    lifecycle: {preStop: {httpGet: {port: 8082}}}\n"
                "  initContainers:\n  - name: other\n    restartPolicy: Always\n"
                "    startupProbe: {tcpSocket: {port: 7000}}\n"
                "    livenessProbe: {httpGet: {port: 7001, host: example.org}}\n")
        flag = "--mtls-inbound-plaintext-ports="
        self.assertIn(flag + "7000,8081-8082,9000", self.proxy(text, *MTLS)["args"])
        self.assertIn(flag + "100,7000,8081-8082,9000",
                      self.proxy(text, *MTLS, flag + "100")["args"])
        said = self.warnings(text, *MTLS)
        for port in (7000, 8081, 8082, 9000):
            self.assertTrue(any(f"port {port} takes plaintext" in line for line in said), said)
        # Permissive lets plaintext in anyway.
        self.assertEqual(self.warnings(text, *MTLS, "--mtls-inbound", "permissive"), [])
        # What is not captured does not come to the proxy.
        excluded = text.replace("  name: web\n", "  name: web\n  annotations:\n    " + TRAFFIC +
                                'includeInboundPorts: "80"\n', 1)
        self.assertNotIn(flag, " ".join(self.proxy(excluded, *MTLS)["args"]))
        unknown = POD + "    livenessProbe: {httpGet: {port: nowhere}}\n"
        self.assertIn("the port nowhere", self.warnings(unknown, *MTLS)[0])

    def test_who_would_not_speak_it(self):
        self.assertIn("there is no --mtls-outbound", self.warnings(POD, *MTLS)[0])
        quiet = (*MTLS, "--mtls-outbound", "rules")
        self.assertEqual(self.warnings(POD, *quiet), [])
        for annotation, said in ((TRAFFIC + 'excludeInboundPorts: "22"', "the ports 22 "),
                                 (TRAFFIC + 'includeInboundPorts: ""', "nobody is asked"),
                                 ('prometheus.io/scrape: "true"\n    prometheus.io/port: "9100"',
                                  "is for Prometheus")):
            text = POD.replace("  name: web\n",
                               "  name: web\n  annotations:\n    " + annotation + "\n", 1)
            lines = self.warnings(text, *quiet)
            self.assertEqual(len(lines), 1, lines)
            self.assertIn(said, lines[0])
        self.assertEqual(self.warnings(text, *quiet, "--mtls-inbound-plaintext-ports", "9100"), [])
        init = POD + "  initContainers:\n  - name: i\n"
        self.assertEqual(self.warnings(init, *quiet), [])
        self.assertIn("before the capture begins",
                      self.warnings(init, *quiet, "--sidecar", "container")[0])

    def test_annotations_win(self):
        text = POD.replace("  name: web\n", """\
  name: web
  annotations:
    sluice.dev/mtls-credentials: secret/other
    sluice.dev/mtls-inbound: permissive
    sluice.dev/mtls-allow: ""
    sluice.dev/mtls-outbound: others
""", 1)
        pod = self.pod(text, *MTLS)
        self.assertEqual([each.get("secret", each.get("configMap")) for each in
                          pod["spec"]["volumes"]], [{"secretName": "other"}, {"name": "others"}])
        self.assertEqual([arg for arg in self.proxy(text, *MTLS)["args"] if "inbound" in arg or
                          "allow" in arg], ["--mtls-inbound=permissive"])
        off = text.replace("permissive", '"off"')
        self.assertNotIn("--mtls-inbound", " ".join(self.proxy(off, *MTLS)["args"]))

    def test_what_is_missing_is_said(self):
        self.refused(POD, "needs --mtls-credentials", "--mtls-inbound", "permissive")
        self.refused(POD, "needs --mtls-credentials", "--mtls-outbound", "a")
        self.refused(POD, "needs --mtls-allow", "--mtls-credentials", "secret/a", "--mtls-inbound",
                     "strict")
        for flags in (("--mtls-credentials", "vault"), ("--mtls-credentials", "secret/A"),
                      ("--mtls-inbound", "on"), ("--mtls-allow", "cluster.local/ns/a"),
                      ("--mtls-outbound", "a/b"), ("--mtls-inbound-plaintext-ports", "0")):
            done = self.injector.run("-f", "-", *flags, text=POD)
            self.assertEqual((done.returncode, done.stdout), (2, b""), flags)
            self.assertIn(flags[0], done.stderr.decode())
        wrong = POD.replace("  name: web\n",
                            "  name: web\n  annotations:\n    sluice.dev/mtls-inbound: on\n", 1)
        self.refused(wrong, "not a string", *MTLS)

    def test_own_flags_of_the_proxy_win(self):
        args = self.proxy(POD, *MTLS, "--proxy-arg=--mtls-allow=spiffe://a/b")["args"]
        self.assertEqual([arg for arg in args if "allow" in arg], ["--mtls-allow=spiffe://a/b"])
