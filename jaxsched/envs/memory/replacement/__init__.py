"""`TensorReplacement-v0`: the order of operators, and what stays in fast memory. The README of the family states it."""

from jaxsched.envs.memory.replacement.preset import PRESETS

__all__ = ["PRESETS"]
