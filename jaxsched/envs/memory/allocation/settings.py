"""The settings of `StaticAllocation-v0`, and the values that they take."""

from __future__ import annotations

import dataclasses

from jaxsched.core import settings

GOALS = ("peak", "fit")


@dataclasses.dataclass(frozen=True)
class Settings(settings.Settings):
    """What is asked for: the smallest peak, or a plan within the capacity. Raises
    `UnknownNameError`.
    """

    goal: str = "peak"

    def __post_init__(self):
        super().__post_init__()
        self.require_known("goal", GOALS)
