"""Shared vocabulary: protocol, graph observation, padding, sources, rollout, wrappers. Knows no
family.
"""

from jaxsched.core.arrays import lookup, put, put_add, take, take_column
from jaxsched.core.environment import Environment, Policy, Scores, Source, TimeStep
from jaxsched.core.graph import GraphObservation
from jaxsched.core.offer import Comparison, Loaded, Offer, Preset, Summary
from jaxsched.core.padding import bucket, pad_stack, pad_to, unstack
from jaxsched.core.result import Bounds, Result
from jaxsched.core.rollout import (
    Rollout,
    greedy,
    masked_argmax,
    randomised,
    replay,
    rollout,
    unroll,
)
from jaxsched.core.rules import Rules, RulesEnvironment
from jaxsched.core.settings import Settings
from jaxsched.core.sources import Mixture, Pool
from jaxsched.core.wrappers import AutoReset, EpisodeStats, HideFeatures, TimeLimit
from jaxsched.host.errors import Infeasible, InstanceError, UnknownNameError

__all__ = [
    "AutoReset",
    "Bounds",
    "Comparison",
    "Environment",
    "EpisodeStats",
    "GraphObservation",
    "HideFeatures",
    "Infeasible",
    "InstanceError",
    "Loaded",
    "Mixture",
    "Offer",
    "Policy",
    "Pool",
    "Preset",
    "Result",
    "Rollout",
    "Rules",
    "RulesEnvironment",
    "Scores",
    "Settings",
    "Source",
    "Summary",
    "TimeLimit",
    "TimeStep",
    "UnknownNameError",
    "bucket",
    "greedy",
    "lookup",
    "masked_argmax",
    "pad_stack",
    "pad_to",
    "put",
    "put_add",
    "randomised",
    "replay",
    "rollout",
    "take",
    "take_column",
    "unroll",
    "unstack",
]
