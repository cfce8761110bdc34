#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""cases.py PROGRAM [unittest's arguments]: what sluice-inject does with one manifest each."""
import json
import os
import pathlib
import stat
import sys
import tempfile
import unittest

from injector import Injector, apply_patch, load

INJECTOR = None
POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: web
    image: nginx
"""


def template(spec, metadata="", head="apiVersion: apps/v1\nkind: Deployment\n", name="web"):
    """A Deployment whose template has these lines, without their indentation."""
    def put(text, columns):
        return "".join(" " * columns + line + "\n" if line else "\n" for line in text.split("\n"))
    return (f"{head}metadata:\n  name: {name}\nspec:\n  template:\n" +
            (f"    metadata:\n{put(metadata, 6)}" if metadata else "") + f"    spec:\n{put(spec, 6)}")


def annotated(**annotations):
    """A pod with annotations; their names have a _ for each / and . that cannot be in a name."""
    lines = "".join(f"    {key}: {value}\n" for key, value in annotations.items())
    return POD.replace("  name: web\n", f"  name: web\n  annotations:\n{lines}", 1)


LISTENING = "--capture-listening=true"
TRAFFIC = "traffic.sidecar.istio.io/"


MTLS = ("--mtls-credentials", "secret/svid", "--mtls-inbound", "strict", "--mtls-allow",
        "spiffe://cluster.local/ns/shop/sa/*")


class Case(unittest.TestCase):
    def injected(self, text, *flags):
        """The result, after the checks that apply to every result."""
        data = text.encode() if isinstance(text, str) else text
        done = INJECTOR.run("-f", "-", *flags, text=data)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        result = done.stdout
        self.assertNotEqual(result, data, done.stderr.decode())
        self.assertEqual(INJECTOR.inject(result, *flags), result)
        back = INJECTOR.uninject(result)
        self.assertEqual(back.stdout, data)
        self.assertIn(b"byte for byte", back.stderr)
        before, after = load(data), load(result)
        for entry in INJECTOR.patches(data, *flags):
            number = entry["document"]
            self.assertEqual(apply_patch(before[number], entry["patch"]), after[number])
        return result.decode()

    def left(self, text, why, *flags, code=0):
        """It stays unchanged, for that reason."""
        data = text.encode() if isinstance(text, str) else text
        done = INJECTOR.run("-f", "-", *flags, text=data)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        self.assertIn(why, done.stderr.decode())
        self.assertEqual(done.stdout, data if code == 0 else b"")
        return done.stderr.decode()

    def refused(self, text, why, *flags):
        return self.left(text, why, *flags, code=6)

    def pod(self, text, *flags):
        """The pod of the first document after injection."""
        thing = load(self.injected(text, *flags))[0]
        return thing if thing["kind"] == "Pod" else thing["spec"]["template"]

    def init_args(self, text, *flags):
        return self.pod(text, *flags)["spec"]["initContainers"][0]["args"]


class MtlsTest(Case):
    def proxy(self, text, *flags):
        """The proxy's container, and the warnings."""
        containers = self.pod(text, *flags)["spec"]["initContainers"]
        return next(each for each in containers if each["name"] == "sluice-proxy")

    def warnings(self, text, *flags):
        done = INJECTOR.run("-f", "-", *flags, text=text, check=True)
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
        self.assertEqual(INJECTOR.inject(result), INJECTOR.inject(POD))

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
            done = INJECTOR.run("-f", "-", *flags, text=POD)
            self.assertEqual((done.returncode, done.stdout), (2, b""), flags)
            self.assertIn(flags[0], done.stderr.decode())
        wrong = POD.replace("  name: web\n",
                            "  name: web\n  annotations:\n    sluice.dev/mtls-inbound: on\n", 1)
        self.refused(wrong, "not a string", *MTLS)

    def test_own_flags_of_the_proxy_win(self):
        args = self.proxy(POD, *MTLS, "--proxy-arg=--mtls-allow=spiffe://a/b")["args"]
        self.assertEqual([arg for arg in args if "allow" in arg], ["--mtls-allow=spiffe://a/b"])


