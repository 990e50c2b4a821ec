"""Random blocking job shops of one padded shape, as Python lists and as instances."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched.envs.job_shop import blocking
from jaxsched.envs.job_shop.blocking.failures import failure_table
from tests import shapes
from tests.reference import blocking as reference

JOBS, OPS, MACHINES, WINDOWS = 5, 4, 4, 2


class Case(NamedTuple):
    """A blocking job shop as Python lists."""

    jobs: list[list[tuple[int, int]]]
    release: list[int]
    windows: list[list[tuple[int, int]]]  # by machine
    probability: float
    mean_repair: float
    seed: int


def random_case(
    rng: random.Random,
    shape: tuple[int, int, int] = (JOBS, OPS, MACHINES),
    interrupted: bool = True,
) -> Case:
    """At most this large; ragged, re-entrant, with durations of 0 and many ties, release dates
    and interruptions.
    """
    num_jobs, num_ops, num_machines = shape
    longest = rng.choice([1, 3, 9, 60])
    machines = rng.randint(2, num_machines)
    jobs = [
        [
            (rng.randrange(machines), rng.randint(rng.choice([0, 1]), longest))
            for _ in range(rng.randint(1, num_ops))
        ]
        for _ in range(rng.randint(2, num_jobs))
    ]
    release = [rng.choice([0, 0, rng.randint(0, 3 * longest)]) for _ in jobs]
    windows: list[list[tuple[int, int]]] = []
    for _ in range(1 + max(machine for job in jobs for machine, _ in job)):
        ends = (
            sorted(rng.sample(range(12 * longest), 4)) if interrupted and rng.random() < 0.5 else []
        )
        windows.append(
            [(a, b) for a, b in zip(ends[::2], ends[1::2], strict=True)][: rng.randint(0, 2)]
        )
    probability = rng.choice([0.0, 0.2, 0.6, 1.0]) if interrupted else 0.0
    return Case(
        jobs, release, windows, probability, rng.choice([0.3, 1.0, 3.0]), rng.randrange(2**31)
    )


def to_instance(
    case: Case, shape: tuple[int, int, int] = (JOBS, OPS, MACHINES), interrupted: bool = True
) -> Any:
    """The instance, padded to the shape, on the host; all have the same structure."""
    classic = shapes.instance_of(case.jobs, case.release, shape=shape)
    instance = blocking.interrupt(
        jax.tree.map(jnp.asarray, classic),
        blocking.Interruptions(case.probability, case.mean_repair),
        jax.random.key(case.seed),
    )
    if not interrupted:
        return instance.replace(failures=None)
    spans = np.zeros((2, shape[2], WINDOWS), np.int32)
    for machine, row in enumerate(case.windows):
        for i, span in enumerate(row):
            spans[:, machine, i] = span
    return instance.replace(windows=blocking.Windows(*map(jnp.asarray, spans)))


def stack(instances: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *instances)


def fates(
    instance: Any, shape: tuple[int, int, int] = (JOBS, OPS, MACHINES)
) -> list[list[tuple[bool, int, int]]]:
    """What befalls every operation of a machine, for the simulator."""
    num_jobs, num_ops, num_machines = shape
    drawn = failure_table(
        instance.failures,
        np.arange(num_machines, dtype=np.int32),
        np.arange(num_jobs * num_ops, dtype=np.int32),
    )
    fails, share, repair = (np.asarray(leaf).tolist() for leaf in drawn)
    return [list(zip(*rows, strict=True)) for rows in zip(fails, share, repair, strict=True)]


def simulator(case: Case, instance: Any, **settings: Any) -> reference.Simulator:
    drawn = fates(instance) if instance.failures is not None else None
    return reference.Simulator(
        case.jobs, case.release, windows=case.windows, fates=drawn, **settings
    )
