"""Where job shops come from: random generators (pure JAX) and Taillard's published one (exact, on
the host).

A source is any callable `key -> Instance`. Those below are frozen dataclasses: hashable,
comparable, safe to close over or to pass as a static argument, with shapes that depend on their
fields alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsched.envs.job_shop.types import Instance
from jaxsched.host.checks import INT32_MAX


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Random job shops; see `uniform` for the fields. `source(key)` has static shapes
    `[num_jobs, ops_per_job]`.
    """

    num_jobs: int
    num_machines: int
    low: int
    high: int
    ops_per_job: int
    min_ops: int
    recirculation: bool

    def __post_init__(self):
        if self.num_jobs < 1 or self.num_machines < 1:
            raise ValueError(
                f"need at least one job and one machine, got {self.num_jobs} and {self.num_machines}"
            )
        if not 0 <= self.low <= self.high:
            raise ValueError(
                f"durations need 0 <= low <= high, got low={self.low}, high={self.high}"
            )
        if not 1 <= self.min_ops <= self.ops_per_job:
            raise ValueError(
                f"need 1 <= min_ops <= ops_per_job, got {self.min_ops} and {self.ops_per_job}"
            )
        if not self.recirculation and self.ops_per_job > self.num_machines:
            raise ValueError(
                f"{self.ops_per_job} operations on {self.num_machines} machines revisit one: pass recirculation=True"
            )
        if self.num_jobs * self.ops_per_job * self.high > INT32_MAX:
            raise ValueError(
                "num_jobs * ops_per_job * high exceeds int32: the times of a schedule would overflow"
            )

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
            machine = jax.random.permutation(machine_key, machines, axis=1, independent=True)[
                :, : self.ops_per_job
            ]
        duration = jax.random.randint(duration_key, shape, self.low, self.high + 1, jnp.int32)
        length = jax.random.randint(
            length_key, (self.num_jobs, 1), self.min_ops, self.ops_per_job + 1, jnp.int32
        )
        op_mask = jnp.arange(self.ops_per_job, dtype=jnp.int32)[None] < length
        return _instance(
            jnp.where(op_mask, machine, 0),
            jnp.where(op_mask, duration, 0),
            op_mask,
            self.num_machines,
        )


@dataclasses.dataclass(frozen=True)
class TwoSet:
    """Random two-set job shops; see `two_set` for the fields. Static shapes `[num_jobs,
    num_machines]`.
    """

    num_jobs: int
    num_machines: int
    low: int
    high: int

    def __post_init__(self):
        uniform(self.num_jobs, self.num_machines, self.low, self.high)  # the same checks

    def __call__(self, key: Array) -> Instance:
        """An instance drawn with `key`; the same one with x64 on or off, jitted or not."""
        first_key, second_key, duration_key = jax.random.split(key, 3)
        half, machines = self.num_machines // 2, jnp.arange(self.num_machines, dtype=jnp.int32)
        sets = [
            jax.random.permutation(
                set_key,
                jnp.broadcast_to(part, (self.num_jobs, len(part))),
                axis=1,
                independent=True,
            )
            for set_key, part in ((first_key, machines[:half]), (second_key, machines[half:]))
        ]
        shape = self.num_jobs, self.num_machines
        duration = jax.random.randint(duration_key, shape, self.low, self.high + 1, jnp.int32)
        return _instance(
            jnp.concatenate(sets, 1), duration, jnp.ones(shape, jnp.bool_), self.num_machines
        )