class TextTest(Case):
    def test_lines_are_added_and_nothing_else(self):
        result = self.injected(POD)
        self.assertEqual([line for line in result.split("\n") if line in POD.split("\n")],
                         POD.split("\n"))
        self.assertIn("  initContainers:\n  - name: sluice-init\n    image: sluice:0.1.0\n", result)

    def test_byte_order_mark_and_crlf(self):
        result = self.injected("\ufeff" + POD.replace("\n", "\r\n"))
        self.assertEqual(result.count("\n"), result.count("\r\n"))

    def test_no_line_end_at_the_end(self):
        self.injected(POD[:-1])
        self.injected(POD[:-1], "--sidecar", "container")
        self.injected(POD[:-1].replace("\n", "\r\n"), "--sidecar", "container")
        self.injected(template("containers:\n- name: a\ninitContainers:")[:-1])

    def test_documents_without_content(self):
        self.injected("# only\n---\n\n---\n" + POD + "...\n# after\n--- # nothing\n...\n")
        for text in ("", "# comment\n", "---\n", "---\n...\n"):
            self.left(text, "")

    def test_markers_with_content(self):
        self.injected("--- # the pod\n" + POD)
        self.injected('--- {"apiVersion": v1, kind: Pod, spec: {containers: [{name: a}]}}\n')

    def test_multi_byte_text_before(self):
        self.injected("# \u00e4\u20ac\U0001f600\n" + POD.replace("web", "w\u00e4b\u20ac"))

    def test_block_scalar_as_last_value(self):
        for sign in ("|", "|+", "|-", ">", ">+"):
            for tail in ("", "\n", "\n\n", "\n# comment\n", "\n\n  # comment\n"):
                text = POD + f"    args:\n    - {sign}\n      a\n\n      b{tail}"
                if tail or sign in ("|+",):
                    self.injected(text)
                if tail:
                    self.injected(text, "--sidecar", "container")
        self.refused(POD + "    args:\n    - |\n      a", "without a line end", "--sidecar",
                     "container")

    def test_trailing_comments_stay_where_they_are(self):
        text = POD + "    # of the container\n  # of the list\n# of the document\n"
        self.assertTrue(self.injected(text, "--sidecar", "container").endswith(
            "    # of the container\n  # of the list\n# of the document\n"))

    def test_comments_stay_with_their_entry(self):
        text = template("# first\ncontainers: # second\n# third\n- name: a # fourth\n  image: b")
        result = self.injected(text)
        for pair in ("# first\n      containers: # second\n      # third\n      - name: a # fourth",):
            self.assertIn(pair, result)

    def test_indented_sequences(self):
        result = self.injected(template("containers:\n  - name: a\n    image: b"))
        self.assertIn("\n        - name: sluice-init\n", result)
        self.assertIn("\n            - sluice-init\n", result)
        self.injected(template("initContainers:\n    - name: i\ncontainers:\n    -   name: a"))

    def test_flow_style(self):
        for text in ("{apiVersion: v1, kind: Pod, spec: {containers: [{name: a}]}}",
                     "{apiVersion: v1, kind: Pod, metadata: {}, spec: {containers: [ {name: a}, ]}}",
                     "{apiVersion: v1, kind: Pod, metadata: { labels: {a: b} ,annotations: { }},\n"
                     " spec: {initContainers: [], containers: [\n {name: a},\n {name: b}\n]}}\n",
                     "{apiVersion: v1, kind: Pod, metadata: {annotations: , labels: null}, "
                     "spec: {initContainers: ~, containers: [{name: a}]}}"):
            for flags in ((), ("--sidecar", "container")):
                with self.subTest(text=text, flags=flags):
                    self.injected(text, *flags)

    def test_json(self):
        thing = load(annotated())[0]
        for indent in (None, 2, "\t"):
            result = self.injected(json.dumps(thing, indent=indent))
            self.assertIn("sluice-init", json.dumps(json.loads(result)))

    def test_null_and_empty_parents(self):
        for metadata in ("", "annotations:", "annotations: {}", "annotations: null # none",
                         "annotations: ~\nlabels:", "labels: {}"):
            for init in ("", "initContainers:\n", "initContainers: []\n", "initContainers: null\n"):
                text = template(init + "containers:\n- name: a", metadata)
                with self.subTest(text=text):
                    self.injected(text)
        self.injected(POD.replace("metadata:\n  name: web", "metadata:"))
        self.injected(POD.replace("metadata:\n  name: web", "metadata: {}"))
        self.injected(POD.replace("metadata:\n  name: web\n", ""))

    def test_without_containers(self):
        for containers in ("containers:", "containers: []", "restartPolicy: Always"):
            self.left(template(containers), "it has no containers")

    def test_anchors_that_are_used_elsewhere(self):
        self.refused(template("containers: &all\n- name: a\nother: *all"), "used elsewhere",
                     "--sidecar", "container")
        self.injected(template("containers: &all\n- name: a\nother: *all"))
        self.refused(template("<<: {a: 1}\ncontainers:\n- name: a"), "merge key")
        self.refused("a: &spec\n  containers: [{name: a}]\n" + POD[:POD.index("spec:")] +
                     "spec: *spec\n", "*spec")
        self.injected(template("containers:\n- name: a\n  resources: &r {limits: {cpu: 1}}\n"
                               "- name: b\n  resources: {<<: *r}"))

    def test_labels_of_a_selector(self):
        text = ("apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    metadata:\n"
                "      labels: &l\n        app: a\n    spec:\n      containers:\n      - name: a\n"
                "  selector: {matchLabels: *l}\n")
        self.assertNotIn("sluice.dev/injected: ", self.injected(text))
        self.assertIn("is left out", INJECTOR.run("-f", "-", text=text).stderr.decode())

    def test_values_stay_as_they_are_written(self):
        value = "a: yes\nb: on\nc: y\nd: 0755\ne: 9007199254740993123\nf: !!str 8080\ng: '1.10'"
        self.injected(template("containers:\n- name: a\n" + value))

    def test_what_is_no_yaml(self):
        for text, why in (("a: [\n", "standard input:2"), ("a: 1\n\tb: 2\n", ":2"),
                          (b"a: \xff\n", ":1"), (b"a: \0\n", "NUL"), ("[" * 100000, "nested"),
                          ("a: {{ .Values.b }}\n{{- end }}\n", "helm template")):
            self.left(text, why, code=1)

    def test_our_names_in_text(self):
        text = POD + "---\napiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    sluice-proxy\n"
        self.injected("# sluice-init sluice.dev/status\n" + text)


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
        done = INJECTOR.run("-f", "-", text=POD.replace("name: web", "generateName: web-", 1))
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
            self.assertNotIn("tcpSocket", INJECTOR.run("-f", "-", text=text).stderr.decode())
            annotations = "  name: web\n  annotations:\n    "
            excluded = text.replace("  name: web\n", annotations + TRAFFIC +
                                    'excludeInboundPorts: "8080,8081"\n', 1)
            self.assertNotIn(LISTENING, self.init_args(excluded))
            self.assertNotIn("tcpSocket", INJECTOR.run("-f", "-", text=excluded).stderr.decode())
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
                said = INJECTOR.run("-f", "-", *flags, text=case).stderr.decode()
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


