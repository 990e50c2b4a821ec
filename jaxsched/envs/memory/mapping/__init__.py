"""`MemoryMap-v0`: which accesses of a program are served from fast memory. The README of the family states it."""

from jaxsched.envs.memory.mapping.preset import PRESETS

__all__ = ["PRESETS"]
