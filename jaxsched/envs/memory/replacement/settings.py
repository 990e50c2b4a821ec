"""The settings of `TensorReplacement-v0`, and the values that they take."""

from __future__ import annotations

import dataclasses

from jaxsched.core import settings

SCHEDULES = ("fixed", "free")
PLACEMENTS = ("bytes", "address")


@dataclasses.dataclass(frozen=True)
class Settings(settings.Settings):
    """Whether the order of the operators may be chosen, and whether tensors have addresses.

    Raises `UnknownNameError`.
    """

    schedule: str = "free"
    placement: str = "bytes"

    def __post_init__(self):
        super().__post_init__()
        self.require_known("schedule", SCHEDULES)
        self.require_known("placement", PLACEMENTS)
