"""The flexible job shop, `FlexibleJobShop-v0`: an operation has a choice of machines. README in
this folder.
"""

from jaxsched.core.result import Bounds, Result
from jaxsched.envs.job_shop.flexible.draw import gantt, gantt_svg
from jaxsched.envs.job_shop.flexible.env import FlexibleJobShop
from jaxsched.envs.job_shop.flexible.exact import solve_exact
from jaxsched.envs.job_shop.flexible.io import bounds, expand, instance_sets, load, write_fjs
from jaxsched.envs.job_shop.flexible.lists import fixed, from_jobs, to_jobs
from jaxsched.envs.job_shop.flexible.plain import dispatch, replay
from jaxsched.envs.job_shop.flexible.preset import PRESETS
from jaxsched.envs.job_shop.flexible.settings import Settings
from jaxsched.envs.job_shop.flexible.sources import sd1, sd2, uniform
from jaxsched.envs.job_shop.flexible.types import Instance, Schedule, State
from jaxsched.envs.job_shop.flexible.validate import measure, validate

__all__ = [
    "PRESETS",
    "Bounds",
    "FlexibleJobShop",
    "Instance",
    "Result",
    "Schedule",
    "Settings",
    "State",
    "bounds",
    "dispatch",
    "expand",
    "fixed",
    "from_jobs",
    "gantt",
    "gantt_svg",
    "instance_sets",
    "load",
    "measure",
    "replay",
    "sd1",
    "sd2",
    "solve_exact",
    "to_jobs",
    "uniform",
    "validate",
    "write_fjs",
]
