# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Which workloads are injected, and with what."""
import json

from case import LISTENING, POD, TRAFFIC, Case, annotated, template


class KindsTest(Case):
    def test_each_kind(self):
        for version, kind in (("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"),
                              ("apps/v1", "DaemonSet"), ("apps/v1", "ReplicaSet"),
                              ("v1", "ReplicationController"), ("batch/v1", "Job"),
                              ("extensions/v1beta1", "Deployment")):
            head = f"apiVersion: {version}\nkind: {kind}\n"
            self.injected(template("containers:\n- name: a", head=head))
        for version in ("batch/v1", "batch/v1beta1"):
            self.injected(f"apiVersion: {version}\nkind: CronJob\nspec:\n  jobTemplate:\n    spec:\n"
                          "      template:\n        spec:\n          containers:\n          - name: a\n")

    def test_other_kinds_pass(self):
        for head in ("apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\n",
                     "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\n",
                     "apiVersion: serving.knative.dev/v1\nkind: Service\n", ""):
            self.left(template("containers:\n- name: a", head=head), "")

    def test_lists(self):
        items = "".join("- " + POD.replace("\n", "\n  ").rstrip(" ") for _ in range(2))
        mixed = items + "- apiVersion: v1\n  kind: Service\n"
        text = f"apiVersion: v1\nkind: List\nitems:\n{mixed}"
        self.assertEqual(self.injected(text).count("name: sluice-proxy"), 2)
        nested = "- " + text.replace("\n", "\n  ").rstrip(" ")
        self.injected(f"apiVersion: v1\nkind: List\nitems:\n{nested}{items}")

    def test_generate_name(self):
        done = self.injector.run("-f", "-", text=POD.replace("name: web", "generateName: web-", 1))
        self.assertIn("Pod web-: injected", done.stderr.decode())


