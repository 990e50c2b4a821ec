"""`StaticAllocation-v0`: addresses for buffers with given lives. The README of this folder states
it.
"""

from jaxsched.envs.memory.allocation.env import StaticAllocation
from jaxsched.envs.memory.allocation.heuristics import HEURISTICS
from jaxsched.envs.memory.allocation.plain import ALLOCATION_METHODS, allocate, solve_exact
from jaxsched.envs.memory.allocation.preset import PRESETS
from jaxsched.envs.memory.allocation.settings import Settings
from jaxsched.envs.memory.allocation.sources import cut_lives, random_lives
from jaxsched.envs.memory.allocation.types import Instance, State, to_buffers, to_instance
from jaxsched.envs.memory.allocation.validate import measure, validate
from jaxsched.envs.memory.types import Buffers, Plan

__all__ = [
    "ALLOCATION_METHODS",
    "HEURISTICS",
    "PRESETS",
    "Buffers",
    "Instance",
    "Plan",
    "Settings",
    "State",
    "StaticAllocation",
    "allocate",
    "cut_lives",
    "measure",
    "random_lives",
    "solve_exact",
    "to_buffers",
    "to_instance",
    "validate",
]
