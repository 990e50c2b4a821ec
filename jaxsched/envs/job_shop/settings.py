"""The settings of `JobShop-v0`, and the values that they take."""

from __future__ import annotations

import dataclasses

from jaxsched.core import settings

CANDIDATES = {"any": True, "non_delay": False, "insert": True, "event": True}  # mode -> complete
OBJECTIVES = ("makespan", "flow_time", "weighted_tardiness")
# Observation -> the one mode of candidates that it belongs to; None: all.
OBSERVATIONS = {"frontier": None, "operations": None, "l2d": "insert", "tassel": "event"}


@dataclasses.dataclass(frozen=True)
class Settings(settings.Settings):
    """Who may be dispatched, what is minimised, and what a policy sees. The README of this folder
    describes the values.

    Raises `UnknownNameError` for a name that is not known, `ValueError` for settings that
    contradict each other.
    """

    candidates: str = "any"
    objective: str = "makespan"
    observation: str = "frontier"
    # `insert`: a machine remembers this many operations per job; None: all
    max_visits: int | None = None

    def __post_init__(self):
        super().__post_init__()
        self.require_known("candidates", CANDIDATES)
        self.require_known("objective", OBJECTIVES)
        self.require_known("observation", OBSERVATIONS)
        mode = OBSERVATIONS[self.observation]
        if mode not in (None, self.candidates):
            raise ValueError(f"the observation {self.observation!r} belongs to candidates={mode!r}")
        if self.max_visits is not None and self.max_visits < 1:
            raise ValueError(f"max_visits must be at least 1, got {self.max_visits}")