class AnnotationTest(Case):
    def test_arguments_of_the_field(self):
        self.assertEqual(self.init_args(POD),
                         ["sluice-init", "-p", "15001", "-z", "15006", "-u", "1337", "-m",
                          "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15020"])

    def test_each_annotation_of_capture(self):
        for name, flag, good, bad in (
                ("includeInboundPorts", "-b", "80,443", "80;443"),
                ("excludeInboundPorts", "-d", "22", "all"),
                ("includeOutboundPorts", "-q", "5432", "-1"),
                ("excludeOutboundPorts", "-o", "25", "70000"),
                ("includeOutboundIPRanges", "-i", "10.0.0.0/8", "10.0.0.0/33"),
                ("excludeOutboundIPRanges", "-x", "10.0.0.0/8", "*"),
                ("excludeInterfaces", "-c", "eth1", "a/b"),
                ("kubevirtInterfaces", "-k", "net1,net2", "an-interface-too-long")):
            with self.subTest(name=name):
                args = self.init_args(annotated(**{TRAFFIC + name: f'"{good}"'}))
                value = args[args.index(flag) + 1]
                self.assertEqual(value, "15090,15020,22" if flag == "-d" else good)
                empty = self.init_args(annotated(**{TRAFFIC + name: '""'}))
                if flag in empty:
                    self.assertIn(empty[empty.index(flag) + 1], ("", "15090,15020"))
                said = self.refused(annotated(**{TRAFFIC + name: f'"{bad}"'}), "expected")
                self.assertIn(f"the annotation {TRAFFIC}{name}", said)
                self.assertIn(bad, said)
                if good.isdigit():
                    self.refused(annotated(**{TRAFFIC + name: good}), "put quotes around")

    def test_interception_mode(self):
        name = "sidecar.istio.io/interceptionMode"
        pod = self.pod(annotated(**{name: "TPROXY"}))
        init, proxy = pod["spec"]["initContainers"]
        self.assertIn("TPROXY", init["args"])
        self.assertIn("--mode=TPROXY", proxy["args"])
        self.assertEqual(proxy["securityContext"]["capabilities"],
                         {"drop": ["ALL"], "add": ["NET_ADMIN"]})
        self.left(annotated(**{name: "NONE"}), "NONE")
        self.refused(annotated(**{name: "NAT"}), "REDIRECT or TPROXY")

    def test_other_annotations(self):
        pod = self.pod(annotated(**{
            "sidecar.istio.io/proxyCPU": '"2"', "sidecar.istio.io/proxyCPULimit": '"3"',
            "sidecar.istio.io/proxyMemory": "64Mi", "sidecar.istio.io/proxyMemoryLimit": "1Gi",
            "sidecar.istio.io/proxyImage": "example.org/a:b", "status.sidecar.istio.io/port": '"99"',
            "proxy.istio.io/config": '"concurrency: 7"', "istio.io/reroute-virtual-interfaces": "n0"}))
        init, proxy = pod["spec"]["initContainers"]
        self.assertEqual(proxy["resources"], {"requests": {"cpu": "2", "memory": "64Mi"},
                                              "limits": {"cpu": "3", "memory": "1Gi"}})
        self.assertEqual((init["image"], proxy["image"]), ("example.org/a:b",) * 2)
        self.assertEqual(proxy["startupProbe"]["httpGet"]["port"], 99)
        self.assertIn("--status-port=99", proxy["args"])
        self.assertIn("--concurrency=7", proxy["args"])
        self.assertIn("15090,99", init["args"])
        self.assertIn("n0", init["args"])
        native = "sidecar.istio.io/nativeSidecar"
        self.assertIn("containers\":[\"sluice-proxy",
                      self.injected(annotated(**{native: '"false"'})))
        for name, value, why in (("sidecar.istio.io/proxyCPU", "lots", "a quantity"),
                                 ("status.sidecar.istio.io/port", "x", "a number"),
                                 ("proxy.istio.io/config", "'{'", "proxy.istio.io/config"),
                                 (native, "maybe", "true or false"),
                                 ("sidecar.istio.io/nativeNftables", "maybe", "true or false")):
            self.refused(annotated(**{name: value}), why)

    def test_own_annotations_are_kept(self):
        name = "sidecar.istio.io/interceptionMode"
        pod = self.pod(annotated(**{name: "REDIRECT", "mine": "stays"}))
        self.assertEqual(pod["metadata"]["annotations"]["mine"], "stays")
        self.assertNotIn(name, json.loads(
            pod["metadata"]["annotations"]["sluice.dev/status"])["annotations"])

    def test_misspelt_annotation(self):
        done = INJECTOR.run("-f", "-", text=annotated(**{TRAFFIC + "excludeInboundPort": '"1"'}))
        self.assertIn("warning: the annotation " + TRAFFIC, done.stderr.decode())


