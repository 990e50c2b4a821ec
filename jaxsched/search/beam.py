"""Beam search over whole episodes: every state of the beam takes every action, the most promising
go on.

Promising is a low estimate of the final objective, the running bound less what the network expects
to gain. One scan, no host in the loop. The best of the last beam is at least as good as the greedy
policy only if that stays in the beam, which is why its line is kept beside it.
"""

from __future__ import annotations

import dataclasses

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

    def expand(key, bare, action, mask):
        full = dress(bare, instance)
        legal = mask[action]
        after = env.apply(key, full, action, legal)
        return strip(after)

    def body(carry, key):
        beam, alive, greedy, logits, mask = carry
        actions = jnp.arange(num_actions, dtype=jnp.int32)
        # A line that is over, or passes an event, goes on by itself: as its action 0.
        waits = ~mask.any(-1)
        open_ = alive[:, None] & (mask | (waits[:, None] & (actions == 0)))  # [W, A]
        children = jax.vmap(lambda bare, m: jax.vmap(lambda a: expand(key, bare, a, m))(actions))(
            beam, mask
        )
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), children)
        promise, next_logits, next_mask = jax.vmap(judge)(flat)
        is_greedy = (greedy[:, None] & (actions == masked_argmax(logits, mask)[:, None])).ravel()
        cost = jnp.where(open_.ravel(), promise, worst)
        rank = jnp.where(is_greedy, -worst, cost)
        _, chosen = jax.lax.top_k(-rank, width)
        take = lambda tree: jax.tree.map(lambda leaf: leaf[chosen], tree)  # noqa: E731
        carry = (
            take(flat),
            take(cost) < worst,
            take(is_greedy),
            take(next_logits),
            take(next_mask),
        )
        return carry, (
            (chosen // num_actions).astype(jnp.int32),
            (chosen % num_actions).astype(jnp.int32),
        )

    first = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (width, *jnp.shape(leaf))), strip(state)
    )
    lead = jnp.arange(width) == 0
    _, logits, mask = jax.vmap(judge)(first)
    start = vary_alike((first, lead, lead, logits, mask), instance, key, params)
    (beam, alive, *_), (parents, actions) = jax.lax.scan(body, start, random.split(key, num_steps))

    def end(bare):
        full = dress(bare, instance)
        return outcome(env, full), env.objective(full)

    ends, objective = jax.vmap(end)(beam)
    best = best_episode(jnp.where(alive, ends, FAILED), objective)

    def back(line, step):
        parent, action = step
        return parent[line], action[line]

    _, taken = jax.lax.scan(back, best, (parents, actions), reverse=True)
    final = dress(jax.tree.map(lambda leaf: leaf[best], beam), instance)
    return Found(
        state=final,
        action=taken,
        objective=objective[best],
        feasible=alive[best] & final.done & env.feasible(final),
        truncated=~env.terminated(final),
    )
