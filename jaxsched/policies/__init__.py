"""Graph policies: they know `GraphObservation`, no family."""

from jaxsched.core.environment import Policy
from jaxsched.policies.distribution import MaskedCategorical
from jaxsched.policies.network import (
    NETWORKS,
    Apply,
    GraphActorCritic,
    Network,
    NetworkConfig,
    Params,
    init_network,
)

__all__ = [
    "NETWORKS",
    "Apply",
    "GraphActorCritic",
    "MaskedCategorical",
    "Network",
    "NetworkConfig",
    "Params",
    "greedy_policy",
    "init_network",
    "sampling_policy",
]


def greedy_policy(apply: Apply, params: Params) -> Policy:
    """The most probable action."""

    def policy(key, state, observation):
        logits, _ = apply(params, observation)
        return MaskedCategorical(logits, observation.action_mask).mode()

    return policy


def sampling_policy(apply: Apply, params: Params, temperature: float = 1.0) -> Policy:
    """An action sampled from the policy."""

    def policy(key, state, observation):
        logits, _ = apply(params, observation)
        return MaskedCategorical(logits, observation.action_mask).sample(key, temperature)

    return policy