class AgainTest(Case):
    def test_another_configuration_replaces_ours(self):
        first = INJECTOR.inject(POD)
        second = INJECTOR.inject(first, "--sidecar", "container", "--image", "other")
        self.assertEqual(second, INJECTOR.inject(POD, "--sidecar", "container", "--image", "other"))
        self.assertEqual(INJECTOR.inject(second), first)
        patch = INJECTOR.patches(first, "--image", "other")
        self.assertEqual(apply_patch(load(first)[0], patch[0]["patch"]),
                         load(INJECTOR.inject(POD, "--image", "other"))[0])

    def test_what_was_edited_since(self):
        result = INJECTOR.inject(POD).replace(b"image: nginx", b"image: nginx:2")
        back = INJECTOR.uninject(result)
        self.assertEqual(back.stdout, POD.replace("nginx", "nginx:2").encode())
        self.assertIn(b"edited since", back.stderr)
        added = INJECTOR.inject(POD) + b"  - name: another\n"
        self.assertEqual(INJECTOR.uninject(added).stdout, POD.encode() + b"  - name: another\n")

    def test_a_container_in_between(self):
        result = INJECTOR.inject(POD).replace(b"  - name: sluice-proxy\n",
                                              b"  - name: between\n  - name: sluice-proxy\n")
        self.assertEqual([each["name"] for each in
                          load(INJECTOR.uninject(result).stdout)[0]["spec"]["initContainers"]],
                         ["between"])

    def test_opting_out_later(self):
        result = INJECTOR.inject(annotated(**{"sidecar.istio.io/inject": '"true"'}))
        out = result.replace(b'inject: "true"', b'inject: "false"')
        self.assertEqual(INJECTOR.inject(out),
                         annotated(**{"sidecar.istio.io/inject": '"false"'}).encode())

    def test_a_status_that_is_broken(self):
        self.refused(annotated(**{"sluice.dev/status": "x"}), "sluice.dev/status")


