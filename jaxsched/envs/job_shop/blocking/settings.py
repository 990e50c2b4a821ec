"""The settings of `BlockingJobShop-v0`, and the values that they take."""

from __future__ import annotations

import dataclasses

from jaxsched.core import settings

REWARDS = ("makespan", "waiting")


@dataclasses.dataclass(frozen=True)
class Settings(settings.Settings):
    """What the jobs may do, and what the reward is.

    Raises `UnknownNameError` for a reward that is not known, `ValueError` for settings that
    contradict each other.
    """

    swap: bool = True  # jobs that wait for each other in a circle exchange machines
    wait: bool = False  # a machine may be declined
    lookahead: bool = False  # without `swap`: moves that could end in a deadlock are excluded
    reward: str = "makespan"

    def __post_init__(self):
        super().__post_init__()
        self.require_known("reward", REWARDS)
        if self.lookahead and self.swap:
            raise ValueError("lookahead is for swap=False: a shop that swaps cannot deadlock")
