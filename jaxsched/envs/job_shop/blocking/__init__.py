"""`BlockingJobShop-v0`, the job shop without buffers, with swaps and machines that fail; see the
README here.
"""

from jaxsched.envs.job_shop.blocking.draw import gantt, gantt_svg
from jaxsched.envs.job_shop.blocking.env import BlockingJobShop
from jaxsched.envs.job_shop.blocking.exact import solve_exact
from jaxsched.envs.job_shop.blocking.io import bounds, from_jobs, load
from jaxsched.envs.job_shop.blocking.plain import dispatch
from jaxsched.envs.job_shop.blocking.preset import PRESETS
from jaxsched.envs.job_shop.blocking.sequences import earliest_starts, sequence_deadlock
from jaxsched.envs.job_shop.blocking.settings import Settings
from jaxsched.envs.job_shop.blocking.sources import interrupt, interrupted, unbuffered
from jaxsched.envs.job_shop.blocking.types import (
    Failures,
    Instance,
    Interruptions,
    Schedule,
    State,
    Windows,
)
from jaxsched.envs.job_shop.blocking.validate import measure, validate
from jaxsched.envs.job_shop.io import expand, instance_sets

__all__ = [
    "PRESETS",
    "BlockingJobShop",
    "Failures",
    "Instance",
    "Interruptions",
    "Schedule",
    "Settings",
    "State",
    "Windows",
    "bounds",
    "dispatch",
    "earliest_starts",
    "expand",
    "from_jobs",
    "gantt",
    "gantt_svg",
    "instance_sets",
    "interrupt",
    "interrupted",
    "load",
    "measure",
    "sequence_deadlock",
    "solve_exact",
    "unbuffered",
    "validate",
]