class ProgramTest(Case):
    def test_usage(self):
        for arguments in ((), ("-f", "-", "x"), ("-f", "-", "--nothing"), ("serve",),
                          ("-f", "-", "--in-place"), ("-f", "-", "-o", "xml"),
                          ("print-config", "-f", "-"), ("-f", "-", "--sidecar", "no"),
                          ("-f", "-", "--capture", "nothing=1"), ("-f", "-", "--native-nftables=x"),
                          ("-f", "-", "--proxy-cpu", "lots"), ("-f", "-", "--config", "/none")):
            done = INJECTOR.run(*arguments, text=POD)
            self.assertEqual((done.returncode, done.stdout), (2, b""), arguments)
            self.assertTrue(done.stderr)
        self.assertEqual(INJECTOR.run("-f", "/none").returncode, 1)

    def test_configuration_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "c.json")
            path.write_text('{"image": "a:1", "cni": true, "proxy-arg": ["--access-log=off"],'
                            '"capture": {"istio-outbound-ports": "5432", "redirect-dns": true}}')
            flags = ("--config", path)
            args = self.init_args(POD, *flags)
            self.assertIn("5432", args)
            self.assertIn("--redirect-dns=true", args)
            proxy = self.pod(POD, *flags)["spec"]["initContainers"][1]
            self.assertIn("--access-log=off", proxy["args"])
            self.assertIn("--dns-port=15053", proxy["args"])
            self.assertEqual(self.pod(POD, *flags, "--image", "b:2")["spec"]["initContainers"][0]
                             ["image"], "b:2")
            printed = INJECTOR.run("print-config", *flags, check=True).stdout
            path.write_bytes(printed)
            self.assertEqual(INJECTOR.run("print-config", *flags, check=True).stdout, printed)
            for wrong in ("[]", "{", '{"imag": "a"}', '{"image": [1]}', '{"cni": "perhaps"}'):
                path.write_text(wrong)
                done = INJECTOR.run("print-config", *flags)
                self.assertEqual(done.returncode, 2)
                self.assertIn(str(path), done.stderr.decode())

    def test_settings_are_in_the_schema(self):
        import jsonschema  # pylint: disable=import-outside-toplevel
        docs = pathlib.Path(__file__).resolve().parents[3] / "docs"
        schema = json.loads((docs / "sluice-inject.schema.json").read_text())
        for flags in ((), MTLS, ("--mtls-credentials", "csi-driver-spiffe", "--mtls-outbound", "a",
                                 "--mtls-inbound-plaintext-ports", "1,3-4")):
            printed = json.loads(INJECTOR.run("print-config", *flags, check=True).stdout)
            jsonschema.validate(printed, schema)
            # The flags that set other settings have no value of their own.
            self.assertEqual(schema["properties"].keys() - printed.keys(),
                             {"$schema", "mode", "native-nftables"})

    def test_in_place_and_diff(self):
        with tempfile.TemporaryDirectory() as folder:
            path, link = pathlib.Path(folder, "a.yaml"), pathlib.Path(folder, "link")
            path.write_text(POD)
            path.chmod(0o640)
            link.symlink_to(path)
            diff = INJECTOR.run("-f", path, "--diff")
            self.assertEqual(diff.returncode, 10)
            self.assertIn(b"\n+  initContainers:\n", diff.stdout)
            INJECTOR.run("-f", link, "--in-place", check=True)
            self.assertEqual(path.read_bytes(), INJECTOR.inject(POD))
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o640)
            self.assertTrue(link.is_symlink())
            self.assertEqual(sorted(os.listdir(folder)), ["a.yaml", "link"])
            self.assertEqual(INJECTOR.run("-f", path, "--diff").returncode, 0)
            INJECTOR.run("uninject", "-f", path, "--in-place", check=True)
            self.assertEqual(path.read_text(), POD)

    def test_all_or_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            good, bad = pathlib.Path(folder, "a.yaml"), pathlib.Path(folder, "b.yml")
            good.write_text(POD)
            bad.write_text(POD + "  securityContext: {runAsUser: 1337}\n")
            done = INJECTOR.run("-f", folder, "--in-place")
            self.assertEqual(done.returncode, 6)
            self.assertEqual(good.read_text(), POD)
            self.assertIn(f"{bad}:9: Pod web: refused", done.stderr.decode())
            bad.write_text(POD)
            done = INJECTOR.run("-f", folder, check=True)
            self.assertEqual(len(load(done.stdout)), 2)

    def test_json_errors_have_line_and_column(self):
        for text, said in (('{\n  "image": "a",\n  "cni": maybe\n}', ":3:10): not JSON: syntax error"),
                           ('{\n  "image": "a",\n  "imag": "b"}', ":3:3): there is no setting imag; "
                            "did you mean image?"),
                           ('{"image": "a",\n"image": "b"}', ":2:1): image is there twice"),
                           ('{"cni": "maybe"}', ":1:2: expected true or false"),
                           ('{"cni": ' + "[" * 100000, "not JSON")):
            with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                file.write(text)
                file.flush()
                done = INJECTOR.run("-f", "-", "--config", file.name, text=POD)
            self.assertEqual(done.returncode, 2)
            self.assertIn(said, done.stderr.decode())

    def test_near_misses_are_named(self):
        for words, meant in ((["--proxy-cpus", "1"], "--proxy-cpu"), (["explan"], "explain"),
                             (["--capture", "exclude-uid=1"], "exclude-uids")):
            done = INJECTOR.run(*words, "-f", "-", text=POD)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"did you mean {meant}?", done.stderr.decode())

    def test_a_switch_leaves_the_verb_alone(self):
        done = INJECTOR.run("--cni", "explain", "-f", "-", text=POD)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertIn(b"would be injected", done.stdout)
        self.assertEqual(INJECTOR.run("--cni=on", "explain", "-f", "-", text=POD).stdout, done.stdout)

    def test_explain(self):
        done = INJECTOR.run("explain", "-f", "-", text=POD + "---\n" + POD + "  hostNetwork: true\n",
                            check=True)
        self.assertIn(b"Pod web: would be injected\n  sluice-init: sluice-init -p 15001", done.stdout)
        self.assertIn(b"skipped: hostNetwork", done.stdout)

    def test_help_and_version(self):
        self.assertIn(b"Exit codes", INJECTOR.run("--help", check=True).stdout)
        self.assertIn(b"sluice-inject ", INJECTOR.run("--version", check=True).stdout)


if __name__ == "__main__":
    INJECTOR = Injector(sys.argv.pop(1))
    unittest.main()
