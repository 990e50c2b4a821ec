"""Settings of a training run as frozen dataclasses: one source for presets, the command line and
checkpoints.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from jaxsched.host.errors import UnknownNameError
from jaxsched.host.plain import make_plain
from jaxsched.policies.network import NetworkConfig

Config = TypeVar("Config", bound="TrainConfig")
KEPT = ("observations", "actions")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What all algorithms share."""

    num_updates: int = 200
    # episodes (PPO, imitation) or instances (self-labelling) per update, over all devices
    num_envs: int = 64
    # gradient steps per epoch; environments with equal id modulo this number go together
    num_minibatches: int = 4
    num_epochs: int = 1
    learning_rate: float = 1e-3
    schedule: str = "linear"  # linear | rex | cosine | constant, over all gradient steps
    max_grad_norm: float = 0.5
    # Episodes whose gradients are computed at once and summed, exactly; 0: 8 on a CPU, whose caches
    # they fit, and whole minibatches on an accelerator.
    micro_batch: int = 0
    # What is kept of an episode until its gradients: its `observations`, or its `actions` alone,
    # from which the rules play it again, slower and in less memory.
    keep: str = "observations"
    # The averaged weights look back on this share of the run; they are what is evaluated and saved.
    average: float = 0.1
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)

    def __post_init__(self):
        make_plain(self)
        if self.keep not in KEPT:
            raise UnknownNameError("value of keep", self.keep, KEPT)
        if self.num_envs % self.num_minibatches:
            raise ValueError(
                f"num_envs {self.num_envs} must be a multiple of num_minibatches {self.num_minibatches}"
            )

    @property
    def num_gradient_steps(self) -> int:
        return self.num_updates * self.num_epochs * self.num_minibatches


@dataclasses.dataclass(frozen=True)
class PPOConfig(TrainConfig):
    """Proximal policy optimisation (Schulman et al. 2017) on whole episodes."""

    num_epochs: int = 3
    gamma: float = 1.0  # per decision
    tick_gamma: float = 1.0  # per tick that passes, on top: below 1, returns are aligned with time
    gae_lambda: float = 0.98
    clip: float = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 0.01
    reward_scale: float = 1.0  # rewards are fractions of the baseline


@dataclasses.dataclass(frozen=True)
class SelfLabelingConfig(TrainConfig):
    """Self-labelling (Corsini et al., NeurIPS 2024): sample many solutions of an instance,
    imitate the best.
    """

    num_samples: int = 32  # in every round
    # More than 1: rounds that sample the rest of the best episode anew (`search.follow_the_best`).
    num_rounds: int = 1
    temperature: float = 1.0
    # Labels weigh by (mean - best) / mean of the objective to this power; 0: all alike.
    advantage_power: float = 0.0


@dataclasses.dataclass(frozen=True)
class ImitationConfig(TrainConfig):
    """Imitation of a priority rule in the states that both it and the policy reach (DAgger, Ross
    et al. 2011).
    """

    teacher: str = ""  # id of a heuristic of the environment
    num_own: int = 32  # of the num_envs episodes, those that the policy plays itself

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.num_own <= self.num_envs:
            raise ValueError(f"num_own must be 1 to num_envs {self.num_envs}, got {self.num_own}")


@dataclasses.dataclass(frozen=True)
class ExpertIterationConfig(TrainConfig):
    """Expert iteration: imitate a Gumbel search with the true simulator (Danihelka et al., ICLR
    2022).
    """

    num_simulations: int = 32  # per decision
    num_considered: int = 16  # actions at the root
    value_scale: float = 0.1  # weight of values against logits in the search
    # to [0, 1] in every node; False where there are few actions, see `PlanningConfig`
    rescale_values: bool = True
    value_weight: float = 0.5
    gamma: float = 1.0  # per decision
    reward_scale: float = 1.0  # rewards are fractions of the baseline


def numbers_of(config: TrainConfig) -> dict[str, float]:
    """The fields that are real numbers: rates, weights, clips, ... by name."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {name: value for name, value in values.items() if isinstance(value, float)}


def with_numbers(config: Config, numbers: Mapping[str, Any]) -> Config:
    """The config with other real numbers, which may be traced: one program for many of them."""
    changed = copy.copy(config)
    for name, value in numbers.items():
        object.__setattr__(changed, name, value)
    return changed


def replace(config: Config, **changes: Any) -> Config:
    """`dataclasses.replace` with a helpful error for an unknown option."""
    known = {field.name for field in dataclasses.fields(config)}
    for name in changes:
        if name not in known:
            raise UnknownNameError(f"option of {type(config).__name__}", name, known)
    return dataclasses.replace(config, **changes)
