"""`MemoryMap-v0`: which accesses of a program are served from fast memory. The README of this
folder states it.
"""

from jaxsched.envs.memory.mapping.backup import drop_backup
from jaxsched.envs.memory.mapping.draw import mapping_chart, mapping_svg
from jaxsched.envs.memory.mapping.env import MemoryMap
from jaxsched.envs.memory.mapping.instances import Scale, to_instance
from jaxsched.envs.memory.mapping.plain import (
    MAP_METHODS,
    Stalls,
    map_program,
    replay_program,
    solve_exact,
    stalls,
)
from jaxsched.envs.memory.mapping.plan import Plan, Step
from jaxsched.envs.memory.mapping.preset import PRESETS
from jaxsched.envs.memory.mapping.program import Access, Program
from jaxsched.envs.memory.mapping.settings import Settings
from jaxsched.envs.memory.mapping.sources import draw_mapping, graph_program, random_programs
from jaxsched.envs.memory.mapping.types import Instance, State
from jaxsched.envs.memory.mapping.validate import measure, validate

__all__ = [
    "MAP_METHODS",
    "PRESETS",
    "Access",
    "Instance",
    "MemoryMap",
    "Plan",
    "Program",
    "Scale",
    "Settings",
    "Stalls",
    "State",
    "Step",
    "draw_mapping",
    "drop_backup",
    "graph_program",
    "map_program",
    "mapping_chart",
    "mapping_svg",
    "measure",
    "random_programs",
    "replay_program",
    "solve_exact",
    "stalls",
    "to_instance",
    "validate",
]
