"""CP-SAT of OR-Tools, imported when a `Solver` is made: its settings and how every exact method
reads its results.
"""

from __future__ import annotations

import math
from typing import Any

from jaxsched.host.deadline import Deadline
from jaxsched.host.plain import plain_number


class Solver:
    """One solver with its settings and what it found last: `found` a solution, `optimal`,
    `infeasible`.

    `time_limit`: seconds for the whole call, which begins as the solver is made, or the `Deadline`
    of a call that has begun. What a caller does before it solves, such as a start and the model,
    counts. `num_workers`: threads, by default all cores. Raises `ValueError` for a negative limit,
    fewer than one thread or a seed out of range, `ImportError` without OR-Tools, which says that
    `who` needs it.
    """

    def __init__(
        self,
        who: str,
        time_limit: float | Deadline,
        num_workers: int | None = None,
        seed: int = 0,
    ):
        self.deadline = time_limit if isinstance(time_limit, Deadline) else Deadline(time_limit)
        num_workers, seed = plain_number(num_workers), plain_number(seed)
        if num_workers is not None and (type(num_workers) is not int or num_workers < 1):
            raise ValueError(f"num_workers must be at least 1, got {num_workers!r}")
        if type(seed) is not int or not 0 <= seed < 2**31:
            raise ValueError(f"seed must be from 0 to 2**31 - 1, got {seed!r}")
        try:
            from ortools.sat.python import cp_model
        except ImportError:
            raise ImportError(f'{who} needs OR-Tools: pip install "jaxsched[solvers]"') from None
        self.cp_model, self.solver = cp_model, cp_model.CpSolver()
        self.solver.parameters.random_seed = seed
        if num_workers is not None:
            self.solver.parameters.num_workers = num_workers
        self.found = self.optimal = self.infeasible = False

    def solve(
        self,
        model: Any,
        bound: int,
        ceiling: int,
        callback: Any = None,
        has_solution: bool = True,
        deadline: Deadline | None = None,
    ) -> int:
        """Minimise, and return the best lower bound known: `bound` or what is proved, at most
        `ceiling`.

        It ends by `deadline`, by default that of the call; where that is over, nothing is looked
        at, the hint included. `has_solution`: that there is one is known, so that the solver's
        refusal is a fault of ours, a `RuntimeError`.
        """
        self.found = self.optimal = self.infeasible = False
        seconds = (deadline or self.deadline).left()
        if seconds == 0:
            return min(bound, ceiling)
        self.solver.parameters.max_time_in_seconds = seconds
        status = self.solver.solve(model, callback)
        self.optimal = status == self.cp_model.OPTIMAL
        self.found = self.optimal or status == self.cp_model.FEASIBLE
        self.infeasible = status == self.cp_model.INFEASIBLE
        if status == self.cp_model.MODEL_INVALID or (self.infeasible and has_solution):
            raise RuntimeError(
                f"CP-SAT refused the model: {self.solver.status_name(status)} {model.validate()}"
            )
        if math.isfinite(self.solver.best_objective_bound):
            bound = max(bound, math.ceil(self.solver.best_objective_bound - 1e-6))
        return min(bound, ceiling)

    def value(self, expression: Any) -> int:
        """Of an expression or a literal, in the solution found."""
        return int(self.solver.value(expression))


def producer(start: str, improved: bool, proved: bool) -> str:
    """The `method` of a `Result`: CP-SAT where it improved the start, otherwise who made the start.

    `proved`: CP-SAT proved that no solution is better, which the name of a start then says.
    """
    if improved:
        return "cp_sat"
    return f"{start}, proved by cp_sat" if proved else start
