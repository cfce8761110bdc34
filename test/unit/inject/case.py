# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""What the tests of sluice-inject with one manifest each share."""
import unittest

from injector import load
from json_patch import apply_patch

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
MTLS = ("--mtls-credentials", "secret/svid", "--mtls-inbound", "strict", "--mtls-allow",
        "spiffe://cluster.local/ns/shop/sa/*")
LISTENING = "--capture-listening=true"
TRAFFIC = "traffic.sidecar.istio.io/"


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


class Case(unittest.TestCase):
    injector = None  # an Injector, before tests run

    def injected(self, text, *flags):
        """The result, after the checks that apply to every result."""
        data = text.encode() if isinstance(text, str) else text
        done = self.injector.run("-f", "-", *flags, text=data)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        result = done.stdout
        self.assertNotEqual(result, data, done.stderr.decode())
        self.assertEqual(self.injector.inject(result, *flags), result)
        back = self.injector.uninject(result)
        self.assertEqual(back.stdout, data)
        self.assertIn(b"byte for byte", back.stderr)
        before, after = load(data), load(result)
        for entry in self.injector.patches(data, *flags):
            number = entry["document"]
            self.assertEqual(apply_patch(before[number], entry["patch"]), after[number])
        return result.decode()

    def left(self, text, why, *flags, code=0):
        """It stays unchanged, for that reason."""
        data = text.encode() if isinstance(text, str) else text
        done = self.injector.run("-f", "-", *flags, text=data)
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
