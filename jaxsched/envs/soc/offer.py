"""What `SoC-v0` offers: presets, streams by options, exact traces, charts and tables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from jaxsched.core.environment import Environment
from jaxsched.core.offer import Offer
from jaxsched.core.result import Result
from jaxsched.envs.soc.draw import gantt_svg
from jaxsched.envs.soc.exact import solve_exact
from jaxsched.envs.soc.preset import PRESETS
from jaxsched.envs.soc.sources import Streams, fitting, streams
from jaxsched.envs.soc.trace import Trace
from jaxsched.envs.soc.types import Instance
from jaxsched.host.errors import UnknownNameError
from jaxsched.host.picture import Picture

SOURCE_OPTIONS = {
    "platform": "name or file of a platform",
    "profiles": "names or files of job profiles, with commas between them or as a list",
    "probabilities": "one weight per profile",
    "num_jobs": "jobs of a stream",
    "scale": "mean gap between jobs in us, or several to draw from",
    "cap": "most jobs in the system at once, or several to draw from",
    "noise_std": "deviation of execution times over their mean, or several to draw from",
    "arrivals": "exponential or fixed gaps",
    "steady": "whether the first jobs enter at once",
    "horizon": "us after which a stream is cut off",
    "warm_up": "us before which finished jobs do not count",
}


def soc_source(env: Environment, options: Mapping[str, Any]) -> Streams:
    """`streams` with options by name, fitted to the settings of the environment.

    Raises `UnknownNameError` for unknown names, `ValueError` for bad values.
    """
    for name in options:
        if name not in SOURCE_OPTIONS:
            raise UnknownNameError(f"option of the streams of {env.id}", name, SOURCE_OPTIONS)
    given = {**fitting(env.settings), **options}
    if isinstance(given.get("profiles"), str):
        given["profiles"] = given["profiles"].split(",")
    return streams(**given)


def soc_exact(
    env: Environment,
    instance: Instance,
    /,
    *,
    time_limit: float,
    hint: Trace | None = None,
    num_workers: int | None = None,
    seed: int = 0,
) -> Result:
    """`solve_exact` under the settings of the environment."""
    modelled = {name: env.settings[name] for name in ("communication", "cap_mode", "reward")}
    return solve_exact(instance, time_limit, hint, num_workers=num_workers, seed=seed, **modelled)


def soc_picture(
    env: Environment,
    instance: Instance,
    solution: Trace,
    /,
    *,
    names: Any = None,
    title: str = "",
) -> Picture:
    """The Gantt chart of a trace as a picture."""
    return gantt_svg(solution, title=title)


def soc_write(
    env: Environment,
    instance: Instance,
    solution: Trace,
    path: str | os.PathLike[str],
    /,
    *,
    names: Any = None,
    overwrite: bool = False,
) -> None:
    """A trace as CSV, or to a path that ends in .json, as events for ui.perfetto.dev."""
    as_events = os.fspath(path).lower().endswith(".json")
    (solution.to_chrome if as_events else solution.to_csv)(path, overwrite=overwrite)


OFFER = Offer(
    presets=PRESETS,
    source=soc_source,
    exact=soc_exact,
    picture=soc_picture,
    write=soc_write,
)
