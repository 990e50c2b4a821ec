"""What an algorithm is, and the jitted update that every one of them shares: play, then learn.

Sharding: `Mesh` has one axis `data` over environments. Updates are written for the global batch;
environment ids are constrained to that axis and XLA partitions the rest, so gradients and
statistics are global and exact on any number of devices. Randomness is addressed by update, global
environment id and step, never by device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh

from jaxsched.core.environment import Environment, Source
from jaxsched.policies.distribution import MaskedCategorical
from jaxsched.policies.network import Apply, Params
from jaxsched.training.common import (
    MakeOptimizer,
    TrainState,
    env_ids,
    make_optimizer,
    shard,
)
from jaxsched.training.config import TrainConfig, with_numbers
from jaxsched.training.episodes import Episode, EpisodeKeys, episode_keys, observations

Metrics = dict[str, Array]
Update = Callable[[TrainState], tuple[TrainState, Metrics]]


class Task(NamedTuple):
    """What an algorithm works with; the real numbers in `config` may be traced."""

    env: Environment
    source: Source
    apply: Apply
    config: Any


class Lesson(struct.PyTreeNode):
    """An episode of T steps to learn from."""

    episode: Episode
    target: Any  # [T, ...]  what the loss compares the policy with, step by step


def mean_metrics(task: Task, lesson: Lesson, figures: Metrics) -> tuple[Lesson, Metrics]:
    """The lessons as they are, and the mean figures over the environments."""
    return lesson, {name: values.astype(jnp.float32).mean() for name, values in figures.items()}


class Algorithm(NamedTuple):
    """One way to learn. All three functions are pure.

    `play(task, params, keys, env_id)` plays for one environment and returns its lesson and figures
    f32[]. `loss(config, policy, value, target)` judges decisions, all of them at once: arrays of
    one shape [...] for the loss and for further metrics by name; their means over the decisions of
    a minibatch are what is minimised and logged. `finish(task, lessons, figures)` may look at the
    lessons of all environments together, [E, ...], and turns the figures f32[E] into metrics; it
    may return another number of lessons, if minibatches divide it.
    """

    config: type[TrainConfig]
    play: Callable[[Task, Params, EpisodeKeys, Array], tuple[Lesson, Metrics]]
    loss: Callable[[Any, MaskedCategorical, Array, Any], tuple[Array, Metrics]]
    finish: Callable[[Task, Lesson, Metrics], tuple[Lesson, Metrics]] = mean_metrics


def make_update(
    algorithm: Algorithm,
    env: Environment,
    source: Source,
    apply: Apply,
    config: TrainConfig,
    mesh: Mesh | None = None,
    optimizer: MakeOptimizer = make_optimizer,
) -> Update:
    """One update as one pure function of the train state. jit it, scan it, vmap it over seeds or
    over states that differ in their `numbers`.
    """

    def update(state: TrainState) -> tuple[TrainState, Metrics]:
        task = Task(env, source, apply, with_numbers(config, state.numbers))
        ids = env_ids(config.num_envs, mesh)

        def play(env_id: Array) -> tuple[Lesson, Metrics]:
            keys = episode_keys(state.key, state.update, env_id)
            return algorithm.play(task, state.params, keys, env_id)

        lessons, metrics = algorithm.finish(task, *jax.vmap(play)(ids))
        lessons = shard(lessons, mesh)
        state, more = _learn(algorithm, task, optimizer(task.config), state, lessons, mesh)
        return state, more | metrics

    return update


def _learn(
    algorithm: Algorithm,
    task: Task,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    lessons: Lesson,
    mesh: Mesh | None,
) -> tuple[TrainState, Metrics]:
    """`num_epochs` passes over minibatches of whole episodes, then the averaged weights.

    Minibatch m holds the environments with id % num_minibatches == m. Episodes are drawn afresh in
    every update and are exchangeable, so this is as good as a shuffle, needs no communication
    between devices, and makes a minibatch the same set of episodes on any number of devices.
    """
    config = task.config
    count = config.num_minibatches
    minibatches = jax.tree.map(
        lambda leaf: jnp.swapaxes(leaf.reshape(len(leaf) // count, count, *leaf.shape[1:]), 0, 1),
        lessons,
    )

    def step(carry, minibatch):
        params, opt_state = carry
        gradient, metrics = _gradient(algorithm, task, params, shard(minibatch, mesh), mesh)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        metrics = metrics | {"gradient_norm": jnp.linalg.norm(ravel_pytree(gradient)[0])}
        return (optax.apply_updates(params, updates), opt_state), metrics

    def epoch(carry, _):
        return jax.lax.scan(step, carry, minibatches)

    (params, opt_state), metrics = jax.lax.scan(
        epoch, (state.params, state.opt_state), None, config.num_epochs
    )
    state = state.replace(
        params=params,
        opt_state=opt_state,
        average=_average(config, state, params),
        update=state.update + 1,
    )
    return state, jax.tree.map(jnp.mean, metrics)


def _gradient(
    algorithm: Algorithm, task: Task, params: Params, lessons: Lesson, mesh: Mesh | None
) -> tuple[Params, Metrics]:
    """Gradient and metrics of the mean loss over all decisions of a minibatch of lessons [E, ...],
    summed over groups of episodes.
    """
    num_decisions = jnp.maximum(lessons.episode.mask.sum(dtype=jnp.int32), 1).astype(jnp.float32)

    def loss(params: Params, part: Lesson) -> tuple[Array, Metrics]:
        seen = jax.vmap(lambda episode: observations(task.env, episode))(part.episode)
        logits, value = jax.vmap(jax.vmap(task.apply, (None, 0)), (None, 0))(params, seen)
        policy = MaskedCategorical(logits, seen.action_mask)
        total, metrics = algorithm.loss(task.config, policy, value, part.target)

        def mean(values: Array) -> Array:
            values = values.astype(jnp.float32)
            return jnp.where(part.episode.mask, values, 0).sum() / num_decisions

        return mean(total), jax.tree.map(mean, metrics)

    gradient_of = jax.grad(loss, has_aux=True)
    size = len(lessons.episode.mask)
    group = micro_batch(task.config, size, mesh)
    if group == size:
        return gradient_of(params, lessons)
    parts = jax.tree.map(lambda leaf: leaf.reshape(size // group, group, *leaf.shape[1:]), lessons)

    def add(total, part):
        return jax.tree.map(jnp.add, total, gradient_of(params, part)), None

    types = jax.eval_shape(gradient_of, params, jax.tree.map(lambda leaf: leaf[0], parts))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), types)
    return jax.lax.scan(add, zeros, parts)[0]


def micro_batch(config: TrainConfig, size: int, mesh: Mesh | None = None) -> int:
    """Episodes of a minibatch of `size` whose gradients are computed at once."""
    wanted = config.micro_batch
    if wanted == 0:
        wanted = 8 if jax.default_backend() == "cpu" and mesh is None else size
    if wanted >= size:
        return size
    return next(group for group in range(wanted, 0, -1) if size % group == 0)


def _average(config: Any, state: TrainState, params: Params) -> Params:
    """The exponential moving average of the weights, whose memory grows at first."""
    done = state.update.astype(jnp.float32)
    rate = jnp.minimum(1.0, 1 / (config.average * config.num_updates))
    rate = jnp.maximum(rate, 9 / (10 + done))
    return jax.tree.map(lambda old, new: old + rate * (new - old), state.average, params)
