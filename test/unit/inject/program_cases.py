# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""The command line: usage, files, errors."""
import json
import os
import pathlib
import stat
import tempfile

from case import MTLS, POD, Case
from injector import load


class ProgramTest(Case):
    def test_usage(self):
        for arguments in ((), ("-f", "-", "x"), ("-f", "-", "--nothing"), ("serve",),
                          ("-f", "-", "--in-place"), ("-f", "-", "-o", "xml"),
                          ("print-config", "-f", "-"), ("-f", "-", "--sidecar", "no"),
                          ("-f", "-", "--capture", "nothing=1"), ("-f", "-", "--native-nftables=x"),
                          ("-f", "-", "--proxy-cpu", "lots"), ("-f", "-", "--config", "/none")):
            done = self.injector.run(*arguments, text=POD)
            self.assertEqual((done.returncode, done.stdout), (2, b""), arguments)
            self.assertTrue(done.stderr)
        self.assertEqual(self.injector.run("-f", "/none").returncode, 1)

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
            printed = self.injector.run("print-config", *flags, check=True).stdout
            path.write_bytes(printed)
            self.assertEqual(self.injector.run("print-config", *flags, check=True).stdout, printed)
            for wrong in ("[]", "{", '{"imag": "a"}', '{"image": [1]}', '{"cni": "perhaps"}'):
                path.write_text(wrong)
                done = self.injector.run("print-config", *flags)
                self.assertEqual(done.returncode, 2)
                self.assertIn(str(path), done.stderr.decode())

    def test_settings_are_in_the_schema(self):
        import jsonschema  # pylint: disable=import-outside-toplevel
        docs = pathlib.Path(__file__).resolve().parents[3] / "docs"
        schema = json.loads((docs / "sluice-inject.schema.json").read_text())
        for flags in ((), MTLS, ("--mtls-credentials", "csi-driver-spiffe", "--mtls-outbound", "a",
                                 "--mtls-inbound-plaintext-ports", "1,3-4")):
            printed = json.loads(self.injector.run("print-config", *flags, check=True).stdout)
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
            diff = self.injector.run("-f", path, "--diff")
            self.assertEqual(diff.returncode, 10)
            self.assertIn(b"\n+  initContainers:\n", diff.stdout)
            self.injector.run("-f", link, "--in-place", check=True)
            self.assertEqual(path.read_bytes(), self.injector.inject(POD))
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o640)
            self.assertTrue(link.is_symlink())
            self.assertEqual(sorted(os.listdir(folder)), ["a.yaml", "link"])
            self.assertEqual(self.injector.run("-f", path, "--diff").returncode, 0)
            self.injector.run("uninject", "-f", path, "--in-place", check=True)
            self.assertEqual(path.read_text(), POD)

    def test_all_or_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            good, bad = pathlib.Path(folder, "a.yaml"), pathlib.Path(folder, "b.yml")
            good.write_text(POD)
            bad.write_text(POD + "  securityContext: {runAsUser: 1337}\n")
            done = self.injector.run("-f", folder, "--in-place")
            self.assertEqual(done.returncode, 6)
            self.assertEqual(good.read_text(), POD)
            self.assertIn(f"{bad}:9: Pod web: refused", done.stderr.decode())
            bad.write_text(POD)
            done = self.injector.run("-f", folder, check=True)
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
                done = self.injector.run("-f", "-", "--config", file.name, text=POD)
            self.assertEqual(done.returncode, 2)
            self.assertIn(said, done.stderr.decode())

    def test_near_misses_are_named(self):
        for words, meant in ((["--proxy-cpus", "1"], "--proxy-cpu"), (["explan"], "explain"),
                             (["--capture", "exclude-uid=1"], "exclude-uids")):
            done = self.injector.run(*words, "-f", "-", text=POD)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"did you mean {meant}?", done.stderr.decode())

    def test_a_switch_leaves_the_verb_alone(self):
        done = self.injector.run("--cni", "explain", "-f", "-", text=POD)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertIn(b"would be injected", done.stdout)
        self.assertEqual(self.injector.run("--cni=on", "explain", "-f", "-", text=POD).stdout, done.stdout)

    def test_explain(self):
        done = self.injector.run("explain", "-f", "-", text=POD + "---\n" + POD + "  hostNetwork: true\n",
                            check=True)
        self.assertIn(b"Pod web: would be injected\n  sluice-init: sluice-init -p 15001", done.stdout)
        self.assertIn(b"skipped: hostNetwork", done.stdout)

    def test_help_and_version(self):
        self.assertIn(b"Exit codes", self.injector.run("--help", check=True).stdout)
        self.assertIn(b"sluice-inject ", self.injector.run("--version", check=True).stdout)