class DecisionTest(Case):
    def test_host_network(self):
        for value in ("true", "yes", "on", "y"):
            self.left(POD + f"  hostNetwork: {value}\n",
                      "standard input:9: Pod web: skipped: hostNetwork")
        self.injected(POD + "  hostNetwork: no\n")

    def test_label_over_annotation(self):
        name = "sidecar.istio.io/inject"
        label = "  labels:\n    sidecar.istio.io/inject: "
        text = annotated(**{name: '"true"'})
        self.injected(text)
        self.left(annotated(**{name: '"false"'}), 'is "false"')
        both = text.replace("  annotations:", label + '"false"\n  annotations:')
        self.left(both, 'is "false"')
        self.injected(annotated(**{name: '"false"'}).replace("  annotations:",
                                                             label + '"true"\n  annotations:'))
        self.refused(annotated(**{name: '"disabled"'}), 'expected "true" or "false"')
        self.refused(annotated(**{name: "false"}), "put quotes around")

    def test_namespaces(self):
        for name in ("kube-system", "kube-public", "kube-node-lease"):
            self.left(POD.replace("  name: web\n", f"  name: web\n  namespace: {name}\n", 1), name)
        self.injected(POD.replace("  name: web\n", "  name: web\n  namespace: default\n", 1))

    def test_sidecars_that_are_there(self):
        for name, mesh in (("istio-proxy", "Istio"), ("linkerd-proxy", "Linkerd"),
                           ("kuma-sidecar", "Kuma"), ("sluice-proxy", "by hand")):
            self.left(POD + f"  - name: {name}\n", mesh)
        self.left(POD + "  initContainers:\n  - name: istio-init\n", "Istio")

    def test_uid_of_the_proxy(self):
        context = "securityContext: {runAsUser: 1337}"
        for text in (POD + f"  {context}\n", POD + f"    {context}\n",
                     POD + f"  initContainers:\n  - name: i\n    {context}\n"):
            self.refused(text, "uid 1337")
        self.injected(POD + "  securityContext: {runAsUser: 1338}\n")

    def test_run_as_non_root_of_the_pod(self):
        pod = self.pod(POD + "  securityContext: {runAsNonRoot: true}\n")
        self.assertIs(pod["spec"]["initContainers"][0]["securityContext"]["runAsNonRoot"], False)
        self.assertIs(pod["spec"]["initContainers"][1]["securityContext"]["runAsNonRoot"], True)

    def test_tcp_socket_probes(self):
        for port, number in (("8080", 8080), ("http", 8081)):
            text = (POD + "    ports: [{name: http, containerPort: 8081}]\n"
                    f"    livenessProbe: {{tcpSocket: {{port: {port}}}}}\n")
            # Only ports on which somebody listens are captured then, so that a closed one refuses.
            self.assertIn(LISTENING, self.init_args(text))
            self.assertNotIn("tcpSocket", self.injector.run("-f", "-", text=text).stderr.decode())
            annotations = "  name: web\n  annotations:\n    "
            excluded = text.replace("  name: web\n", annotations + TRAFFIC +
                                    'excludeInboundPorts: "8080,8081"\n', 1)
            self.assertNotIn(LISTENING, self.init_args(excluded))
            self.assertNotIn("tcpSocket", self.injector.run("-f", "-", text=excluded).stderr.decode())
            # Where that is not possible, or not wanted, a warning names the probe.
            off = text.replace("  name: web\n", annotations +
                               'sluice.dev/capture-listening: "false"\n', 1)
            for case, flags, why in (
                    (text, ("--mode", "TPROXY"), "in TPROXY mode"),
                    (text, ("--capture", "capture-listening=false"), "capture-listening is false"),
                    (off, (), "capture-listening is false"),
                    (text, ("--proxy-arg", "--inbound-upstream=127.0.0.1"), "--inbound-upstream")):
                self.assertFalse([each for each in self.init_args(case, *flags)
                                  if each == LISTENING])
                said = self.injector.run("-f", "-", *flags, text=case).stderr.decode()
                self.assertIn(f"tcpSocket probe of port {number}", said)
                self.assertIn(why, said)

    def test_ports_with_listeners_only(self):
        """By the flag and the annotation, also without a probe; and for the plugin."""
        self.assertNotIn(LISTENING, self.init_args(POD))
        self.assertIn(LISTENING, self.init_args(POD, "--capture", "capture-listening"))
        on = POD.replace("  name: web\n", "  name: web\n  annotations:\n    "
                         'sluice.dev/capture-listening: "true"\n', 1)
        self.assertIn(LISTENING, self.init_args(on))
        self.refused(on, "sluice.dev/capture-listening: expected false in TPROXY mode",
                     "--mode", "TPROXY")
        self.refused(on.replace('"true"', '"yes, please"'), "sluice.dev/capture-listening")
        probed = POD + "    livenessProbe: {tcpSocket: {port: 8080}}\n"
        capture = self.pod(probed, "--cni")["metadata"]["annotations"]["sluice.dev/capture"]
        self.assertEqual(json.loads(capture)["capture-listening"], "true")
        # httpGet and grpc need an answer, which no proxy gives in place of the application.
        for probe in ("httpGet: {port: 8080}", "grpc: {port: 8080}", "exec: {command: [a]}"):
            text = POD + f"    livenessProbe: {{{probe}}}\n"
            self.assertNotIn(LISTENING, self.init_args(text))

    def test_jobs_need_a_native_sidecar(self):
        job = template("containers:\n- name: a", head="apiVersion: batch/v1\nkind: Job\n")
        self.injected(job)
        self.refused(job, "would never end", "--sidecar", "container")

    def test_form_of_the_sidecar(self):
        text = POD + "  initContainers:\n  - name: first\n"
        names = [each["name"] for each in self.pod(text)["spec"]["initContainers"]]
        self.assertEqual(names, ["sluice-init", "sluice-proxy", "first"])
        spec = self.pod(text, "--sidecar", "container")["spec"]
        self.assertEqual([each["name"] for each in spec["initContainers"]], ["first", "sluice-init"])
        self.assertEqual([each["name"] for each in spec["containers"]], ["web", "sluice-proxy"])
        held = text.replace("  name: web\n", "  name: web\n  annotations:\n    proxy.istio.io/config:"
                            " 'holdApplicationUntilProxyStarts: true'\n", 1)
        spec = self.pod(held, "--sidecar", "container")["spec"]
        self.assertEqual([each["name"] for each in spec["containers"]], ["sluice-proxy", "web"])

    def test_pod_security_restricted(self):
        for container in self.pod(POD, "--cni")["spec"]["initContainers"]:
            context = container["securityContext"]
            self.assertEqual((context["runAsNonRoot"], context["allowPrivilegeEscalation"],
                              context["capabilities"], context["seccompProfile"]),
                             (True, False, {"drop": ["ALL"]}, {"type": "RuntimeDefault"}))
        self.assertIn("--run-validation", self.init_args(POD, "--cni"))

    def test_what_the_plugin_reads(self):
        """All resolved settings, if a plugin writes the rules; nothing if the pod does."""
        name = "sluice.dev/capture"
        self.assertNotIn(name, self.pod(POD)["metadata"]["annotations"])
        pod = self.pod(POD, "--cni", "--capture", "drop-invalid", "--mode", "TPROXY")
        self.assertEqual(json.loads(pod["metadata"]["annotations"][name]),
                         {"proxy-uid": "1337", "istio-inbound-interception-mode": "TPROXY",
                          "istio-inbound-ports": "*", "istio-local-exclude-ports": "15090,15020",
                          "istio-service-cidr": "*", "drop-invalid": "true"})

    def test_least_privilege(self):
        init, proxy = self.pod(POD)["spec"]["initContainers"]
        self.assertEqual(init["securityContext"]["capabilities"],
                         {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]})
        self.assertEqual(proxy["securityContext"]["capabilities"], {"drop": ["ALL"]})
        self.assertEqual((proxy["restartPolicy"], proxy["securityContext"]["runAsUser"]),
                         ("Always", 1337))

    def test_nftables_needs_no_root(self):
        name = "sidecar.istio.io/nativeNftables"
        backend = ("--capture", "backend=nftables")
        for text, *flags in ((POD, "--native-nftables"), (POD, *backend),
                             (annotated(**{name: '"true"'}), "--capture", "backend=iptables")):
            init = self.pod(text, *flags)["spec"]["initContainers"][0]
            context = init["securityContext"]
            self.assertEqual((context["runAsUser"], context["runAsNonRoot"],
                              context["readOnlyRootFilesystem"], context["capabilities"]),
                             (1337, True, True, {"drop": ["ALL"], "add": ["NET_ADMIN"]}))
            self.assertTrue({"--native-nftables=true", "--backend=nftables"} & set(init["args"]))
        for flags in ((), ("--native-nftables",), backend):
            init = self.pod(annotated(**{name: '"false"'}), *flags)["spec"]["initContainers"][0]
            self.assertEqual(init["securityContext"]["runAsUser"], 0)
            self.assertNotIn("nftables", " ".join(init["args"]))
        cni = self.pod(POD, "--cni", "--native-nftables")["spec"]["initContainers"][0]
        self.assertEqual(cni["securityContext"]["capabilities"], {"drop": ["ALL"]})

    def test_time_to_drain_fits_the_pod(self):
        for grace, drain in ((None, 25), (10, 5), (3, 0), (600, 45)):
            text = POD + (f"  terminationGracePeriodSeconds: {grace}\n" if grace else "")
            args = self.pod(text)["spec"]["initContainers"][1]["args"]
            self.assertIn(f"--drain-duration={drain}s", args)
