"""Random cases as plain data, one padded shape for all, and what the plain-Python simulator
makes of them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched.core import pad_to
from jaxsched.envs.soc import instances, platforms
from tests.reference import soc as reference

# The largest of everything, so that all cases share one shape.
PROFILES, TASKS, PES, JOBS, SLOTS = 2, 5, 3, 5, 3
ENTRIES = SLOTS * TASKS
PER_PE = ("pe_mask", "bandwidth", "to_memory", "from_memory", "speed", "unit")
RULES = ("cpu", "met", "stf", "eft", "etf", "etf_lb")  # and `drawn`, which takes any legal decision


class Case(NamedTuple):
    """A platform, a stream and what is drawn for it."""

    platform: platforms.Platform
    profiles: list[platforms.Job]
    profile: list[int]
    gap: list[int]
    redraw: list[int]
    cap: int
    # which ready task and which of its PEs `drawn` takes, one pair per decision
    draws: list[tuple[int, int]]
    horizon: int | None = None


def random_case(rng: random.Random, horizon: bool = False) -> Case:
    """Unrelated PEs, missing and equal times, length 0, several heads and tails, gaps of 0,
    volumes of 0.
    """
    num_pes, longest, heaviest = rng.randint(1, PES), rng.choice([2, 6, 30]), rng.choice([0, 5, 60])
    exec_time: dict[str, Any] = {}
    profiles = []
    for p in range(rng.randint(1, PROFILES)):
        num_tasks = rng.randint(1, TASKS)
        names = [f"{p}.{k}" for k in range(num_tasks)]
        order = rng.sample(range(num_tasks), num_tasks)  # ids are not topological
        density = rng.random()
        edges = [
            (order[a], order[b], rng.randint(0, heaviest))
            for b in range(num_tasks)
            for a in range(b)
            if rng.random() < density
        ]
        for name in names:
            row = [
                rng.choice([None, 0, *[rng.randint(0, longest) for _ in range(4)]])
                for _ in range(num_pes)
            ]
            row[rng.randrange(num_pes)] = rng.randint(0, longest)
            exec_time[name] = tuple(row)
        profiles.append(platforms.Job(f"profile {p}", tuple(names), tuple(edges)))
    bandwidth = [[rng.choice([1, 2, 3, 7, 100]) for _ in range(num_pes)] for _ in range(num_pes)]
    memory = [[rng.choice([1, 2, 5, 50]) for _ in range(num_pes)] for _ in range(2)]
    platform = platforms.Platform(
        name="random",
        pes=tuple(f"PE {q}" for q in range(num_pes)),
        exec_time=exec_time,
        bandwidth=np.array(bandwidth, np.int32),
        to_memory=np.array(memory[0], np.int32),
        from_memory=np.array(memory[1], np.int32),
    )
    num_jobs, mean_gap = rng.randint(1, JOBS), rng.choice([0, 3, 20, 60])
    gap = [rng.choice([0, rng.randint(0, 2 * mean_gap)]) for _ in range(num_jobs)]
    return Case(
        platform=platform,
        profiles=profiles,
        profile=[rng.randrange(len(profiles)) for _ in range(num_jobs)],
        gap=gap,
        redraw=[rng.randint(0, 15) for _ in range(num_jobs)],
        cap=rng.randint(1, SLOTS),
        draws=[(rng.randrange(1000), rng.randrange(1000)) for _ in range(JOBS * TASKS)],
        horizon=rng.randint(1, 120) if horizon else None,
    )


def random_cases(seed: int, count: int, horizon: bool = False) -> list[Case]:
    rng = random.Random(seed)
    return [random_case(rng, horizon) for _ in range(count)]


def to_instance(
    case: Case, communication: str = "pe_to_pe", cap_mode: str = "ds3", **more: Any
) -> Any:
    """The case padded to the common shape, NumPy. In open loop nobody lacks a place."""
    system = instances.make_system(
        case.platform,
        case.profiles,
        communication=communication,
        min_tasks=TASKS,
        min_predecessors=TASKS,
        min_successors=TASKS,
        min_pes=PES,
    )
    cap = JOBS if cap_mode == "open" else case.cap
    widest = max(map(instances.width, case.profiles))
    instance = instances.make_instance(
        system,
        case.profile,
        case.gap,
        cap=cap,
        width=widest,
        redraw=case.redraw,
        horizon=case.horizon,
        **more,
    )
    slots = JOBS if cap_mode == "open" else SLOTS

    def target(path: Any, leaf: np.ndarray) -> jax.ShapeDtypeStruct:
        name = path[-1].name
        shape = list(leaf.shape)
        if name in ("plan_pe", "plan_predecessor", "plan_mask"):
            shape[1] = PROFILES
        elif path[0].name == "system" and name not in PER_PE:
            shape[0] = PROFILES
        elif name in ("profile", "gap", "redraw", "job_mask"):
            shape = [JOBS]
        elif name == "slot_mask":
            shape = [slots]
        elif name == "entry_mask":
            shape = [slots * TASKS]
        return jax.ShapeDtypeStruct(tuple(shape), leaf.dtype)

    return pad_to(instance, jax.tree_util.tree_map_with_path(target, instance))


def stack(trees: Sequence[Any]) -> Any:
    """Along a new leading axis, on the host but for random keys."""
    return jax.tree.map(
        lambda *leaves: (jnp if isinstance(leaves[0], jax.Array) else np).stack(leaves),
        *trees,
    )


def to_reference(case: Case) -> tuple[reference.Platform, list[reference.Job]]:
    platform = case.platform
    assert platform.to_memory is not None
    assert platform.from_memory is not None
    jobs = [reference.Job(job.tasks, job.edges) for job in case.profiles]
    return (
        reference.Platform(
            dict(platform.exec_time),
            platform.bandwidth.tolist(),
            platform.to_memory.tolist(),
            platform.from_memory.tolist(),
        ),
        [jobs[p] for p in case.profile],
    )


def drawn(draws: Sequence[tuple[int, int]]) -> Any:
    """A scheduler of the reference that takes the ready task and PE of the next draw."""

    def decide(sim: reference.Simulator, ready: list[reference.Task]) -> tuple[reference.Task, int]:
        which, pe = draws[len(sim.dispatched)]
        task = ready[which % len(ready)]
        able = task.profile.able[task.task]
        return task, able[pe % len(able)]

    return decide


def simulate(case: Case, rule: str, **settings: Any) -> reference.Run:
    platform, jobs = to_reference(case)
    return reference.simulate(
        platform,
        jobs,
        case.gap,
        scheduler=drawn(case.draws) if rule == "drawn" else rule,
        cap=case.cap,
        extra=case.redraw,
        horizon=case.horizon,
        **settings,
    )
