"""Shared by the benches of this directory: runs programs alternately, each time in a new network
namespace, and compares the medians of what they cost."""
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


def installed(program, directory):
    """The path of a copy of `program`, stripped and written from front to end, as the installation of a
    package writes it. How a file came into the page cache, in few large pieces or in many small ones,
    is a tenth of what a start costs, so everything that is compared has to come in the same way."""
    stripped, path = (pathlib.Path(directory) / (program.name + end) for end in (".stripped", ""))
    subprocess.run(["strip", "-o", stripped, program], check=True)
    shutil.copy(stripped, path)
    return path


# A program that does nothing: what starting and ending any process costs here.
EMPTY = Program("an empty process", ("/bin/true",))


def measure(program, timeout_s=60):
    """One run in a new namespace. Raises when the program fails: half a job costs half. What it prints
    goes to a file: a pipe would wake us, in the middle of the run."""
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
    """`items` in the order of round `number`: another one begins each time, so that none is always
    measured behind the same one."""
    shift = number % len(items)
    return [*items[shift:], *items[:shift]]


def alternate(programs, rounds):
    """{name: medians}. One run of each program per round, so that whatever else the machine does
    falls on all of them; the order turns from round to round. The first round only warms up."""
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
