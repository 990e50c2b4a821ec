"""Search with the true simulator and a policy's network: knows `Environment`, no family."""

from jaxsched.search.beam import BeamConfig, Found, beam_search
from jaxsched.search.planning import Planned, PlanningConfig, plan, planning_policy, rekey

__all__ = [
    "BeamConfig",
    "Found",
    "Planned",
    "PlanningConfig",
    "beam_search",
    "plan",
    "planning_policy",
    "rekey",
]
