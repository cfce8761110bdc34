"""Shared by the benches of this directory: runs programs alternately, each time in a new network
namespace, and compares the medians of what they cost."""
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(os.environ.get("SLUICE_BIN_DIR", REPO / "build/release/bin"))


@dataclasses.dataclass(frozen=True)
class Program:
    """What is measured: `argv` is run with `input` on its standard input."""
    name: str
    argv: tuple
    input: bytes = b""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one run, or the medians of many. Wall time is from fork to the end; CPU is user and system."""
    wall_us: float
    cpu_us: float
    peak_kib: float

    def less(self, other):
        """Times beyond those of `other`. Memory is not additive, so it stays."""
        return Cost(self.wall_us - other.wall_us, self.cpu_us - other.cpu_us, self.peak_kib)

    def then(self, other):
        """One run after the other."""
        return Cost(self.wall_us + other.wall_us, self.cpu_us + other.cpu_us,
                    max(self.peak_kib, other.peak_kib))


def installed(name, directory):
    """The path of a copy of one of our programs as a package installs it: stripped, and written in one
    go. What the linker wrote is spread over more pages of the page cache, and each costs time."""
    path = pathlib.Path(directory) / name
    subprocess.run(["install", "--strip", BIN / name, path], check=True)
    return path


# A program that does nothing: what starting and ending any process costs here.
EMPTY = Program("an empty process", ("/bin/true",))


def measure(program, timeout_s=60):
    """One run in a new namespace. Raises when the program fails: half a job costs half."""
    done = subprocess.run([BIN / "sluice-measure", *program.argv], input=program.input,
                          capture_output=True, timeout=timeout_s)
    said = done.stderr.decode(errors="replace")
    if done.returncode != 0:
        raise RuntimeError(f"sluice-measure: {said}")
    cost = json.loads(done.stdout)
    if cost.pop("status") != 0:
        raise RuntimeError(f"{' '.join(map(str, program.argv))} failed: {said}")
    return Cost(**cost)


def alternate(programs, rounds):
    """{name: medians}. One run of each program per round, so that whatever else the machine does
    falls on all of them; the order turns from round to round. The first round only warms up."""
    costs = {program.name: [] for program in programs}
    for number in range(rounds + 1):
        shift = number % len(programs)
        for program in [*programs[shift:], *programs[:shift]]:
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
