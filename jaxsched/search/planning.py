"""Planning before every decision: Gumbel AlphaZero (Danihelka et al., ICLR 2022) through mctx.

The model of the search is the simulator itself, so nothing about the world has to be learned; the
network only ranks actions and estimates what is left to gain.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, random

from jaxsched.core.environment import Environment, Instance, Policy, State
from jaxsched.core.rollout import dress, strip
from jaxsched.policies.network import Apply, Params


@dataclasses.dataclass(frozen=True)
class PlanningConfig:
    """Settings of the search."""

    num_simulations: int = 32  # steps of the simulator, and calls of the network, per decision
    # actions at the root among which simulations are shared by sequential halving
    num_considered: int = 16
    gumbel_scale: float = 1.0  # 0: no randomness, for play; 1: actions are drawn, for training
    value_scale: float = 0.1  # weight of values against the network's logits
    # Values are scaled to [0, 1] in every node, as in the paper. With few actions that blows up
    # differences that are next to nothing; False takes values as they are, in units of
    # `reward_scale`, and wants a `value_scale` near 1.
    rescale_values: bool = True
    gamma: float = 1.0  # per decision
    reward_scale: float = 1.0  # as in training: the network's values are in these units

    def __post_init__(self):
        if self.num_simulations < 1 or self.num_considered < 1:
            raise ValueError("num_simulations and num_considered must be at least 1")


class Planned(struct.PyTreeNode):
    """What a search says about B states with A actions."""

    action: Array  # i32[B]  to take
    weights: Array  # f32[B, A]  the improved policy, a target for training
    value: Array  # f32[B]  of the state, by the search


def plan(
    env: Environment,
    apply: Apply,
    params: Params,
    key: Array,
    states: State,
    config: PlanningConfig,
) -> Planned:
    """Search from each of B `states` (leaves with a leading axis). Raises `ImportError` without
    mctx.

    Chance: the tree is grown in the world of `states`, whose instance may hold the keys of noise to
    come; pass states with `rekey(key, state.instance)` where the searcher must not foresee it.
    """
    mctx, instances = _mctx(), states.instance

    def judge(state: State, observation: Any) -> tuple[Array, Array]:
        logits, value = apply(params, observation)
        return jnp.where(observation.action_mask, logits, jnp.finfo(jnp.float32).min), value

    @jax.vmap
    def judge_root(state):
        observation = env.observe(state)
        return *judge(state, observation), observation.action_mask

    @jax.vmap
    def advance(key, bare, instance, action):
        after, timestep = env.step(key, dress(bare, instance), action)
        logits, value = judge(after, timestep.observation)
        discount = jnp.where(timestep.terminated, 0.0, config.gamma).astype(jnp.float32)
        return (
            timestep.reward * config.reward_scale,
            discount,
            logits,
            value,
            strip(after),
        )

    def recurrent(params, key, action, bare):
        keys = random.split(key, action.shape[0])
        reward, discount, logits, value, after = advance(keys, bare, instances, action)
        return mctx.RecurrentFnOutput(
            reward=reward, discount=discount, prior_logits=logits, value=value
        ), after

    logits, value, mask = judge_root(states)
    found = mctx.gumbel_muzero_policy(
        None,
        key,
        mctx.RootFnOutput(prior_logits=logits, value=value, embedding=strip(states)),
        recurrent,
        config.num_simulations,
        invalid_actions=~mask,
        qtransform=functools.partial(
            mctx.qtransform_completed_by_mix_value,
            value_scale=config.value_scale,
            rescale_values=config.rescale_values,
        ),
        max_num_considered_actions=config.num_considered,
        gumbel_scale=config.gumbel_scale,
    )
    return Planned(
        action=found.action.astype(jnp.int32),
        weights=jnp.where(mask, found.action_weights, 0),
        value=found.search_tree.summary().value,
    )


def _mctx() -> Any:
    try:
        import mctx
    except ImportError:
        raise ImportError('planning needs mctx: pip install "jaxsched[search]"') from None
    return mctx


def planning_policy(
    env: Environment, apply: Apply, params: Params, config: PlanningConfig
) -> Policy:
    """A policy that searches before every decision; vmap the rollout for several episodes."""

    def policy(key, state, observation):
        search_key, world_key = random.split(key)
        state = state.replace(instance=rekey(world_key, state.instance))
        states = jax.tree.map(lambda leaf: leaf[None], state)
        return plan(env, apply, params, search_key, states, config).action[0]

    return policy


def rekey(key: Array, instance: Instance) -> Instance:
    """The instance with other keys in it: what it would draw later is drawn anew, what is stated
    as data stays.
    """

    def renew(leaf):
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        bits = random.bits(key, (), jnp.uint32)
        flat = jax.vmap(lambda old: random.fold_in(old, bits))(leaf.reshape(-1))
        return flat.reshape(leaf.shape)

    return jax.tree.map(renew, instance)
