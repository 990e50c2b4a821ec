"""What the contract looks at: random play, every action tried, rules and a loop, in a few
compiled programs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random

from jaxsched.core import (
    Environment,
    GraphObservation,
    Source,
    TimeStep,
    bucket,
    masked_argmax,
    pad_to,
    unstack,
)
from jaxsched.core.environment import Instance, State
from jaxsched.core.wrappers import WrappedState

LATE = 2  # steps played after the last one that may take a decision
INT32 = np.iinfo(np.int32)
# added to the number of actions, without overflow; and those below zero:
OUTSIDE = (0, 1, INT32.max)
NEGATIVE = (-1, -2, INT32.min)


class Play(NamedTuple):
    """Random play of n instances over T = max_steps + LATE steps, on the host."""

    reset: TimeStep  # [n]
    final: State  # [n]
    baseline: Any  # i32[n]  env.baseline(instance)
    scale: Any  # f32[n]  env.reward_scale of the first state
    lower_bound: Any  # i32[n]
    objective: Any  # i32[n]  of the final state
    # Of the state before each step, [n, T, ...]:
    state: State  # without its instance
    observation: GraphObservation  # env.observe
    mask: Any  # bool[n, T, A]
    done: Any
    inner_done: Any  # of the state inside all wrappers
    decides: Any
    feasible: Any
    cut_off: Any
    bound: Any
    clock: Any
    instance_kept: Any  # the instance is still the one given to reset
    # Of the step:
    action: Any  # i32[n, T]
    timestep: TimeStep


class Probes(NamedTuple):
    """One step with each of P actions (all there are, then some out of range) from a state;
    bool[n, T, P].
    """

    illegal: Any
    changed: Any  # the state inside all wrappers
    touched: Any  # the state
    restarts: Any  # the episode ends and the state after is of the next one
    quiet: Any  # no reward, no time, no change of the objective
    agrees: Any  # the state after is that after action 0


def equal(first: Any, second: Any) -> Array:
    """bool[]: all leaves are equal."""
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return jnp.stack([(bits(a) == bits(b)).all() for a, b in pairs]).all()


def innermost(state: State) -> State:
    """The state inside all wrappers."""
    while isinstance(state, WrappedState):
        state = state.inner
    return state


def bits(leaf: Any) -> Any:
    """The leaf as numbers that can be compared, also where it is a random key."""
    return random.key_data(leaf) if is_key(leaf) else leaf


def is_key(leaf: Any) -> bool:
    """Whether the leaf is a typed random key."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@functools.partial(jax.jit, static_argnums=0)
def _probe(env: Environment, instances: Instance, states: State, step_keys: Array) -> Probes:
    """Tries every action in every state [n, T]."""

    def episode(instance, states, keys):
        return jax.vmap(lambda state, key: _probe_one(env, key, state.replace(instance=instance)))(
            states, keys
        )

    return jax.vmap(episode)(instances, states, step_keys)


def _probe_one(env: Environment, key: Array, state: State) -> Probes:
    num_actions = env.action_mask(state).shape[0]
    outside = [min(num_actions + surplus, INT32.max) for surplus in OUTSIDE]
    probes = jnp.asarray([*range(num_actions), *outside, *NEGATIVE], jnp.int32)
    after, timestep = jax.vmap(lambda action: env.step(key, state, action))(probes)
    delta, first = timestep.metrics["objective_delta"], jax.tree.map(lambda leaf: leaf[0], after)
    return Probes(
        illegal=timestep.metrics["illegal"],
        changed=~jax.vmap(lambda other: equal(innermost(other), innermost(state)))(after),
        touched=~jax.vmap(lambda other: equal(other, state))(after),
        restarts=(timestep.terminated | timestep.truncated) & ~after.done,
        quiet=(timestep.reward == 0) & (timestep.elapsed == 0) & (delta == 0),
        agrees=jax.vmap(lambda other: equal(other, first))(after),
    )


@functools.partial(jax.jit, static_argnums=0)
def _play(
    env: Environment, instances: Instance, reset_keys: Array, step_keys: Array, draws: Array
) -> Play:
    """Action t of instance i is the legal one of rank `draws[i, t]` f32 in [0, 1): the same one
    for more padding.
    """

    def episode(instance, reset_key, step_keys, draws):
        first, reset = env.reset(reset_key, instance)

        def body(state, given):
            step_key, draw = given
            mask = env.action_mask(state)
            num_legal = mask.sum(dtype=jnp.int32)
            rank = jnp.minimum((draw * num_legal).astype(jnp.int32), num_legal - 1)
            action = jnp.argmax(jnp.cumsum(mask, dtype=jnp.int32) > rank).astype(jnp.int32)
            after, timestep = env.step(step_key, state, action)
            record = {
                "state": state.replace(instance=None),
                "observation": env.observe(state),
                "mask": mask,
                "done": state.done,
                "inner_done": innermost(state).done,
                "decides": env.decides(state),
                "feasible": env.feasible(state),
                "cut_off": env.cut_off(state),
                "bound": env.bound(state),
                "clock": env.clock(state),
                "instance_kept": equal(state.instance, first.instance),
                "action": action,
                "timestep": timestep,
            }
            return after, record

        final, record = jax.lax.scan(body, first, (step_keys, draws))
        bounds = env.baseline(instance), env.reward_scale(first), env.lower_bound(instance)
        return Play(reset, final, *bounds, env.objective(final), **record)

    return jax.vmap(episode)(instances, reset_keys, step_keys, draws)


