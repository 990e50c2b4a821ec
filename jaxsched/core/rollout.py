"""Whole episodes as one scan, and policies made of priority rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, random

from jaxsched.core.environment import Environment, Instance, Policy, Scores, State, TimeStep
from jaxsched.core.packing import pack


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
    keep: Callable[[TimeStep], Any] = lambda timestep: timestep,
) -> tuple[State, Any]:
    """Scan `act(key, state) -> (action, extra)` for `num_steps` steps.

    Returns the final state and, stacked over steps, `(action, extra, keep(timestep))`; a timestep
    has no observation. Keys are drawn before the scan and addressed by step.
    """
    return unroll_steps(env, random.split(key, num_steps), state, act, keep)


def unroll_steps(
    env: Environment,
    keys: Array,
    state: State,
    act: Callable[[Array, State], tuple[Array, Any]],
    keep: Callable[[TimeStep], Any],
) -> tuple[State, Any]:
    """`unroll` with the key of every step, [T]."""
    instance = state.instance

    def body(bare, keys):
        act_key, step_key = keys
        full = dress(bare, instance)
        action, extra = act(act_key, full)
        after, timestep = env.advance(step_key, full, action)
        # Both may be read off the old state, whose place the new one takes (see `advance`).
        met = pack((action, extra))
        after, bits = jax.lax.optimization_barrier((strip(after), met.bits))
        return after, pack((met.replace(bits=bits), keep(timestep)))

    first = vary_alike(strip(state), instance, keys)
    final, steps = jax.lax.scan(body, first, _act_and_step(keys))
    met, kept = steps.unpack()
    return dress(final, instance), (*met.unpack(), kept)


def _act_and_step(keys: Array) -> tuple[Array, Array]:
    """Of the key of every step [T] the key of the act and that of the step."""
    pairs = jax.vmap(random.split)(keys)
    return pairs[:, 0], pairs[:, 1]


def reward_and_decision(timestep: TimeStep) -> tuple[Array, Array]:
    """Of a step its reward f32[], and whether it took a decision, bool[]."""
    return timestep.reward, timestep.metrics["decision"]


def replay(
    env: Environment, key: Array, state: State, actions: Array
) -> tuple[State, tuple[State, Array]]:
    """Scan recorded `actions` i32[T] from `state`, in the world that `unroll` with the same key
    met.

    Returns the final state and, stacked over steps, (state before without its instance, decision
    mask).
    """
    return replay_steps(env, random.split(key, actions.shape[0]), state, actions)


def replay_steps(
    env: Environment, keys: Array, state: State, actions: Array
) -> tuple[State, tuple[State, Array]]:
    """`replay` with the key of every step, [T]."""
    instance = state.instance

    def body(bare, inputs):
        step_key, action = inputs
        after, timestep = env.advance(step_key, dress(bare, instance), action)
        return strip(after), (bare, timestep.metrics["decision"])

    _, keys = _act_and_step(keys)
    first = vary_alike(strip(state), instance, keys, actions)
    final, steps = jax.lax.scan(body, first, (keys, actions))
    return dress(final, instance), steps


def rollout(env: Environment, key: Array, instance: Instance, policy: Policy) -> Rollout:
    """Play one episode of `policy` on `instance`; jit and vmap it freely."""
    reset_key, key = random.split(key)
    state = env.init(reset_key, instance)

    def act(key, state):
        return policy(key, state, env.observe(state)), None

    final, (action, _, (reward, mask)) = unroll(
        env, key, state, act, env.max_steps(instance), reward_and_decision
    )
    return Rollout(
        state=final,
        action=action,
        reward=reward,
        mask=mask,
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

    0 for an all-false mask. Always legal otherwise: the lowest score of its type counts as the
    second lowest, above all that is illegal.
    """
    if jnp.issubdtype(scores.dtype, jnp.floating):
        low, lowest = -jnp.inf, jnp.finfo(scores.dtype).min
    else:
        low = jnp.iinfo(scores.dtype).min
        lowest = low + 1
    return jnp.argmax(jnp.where(mask, jnp.maximum(scores, lowest), low), -1).astype(jnp.int32)


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
