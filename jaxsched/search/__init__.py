"""Search with the true simulator, with a policy's network or without: knows `Environment`, no
family.
"""

from jaxsched.core.evolution import EvolutionConfig, Population, begin, evolve
from jaxsched.search.beam import BeamConfig, Found, beam_search
from jaxsched.search.planning import Planned, PlanningConfig, plan, planning_policy, rekey

__all__ = [
    "BeamConfig",
    "EvolutionConfig",
    "Found",
    "Planned",
    "PlanningConfig",
    "Population",
    "beam_search",
    "begin",
    "evolve",
    "plan",
    "planning_policy",
    "rekey",
]
