"""Objectives of a stream as running bounds, and what no scheduler can beat."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from jaxsched.envs.soc import rules
from jaxsched.envs.soc.types import LATEST, Instance, State


def elapsed_in_system(state: State) -> Array:
    """i32[]: us that the jobs in the system have spent there, the warm-up left out."""
    since = jnp.maximum(state.jobs.arrival, state.instance.warm_up)
    return jnp.where(state.jobs.occupied, jnp.maximum(state.time - since, 0), 0).sum(dtype=jnp.int32)


def bound(state: State, objective: str) -> Array:
    """i32[]: running lower bound on the objective, non-decreasing and exact once done; its decrease is the reward.

    `latency`: finish - arrival, summed over the jobs completed after the warm-up. `jobs_in_system`: the integral of
    their number, which a job leaves when its last task retires. `makespan`: the last finish.
    """
    if objective == "latency":
        return state.latency
    if objective == "makespan":
        return state.last_finish
    return state.residence + elapsed_in_system(state)


def drawn_times(instance: Instance) -> Array:
    """i32[N, T, Q]: us that each task of each job takes on each PE; 0 where it cannot run."""
    mean = instance.system.exec_time[instance.profile]
    if instance.noise is None:
        return mean
    ordinals, tasks = (jnp.arange(size, dtype=jnp.int32) for size in mean.shape[:2])

    def draw(ordinal: Array, task: Array, means: Array) -> Array:
        return jax.vmap(lambda each: rules.draw_duration(instance, ordinal, task, each))(means)

    return jax.vmap(jax.vmap(draw, (None, 0, 0)), (0, None, 0))(ordinals, tasks, mean)


def shortest_latency(instance: Instance) -> Array:
    """i32[N]: critical path of each job on its fastest PEs, transfers left out, us; with noise, by its own draws."""
    system = instance.system
    mean, mask = drawn_times(instance), system.exec_mask[instance.profile]  # [N, T, Q]
    fastest = jnp.where(mask, mean, LATEST).min(-1)
    fastest = jnp.where(mask.any(-1), fastest, 0)  # [N, T]
    before, is_before = system.predecessor[instance.profile], system.predecessor_mask[instance.profile]

    def relax(_: int, end: Array) -> Array:
        ends = jax.vmap(lambda row, ids: row[ids])(end, before)
        return fastest + jnp.where(is_before, ends, 0).max(-1)

    end = jax.lax.fori_loop(0, system.num_tasks, relax, fastest)
    return jnp.where(instance.job_mask, end.max(-1), 0)


def lower_bound(instance: Instance, objective: str) -> Array:
    """i32[]: no schedule is better. Sums: the critical paths; makespan: the latest of them, from its earliest entry.

    0 with a warm-up or a horizon, which leave out what is slow enough.
    """
    shortest = shortest_latency(instance)
    if objective == "makespan":
        entry = jnp.cumsum(instance.gap, dtype=jnp.int32)
        value = jnp.where(instance.job_mask, entry + shortest, 0).max()
    else:
        value = shortest.sum(dtype=jnp.int32)
    return jnp.where((instance.warm_up > 0) | (instance.horizon < LATEST), 0, value)
