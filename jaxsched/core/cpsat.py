"""CP-SAT of OR-Tools, imported when a `Solver` is made: its settings and how every exact method reads its results."""

from __future__ import annotations

import math
from typing import Any


class Solver:
    """One solver with its settings and what it found last: `found` a solution, `optimal`, `infeasible`.

    `num_workers`: threads, by default all cores. Raises `ValueError` for a negative limit, `ImportError` without
    OR-Tools; `who` needs it, says the message.
    """

    def __init__(self, who: str, time_limit: float, num_workers: int | None = None, seed: int = 0):
        if not time_limit >= 0:
            raise ValueError(f"time_limit is in seconds and not negative, got {time_limit}")
        try:
            from ortools.sat.python import cp_model
        except ImportError:
            raise ImportError(f'{who} needs OR-Tools: pip install "jaxsched[solvers]"') from None
        self.cp_model, self.solver = cp_model, cp_model.CpSolver()
        self.limit(time_limit)
        self.solver.parameters.random_seed = seed
        if num_workers is not None:
            self.solver.parameters.num_workers = num_workers
        self.found = self.optimal = self.infeasible = False

    def limit(self, seconds: float) -> None:
        """Of the next `solve`; with 0 it looks at nothing, the hint included."""
        self.solver.parameters.max_time_in_seconds = max(seconds, 0.0)

    def solve(self, model: Any, bound: int, ceiling: int, callback: Any = None, has_solution: bool = True) -> int:
        """Minimise, and return the best lower bound known: `bound` or what is proved, at most `ceiling`.

        `has_solution`: that there is one is known, so that the solver's refusal is a fault of ours, a `RuntimeError`.
        """
        status = self.solver.solve(model, callback)
        self.optimal = status == self.cp_model.OPTIMAL
        self.found = self.optimal or status == self.cp_model.FEASIBLE
        self.infeasible = status == self.cp_model.INFEASIBLE
        if status == self.cp_model.MODEL_INVALID or (self.infeasible and has_solution):
            raise RuntimeError(f"CP-SAT refused the model: {self.solver.status_name(status)} {model.validate()}")
        if math.isfinite(self.solver.best_objective_bound):
            bound = max(bound, math.ceil(self.solver.best_objective_bound - 1e-6))
        return min(bound, ceiling)

    def value(self, expression: Any) -> int:
        """Of an expression or a literal, in the solution found."""
        return int(self.solver.value(expression))
