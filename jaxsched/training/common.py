"""Pieces that PPO and self-labelling share: the train state, addressed episodes, gradient steps
over one mesh axis.

Sharding: `Mesh` has one axis `data` over environments. Updates are written for the global batch;
environment ids are constrained to that axis and XLA partitions the rest, so gradients and
statistics are global and exact on any number of devices. Randomness is addressed by update, global
environment id and step, never by device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array, random
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxsched.core.environment import Environment, Source
from jaxsched.core.graph import GraphObservation
from jaxsched.core.rollout import replay
from jaxsched.policies.network import Apply, Params, example_observation, init_network
from jaxsched.training.config import TrainConfig
from jaxsched.training.schedules import make_schedule

Metrics = dict[str, Array]


class TrainState(struct.PyTreeNode):
    """Everything a run needs to go on."""

    params: Params
    opt_state: optax.OptState
    update: Array  # i32[]  updates done
    key: Array  # the run's key; never advanced, draws are addressed by update


Update = Callable[[TrainState], tuple[TrainState, Metrics]]


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Adam with the scheduled learning rate behind a global-norm clip."""
    schedule = make_schedule(config.schedule, config.learning_rate, config.num_gradient_steps)
    return optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm), optax.adam(schedule, eps=1e-5)
    )


def init_state(
    key: Array,
    env: Environment,
    source: Source,
    config: TrainConfig,
    optimizer: optax.GradientTransformation,
) -> tuple[Apply, TrainState]:
    """The network's pure `apply` and the first train state. vmap over keys for several seeds."""
    init_key, run_key = random.split(key)
    apply, params = init_network(init_key, example_observation(env, source), config.network)
    return apply, TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32), run_key)


def env_ids(num_envs: int, mesh: Mesh | None) -> Array:
    """Global environment ids i32[num_envs], laid out along the mesh axis `data`."""
    return shard(jnp.arange(num_envs, dtype=jnp.int32), mesh)


def shard(tree: Any, mesh: Mesh | None) -> Any:
    """Constrain the leading axis of every leaf to the mesh axis `data`."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec("data")))


def data_mesh(num_devices: int | None = None) -> Mesh | None:
    """A mesh over all (or the first `num_devices`) devices; None for one device."""
    devices = jax.devices()[:num_devices]
    if len(devices) == 1:
        return None
    return jax.make_mesh(
        (len(devices),), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=devices
    )


def episode_keys(key: Array, update: Array, env_id: Array) -> tuple[Array, Array, Array]:
    """Keys of one environment in one update: for its instance, its reset, and its steps."""
    instance_key, reset_key, step_key = random.split(
        random.fold_in(random.fold_in(key, update), env_id), 3
    )
    return instance_key, reset_key, step_key


def revisit(
    env: Environment, reset_key: Array, step_key: Array, instance: Any, actions: Array
) -> tuple[GraphObservation, Array]:
    """Observations and decision mask along the recorded `actions` i32[T] of an episode.

    Replaying the rules is far cheaper than the network, so trainers keep actions instead of states
    or observations.
    """
    state, _ = env.reset(reset_key, instance)
    _, (states, mask) = replay(env, step_key, state, actions)
    return jax.vmap(lambda bare: env.observe(bare.replace(instance=instance)))(states), mask


def gradient_steps(
    state: TrainState,
    optimizer: optax.GradientTransformation,
    loss: Callable[[Params, Any], tuple[Array, Metrics]],
    batch: Any,
    config: TrainConfig,
    mesh: Mesh | None,
) -> tuple[TrainState, Metrics]:
    """`num_epochs` passes over minibatches of whole episodes (leading axis of `batch`:
    environments).

    Minibatch m holds the environments with id % num_minibatches == m. Episodes are drawn afresh in
    every update and are exchangeable, so this is as good as a shuffle, needs no communication
    between devices, and makes a minibatch the same set of episodes on any number of devices.
    """
    count = config.num_minibatches
    minibatches = jax.tree.map(
        lambda leaf: jnp.swapaxes(leaf.reshape(len(leaf) // count, count, *leaf.shape[1:]), 0, 1),
        batch,
    )

    def step(carry, minibatch):
        params, opt_state = carry
        minibatch = shard(minibatch, mesh)
        (_, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params, minibatch)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        metrics = metrics | {"gradient_norm": optax.tree.norm(gradient)}
        return (optax.apply_updates(params, updates), opt_state), metrics

    def epoch(carry, _):
        return jax.lax.scan(step, carry, minibatches)

    (params, opt_state), metrics = jax.lax.scan(
        epoch, (state.params, state.opt_state), None, config.num_epochs
    )
    state = state.replace(params=params, opt_state=opt_state, update=state.update + 1)
    return state, jax.tree.map(jnp.mean, metrics)
