"""Random flexible job shops as Python lists, and their one padded shape that the tests share."""

from __future__ import annotations

import random
from collections.abc import Sequence

import jax
import numpy as np

from jaxsched.envs.job_shop import flexible

JOBS, OPS, MACHINES = 4, 4, 3  # every random instance is padded to this one shape
Jobs = list[list[list[tuple[int, int]]]]


def random_jobs(
    rng: random.Random,
    num_jobs: int = JOBS,
    num_ops: int = OPS,
    num_machines: int = MACHINES,
    longest: int = 0,
) -> Jobs:
    """At most this large; ragged, re-entrant, with durations of 0 and many ties, one to all
    machines an operation.
    """
    longest = longest or rng.choice([1, 9, 99])
    machines = rng.randint(1, num_machines)

    def operation():
        chosen = sorted(rng.sample(range(machines), rng.randint(1, machines)))
        return [(machine, rng.randint(0, longest)) for machine in chosen]

    return [
        [operation() for _ in range(rng.randint(1, num_ops))]
        for _ in range(rng.randint(1, num_jobs))
    ]


def num_machines(jobs: Jobs) -> int:
    return 1 + max(machine for job in jobs for operation in job for machine, _ in operation)


def instance_of(
    jobs: Jobs, shape: tuple[int, int, int] = (JOBS, OPS, MACHINES)
) -> flexible.Instance:
    """Padded to `shape`, on the host: no program per size."""
    largest = {
        "duration": shape,
        "eligible_mask": shape,
        "op_mask": shape[:2],
        "machine_mask": shape[2:],
    }
    actual = jax.device_get(flexible.from_jobs(jobs))
    padded = {
        name: np.pad(
            getattr(actual, name),
            [(0, b - a) for a, b in zip(getattr(actual, name).shape, like, strict=True)],
        )
        for name, like in largest.items()
    }
    return flexible.Instance(**padded)


def stacked(instances: Sequence[flexible.Instance]) -> flexible.Instance:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *instances)
