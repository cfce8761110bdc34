# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""The text of manifests: what is added, and that nothing else changes."""
import json

from case import POD, Case, annotated, template
from injector import load


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
        self.assertIn("is left out", self.injector.run("-f", "-", text=text).stderr.decode())

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
