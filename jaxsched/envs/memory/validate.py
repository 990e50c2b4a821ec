"""`verify`: one judge for every kind of plan of the family; each problem has its own, written from
its statement.
"""

from __future__ import annotations

from typing import Any

from jaxsched.envs.memory.allocation.validate import verify_allocation
from jaxsched.envs.memory.mapping.program import Program
from jaxsched.envs.memory.mapping.validate import verify_mapping
from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.envs.memory.replacement.validate import verify_replacement
from jaxsched.envs.memory.types import Buffers


def verify(problem: Any, plan: Any) -> list[str]:
    """Everything wrong with a plan, one line each (20 at most); an empty list means that it is
    valid.

    `problem` is `Buffers` with the plan of `allocate`, or a list of dicts that `Buffers` takes:
    every buffer has an integer offset from 0 on, a multiple of its alignment and of the plan's,
    pinned ones stay, no two that are live at a common time overlap, the peak is the highest end,
    and no claim about the optimum contradicts the largest live size.

    `Program` with the plan of `map_program`: every action is legal where it is taken, latency and
    baseline are what they say, all accesses are decided, or where the plan says that it is not
    feasible it ends at a dead end.

    `Graph`, or the dict of one, with the plan of `replace`: `replacement/validate.py` lists what is
    judged.
    """
    if isinstance(problem, Program):
        return verify_mapping(problem, plan)
    if isinstance(problem, Graph) or (isinstance(problem, dict) and "ops" in problem):
        return verify_replacement(
            problem if isinstance(problem, Graph) else Graph.from_dict(problem), plan
        )
    return verify_allocation(problem if isinstance(problem, Buffers) else Buffers(problem), plan)
