"""Random flexible job shops in pure JAX: the two generators of the literature and one with free
ranges.

A source is any callable `key -> Instance`. That below is a frozen dataclass: hashable, comparable,
safe to close over or to pass as a static argument, with shapes that depend on its fields alone.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from jaxsched.envs.job_shop.flexible.lists import MAX_CELLS, too_long
from jaxsched.envs.job_shop.flexible.types import Instance

Range = tuple[int, int]  # lowest and highest value, both inclusive


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Random flexible job shops; see `uniform` for the fields. Static shapes: the upper ends of
    the ranges.
    """

    jobs: Range
    machines: Range
    ops: Range  # with `ops_per_machine` in per cent of the number of machines
    alternatives: Range
    duration: Range
    spread_percent: int | None
    ops_per_machine: bool

    def __post_init__(self):
        for name in ("jobs", "machines", "ops", "alternatives"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ValueError(f"{name} need 1 <= low <= high, got {low} and {high}")
        low, high = self.duration
        if not 0 <= low <= high:
            raise ValueError(f"durations need 0 <= low <= high, got low={low}, high={high}")
        if self.spread_percent is not None and not 0 <= self.spread_percent <= 100:
            raise ValueError(f"spread is in [0, 1], got {self.spread_percent / 100}")
        if self.ops_per_machine and self.ops[0] * self.machines[0] < 100:
            raise ValueError(f"{self.machines[0]} machines leave jobs without operations")
        if self.jobs[1] * self.num_ops * self.machines[1] > MAX_CELLS:
            raise ValueError(f"more than {MAX_CELLS} pairs of an operation and a machine")
        if reason := too_long(self.jobs[1] * self.num_ops * high, self.machines[1]):
            raise ValueError(reason)

    @property
    def num_ops(self) -> int:
        """Operations per job, the padded number."""
        return self.ops[1] * self.machines[1] // 100 if self.ops_per_machine else self.ops[1]

    def __call__(self, key: Array) -> Instance:
        """An instance drawn with `key`; the same one with x64 on or off, jitted or not."""
        size_key, length_key, count_key, machine_key, mean_key, duration_key = jax.random.split(
            key, 6
        )
        num_jobs, num_ops, num_machines = self.jobs[1], self.num_ops, self.machines[1]
        job_key, machines_key = jax.random.split(size_key)
        real_jobs, real_machines = (
            _between(job_key, (), *self.jobs),
            _between(machines_key, (), *self.machines),
        )
        machine_mask = jnp.arange(num_machines, dtype=jnp.int32) < real_machines

        low, high = self.ops
        if self.ops_per_machine:
            low, high = low * real_machines // 100, high * real_machines // 100
        length = _between(length_key, (num_jobs, 1), low, high)
        op_mask = jnp.arange(num_ops, dtype=jnp.int32)[None] < length
        op_mask &= jnp.arange(num_jobs, dtype=jnp.int32)[:, None] < real_jobs

        # The first machines of a random order that are real.
        low, high = (jnp.minimum(end, real_machines) for end in self.alternatives)
        count = _between(count_key, (num_jobs, num_ops, 1), low, high)
        machines = jnp.broadcast_to(
            jnp.arange(num_machines, dtype=jnp.int32), (num_jobs, num_ops, num_machines)
        )
        order = jax.random.permutation(machine_key, machines, axis=2, independent=True)
        order = jnp.where(machine_mask, order, order + num_machines)
        rank = jnp.argsort(jnp.argsort(order, -1), -1).astype(jnp.int32)
        eligible = (rank < count) & op_mask[..., None]

        low, high = self.duration
        if self.spread_percent is not None:
            mean = _between(mean_key, (num_jobs, num_ops, 1), low, high)
            least, most = (
                (mean * (100 + sign * self.spread_percent) + 50) // 100 for sign in (-1, 1)
            )
            low, high = jnp.maximum(least, low), jnp.minimum(most, high)
        duration = _between(duration_key, (num_jobs, num_ops, num_machines), low, high)
        return Instance(jnp.where(eligible, duration, 0), eligible, op_mask, machine_mask)


def uniform(
    num_jobs: int,
    num_machines: int,
    *,
    ops: Range,
    alternatives: Range | None = None,
    low: int = 1,
    high: int = 99,
    spread: float | None = None,
    min_jobs: int | None = None,
    min_machines: int | None = None,
) -> Uniform:
    """All of it uniform, both ends inclusive: `ops` operations a job, each on `alternatives`
    machines (default: any number), with durations in `[low, high]`, independent on every machine.

    With `spread` an operation has a mean in `[low, high]`, and each machine a duration within that
    share of it, rounded half up, still in `[low, high]`. With `min_jobs` or `min_machines` the size
    is drawn too, `num_jobs` and `num_machines` at most. Raises `ValueError` for settings that
    contradict each other.
    """
    return Uniform(
        jobs=(num_jobs if min_jobs is None else min_jobs, num_jobs),
        machines=(num_machines if min_machines is None else min_machines, num_machines),
        ops=ops,
        alternatives=(1, num_machines) if alternatives is None else alternatives,
        duration=(low, high),
        spread_percent=None if spread is None else round(100 * spread),
        ops_per_machine=False,
    )


def sd1(
    num_jobs: int,
    num_machines: int,
    *,
    min_jobs: int | None = None,
    min_machines: int | None = None,
) -> Uniform:
    """SD1, the distribution of Song et al. (IEEE TII 2023), from their released generator.

    A job has 0.8 to 1.2 operations per machine (rounded down), an operation 1 to all machines and a
    mean of 1 to 20 ticks; each machine takes within 20 % of the mean. Sizes as in `uniform`.
    """
    source = uniform(
        num_jobs,
        num_machines,
        ops=(80, 120),
        low=1,
        high=20,
        spread=0.2,
        min_jobs=min_jobs,
        min_machines=min_machines,
    )
    return dataclasses.replace(source, ops_per_machine=True)


def sd2(
    num_jobs: int,
    num_machines: int,
    *,
    min_jobs: int | None = None,
    min_machines: int | None = None,
) -> Uniform:
    """SD2, the `mix` distribution of DANIEL (Wang et al., IEEE TNNLS 2023), from their released
    generator.

    A job has one operation per machine, an operation 1 to all machines; durations are 1 to 99,
    independent on every machine. Sizes as in `uniform`.
    """
    source = uniform(
        num_jobs, num_machines, ops=(100, 100), min_jobs=min_jobs, min_machines=min_machines
    )
    return dataclasses.replace(source, ops_per_machine=True)


def _between(key: Array, shape: tuple[int, ...], low: Array | int, high: Array | int) -> Array:
    """i32 of `shape`, uniform in [low, high]."""
    return jax.random.randint(key, shape, low, jnp.asarray(high, jnp.int32) + 1, jnp.int32)
