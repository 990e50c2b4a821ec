"""`StaticAllocation-v0`: offsets for buffers. The README of the family states the problem."""

from jaxsched.envs.memory.allocation.preset import PRESETS

__all__ = ["PRESETS"]
