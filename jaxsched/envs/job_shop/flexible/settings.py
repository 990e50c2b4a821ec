"""The settings of `FlexibleJobShop-v0`, and the values that they take."""

from __future__ import annotations

import dataclasses

from jaxsched.core import settings

CANDIDATES = {"any": True, "non_delay": False}  # mode -> complete


@dataclasses.dataclass(frozen=True)
class Settings(settings.Settings):
    """Which pairs of a job and a machine may be chosen. Raises `UnknownNameError` for an unknown
    mode.
    """

    candidates: str = "any"

    def __post_init__(self):
        super().__post_init__()
        self.require_known("candidates", CANDIDATES)
