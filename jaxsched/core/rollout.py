"""Whole episodes as one scan, and policies made of priority rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, random

from jaxsched.core.environment import Environment, Instance, Policy, Scores, State


class Rollout(struct.PyTreeNode):
    """One episode. T = `max_steps`; entries after the end have `mask` False and change nothing."""

    state: State  # the final state
    action: Array  # i32[T]
    reward: Array  # f32[T]
    mask: Array  # bool[T]  the step took a decision
    objective: Array  # i32[]
    truncated: Array  # bool[]  cut off by a horizon or a wrapper, or not over after T steps
    feasible: Array  # bool[]


def vary_alike(carry: Any, *inputs: Any) -> Any:
    """The first `carry` of a scan, whose leaves vary over those mesh axes over which anything given
    does.

    Within `jax.shard_map` a type says over which axes of the mesh a value differs. Constants of an
    initial state differ over none, what a step makes of them and of the instance does. Elsewhere
    nothing changes.
    """
    leaves = jax.tree.leaves((carry, inputs))
    axes = frozenset[Any]().union(*map(_varying_axes, leaves))

    def cast(leaf: Any) -> Any:
        missing = axes - _varying_axes(leaf)
        return jax.lax.pcast(leaf, tuple(missing), to="varying") if missing else leaf

    return jax.tree.map(cast, carry)


def _varying_axes(leaf: Any) -> frozenset[Any]:
    """The mesh axes over which an array varies within `jax.shard_map`."""
    kind: Any = jax.typeof(leaf)
    # Releases of JAX differ in the name.
    return kind.manual_axis_type.varying if hasattr(kind, "manual_axis_type") else kind.vma


def strip(state: State) -> State:
    """The state without its instance: what a scan carries, which would copy the instance in every
    step.
    """
    return state.replace(instance=None)


def dress(state: State, instance: Instance) -> State:
    """The inverse of `strip`."""
    return state.replace(instance=instance)


def unroll(
    env: Environment,
    key: Array,
    state: State,
    act: Callable[[Array, State], tuple[Array, Any]],
    num_steps: int,
    look: bool = False,
) -> tuple[State, Any]:
    """Scan `act(key, state) -> (action, extra)` for `num_steps` steps.

    Returns the final state and, stacked over steps, `(state before without its instance, action,
    extra, timestep without its observation)`. What the caller drops, XLA does not compute. With
    `look` there is one step more, which only looks: `act` is asked about the final state, and
    nothing changes; its timestep says nothing. Keys are drawn before the scan and addressed by
    step.
    """
    instance = state.instance

    def body(bare, inputs):
        key, moves = inputs
        full = dress(bare, instance)
        act_key, step_key = random.split(key)
        action, extra = act(act_key, full)
        after, timestep = env.advance(step_key, full, action)
        after = strip(after)
        if look:
            after = jax.tree.map(
                lambda new, old: old if new is old else jnp.where(moves, new, old), after, bare
            )
        return after, (bare, action, extra, timestep)

    first = vary_alike(strip(state), instance, key)
    keys, moves = random.split(key, num_steps), None
    if look:
        keys = jnp.concatenate([keys, key[None]])
        moves = jnp.arange(num_steps + 1, dtype=jnp.int32) < num_steps
    final, steps = jax.lax.scan(body, first, (keys, moves))
    return dress(final, instance), steps


def replay(
    env: Environment, key: Array, state: State, actions: Array
) -> tuple[State, tuple[State, Array]]:
    """Scan recorded `actions` i32[T] from `state`, in the world that `unroll` with the same key
    met.

    Returns the final state and, stacked over steps, (state before without its instance, decision
    mask).
    """
    instance = state.instance

    def body(bare, inputs):
        key, action = inputs
        _, step_key = random.split(key)
        after, timestep = env.advance(step_key, dress(bare, instance), action)
        return strip(after), (bare, timestep.metrics["decision"])

    keys = random.split(key, actions.shape[0])
    first = vary_alike(strip(state), instance, keys, actions)
    final, steps = jax.lax.scan(body, first, (keys, actions))
    return dress(final, instance), steps


def rollout(env: Environment, key: Array, instance: Instance, policy: Policy) -> Rollout:
    """Play one episode of `policy` on `instance`; jit and vmap it freely."""
    reset_key, key = random.split(key)
    state = env.init(reset_key, instance)

    def act(key, state):
        return policy(key, state, env.observe(state)), None

    final, (_, action, _, timestep) = unroll(env, key, state, act, env.max_steps(instance))
    return Rollout(
        state=final,
        action=action,
        reward=timestep.reward,
        mask=timestep.metrics["decision"],
        objective=env.objective(final),
        truncated=~env.terminated(final),
        feasible=env.feasible(final),
    )


SOLVED, CUT_OFF, FAILED = 0, 1, 2  # how an episode ended, best first


def outcome(env: Environment, state: State) -> Array:
    """i32[]: how the episode of a final `state` ended.

    `SOLVED`: terminated with a solution. `CUT_OFF`: by a horizon or a wrapper; its objective counts
    what was done until then, and it is a solution only where `feasible`. `FAILED`: a dead end, or
    not over at all.
    """
    solved = env.terminated(state) & env.feasible(state)
    cut_off = state.done & env.cut_off(state)
    return jnp.where(solved, SOLVED, jnp.where(cut_off, CUT_OFF, FAILED)).astype(jnp.int32)


def best_episode(outcomes: Array, objectives: Array) -> Array:
    """i32[...]: which of the episodes along the last axis is best, ties to the first.

    By `outcome` i32[..., S] first, since an episode that was cut off has not paid for what it left
    undone; then by objective i32[..., S].
    """
    best = outcomes == outcomes.min(-1, keepdims=True)
    return masked_argmax(-objectives, best)


def masked_argmax(scores: Array, mask: Array) -> Array:
    """Index of the highest score where `mask`, over the last axis; ties to the lowest index.
    i32[...].

    0 for an all-false mask. Always legal otherwise, even where every legal score is the lowest of
    its type.
    """
    low = -jnp.inf if jnp.issubdtype(scores.dtype, jnp.floating) else jnp.iinfo(scores.dtype).min
    best = jnp.argmax(jnp.where(mask, scores, low), -1)
    legal = jnp.take_along_axis(mask, best[..., None], -1)[..., 0]
    return jnp.where(legal, best, jnp.argmax(mask, -1)).astype(jnp.int32)


def standardise(scores: Array, mask: Array) -> Array:
    """Zero mean and unit variance over the legal actions, 0 where all are equal. f32[A]."""
    scores, count = scores.astype(jnp.float32), jnp.maximum(mask.sum(), 1)
    centred = jnp.where(mask, scores - jnp.where(mask, scores, 0).sum() / count, 0)
    deviation = jnp.sqrt((centred**2).sum() / count)
    return jnp.where(deviation > 0, centred / jnp.where(deviation > 0, deviation, 1), 0)


def greedy(scores: Scores) -> Policy:
    """The legal action with the highest score, ties to the lowest index."""
    return lambda key, state, observation: masked_argmax(scores(state), observation.action_mask)


def randomised(scores: Scores, temperature: float | Array) -> Policy:
    """Samples softmax(z / temperature), z = scores standardised over the legal actions."""

    def policy(key, state, observation):
        mask = observation.action_mask
        logits = standardise(scores(state), mask) / temperature
        gumbel = random.gumbel(key, logits.shape, jnp.float32)
        return masked_argmax(logits + gumbel, mask)

    return policy
