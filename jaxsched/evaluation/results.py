"""Rows and reports: what an evaluation returns, and the proof that every row passed."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable
from typing import Any

from jaxsched.core.environment import Environment, Instance
from jaxsched.core.identity import instance_size
from jaxsched.core.result import Bounds
from jaxsched.envs.registry import offer
from jaxsched.host.errors import UnknownNameError


class InvalidSolutionError(RuntimeError):
    """A policy or solver returned what is not a solution: a fault of the program, never reported
    as a result.
    """


@dataclasses.dataclass(frozen=True)
class Row:
    """One instance solved by one method. `gap` is measured against `upper_bound`, the best known
    objective.

    Where the episode is `truncated`, by a horizon or a wrapper, `objective` is what was reached
    until then: it leaves out what was left undone, so it has no gap. `solution` is None where an
    episode that was cut off is none.
    """

    instance: str
    instance_hash: str
    size: str
    policy: str
    objective: int
    lower_bound: int  # best known, or the environment's certificate
    upper_bound: int | None  # best known; None where nobody has published one
    samples: int
    seed: int
    # wall time without compilation; its share where instances are solved side by side
    seconds: float
    solution: Any = dataclasses.field(repr=False, compare=False)
    truncated: bool = False
    # Who found the solution: the policy, or what an exact solver says, which may be its start.
    method: str = ""

    @property
    def gap(self) -> float | None:
        """Per cent above the best known upper bound; None where there is none, or the episode is
        truncated.
        """
        if self.truncated or not self.upper_bound:
            return None
        return 100 * (self.objective / self.upper_bound - 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; without the solution."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del data["solution"]
        gap = None if self.gap is None else round(self.gap, 4)
        return data | {"gap": gap, "seconds": round(self.seconds, 6)}


@dataclasses.dataclass(frozen=True)
class Report:
    """One method on a set of instances."""

    label: str
    environment: Environment
    rows: tuple[Row, ...]
    compile_seconds: float = 0.0

    def __getitem__(self, instance: str) -> Row:
        """The row of an instance, by name."""
        for row in self.rows:
            if row.instance == instance:
                return row
        raise UnknownNameError(
            "instance of this report", instance, [row.instance for row in self.rows]
        )

    @property
    def title(self) -> str:
        """The label, and where others found the solutions, who: `exact (7 cp_sat; 1 hint)`."""
        methods = collections.Counter(row.method for row in self.rows)
        if set(methods) <= {"", self.label}:
            return self.label
        counts = "; ".join(f"{count} {method}" for method, count in methods.items())
        return f"{self.label} ({counts})"

    @property
    def seconds(self) -> float:
        """Wall time without compilation."""
        return sum(row.seconds for row in self.rows)

    @property
    def mean_objective(self) -> float:
        """Mean objective over all instances."""
        return sum(row.objective for row in self.rows) / len(self.rows)

    @property
    def mean_ratio(self) -> float | None:
        """Mean of objective / lower bound; None where a bound is not positive."""
        if any(row.lower_bound <= 0 for row in self.rows):
            return None
        return sum(row.objective / row.lower_bound for row in self.rows) / len(self.rows)

    @property
    def mean_gap(self) -> float | None:
        """Mean gap in per cent; None where an instance has no published bound."""
        return mean_gap(self.rows)

    def by_size(self) -> dict[str, float | None]:
        """Mean gap in per cent of the instances of each size, in order of appearance."""
        return {
            size: mean_gap([row for row in self.rows if row.size == size])
            for size in dict.fromkeys(row.size for row in self.rows)
        }


def mean_gap(rows: Iterable[Row]) -> float | None:
    """Mean gap in per cent; None where a row has none, or there are no rows."""
    gaps = [row.gap for row in rows]
    known = [gap for gap in gaps if gap is not None]
    return sum(known) / len(known) if known and len(known) == len(gaps) else None


def validated_row(
    env: Environment,
    name: str,
    instance: Instance,
    solution: Any,
    *,
    objective: int,
    lower_bound: int,
    policy: str,
    truncated: bool = False,
    **fields: Any,
) -> Row:
    """The row of a solution that passes `validate` and beats no proved bound; an error otherwise.

    A truncated episode may be below the bound, and may have no solution (None) to validate.
    """
    known = best_known(env, instance)
    upper_bound = None
    if known is not None:
        lower_bound, upper_bound = max(lower_bound, known.lower), known.upper
    has_solution = solution is not None or not truncated
    faults = list(env.validate(instance, solution)) if has_solution else []
    if has_solution and not faults and objective != (measured := env.measure(instance, solution)):
        faults.append(f"the objective is given as {objective}, but measured {measured}")
    if objective < lower_bound and not truncated:
        faults.append(f"the objective {objective} is below the lower bound {lower_bound}")
    if faults:
        raise InvalidSolutionError(
            f"{policy} on {name}: {faults[0]}" + f" (and {len(faults) - 1} more)" * bool(faults[1:])
        )
    return Row(
        instance=name,
        size=instance_size(instance),
        policy=policy,
        objective=objective,
        lower_bound=lower_bound,
        upper_bound=upper_bound,
        solution=solution,
        truncated=truncated,
        **fields,
    )


def best_known(env: Environment, instance: Instance) -> Bounds | None:
    """Best known bounds of exactly this instance under these settings; None where none are
    published.
    """
    bounds = offer(env).bounds
    return bounds(env, instance) if bounds is not None else None
