"""What `FlexibleJobShop-v0` offers beside its rules."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxsched.core.environment import Environment
from jaxsched.core.offer import Comparison, Loaded, Offer
from jaxsched.core.result import Bounds, Result
from jaxsched.envs.job_shop.flexible import io
from jaxsched.envs.job_shop.flexible.draw import gantt_svg
from jaxsched.envs.job_shop.flexible.exact import solve_exact
from jaxsched.envs.job_shop.flexible.preset import PRESETS
from jaxsched.envs.job_shop.flexible.sources import sd1
from jaxsched.envs.job_shop.flexible.types import Instance, Schedule
from jaxsched.envs.job_shop.offer import LOAD_OPTIONS, machines_from
from jaxsched.envs.job_shop.schedules import write_table
from jaxsched.host.errors import InstanceError
from jaxsched.host.picture import Picture

RULES = ("fifo", "spt", "mwkr", "eft")


def compare_shop(env: Environment) -> Comparison:
    """Brandimarte's set; without the folder of published sets, generated shops take its place."""
    published = bool(os.environ.get("JAXSCHED_DATA"))
    group = "mk01-mk10" if published else "generated:16"
    return Comparison(
        groups=(group,),
        track={"SD1 10x5": env.default_source, "SD1 20x10": sd1(20, 10)},
        draw="mk01" if published else "generated-0",
        rules=RULES,
        randomised_rule="mwkr",
        rule_settings={"candidates": "non_delay"},
    )


def load_shop(env: Environment, name: str, options: Mapping[str, str], /) -> Loaded:
    """The named instance or file."""
    if "start" in options:
        raise InstanceError(
            "`start`: only a table of orders has dates, and those are for JobShop-v0"
        )
    return Loaded(io.load(name, machines_from=machines_from(options)))


def published_bounds(env: Environment, instance: Instance) -> Bounds | None:
    """Best known bounds of the makespan of a published shop."""
    return io.CATALOGUE.published_bounds(instance)


def solve_shop(
    env: Environment,
    instance: Instance,
    /,
    *,
    time_limit: float,
    hint: Schedule | None = None,
    num_workers: int | None = None,
    seed: int = 0,
) -> Result:
    """`solve_exact`."""
    return solve_exact(instance, time_limit, hint, num_workers=num_workers, seed=seed)


def draw_shop(
    env: Environment,
    instance: Instance,
    solution: Schedule,
    /,
    *,
    names: Any = None,
    title: str = "",
) -> Picture:
    """The Gantt chart."""
    return gantt_svg(instance, solution, title=title)


def write_schedule(
    env: Environment,
    instance: Instance,
    solution: Schedule,
    path: str | os.PathLike[str],
    /,
    *,
    names: Any = None,
    overwrite: bool = False,
) -> None:
    """The schedule as a table with the machine of each operation; all numbers count from 0."""
    durations, rows = np.asarray(instance.duration), []
    for job, starts in enumerate(solution.start):
        for op, (start, machine) in enumerate(zip(starts, solution.machine[job], strict=True)):
            rows.append((job, op, machine, start, start + int(durations[job, op, machine])))
    write_table(rows, path, overwrite=overwrite)


def expand_names(env: Environment, spec: str) -> list[str]:
    """The names and paths in a list."""
    return io.expand(spec)


def named_sets(env: Environment) -> Mapping[str, str]:
    """The published sets."""
    return io.instance_sets()


OFFER = Offer(
    presets=PRESETS,
    comparison=compare_shop,
    load=load_shop,
    load_options=LOAD_OPTIONS,
    expand=expand_names,
    sets=named_sets,
    bounds=published_bounds,
    exact=solve_shop,
    picture=draw_shop,
    write=write_schedule,
)