@functools.partial(jax.jit, static_argnums=0)
def _play_rules(
    env: Environment, instances: Instance, keys: Array
) -> tuple[State, Array, Array, Array, Array]:
    """For all heuristics in one program, [rule, n]: final state, objective, whether it is feasible,
    whether an action was illegal, and whether the score of a legal action was not finite.
    """
    rules = list(env.heuristics.values())

    def episode(rule, instance, key):
        def body(state, step_key):
            mask = env.action_mask(state)
            scored = [scores(state) for scores in rules]
            action = jnp.stack([masked_argmax(scores, mask) for scores in scored])[rule]
            silent = jnp.stack([(mask & ~jnp.isfinite(scores)).any() for scores in scored])[rule]
            late = state.done
            state, timestep = env.step(step_key, state, action)
            return state, (timestep.metrics["illegal"] & ~late, silent)

        first, _ = env.reset(key, instance)
        final, (illegal, silent) = jax.lax.scan(
            body, first, random.split(key, env.max_steps(instance))
        )
        return final, env.objective(final), env.feasible(final), illegal.any(), silent.any()

    over_instances = jax.vmap(episode, in_axes=(None, 0, 0))
    return jax.vmap(over_instances, in_axes=(0, None, None))(
        jnp.arange(len(rules), dtype=jnp.int32), instances, keys
    )


class Counted:
    """A jitted function that counts how often it is traced."""

    def __init__(self, function: Callable):
        self.num_traces = 0

        def traced(*args):
            self.num_traces += 1
            return function(*args)

        self.jitted = jax.jit(traced)

    def __call__(self, *args: Any) -> Any:
        return self.jitted(*args)


class Subject:
    """An environment under test, and what was played with it; every play happens when it is
    first asked for.
    """

    def __init__(
        self, env: Environment, source: Source, num_instances: int, key: Array, exact: Sequence
    ):
        self.env, self.exact = env, exact
        source_key, reset_key, step_key, other_key, draw_key = random.split(key, 5)
        self.instances = jax.jit(jax.vmap(source))(random.split(source_key, num_instances))
        self.instance = jax.tree.map(lambda leaf: leaf[0], self.instances)
        self.max_steps = env.max_steps(self.instance)
        shape = num_instances, self.max_steps + LATE
        self.reset_keys = random.split(reset_key, num_instances)
        self.step_keys, self.other_keys = (
            random.split(step_key, shape),
            random.split(other_key, shape),
        )
        self.draws = random.uniform(draw_key, shape, jnp.float32)

    def played(self, instances: Instance, step_keys: Array) -> Play:
        return on_host(_play(self.env, instances, self.reset_keys, step_keys, self.draws))

    @functools.cached_property
    def play(self) -> Play:
        return self.played(self.instances, self.step_keys)

    @functools.cached_property
    def probes(self) -> Probes:
        return on_host(_probe(self.env, self.instances, self.play.state, self.step_keys))

    @functools.cached_property
    def play_padded(self) -> Play:
        """The same play on instances padded to the next bucket along every axis."""

        def larger(leaf):
            return jax.ShapeDtypeStruct(
                (leaf.shape[0], *(bucket(size + 1) for size in leaf.shape[1:])), leaf.dtype
            )

        return self.played(
            pad_to(self.instances, jax.tree.map(larger, self.instances)), self.step_keys
        )

    @functools.cached_property
    def rules(self) -> tuple[State, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return on_host(_play_rules(self.env, self.instances, self.reset_keys))

    @functools.cached_property
    def loop(self) -> Loop:
        return self.looped()

    def looped(self) -> Loop:
        """The same play unbatched: the first three instances to the end, the others for one
        step.
        """
        reset, step = Counted(self.env.reset), Counted(self.env.step)
        episodes = []
        for i, instance in enumerate(unstack(self.instances)):
            episode = [reset(self.reset_keys[i], instance)]
            for t in range(self.play.action.shape[1] if i < 3 else 1):
                episode.append(step(self.step_keys[i, t], episode[-1][0], self.play.action[i, t]))
            episodes.append(episode)
        return Loop(episodes, reset, step)


class Loop(NamedTuple):
    """Episodes of (state, timestep), reset first, and the jitted functions that played them."""

    episodes: list[list[tuple[State, TimeStep]]]
    reset: Counted
    step: Counted


def on_host(tree: Any) -> Any:
    """The tree with NumPy leaves; random keys, which NumPy cannot hold, stay."""
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else np.asarray(leaf), tree)


def leaves_at(tree: Any, *index: Any) -> Any:
    """The tree with every leaf indexed alike."""
    return jax.tree.map(lambda leaf: leaf[index], tree)
