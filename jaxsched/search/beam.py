"""Beam search over whole episodes: every state of the beam takes every action, the most promising
go on.

Promising is a low estimate of the final objective, the running bound less what the network expects
to gain. One scan, no host in the loop. The best of the last beam is at least as good as the greedy
policy only if that stays in the beam, which is why its line is kept beside it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, random

from jaxsched.core.environment import Environment, State
from jaxsched.core.rollout import (
    CUT_OFF,
    FAILED,
    best_episode,
    dress,
    masked_argmax,
    outcome,
    strip,
    vary_alike,
)
from jaxsched.policies.network import Apply, Params


@dataclasses.dataclass(frozen=True)
class BeamConfig:
    """Settings of the search."""

    width: int = 64
    reward_scale: float = 1.0  # as in training: the network's values are in these units

    def __post_init__(self):
        if self.width < 1:
            raise ValueError(f"width must be at least 1, got {self.width}")


class Found(struct.PyTreeNode):
    """The best episode of a beam, one that was cut off only where no other ended well. T =
    `num_steps`.
    """

    state: State  # the final state
    action: Array  # i32[T]
    objective: Array  # i32[]
    feasible: Array  # bool[]  it ended with a solution
    truncated: Array  # bool[]  it did not terminate


class _Beam(struct.PyTreeNode):
    """W lines."""

    state: Any  # [W]  without their instance
    alive: Array  # bool[W]  a legal action led here, and an end with a solution is within reach
    greedy: Array  # bool[W]  the line of the greedy policy
    logits: Array  # f32[W, A]
    mask: Array  # bool[W, A]


def beam_search(
    env: Environment,
    apply: Apply,
    params: Params,
    key: Array,
    state: State,
    num_steps: int,
    config: BeamConfig,
) -> Found:
    """From one unbatched `state`, `num_steps` decisions ahead; vmap it over states.

    The simulator's chance, where there is any, is that of `state.instance` and of keys drawn from
    `key`, the same in all lines: a plan for this one world. See `planning.rekey`.
    """
    width, instance, scale = config.width, state.instance, env.reward_scale(state)
    num_actions = env.action_mask(state).shape[-1]
    worst = jnp.float32(jnp.inf)

    def judge(bare):
        full = dress(bare, instance)
        observation = env.observe(full)
        logits, value = apply(params, observation)
        usable = env.feasible(full) | (outcome(env, full) == CUT_OFF)
        expected = jnp.where(env.terminated(full), 0, value / config.reward_scale * scale)
        promise = jnp.where(usable, env.bound(full).astype(jnp.float32) - expected, worst)
        return promise, logits, env.action_mask(full) & ~full.done

    def body(beam, key):
        def child(bare, action, mask):
            return strip(env.apply(key, dress(bare, instance), action, mask[action]))

        actions = jnp.arange(num_actions, dtype=jnp.int32)
        children = jax.vmap(jax.vmap(child, (None, 0, None)), (0, None, 0))(
            beam.state, actions, beam.mask
        )
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), children)
        promise, logits, mask = jax.vmap(judge)(flat)
        # A line that is over, or passes an event, goes on by itself: as its action 0.
        waits = ~beam.mask.any(-1)
        open_ = beam.alive[:, None] & (beam.mask | (waits[:, None] & (actions == 0)))  # [W, A]
        preferred = masked_argmax(beam.logits, beam.mask)
        greedy = (beam.greedy[:, None] & (actions == preferred[:, None])).ravel()
        cost = jnp.where(open_.ravel(), promise, worst)
        _, chosen = jax.lax.top_k(-jnp.where(greedy, -worst, cost), width)
        beam = _Beam(flat, cost < worst, greedy, logits, mask)
        beam = jax.tree.map(lambda leaf: leaf[chosen], beam)
        chosen = chosen.astype(jnp.int32)
        return beam, (chosen // num_actions, chosen % num_actions)

    first = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (width, *jnp.shape(leaf))), strip(state)
    )
    lead = jnp.arange(width) == 0
    _, logits, mask = jax.vmap(judge)(first)
    start = vary_alike(_Beam(first, lead, lead, logits, mask), instance, key, params)
    beam, (parents, actions) = jax.lax.scan(body, start, random.split(key, num_steps))

    def end(bare):
        full = dress(bare, instance)
        return outcome(env, full), env.objective(full)

    ends, objective = jax.vmap(end)(beam.state)
    best = best_episode(jnp.where(beam.alive, ends, FAILED), objective)
    final = dress(jax.tree.map(lambda leaf: leaf[best], beam.state), instance)
    return Found(
        state=final,
        action=_actions_of(best, parents, actions),
        objective=objective[best],
        feasible=beam.alive[best] & final.done & env.feasible(final),
        truncated=~env.terminated(final),
    )


def _actions_of(line: Array, parents: Array, actions: Array) -> Array:
    """i32[T]: what led to a line of the last beam; parents and actions of all beams, i32[T, W]."""

    def back(line, step):
        parent, action = step
        return parent[line], action[line]

    return jax.lax.scan(back, line, (parents, actions), reverse=True)[1]
