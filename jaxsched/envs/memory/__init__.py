"""The memory family: where the values of a program are kept. The README in this folder says which problems there are.

`MemoryMap-v0` says which accesses are served from fast memory, `StaticAllocation-v0` gives buffers their addresses,
`TensorReplacement-v0` decides what stays in a small fast memory.
"""

from jaxsched.envs.memory.allocation.env import StaticAllocation
from jaxsched.envs.memory.allocation.heuristics import HEURISTICS
from jaxsched.envs.memory.allocation.plain import ALLOCATION_METHODS, allocate
from jaxsched.envs.memory.allocation.sources import random_lives
from jaxsched.envs.memory.allocation.types import AllocationInstance, AllocationState, to_instance
from jaxsched.envs.memory.draw import memory_map, memory_map_svg
from jaxsched.envs.memory.graphs import attention, draw_program, layered, live_ranges, series_parallel, u_net
from jaxsched.envs.memory.hlo.plain import MACHINES, Imported, Machine, from_hlo, from_jax, read_hlo
from jaxsched.envs.memory.io import read_csv, read_json, write_csv, write_json, write_plan
from jaxsched.envs.memory.mapping.backup import drop_backup
from jaxsched.envs.memory.mapping.draw import mapping_chart, mapping_svg
from jaxsched.envs.memory.mapping.env import MemoryMap
from jaxsched.envs.memory.mapping.plain import MAP_METHODS, Stalls, map_program, replay_program, stalls
from jaxsched.envs.memory.mapping.sources import draw_mapping, graph_program, random_programs
from jaxsched.envs.memory.mapping.types import MapInstance, MapPlan, MapState, Program, Step, map_instance
from jaxsched.envs.memory.replacement.draw import replacement_chart, replacement_svg
from jaxsched.envs.memory.replacement.env import TensorReplacement
from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.envs.memory.replacement.heuristics import Capacities, capacities, min_peak_order, peak_footprint
from jaxsched.envs.memory.replacement.plain import REPLACEMENT_METHODS, replace
from jaxsched.envs.memory.replacement.sources import draw_graph, programs
from jaxsched.envs.memory.replacement.types import (
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
    "MACHINES",
    "MAP_METHODS",
    "REPLACEMENT_METHODS",
    "AllocationInstance",
    "AllocationState",
    "Buffers",
    "Capacities",
    "Graph",
    "Imported",
    "Machine",
    "MapInstance",
    "MapPlan",
    "MapState",
    "MemoryMap",
    "Plan",
    "Program",
    "ReplacementInstance",
    "ReplacementPlan",
    "ReplacementState",
    "Stalls",
    "StaticAllocation",
    "Step",
    "TensorReplacement",
    "allocate",
    "attention",
    "capacities",
    "draw_graph",
    "draw_mapping",
    "draw_program",
    "drop_backup",
    "from_hlo",
    "from_jax",
    "graph_program",
    "layered",
    "live_ranges",
    "lower_bound",
    "map_instance",
    "map_program",
    "mapping_chart",
    "mapping_svg",
    "memory_map",
    "memory_map_svg",
    "min_peak_order",
    "peak_footprint",
    "programs",
    "random_lives",
    "random_programs",
    "read_csv",
    "read_hlo",
    "read_json",
    "replace",
    "replacement_chart",
    "replacement_instance",
    "replacement_svg",
    "replay_program",
    "series_parallel",
    "stalls",
    "to_instance",
    "u_net",
    "verify",
    "write_csv",
    "write_json",
    "write_plan",
]
