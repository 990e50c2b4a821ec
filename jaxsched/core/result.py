"""What is known of an instance, and what a solver found: one record each for all problems."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Best known bounds of a published instance; `lower == upper` means that the optimum is
    known.
    """

    lower: int
    upper: int
    source: str
    date: str
    objective: str = "makespan"


@dataclasses.dataclass(frozen=True)
class Result:
    """The best solution that a solver found, and what it proved."""

    solution: Any  # of the problem: a schedule, a trace or a plan
    objective: int  # value of the solution under the objective that was asked for
    bound: int  # no solution has a smaller objective
    proved: bool  # the solution is optimal
    method: str  # the solver that found the solution
    seconds: float  # wall time of the whole call

    @property
    def schedule(self) -> Any:
        """The solution of a shop or of a stream of jobs, by its own name."""
        return self.solution

    @property
    def plan(self) -> Any:
        """The solution of a memory problem, by its own name."""
        return self.solution