@dataclasses.dataclass(frozen=True)
class KnownOptimum:
    """Random job shops whose optimal makespan is `makespan`; see `known_optimum` for the fields
    and the method.
    """

    num_jobs: int
    num_machines: int
    makespan: int

    def __post_init__(self):
        if not 1 <= self.num_machines <= self.num_jobs:
            raise ValueError(
                f"need 1 <= num_machines <= num_jobs to keep every machine busy, "
                f"got {self.num_machines} machines and {self.num_jobs} jobs"
            )
        if self.makespan < self.num_jobs:
            raise ValueError(
                f"a makespan of {self.makespan} leaves no tick for each of {self.num_jobs} jobs"
            )
        if self.makespan * self.num_machines > INT32_MAX:
            raise ValueError(
                "makespan * num_machines exceeds int32: the times of a schedule would overflow"
            )

    def __call__(self, key: Array) -> Instance:
        """An instance drawn with `key`; the same one with x64 on or off, jitted or not."""
        return self.solved(key)[0]

    def solved(self, key: Array) -> tuple[Instance, Array]:
        """`self(key)` and an optimal schedule of it: the start of each operation, i32[J, K],
        ticks.
        """
        job_key, machine_key, slice_key, length_key, shift_key = jax.random.split(key, 5)
        num_jobs, num_machines = self.num_jobs, self.num_machines
        jobs = jnp.arange(num_jobs, dtype=jnp.int32)

        # Slices of time, one per job, in random order. Machine m works in slice s on job (turn[s] +
        # offset[m]) mod J; the offsets differ, so no job is on two machines in one slice.
        turn = jax.random.permutation(slice_key, jobs)
        offset = jax.random.permutation(machine_key, jobs)[:num_machines]

        # Lengths in pairs mean + x, mean - x with x uniform; the remainder goes to the first
        # slices.
        mean = self.makespan // num_jobs
        x = jax.random.randint(length_key, (num_jobs // 2,), 1 - mean, mean, jnp.int32)
        length = mean + jnp.concatenate([x, -x, jnp.zeros(num_jobs % 2, jnp.int32)])
        length = length + (jobs < self.makespan % num_jobs).astype(jnp.int32)
        border = jnp.cumsum(length, dtype=jnp.int32)[:-1]  # i32[J - 1] between slices

        # Each machine shifts its borders by less than half a slice. A job that goes from machine m
        # to m' at a border must not shift more on m than on m': the larger shift is handed on, M
        # times at most.
        low, high = -(length[:-1] // 2), (length[1:] - 1) // 2
        shift = jax.random.randint(
            shift_key, (num_jobs - 1, num_machines), low[:, None], high[:, None] + 1, jnp.int32
        )
        # the offset it had in the slice before
        came = (turn[1:, None] + offset[None] - turn[:-1, None]) % num_jobs
        same = came[:, :, None] == offset[None, None]  # bool[J - 1, M, M'] it came to m from m'

        def hand_on(_: int, shift: Array) -> Array:
            return jnp.maximum(shift, jnp.where(same, shift[:, None], low[:, None, None]).max(-1))

        shift = jax.lax.fori_loop(0, num_machines, hand_on, shift)

        zero, end = (
            jnp.zeros((1, num_machines), jnp.int32),
            jnp.full((1, num_machines), self.makespan, jnp.int32),
        )
        # i32[J + 1, M] borders of each machine
        time = jnp.concatenate([zero, border[:, None] + shift, end])
        # i32[J, M]
        slices = (
            jnp.zeros(num_jobs, jnp.int32)
            .at[turn]
            .set(jobs)[(jobs[:, None] - offset[None]) % num_jobs]
        )
        slices = slices[jax.random.permutation(job_key, jobs)]
        # its machines in the order of their slices
        machine = jnp.argsort(slices, 1).astype(jnp.int32)
        slices = jnp.sort(slices, 1)
        start = time[slices, machine]
        op_mask = jnp.ones((num_jobs, num_machines), jnp.bool_)
        return _instance(machine, time[slices + 1, machine] - start, op_mask, num_machines), start


@dataclasses.dataclass(frozen=True)
class DueDates:
    """A source with release dates, due dates and weights; see `with_due_dates`. Ratios are in
    whole per cent.
    """

    source: Callable[[Array], Instance]
    tightness_percent: int
    release_percent: int
    weights: tuple[int, int]

    def __post_init__(self):
        if not (0 <= self.tightness_percent <= 10_000 and 0 <= self.release_percent <= 10_000):
            raise ValueError(
                "tightness and release_spread are in [0, 100], "
                f"got {self.tightness_percent / 100} and {self.release_percent / 100}"
            )
        if not 0 <= self.weights[0] <= self.weights[1] < INT32_MAX:
            raise ValueError(f"weights need 0 <= low <= high < 2**31 - 1, got {self.weights}")

    def __call__(self, key: Array) -> Instance:
        """An instance drawn with `key`; the same one with x64 on or off, jitted or not."""
        source_key, release_key, weight_key = jax.random.split(key, 3)
        instance = self.source(source_key)
        real = instance.op_mask.any(-1)
        work = instance.duration.sum(-1, dtype=jnp.int32)
        latest = _per_cent(
            work.sum(dtype=jnp.int32) // jnp.maximum(real.sum(dtype=jnp.int32), 1),
            self.release_percent,
        )
        release = instance.release + jax.random.randint(
            release_key, real.shape, 0, latest + 1, jnp.int32
        )
        low, high = self.weights
        weight = jax.random.randint(weight_key, real.shape, low, high + 1, jnp.int32)
        return instance.replace(
            release=jnp.where(real, release, 0),
            due=jnp.where(real, release + _per_cent(work, self.tightness_percent), 0),
            due_mask=real,
            weight=jnp.where(real, weight, 0),
        )


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

    A route is a random permutation of the machines, cut to `ops_per_job` (default: all machines);
    with `recirculation` every machine of it is drawn uniformly, with repetition. With `min_ops` the
    number of operations of each job is uniform in `[min_ops, ops_per_job]`. Raises `ValueError` for
    settings that contradict each other.
    """
    most = num_machines if ops_per_job is None else ops_per_job
    return Uniform(
        num_jobs, num_machines, low, high, most, most if min_ops is None else min_ops, recirculation
    )


def taillard_style(num_jobs: int, num_machines: int) -> Uniform:
    """The distribution of Taillard (1993), durations 1-99 and permutation routes, drawn with JAX
    keys.
    """
    return uniform(num_jobs, num_machines)


def jumanji(
    num_jobs: int = 20, num_machines: int = 10, max_ops: int = 8, max_duration: int = 6
) -> Uniform:
    """The distribution (not the bits) of jumanji's `RandomGenerator`, with the defaults of its
    `JobShop-v0`.

    Machines uniform with repetition, 1 to `max_ops` operations a job, durations 1 to
    `max_duration`.
    """
    return uniform(num_jobs, num_machines, 1, max_duration, max_ops, recirculation=True, min_ops=1)


def two_set(num_jobs: int, num_machines: int, low: int = 1, high: int = 200) -> TwoSet:
    """The distribution of dmu41-80 (Demirkol, Mehta & Uzsoy 1998, EJOR 109).

    Each job visits all machines of the first half, `num_machines // 2` of them, in random order,
    then all others. Durations are uniform in `[low, high]`, both inclusive.
    """
    return TwoSet(num_jobs, num_machines, low, high)


def known_optimum(num_jobs: int, num_machines: int, makespan: int | None = None) -> KnownOptimum:
    """Random job shops whose optimal makespan is `makespan`, by default 50 ticks for each job; the
    method is ours.

    Each job visits each machine once. A schedule is drawn in which every machine works without a
    pause from 0 to `makespan`, on each job once: a Latin rectangle of jobs, with slices of random
    length whose borders every machine shifts on its own. So the load of each machine, and
    `lower_bound(instance)`, is the optimum, which is also the field `makespan` of the source.
    `source.solved(key)` returns the schedule too. Needs as many jobs as machines or more.
    """
    return KnownOptimum(num_jobs, num_machines, 50 * num_jobs if makespan is None else makespan)


def with_due_dates(
    source: Callable[[Array], Instance],
    tightness: float = 1.5,
    release_spread: float = 0.0,
    weights: tuple[int, int] = (1, 4),
) -> DueDates:
    """`source` with due dates by total work content, the TWK rule (Baker 1984, Management Science
    30).

    The due date of a job is its release plus `tightness` times its work, rounded half up; weights
    are integers uniform in `weights`, both inclusive. Releases are those of the source plus an
    integer uniform in [0, `release_spread` times the mean work of a job]. Both ratios are in [0,
    100] and rounded to whole per cent, so that all integers are exact; the amounts they yield stop
    at 2**30 ticks.
    """
    low, high = weights
    return DueDates(source, round(100 * tightness), round(100 * release_spread), (low, high))


def taillard(num_jobs: int, num_machines: int, time_seed: int, machine_seed: int) -> Instance:
    """The instance of Taillard (1993, "Benchmarks for basic scheduling problems", EJOR 64) for two
    published seeds.

    Exact integers on the host: bit for bit the published instances. Seeds are in `[1, 2**31 - 2]`.
    """
    if num_jobs < 1 or num_machines < 1:
        raise ValueError(
            f"need at least one job and one machine, got {num_jobs} and {num_machines}"
        )
    time_stream, machine_stream = _Lehmer(time_seed), _Lehmer(machine_seed)
    duration = [[time_stream.integer(1, 99) for _ in range(num_machines)] for _ in range(num_jobs)]
    machine = np.tile(np.arange(num_machines), (num_jobs, 1))
    for route in machine:
        for position in range(num_machines):
            other = machine_stream.integer(position, num_machines - 1)
            route[position], route[other] = route[other], route[position]
    op_mask = jnp.ones((num_jobs, num_machines), jnp.bool_)
    return _instance(
        jnp.asarray(machine, jnp.int32), jnp.asarray(duration, jnp.int32), op_mask, num_machines
    )


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


def _per_cent(value: Array, percent: int) -> Array:
    """value * percent / 100 rounded half up, at most 2**30: exact in int32 for percent <=
    10,000.
    """
    value = jnp.minimum(value, min(2**30 * 100 // max(percent, 1), INT32_MAX) // 100 * 100)
    return value // 100 * percent + (value % 100 * percent + 50) // 100


class _Lehmer:
    """The linear congruential generator of Bratley, Fox and Schrage (1983) that Taillard's
    benchmarks use.
    """

    multiplier, modulus = 16807, 2**31 - 1

    def __init__(self, seed: int):
        if not 1 <= seed < self.modulus:
            raise ValueError(f"a Taillard seed is in [1, {self.modulus - 1}], got {seed}")
        self.state = seed

    def integer(self, low: int, high: int) -> int:
        """The next integer in `[low, high]`; floor(u * width) without the rounding of a
        floating-point u.
        """
        self.state = self.multiplier * self.state % self.modulus
        return low + self.state * (high - low + 1) // self.modulus
