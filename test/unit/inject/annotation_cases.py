# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Annotations of pods, and injection of what is injected already."""
import json

from case import POD, TRAFFIC, Case, annotated
from injector import load
from json_patch import apply_patch


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
        done = self.injector.run("-f", "-", text=annotated(**{TRAFFIC + "excludeInboundPort": '"1"'}))
        self.assertIn("warning: the annotation " + TRAFFIC, done.stderr.decode())


class AgainTest(Case):
    def test_another_configuration_replaces_ours(self):
        first = self.injector.inject(POD)
        second = self.injector.inject(first, "--sidecar", "container", "--image", "other")
        self.assertEqual(second, self.injector.inject(POD, "--sidecar", "container", "--image", "other"))
        self.assertEqual(self.injector.inject(second), first)
        patch = self.injector.patches(first, "--image", "other")
        self.assertEqual(apply_patch(load(first)[0], patch[0]["patch"]),
                         load(self.injector.inject(POD, "--image", "other"))[0])

    def test_what_was_edited_since(self):
        result = self.injector.inject(POD).replace(b"image: nginx", b"image: nginx:2")
        back = self.injector.uninject(result)
        self.assertEqual(back.stdout, POD.replace("nginx", "nginx:2").encode())
        self.assertIn(b"edited since", back.stderr)
        added = self.injector.inject(POD) + b"  - name: another\n"
        self.assertEqual(self.injector.uninject(added).stdout, POD.encode() + b"  - name: another\n")

    def test_a_container_in_between(self):
        result = self.injector.inject(POD).replace(b"  - name: sluice-proxy\n",
                                              b"  - name: between\n  - name: sluice-proxy\n")
        self.assertEqual([each["name"] for each in
                          load(self.injector.uninject(result).stdout)[0]["spec"]["initContainers"]],
                         ["between"])

    def test_opting_out_later(self):
        result = self.injector.inject(annotated(**{"sidecar.istio.io/inject": '"true"'}))
        out = result.replace(b'inject: "true"', b'inject: "false"')
        self.assertEqual(self.injector.inject(out),
                         annotated(**{"sidecar.istio.io/inject": '"false"'}).encode())

    def test_a_status_that_is_broken(self):
        self.refused(annotated(**{"sluice.dev/status": "x"}), "sluice.dev/status")
