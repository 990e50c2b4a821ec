"""The job shop family. `JobShop-v0` is the classic job shop; the README in this folder states the
problem.

Its other problems are sub-packages, imported when they are first used: `flexible` and `blocking`.
"""

import importlib
from typing import Any

from jaxsched.core.result import Bounds, Result
from jaxsched.envs.job_shop.draw import gantt, gantt_html, gantt_svg
from jaxsched.envs.job_shop.env import JobShop
from jaxsched.envs.job_shop.exact import solve_exact
from jaxsched.envs.job_shop.explain import critical_chain, explain, summary
from jaxsched.envs.job_shop.formats import write_standard
from jaxsched.envs.job_shop.io import bounds, expand, instance_sets, load, read_any
from jaxsched.envs.job_shop.lists import check_objective, from_jobs, to_jobs
from jaxsched.envs.job_shop.orders import Orders, read_orders
from jaxsched.envs.job_shop.plain import dispatch, replay
from jaxsched.envs.job_shop.preset import PRESETS
from jaxsched.envs.job_shop.schedules import read_schedule, write_schedule
from jaxsched.envs.job_shop.settings import Settings
from jaxsched.envs.job_shop.sources import (
    jumanji,
    known_optimum,
    taillard,
    taillard_style,
    two_set,
    uniform,
    with_due_dates,
)
from jaxsched.envs.job_shop.types import Instance, Schedule, State
from jaxsched.envs.job_shop.validate import measure, validate

__all__ = [
    "PRESETS",
    "Bounds",
    "Instance",
    "JobShop",
    "Orders",
    "Result",
    "Schedule",
    "Settings",
    "State",
    "bounds",
    "check_objective",
    "critical_chain",
    "dispatch",
    "expand",
    "explain",
    "from_jobs",
    "gantt",
    "gantt_html",
    "gantt_svg",
    "instance_sets",
    "jumanji",
    "known_optimum",
    "load",
    "measure",
    "read_any",
    "read_orders",
    "read_schedule",
    "replay",
    "solve_exact",
    "summary",
    "taillard",
    "taillard_style",
    "to_jobs",
    "two_set",
    "uniform",
    "validate",
    "with_due_dates",
    "write_schedule",
    "write_standard",
]


def __getattr__(name: str) -> Any:
    if name in ("blocking", "flexible"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
