# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Shared by benchmarks whose rows compare candidates: runs them alternately, prints the medians, and
compares the paired ratios with what is asked for."""
import dataclasses
import statistics
import sys

import common


@dataclasses.dataclass(frozen=True)
class Goal:
    """The first candidate's figure over that of `peer`, in the same round: its median is to be at most `bound`,
    or at least."""
    figure: int  # index of Row.columns
    peer: str
    bound: float
    at_least: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """One kind of work. `measure`, called with a candidate, the number of its worker threads and the seconds
    that a run takes, returns a figure for each column."""
    key: str  # for --only
    name: str
    columns: tuple
    candidates: tuple  # each has a `name`; the first one is ours
    measure: object
    goals: tuple = ()
    rounds: int = 0  # 0: as many as are asked for
    before: object = None  # the path of another build's program -> a candidate

    def with_before(self, program):
        """The same row, in which that program takes its turns, too."""
        return dataclasses.replace(self, candidates=(*self.candidates, self.before(program)))


def figure(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def run(row, threads, rounds, seconds):
    """{name of the candidate: its figures, round by round}. The order of the candidates rotates."""
    found = {candidate.name: [] for candidate in row.candidates}
    for number in range(row.rounds or rounds):
        for candidate in common.in_turn(row.candidates, number):
            found[candidate.name].append(row.measure(candidate, threads, seconds))
    return found


def report(row, found):
    """Prints the row. Whether its goals are reached."""
    print(f"\n{row.name}")
    widths = [max(12, len(column)) for column in row.columns]
    line = "".join(f"  {column:>{width}}" for column, width in zip(row.columns, widths))
    print(f"  {'':20}{line}")
    for candidate in row.candidates:
        medians = [statistics.median(values) for values in zip(*found[candidate.name])]
        print(f"  {candidate.name:20}" +
              "".join(f"  {figure(value):>{width}}" for value, width in zip(medians, widths)))
    reached = True
    ours = found[row.candidates[0].name]
    for goal in row.goals:
        if goal.peer not in found:
            continue
        ratios = [mine[goal.figure] / theirs[goal.figure]
                  for mine, theirs in zip(ours, found[goal.peer])]
        ratio = statistics.median(ratios)
        good = ratio >= goal.bound if goal.at_least else ratio <= goal.bound
        reached &= good
        print(f"  {row.columns[goal.figure]}, of {goal.peer}: {ratio:.3f} ({min(ratios):.3f} to "
              f"{max(ratios):.3f}; {'at least' if goal.at_least else 'at most'} {goal.bound}) "
              f"{'reached' if good else 'MISSED'}")
    sys.stdout.flush()
    return reached


def run_all(rows, threads, rounds, seconds):
    """Whether all goals are reached."""
    reached = True
    for each in threads:
        print(f"\n== {each} worker thread{'s' * (each > 1)}, {rounds} rounds of {seconds:g} s, "
              "alternating, medians ==")
        for row in rows:
            reached &= report(row, run(row, each, rounds, seconds))
    return reached
