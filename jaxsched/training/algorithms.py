"""The algorithms by name: one line each."""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxsched.host.errors import UnknownNameError
from jaxsched.policies.network import NetworkConfig
from jaxsched.training.config import TrainConfig, replace
from jaxsched.training.expert_iteration import EXPERT_ITERATION
from jaxsched.training.imitation import IMITATION
from jaxsched.training.ppo import PPO
from jaxsched.training.self_labeling import SELF_LABELING
from jaxsched.training.update import Algorithm

ALGORITHMS: dict[str, Algorithm] = {
    "ppo": PPO,
    "self_labeling": SELF_LABELING,
    "imitation": IMITATION,
    "expert_iteration": EXPERT_ITERATION,
}


def algorithm_of(config: TrainConfig) -> str:
    """The name of the algorithm a config belongs to."""
    for name, algorithm in ALGORITHMS.items():
        if type(config) is algorithm.config:
            return name
    raise UnknownNameError("algorithm with the configuration", type(config).__name__, ALGORITHMS)


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """Plain data for JSON, with the algorithm's name."""
    return {"algorithm": algorithm_of(config), **dataclasses.asdict(config)}


def from_dict(data: dict[str, Any]) -> TrainConfig:
    """The inverse of `to_dict`; an unknown field is one line with the close matches."""
    data = dict(data)
    name = data.pop("algorithm", None)
    if name not in ALGORITHMS:
        raise UnknownNameError("algorithm", str(name), ALGORITHMS)
    fields = dict(data.pop("network", {}))
    fields.pop("name", None)
    network = NetworkConfig(**fields)
    return replace(ALGORITHMS[name].config(network=network), **data)
