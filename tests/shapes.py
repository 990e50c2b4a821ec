"""The one padded shape that tests share, so that they compile few programs, and instances of it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import jax
import numpy as np

from jaxsched.envs import job_shop

JOBS, OPS, MACHINES = 4, 4, 3
Jobs = list[list[tuple[int, int]]]


def random_jobs(
    rng: random.Random, num_jobs: int = JOBS, num_ops: int = OPS, num_machines: int = MACHINES
) -> Jobs:
    """At most this large: ragged, re-entrant, with operations of duration 0 and ties."""
    longest = rng.choice([2, 9, 99])
    return [
        [
            (rng.randrange(num_machines), rng.randint(0, longest))
            for _ in range(rng.randint(1, num_ops))
        ]
        for _ in range(rng.randint(2, num_jobs))
    ]


def instance_of(
    jobs: Jobs,
    release: Sequence[int] | None = None,
    due: Sequence[int | None] | None = None,
    weight: Sequence[int] | None = None,
    shape: tuple[int, int, int] = (JOBS, OPS, MACHINES),
) -> job_shop.Instance:
    """The job shop padded to `shape`, on the host: no program per size."""
    num_jobs, num_ops, num_machines = shape
    largest = jax.device_get(
        job_shop.from_jobs([[(0, 0)] * num_ops] * num_jobs, num_machines=num_machines)
    )
    actual = jax.device_get(job_shop.from_jobs(jobs, release=release, due=due, weight=weight))
    return jax.tree.map(
        lambda a, b: np.pad(a, [(0, y - x) for x, y in zip(a.shape, b.shape, strict=True)]),
        actual,
        largest,
    )


def mixed_instances(count: int, seed: int = 0) -> list[job_shop.Instance]:
    """Instances of different sizes, half of them with release dates, all padded to the shared
    shape.
    """
    rng = random.Random(seed)
    cases = [random_jobs(rng) for _ in range(count)]
    return [
        instance_of(jobs, [rng.randint(0, 20) * (i % 2) for _ in jobs])
        for i, jobs in enumerate(cases)
    ]


def stacked(instances: Sequence[job_shop.Instance]) -> job_shop.Instance:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *instances)
