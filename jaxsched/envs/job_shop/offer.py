"""What `JobShop-v0` offers beside its rules."""

from __future__ import annotations

import os
from collections.abc import Mapping

from jaxsched.core.environment import Environment
from jaxsched.core.offer import Comparison, Loaded, Offer, Summary
from jaxsched.core.result import Bounds, Result
from jaxsched.envs.job_shop import io
from jaxsched.envs.job_shop.draw import gantt_html
from jaxsched.envs.job_shop.exact import solve_exact
from jaxsched.envs.job_shop.explain import explain, summary
from jaxsched.envs.job_shop.formats import write_standard
from jaxsched.envs.job_shop.orders import Orders
from jaxsched.envs.job_shop.preset import COMPARISON, PRESETS
from jaxsched.envs.job_shop.schedules import write_schedule
from jaxsched.envs.job_shop.types import Instance, Schedule
from jaxsched.host.errors import InstanceError
from jaxsched.host.picture import Picture

LOAD_OPTIONS = {
    "start": "start of planning, for a table of orders: a date such as 2026-11-23T08:00",
    "machines_from": "0 or 1: where the machines of a file of numbers count from",
}


def machines_from(options: Mapping[str, str]) -> int | None:
    """The reading option of that name as a number. Raises `InstanceError` for what is not 0 or
    1.
    """
    text = options.get("machines_from")
    if text not in (None, "0", "1"):
        raise InstanceError(f"machines_from is 0 or 1, got {text!r}")
    return None if text is None else int(text)


def load_shop(env: Environment, name: str, options: Mapping[str, str], /) -> Loaded:
    """The named instance or file; `names` are the `Orders` of a table of orders."""
    start, count = options.get("start"), machines_from(options)
    if os.path.isfile(name):
        return Loaded(*io.read_any(name, start=start, machines_from=count))
    return Loaded(io.load(name, start=start, machines_from=count))


def published_bounds(env: Environment, instance: Instance) -> Bounds | None:
    """Best known bounds of the makespan; None under another objective, or for a shop that is not
    published.
    """
    if env.settings["objective"] != "makespan":
        return None
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
    """`solve_exact` for the objective of the environment."""
    objective = env.settings["objective"]
    return solve_exact(
        instance, time_limit, hint, num_workers=num_workers, seed=seed, objective=objective
    )


def draw_shop(
    env: Environment,
    instance: Instance,
    solution: Schedule,
    /,
    *,
    names: Orders | None = None,
    title: str = "",
) -> Picture:
    """The Gantt chart, with what binds the schedule and a table of the jobs on its page."""
    return gantt_html(instance, solution, title=title, orders=names)


def explain_shop(
    env: Environment, instance: Instance, solution: Schedule, /, *, names: Orders | None = None
) -> list[str]:
    """What binds the schedule under the objective of the environment."""
    return explain(instance, solution, objective=env.settings["objective"], orders=names)


def summarise_shop(env: Environment, instance: Instance, names: Orders | None) -> Summary:
    """What is in the shop, and which due dates cannot be met."""
    return Summary(*summary(instance, orders=names))


def write_shop_schedule(
    env: Environment,
    instance: Instance,
    solution: Schedule,
    path: str | os.PathLike[str],
    /,
    *,
    names: Orders | None = None,
    overwrite: bool = False,
) -> None:
    """The schedule as a table, in the names and dates of the orders where there are any."""
    write_schedule(instance, solution, path, orders=names, overwrite=overwrite)


def write_shop(
    env: Environment,
    instance: Instance,
    path: str | os.PathLike[str],
    /,
    *,
    names: Orders | None = None,
    overwrite: bool = False,
) -> None:
    """The shop in the standard format, which has no names."""
    write_standard(instance, path, overwrite=overwrite)


def compare_shop(env: Environment) -> Comparison:
    """The classic instances and rules that policies are compared with."""
    return COMPARISON


def expand_names(env: Environment, spec: str) -> list[str]:
    """The names and paths in a list."""
    return io.expand(spec)


def named_sets(env: Environment) -> Mapping[str, str]:
    """The families of named instances."""
    return io.instance_sets()


OFFER = Offer(
    presets=PRESETS,
    comparison=compare_shop,
    load=load_shop,
    load_options=LOAD_OPTIONS,
    expand=expand_names,
    sets=named_sets,
    summary=summarise_shop,
    bounds=published_bounds,
    exact=solve_shop,
    picture=draw_shop,
    explain=explain_shop,
    write=write_shop_schedule,
    write_instance=write_shop,
)
