"""The job shop family. `JobShop-v0` is the classic job shop; the README in this folder states the problem."""

from jaxsched.envs.job_shop.draw import gantt, gantt_svg
from jaxsched.envs.job_shop.env import JobShop
from jaxsched.envs.job_shop.exact import solve_exact
from jaxsched.envs.job_shop.io import bounds, expand, from_jobs, instance_sets, load, to_jobs, write_standard
from jaxsched.envs.job_shop.plain import dispatch, replay
from jaxsched.envs.job_shop.preset import PRESETS, SHOWCASES
from jaxsched.envs.job_shop.sources import jumanji, taillard, taillard_style, uniform
from jaxsched.envs.job_shop.types import Bounds, Instance, Result, Schedule, State
from jaxsched.envs.job_shop.validate import measure, validate

__all__ = [
    "PRESETS",
    "SHOWCASES",
    "Bounds",
    "Instance",
    "JobShop",
    "Result",
    "Schedule",
    "State",
    "bounds",
    "dispatch",
    "expand",
    "from_jobs",
    "gantt",
    "gantt_svg",
    "instance_sets",
    "jumanji",
    "load",
    "measure",
    "replay",
    "solve_exact",
    "taillard",
    "taillard_style",
    "to_jobs",
    "uniform",
    "validate",
    "write_standard",
]
