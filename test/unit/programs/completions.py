#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""completions.py PROGRAM...: what bash, zsh and fish offer with the completions that each program
prints. A shell that is not installed is left out, but in CI (CI=true)."""
import os
import pathlib
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAMS = {pathlib.Path(path).name: path for path in sys.argv[1:]}
PATIENCE = 120  # seconds

# The typed line, what must be offered, what must not. The last word is completed.
CASES = [
    ("sluice-init --exclude-", ["--exclude-uids", "--exclude-gids"], ["--envoy-port"]),
    ("sluice-init ver", ["verify"], ["show"]),
    ("sluice-init --ipv6 o", ["on", "off"], ["auto"]),
    ("istio-iptables --istio-inbound-p", ["--istio-inbound-ports"], ["--envoy-port"]),
    ("sluice-proxy --splice ", ["auto", "on", "off"], []),
    ("sluice-proxy --idle", ["--idle-timeout"], []),
    ("sluice-proxy cert", ["certificate"], []),
    ("sluice-inject expl", ["explain"], ["uninject"]),
    ("sluice-inject --filename inp", ["input.yaml"], []),
]

ZSH = r"""
PS1='READY '
fpath=({directory} $fpath)
autoload -U compinit
compinit -D -u
compadd() {{
  local -a hits
  builtin compadd -A hits "$@"
  print -rl -- $hits >>{out}
  builtin compadd "$@"
}}
complete-and-tell() {{ zle complete-word; print END >>{out} }}
zle -N complete-and-tell
bindkey '^I' complete-and-tell
"""


class Completions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.directory = pathlib.Path(cls.folder.name)
        (cls.directory / "input.yaml").touch()
        names = {"bash": "{}", "zsh": "_{}", "fish": "{}.fish"}
        for program, path in PROGRAMS.items():
            for shell, name in names.items():
                done = subprocess.run([path, "completion", shell], capture_output=True, text=True,
                                      check=True)
                (cls.directory / shell).mkdir(exist_ok=True)
                (cls.directory / shell / name.format(program)).write_text(done.stdout)
            refused = subprocess.run([path, "completion", "csh"], capture_output=True, check=False)
            assert refused.returncode == 2, program

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def need(self, shell):
        if shutil.which(shell) is None:
            if os.environ.get("CI") == "true":
                self.fail(f"{shell} is not installed")
            self.skipTest(f"{shell} is not installed")

    def check(self, offered_for):
        for line, wanted, unwanted in CASES:
            offered = offered_for(line)
            # zsh has "--flag=" for a flag that takes a value.
            words = {word.split("\t")[0].rstrip("= ") for word in offered}
            for word in wanted:
                self.assertIn(word, words, line)
            for word in unwanted:
                self.assertNotIn(word, words, line)

    def test_bash(self):
        def offered(line):
            words = line.split(" ")
            program = "sluice-init" if words[0] == "istio-iptables" else words[0]
            script = (f"source {self.directory}/bash/{program}\n"
                      "function_of=$(complete -p \"$1\" | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
                      "COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); $function_of\n"
                      "printf '%s\\n' \"${COMPREPLY[@]}\"")
            done = subprocess.run(["bash", "--norc", "-euc", script, "bash", *words],
                                  capture_output=True, text=True, check=False, cwd=self.directory,
                                  timeout=PATIENCE)
            self.assertEqual((done.returncode, done.stderr), (0, ""), line)
            return done.stdout.splitlines()
        self.check(offered)
        # As bash itself splits --ipv6=o.
        self.assertEqual(offered("sluice-init --ipv6 = o"), ["on", "off"])
        self.assertEqual(offered("sluice-init --ipv6 ="), ["auto", "on", "off"])

    def test_fish(self):
        self.need("fish")

        def offered(line):
            program = line.split(" ")[0].replace("istio-iptables", "sluice-init")
            done = subprocess.run(
                ["fish", "--no-config", "-c",
                 f"source {self.directory}/fish/{program}.fish; complete -C '{line}'"],
                capture_output=True, text=True, check=False, cwd=self.directory, timeout=PATIENCE,
                env={**os.environ, "HOME": str(self.directory)})
            self.assertEqual((done.returncode, done.stderr), (0, ""), line)
            return done.stdout.splitlines()
        self.check(offered)

    def test_zsh(self):
        self.need("zsh")
        self.check(self.offered_by_zsh)

    def offered_by_zsh(self, line):
        """zsh completes in a line editor only, so it gets a terminal."""
        out = self.directory / "offered"
        out.write_text("")
        start = self.directory / ".zshrc"
        start.write_text(ZSH.format(directory=self.directory / "zsh", out=out))
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.directory)
            os.environ.update(ZDOTDIR=str(self.directory), TERM="dumb", HOME=str(self.directory))
            os.execvp("zsh", ["zsh", "-i", "-o", "noglobalrcs"])
        seen, sent, deadline = b"", False, time.monotonic() + PATIENCE
        try:
            while "END\n" not in out.read_text():
                self.assertLess(time.monotonic(), deadline, (line, seen))
                if select.select([terminal], [], [], 0.05)[0]:
                    seen += os.read(terminal, 65536)
                if not sent and b"READY " in seen:
                    os.write(terminal, line.encode() + b"\t")
                    sent = True
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            os.close(terminal)
        return out.read_text().splitlines()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
