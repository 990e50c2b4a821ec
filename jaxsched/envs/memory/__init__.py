"""The memory family: where the values of a program are kept. The README in this folder says which
problems there are.

Each problem is a namespace of its own: `mapping` (`MemoryMap-v0`) says which accesses are served
from fast memory, `allocation` (`StaticAllocation-v0`) gives buffers their addresses, `replacement`
(`TensorReplacement-v0`) decides what stays in a small fast memory. What users call most stands here
too.
"""

from jaxsched.envs.memory import allocation, mapping, replacement
from jaxsched.envs.memory.allocation import (
    ALLOCATION_METHODS,
    HEURISTICS,
    StaticAllocation,
    allocate,
    cut_lives,
    random_lives,
)
from jaxsched.envs.memory.draw import draw_plan, memory_map, memory_map_svg
from jaxsched.envs.memory.graphs import (
    attention,
    draw_program,
    layered,
    live_ranges,
    series_parallel,
    u_net,
)
from jaxsched.envs.memory.hlo.plain import MACHINES, Imported, Machine, from_hlo, from_jax, read_hlo
from jaxsched.envs.memory.io import (
    read_amount,
    read_csv,
    read_json,
    read_problem,
    write_csv,
    write_json,
    write_plan,
)
from jaxsched.envs.memory.mapping import (
    MAP_METHODS,
    MemoryMap,
    Program,
    Stalls,
    Step,
    draw_mapping,
    drop_backup,
    graph_program,
    map_program,
    mapping_chart,
    mapping_svg,
    random_programs,
    replay_program,
    stalls,
)
from jaxsched.envs.memory.replacement import (
    REPLACEMENT_METHODS,
    Capacities,
    Graph,
    TensorReplacement,
    capacities,
    draw_graph,
    min_peak_order,
    peak_footprint,
    programs,
    replace,
    replacement_chart,
    replacement_svg,
)
from jaxsched.envs.memory.types import Buffers, Plan, lower_bound
from jaxsched.envs.memory.validate import verify

__all__ = [
    "ALLOCATION_METHODS",
    "HEURISTICS",
    "MACHINES",
    "MAP_METHODS",
    "REPLACEMENT_METHODS",
    "Buffers",
    "Capacities",
    "Graph",
    "Imported",
    "Machine",
    "MemoryMap",
    "Plan",
    "Program",
    "Stalls",
    "StaticAllocation",
    "Step",
    "TensorReplacement",
    "allocate",
    "allocation",
    "attention",
    "capacities",
    "cut_lives",
    "draw_graph",
    "draw_mapping",
    "draw_plan",
    "draw_program",
    "drop_backup",
    "from_hlo",
    "from_jax",
    "graph_program",
    "layered",
    "live_ranges",
    "lower_bound",
    "map_program",
    "mapping",
    "mapping_chart",
    "mapping_svg",
    "memory_map",
    "memory_map_svg",
    "min_peak_order",
    "peak_footprint",
    "programs",
    "random_lives",
    "random_programs",
    "read_amount",
    "read_csv",
    "read_hlo",
    "read_json",
    "read_problem",
    "replace",
    "replacement",
    "replacement_chart",
    "replacement_svg",
    "replay_program",
    "series_parallel",
    "stalls",
    "u_net",
    "verify",
    "write_csv",
    "write_json",
    "write_plan",
]
