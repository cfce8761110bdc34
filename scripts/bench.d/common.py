# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Shared by the benchmarks in this directory: runs programs alternately, each time in a new network
namespace, and compares the medians of their cost."""
import dataclasses
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(os.environ.get("SLUICE_BIN_DIR", REPO / "build/release/bin"))


@dataclasses.dataclass(frozen=True)
class Program:
    """A program to measure: `argv` is run with `input` on its standard input."""
    name: str
    argv: tuple
    input: bytes = b""


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of one run, or the medians of many. Wall time is from fork to exit; CPU is user and system."""
    wall_us: float
    cpu_us: float
    peak_kib: float

    def less(self, other):
        """The times minus those of `other`. Memory is not additive, so it is unchanged."""
        return Cost(self.wall_us - other.wall_us, self.cpu_us - other.cpu_us, self.peak_kib)

    def then(self, other):
        """One run after the other."""
        return Cost(self.wall_us + other.wall_us, self.cpu_us + other.cpu_us,
                    max(self.peak_kib, other.peak_kib))


def installed(program, directory):
    """The path of a stripped copy of `program`, written sequentially as a package manager writes it. How a
    file came into the page cache, in few large pieces or in many small ones, changes the cost of a start
    by a tenth, so it must be the same for all programs that are compared."""
    stripped, path = (pathlib.Path(directory) / (program.name + end) for end in (".stripped", ""))
    subprocess.run(["strip", "-o", stripped, program], check=True)
    shutil.copy(stripped, path)
    return path


# The cost of starting and ending any process.
EMPTY = Program("an empty process", ("/bin/true",))


def measure(program, timeout_s=60):
    """One run in a new namespace. Raises when the program fails, because its cost would mean nothing. Its
    output goes to a file: a pipe would wake this process in the middle of the run."""
    with tempfile.TemporaryFile() as output:
        done = subprocess.run([BIN / "sluice-measure", *program.argv], input=program.input,
                              stdout=subprocess.PIPE, stderr=output, timeout=timeout_s)
        output.seek(0)
        said = output.read().decode(errors="replace")
    if done.returncode != 0:
        raise RuntimeError(f"sluice-measure: {said}")
    cost = json.loads(done.stdout)
    if cost.pop("status") != 0:
        raise RuntimeError(f"{' '.join(map(str, program.argv))} failed: {said}")
    return Cost(**cost)


def in_turn(items, number):
    """`items` in the order of round `number`, rotated by one each time, so that none always follows the
    same one."""
    shift = number % len(items)
    return [*items[shift:], *items[:shift]]


def alternate(programs, rounds):
    """{name: medians}. Each round runs every program once, so that other load on the machine affects all
    of them; the order rotates from round to round. The first round is a warm-up."""
    costs = {program.name: [] for program in programs}
    for number in range(rounds + 1):
        for program in in_turn(programs, number):
            cost = measure(program)
            if number > 0:
                costs[program.name].append(cost)
    return {name: medians(list_of) for name, list_of in costs.items()}


def medians(costs):
    return Cost(*(statistics.median(getattr(cost, field.name) for cost in costs)
                  for field in dataclasses.fields(Cost)))


def table(rows):
    """Prints [(name, Cost)] with aligned columns."""
    width = max(len(name) for name, _ in rows)
    print(f"{'':{width}}  {'wall':>10}  {'CPU':>10}  {'peak RSS':>10}")
    for name, cost in rows:
        print(f"{name:{width}}  {cost.wall_us:7.0f} µs  {cost.cpu_us:7.0f} µs"
              f"  {cost.peak_kib / 1024:7.2f} MB")
