"""Search with the true simulator, with a policy's network or without: knows `Environment`, no
family.
"""

from jaxsched.core.evolution import EvolutionConfig, Population, begin, evolve
from jaxsched.search.beam import BeamConfig, Found, beam_search
from jaxsched.search.planning import Planned, PlanningConfig, plan, planning_policy, rekey
from jaxsched.search.resample import Followed, ResampleConfig, follow_the_best

__all__ = [
    "BeamConfig",
    "EvolutionConfig",
    "Followed",
    "Found",
    "Planned",
    "PlanningConfig",
    "Population",
    "ResampleConfig",
    "beam_search",
    "begin",
    "evolve",
    "follow_the_best",
    "plan",
    "planning_policy",
    "rekey",
]
