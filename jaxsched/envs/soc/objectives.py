"""What objectives are made of: time in the system so far, and the least latency of each job."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from jaxsched.envs.soc.decisions import draw_duration
from jaxsched.envs.soc.types import LATEST, Instance, State


def elapsed_in_system(state: State) -> Array:
    """i32[]: us that the jobs in the system have spent there, the warm-up left out."""
    since = jnp.maximum(state.jobs.arrival, state.instance.warm_up)
    return jnp.where(state.jobs.occupied, jnp.maximum(state.time - since, 0), 0).sum(
        dtype=jnp.int32
    )


def drawn_times(instance: Instance) -> Array:
    """i32[N, T, Q]: us that each task of each job takes on each PE; 0 where it cannot run."""
    mean = instance.system.exec_time[instance.profile]
    if instance.noise is None:
        return mean
    ordinals, tasks = (jnp.arange(size, dtype=jnp.int32) for size in mean.shape[:2])

    def draw(ordinal: Array, task: Array, means: Array) -> Array:
        return jax.vmap(lambda each: draw_duration(instance, ordinal, task, each))(means)

    return jax.vmap(jax.vmap(draw, (None, 0, 0)), (0, None, 0))(ordinals, tasks, mean)


def shortest_latency(instance: Instance) -> Array:
    """i32[N]: critical path of each job on its fastest PEs, transfers left out, us; with noise,
    by its own draws.
    """
    system = instance.system
    mean, mask = drawn_times(instance), system.exec_mask[instance.profile]  # [N, T, Q]
    fastest = jnp.where(mask, mean, LATEST).min(-1)
    fastest = jnp.where(mask.any(-1), fastest, 0)  # [N, T]
    before, is_before = (
        system.predecessor[instance.profile],
        system.predecessor_mask[instance.profile],
    )

    def relax(_: int, end: Array) -> Array:
        ends = jax.vmap(lambda row, ids: row[ids])(end, before)
        return fastest + jnp.where(is_before, ends, 0).max(-1)

    end = jax.lax.fori_loop(0, system.num_tasks, relax, fastest)
    return jnp.where(instance.job_mask, end.max(-1), 0)
