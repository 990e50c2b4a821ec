"""What `BlockingJobShop-v0` offers beside its rules: the instances of the classic shop, without
buffers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from jaxsched.core.environment import Environment
from jaxsched.core.offer import Loaded, Offer
from jaxsched.core.result import Bounds, Result
from jaxsched.envs.job_shop import offer as classic
from jaxsched.envs.job_shop.blocking import io
from jaxsched.envs.job_shop.blocking.draw import gantt_svg
from jaxsched.envs.job_shop.blocking.exact import solve_exact
from jaxsched.envs.job_shop.blocking.preset import PRESETS
from jaxsched.envs.job_shop.blocking.realised import work
from jaxsched.envs.job_shop.blocking.sources import without_buffers
from jaxsched.envs.job_shop.blocking.types import Instance, Schedule
from jaxsched.envs.job_shop.lists import to_jobs
from jaxsched.envs.job_shop.schedules import write_table
from jaxsched.host.picture import Picture

COLUMNS = ("job", "step", "machine", "start", "end", "leaves")


def load_shop(env: Environment, name: str, options: Mapping[str, str], /) -> Loaded:
    """The named classic instance or file, to be worked without buffers."""
    return Loaded(without_buffers(classic.load_shop(env, name, options).instance))


def published_bounds(env: Environment, instance: Instance) -> Bounds | None:
    """Best known bounds where swaps are allowed and no machine fails; none are published for the
    others.
    """
    if not env.settings["swap"] or instance.failures is not None or instance.windows is not None:
        return None
    return io.published_bounds(instance)


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
    """`solve_exact` with or without swaps, as the environment has it."""
    swap = env.settings["swap"]
    return solve_exact(instance, time_limit, hint, swap=swap, num_workers=num_workers, seed=seed)


def draw_shop(
    env: Environment,
    instance: Instance,
    solution: Schedule,
    /,
    *,
    names: Any = None,
    title: str = "",
) -> Picture:
    """The Gantt chart, with blocked machines hatched."""
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
    """The schedule as a table; after its `end` an operation's job holds the machine until it
    `leaves`. All numbers count from 0.
    """
    rows = []
    for job, operations in enumerate(to_jobs(instance)):
        starts = solution.start[job] if operations else []
        for op, (start, (machine, duration)) in enumerate(zip(starts, operations, strict=True)):
            end = work(solution.down[machine] if solution.down else [], start, duration)
            leaves = starts[op + 1] if op + 1 < len(starts) else end
            rows.append((job, op, machine, start, end, leaves))
    write_table(rows, path, columns=COLUMNS, overwrite=overwrite)


OFFER = Offer(
    presets=PRESETS,
    load=load_shop,
    load_options=classic.LOAD_OPTIONS,
    expand=classic.expand_names,
    sets=classic.named_sets,
    bounds=published_bounds,
    exact=solve_shop,
    picture=draw_shop,
    write=write_schedule,
)
