"""`TensorReplacement-v0`: which tensors stay in a small fast memory. The README of this folder
states it.
"""

from jaxsched.envs.memory.replacement.draw import replacement_chart, replacement_svg
from jaxsched.envs.memory.replacement.env import TensorReplacement
from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.envs.memory.replacement.heuristics import (
    Capacities,
    capacities,
    min_peak_order,
    peak_footprint,
)
from jaxsched.envs.memory.replacement.plain import REPLACEMENT_METHODS, replace, solve_exact
from jaxsched.envs.memory.replacement.preset import PRESETS
from jaxsched.envs.memory.replacement.settings import Settings
from jaxsched.envs.memory.replacement.sources import draw_graph, programs
from jaxsched.envs.memory.replacement.types import Instance, Plan, State, to_instance
from jaxsched.envs.memory.replacement.validate import measure, validate

__all__ = [
    "PRESETS",
    "REPLACEMENT_METHODS",
    "Capacities",
    "Graph",
    "Instance",
    "Plan",
    "Settings",
    "State",
    "TensorReplacement",
    "capacities",
    "draw_graph",
    "measure",
    "min_peak_order",
    "peak_footprint",
    "programs",
    "replace",
    "replacement_chart",
    "replacement_svg",
    "solve_exact",
    "to_instance",
    "validate",
]
