"""The settings of `MemoryMap-v0`, and the values that they take."""

from __future__ import annotations

import dataclasses

from jaxsched.core import settings

REWARDS = ("elapsed", "memory_time")


@dataclasses.dataclass(frozen=True)
class Settings(settings.Settings):
    """What the reward counts: ticks of the program, or ticks of all accesses. Raises
    `UnknownNameError`.
    """

    reward: str = "elapsed"

    def __post_init__(self):
        super().__post_init__()
        self.require_known("reward", REWARDS)
