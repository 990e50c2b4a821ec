"""The memory family. `StaticAllocation-v0` gives buffers their addresses, `TensorReplacement-v0` decides what stays in
a small fast memory; the README in this folder states them."""

from jaxsched.envs.memory.allocation.env import StaticAllocation
from jaxsched.envs.memory.allocation.heuristics import HEURISTICS
from jaxsched.envs.memory.allocation.plain import ALLOCATION_METHODS, allocate
from jaxsched.envs.memory.allocation.sources import random_lives
from jaxsched.envs.memory.allocation.types import AllocationInstance, AllocationState, to_instance
from jaxsched.envs.memory.draw import memory_map, memory_map_svg
from jaxsched.envs.memory.graphs import attention, draw_program, layered, live_ranges, series_parallel, u_net
from jaxsched.envs.memory.io import read_csv, write_csv
from jaxsched.envs.memory.replacement.env import TensorReplacement
from jaxsched.envs.memory.replacement.heuristics import Capacities, capacities, min_peak_order, peak_footprint
from jaxsched.envs.memory.replacement.plain import REPLACEMENT_METHODS, replace
from jaxsched.envs.memory.replacement.sources import draw_graph, programs
from jaxsched.envs.memory.replacement.types import (
    Graph,
    ReplacementInstance,
    ReplacementPlan,
    ReplacementState,
    replacement_instance,
)
from jaxsched.envs.memory.types import Buffers, Plan, lower_bound
from jaxsched.envs.memory.validate import verify

__all__ = [
    "ALLOCATION_METHODS",
    "HEURISTICS",
    "REPLACEMENT_METHODS",
    "AllocationInstance",
    "AllocationState",
    "Buffers",
    "Capacities",
    "Graph",
    "Plan",
    "ReplacementInstance",
    "ReplacementPlan",
    "ReplacementState",
    "StaticAllocation",
    "TensorReplacement",
    "allocate",
    "attention",
    "capacities",
    "draw_graph",
    "draw_program",
    "layered",
    "live_ranges",
    "lower_bound",
    "memory_map",
    "memory_map_svg",
    "min_peak_order",
    "peak_footprint",
    "programs",
    "random_lives",
    "read_csv",
    "replace",
    "replacement_instance",
    "series_parallel",
    "to_instance",
    "u_net",
    "verify",
    "write_csv",
]
