"""Where job shops come from: random generators (pure JAX) and Taillard's published one (exact, on the host).

A source is any callable `key -> Instance`. Those below are frozen dataclasses: hashable, comparable, safe to close over
or to pass as a static argument, with shapes that depend on their fields alone.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsched.envs.job_shop.types import Instance

INT32_MAX = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Random job shops; see `uniform` for the fields. `source(key)` has static shapes `[num_jobs, ops_per_job]`."""

    num_jobs: int
    num_machines: int
    low: int
    high: int
    ops_per_job: int
    min_ops: int
    recirculation: bool

    def __post_init__(self):
        if self.num_jobs < 1 or self.num_machines < 1:
            raise ValueError(f"need at least one job and one machine, got {self.num_jobs} and {self.num_machines}")
        if not 0 <= self.low <= self.high:
            raise ValueError(f"durations need 0 <= low <= high, got low={self.low}, high={self.high}")
        if not 1 <= self.min_ops <= self.ops_per_job:
            raise ValueError(f"need 1 <= min_ops <= ops_per_job, got {self.min_ops} and {self.ops_per_job}")
        if not self.recirculation and self.ops_per_job > self.num_machines:
            raise ValueError(
                f"{self.ops_per_job} operations on {self.num_machines} machines revisit one: pass recirculation=True"
            )
        if self.num_jobs * self.ops_per_job * self.high > INT32_MAX:
            raise ValueError("num_jobs * ops_per_job * high exceeds int32: the times of a schedule would overflow")

    def __call__(self, key: Array) -> Instance:
        """An instance drawn with `key`; the same one with x64 on or off, jitted or not."""
        machine_key, duration_key, length_key = jax.random.split(key, 3)
        shape = self.num_jobs, self.ops_per_job
        if self.recirculation:
            machine = jax.random.randint(machine_key, shape, 0, self.num_machines, jnp.int32)
        else:
            machines = jnp.broadcast_to(
                jnp.arange(self.num_machines, dtype=jnp.int32), (self.num_jobs, self.num_machines)
            )
            machine = jax.random.permutation(machine_key, machines, axis=1, independent=True)[:, : self.ops_per_job]
        duration = jax.random.randint(duration_key, shape, self.low, self.high + 1, jnp.int32)
        length = jax.random.randint(length_key, (self.num_jobs, 1), self.min_ops, self.ops_per_job + 1, jnp.int32)
        op_mask = jnp.arange(self.ops_per_job, dtype=jnp.int32) < length
        return _instance(jnp.where(op_mask, machine, 0), jnp.where(op_mask, duration, 0), op_mask, self.num_machines)


def uniform(
    num_jobs: int,
    num_machines: int,
    low: int = 1,
    high: int = 99,
    ops_per_job: int | None = None,
    recirculation: bool = False,
    *,
    min_ops: int | None = None,
) -> Uniform:
    """Durations uniform in `[low, high]`, both inclusive, and random routes.

    A route is a random permutation of the machines, cut to `ops_per_job` (default: all machines); with `recirculation`
    every machine of it is drawn uniformly, with repetition. With `min_ops` the number of operations of each job is
    uniform in `[min_ops, ops_per_job]`. Raises `ValueError` for settings that contradict each other.
    """
    most = num_machines if ops_per_job is None else ops_per_job
    return Uniform(num_jobs, num_machines, low, high, most, most if min_ops is None else min_ops, recirculation)


def taillard_style(num_jobs: int, num_machines: int) -> Uniform:
    """The distribution of Taillard (1993), durations 1-99 and permutation routes, drawn with JAX keys."""
    return uniform(num_jobs, num_machines)


def jumanji(num_jobs: int = 20, num_machines: int = 10, max_ops: int = 8, max_duration: int = 6) -> Uniform:
    """The distribution (not the bits) of jumanji's `RandomGenerator`, with the defaults of its `JobShop-v0`.

    Machines uniform with repetition, 1 to `max_ops` operations a job, durations 1 to `max_duration`.
    """
    return uniform(num_jobs, num_machines, 1, max_duration, max_ops, recirculation=True, min_ops=1)


def taillard(num_jobs: int, num_machines: int, time_seed: int, machine_seed: int) -> Instance:
    """The instance of Taillard (1993, "Benchmarks for basic scheduling problems", EJOR 64) for two published seeds.

    Exact integers on the host: bit for bit the published instances. Seeds are in `[1, 2**31 - 2]`.
    """
    if num_jobs < 1 or num_machines < 1:
        raise ValueError(f"need at least one job and one machine, got {num_jobs} and {num_machines}")
    time_stream, machine_stream = _Lehmer(time_seed), _Lehmer(machine_seed)
    duration = [[time_stream.integer(1, 99) for _ in range(num_machines)] for _ in range(num_jobs)]
    machine = np.tile(np.arange(num_machines), (num_jobs, 1))
    for route in machine:
        for position in range(num_machines):
            other = machine_stream.integer(position, num_machines - 1)
            route[position], route[other] = route[other], route[position]
    op_mask = jnp.ones((num_jobs, num_machines), jnp.bool_)
    return _instance(jnp.asarray(machine, jnp.int32), jnp.asarray(duration, jnp.int32), op_mask, num_machines)


def _instance(machine: Array, duration: Array, op_mask: Array, num_machines: int) -> Instance:
    """No release dates, no due dates, weights 1, every job and machine real."""
    num_jobs = machine.shape[0]
    return Instance(
        machine=machine,
        duration=duration,
        op_mask=op_mask,
        machine_mask=jnp.ones(num_machines, jnp.bool_),
        release=jnp.zeros(num_jobs, jnp.int32),
        due=jnp.zeros(num_jobs, jnp.int32),
        due_mask=jnp.zeros(num_jobs, jnp.bool_),
        weight=jnp.ones(num_jobs, jnp.int32),
    )


class _Lehmer:
    """The linear congruential generator of Bratley, Fox and Schrage (1983) that Taillard's benchmarks use."""

    multiplier, modulus = 16807, 2**31 - 1

    def __init__(self, seed: int):
        if not 1 <= seed < self.modulus:
            raise ValueError(f"a Taillard seed is in [1, {self.modulus - 1}], got {seed}")
        self.state = seed

    def integer(self, low: int, high: int) -> int:
        """The next integer in `[low, high]`; floor(u * width) without the rounding of a floating-point u."""
        self.state = self.multiplier * self.state % self.modulus
        return low + self.state * (high - low + 1) // self.modulus
