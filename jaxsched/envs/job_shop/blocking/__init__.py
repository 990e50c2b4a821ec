"""`BlockingJobShop-v0`, the job shop without buffers, with swaps and machines that fail; see the README here."""

from jaxsched.envs.job_shop.blocking.env import BlockingJobShop
from jaxsched.envs.job_shop.blocking.sources import blocking, interrupt, interrupted
from jaxsched.envs.job_shop.blocking.types import Failures, Instance, Interruptions, Schedule, State, Windows
from jaxsched.envs.job_shop.blocking.validate import measure, validate

__all__ = [
    "BlockingJobShop",
    "Failures",
    "Instance",
    "Interruptions",
    "Schedule",
    "State",
    "Windows",
    "blocking",
    "interrupt",
    "interrupted",
    "measure",
    "validate",
]
