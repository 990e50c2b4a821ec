"""How the three memory problems write plans and instances, as their offers do it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from jaxsched.core.environment import Environment, Instance
from jaxsched.core.offer import WriteInstance, WriteSolution
from jaxsched.envs.memory.io import write_plan


def plan_writer(in_own_units: Callable[[Any, Any, Any], tuple[Any, Any]]) -> WriteSolution:
    """Writes plans as CSV, in the names and units of the problem that was read, which
    `in_own_units(instance, plan, names)` gives.
    """

    def write(
        env: Environment,
        instance: Instance,
        solution: Any,
        path: str | os.PathLike[str],
        /,
        *,
        names: Any = None,
        overwrite: bool = False,
    ) -> None:
        write_plan(*in_own_units(instance, solution, names), path, overwrite)

    return write


def problem_writer(to_problem: Callable[[Any], Any], write: Callable[..., None]) -> WriteInstance:
    """Writes the problem that was read, or `to_problem(instance)` where none was."""

    def write_instance(
        env: Environment,
        instance: Instance,
        path: str | os.PathLike[str],
        /,
        *,
        names: Any = None,
        overwrite: bool = False,
    ) -> None:
        write(to_problem(instance) if names is None else names, path, overwrite=overwrite)

    return write_instance
