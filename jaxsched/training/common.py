"""The train state, its optimiser, and the one mesh axis over environments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxsched.policies.network import Params
from jaxsched.training.config import TrainConfig, numbers_of
from jaxsched.training.schedules import make_schedule

# From a configuration, whose real numbers may be traced.
MakeOptimizer = Callable[[Any], optax.GradientTransformation]


class TrainState(struct.PyTreeNode):
    """Everything a run needs to go on."""

    params: Params
    average: Params  # exponential moving average of the parameters: to be evaluated and used
    opt_state: optax.OptState
    update: Array  # i32[]  updates done
    key: Array  # the run's key; never advanced, draws are addressed by update
    numbers: dict[str, Array]  # f32[] each: the real numbers of the config, so that they may vary


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Adam with the scheduled learning rate behind a global-norm clip."""
    schedule = make_schedule(config.schedule, config.learning_rate, config.num_gradient_steps)
    chain = optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm), optax.adam(schedule, eps=1e-5)
    )
    # As one long vector: a tenth of the operations to compile and to launch.
    return optax.flatten(chain)


def init_state(
    key: Array, params: Params, config: TrainConfig, optimizer: MakeOptimizer = make_optimizer
) -> TrainState:
    """The state before the first update. vmap over keys and parameters for several seeds."""
    return TrainState(
        params=params,
        # a copy: an update may donate both
        average=jax.tree.map(jnp.copy, params),
        opt_state=optimizer(config).init(params),
        update=jnp.zeros((), jnp.int32),
        key=key,
        numbers={name: jnp.float32(value) for name, value in numbers_of(config).items()},
    )


def env_ids(num_envs: int, mesh: Mesh | None) -> Array:
    """Global environment ids i32[num_envs], laid out along the mesh axis `data`."""
    return shard(jnp.arange(num_envs, dtype=jnp.int32), mesh)


def shard(tree: Any, mesh: Mesh | None) -> Any:
    """Constrain the leading axis of every leaf to the mesh axis `data`."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec("data")))


def devices_that_fit(config: TrainConfig, num_devices: int | None = None) -> int:
    """The largest number of devices, at most those there are, over which the minibatches of a
    configuration lie evenly: on others, XLA would copy every environment to every device.
    """
    size = config.num_envs // config.num_minibatches
    most = jax.device_count() if num_devices is None else num_devices
    return max(count for count in range(1, most + 1) if size % count == 0)


def check_mesh(config: TrainConfig, mesh: Mesh | None) -> None:
    """Refuse a mesh over which the minibatches do not lie evenly."""
    size = config.num_envs // config.num_minibatches
    if mesh is not None and size % mesh.size:
        raise ValueError(
            f"minibatches of {size} environments (num_envs {config.num_envs} / num_minibatches "
            f"{config.num_minibatches}) do not lie evenly on {mesh.size} devices; "
            f"{devices_that_fit(config, mesh.size)} would do"
        )


def data_mesh(num_devices: int | None = None) -> Mesh | None:
    """A mesh over all (or the first `num_devices`) devices; None for one device."""
    devices = jax.devices()[:num_devices]
    if len(devices) == 1:
        return None
    return jax.make_mesh(
        (len(devices),), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=devices
    )
