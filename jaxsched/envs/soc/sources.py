"""Where streams come from: random arrivals on given systems (pure JAX), and random systems (on the
host).

A source is any callable `key -> Instance`. `Streams` is a frozen dataclass: hashable, comparable,
safe to close over or to pass as a static argument, with shapes that depend on its fields alone.
Draws are addressed by job ordinal, so that a longer stream begins like a shorter one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random

from jaxsched.core.padding import pad_stack
from jaxsched.envs.soc import instances
from jaxsched.envs.soc.io import load_job, load_platform
from jaxsched.envs.soc.platforms import Data, Job, Platform
from jaxsched.envs.soc.settings import COMMUNICATION, Settings
from jaxsched.envs.soc.task_graph import job_task_graph
from jaxsched.envs.soc.types import LATEST, Instance, Noise, System
from jaxsched.host.checks import Fault, array, integer, is_array, number
from jaxsched.host.errors import UnknownNameError
from jaxsched.host.plain import plain_number

ARRIVALS = ("exponential", "fixed")
PROFILES = tuple(f"socrates_top{i}" for i in range(1, 6))
Systems = tuple[tuple[Platform, tuple[Job, ...]], ...]


@dataclasses.dataclass(frozen=True, repr=False)
class Streams:
    """Random streams; see `streams` for the fields. Those that are tuples are drawn from, once
    per instance.
    """

    systems: Systems
    probabilities: tuple[float, ...] | None
    num_jobs: int
    scale: tuple[float, ...]
    cap: tuple[int, ...]
    noise_std: tuple[float, ...] | None
    arrivals: str
    steady: bool
    horizon: int | None
    warm_up: int
    communication: str

    def __repr__(self) -> str:
        """By names: the tables of a platform fill pages."""
        names = [
            f"{platform.name} ({', '.join(job.name for job in jobs)})"
            for platform, jobs in self.systems[:3]
        ]
        shown = " ".join(names) + (
            f" and {len(self.systems) - 3} more" if len(self.systems) > 3 else ""
        )
        return f"Streams({shown}, num_jobs={self.num_jobs}, scale={self.scale}, cap={self.cap})"

    def __call__(self, key: Array) -> Instance:
        """An instance drawn with `key`; the same one with x64 on or off, jitted or not."""
        table, width = _tables(self.systems, self.communication)
        which_key, cap_key, noise_key, job_key = random.split(key, 4)
        which = random.randint(which_key, (), 0, len(self.systems), jnp.int32)
        system = jax.tree.map(lambda leaf: jnp.asarray(leaf)[which], table)

        scale_key, cap_key = random.split(cap_key)
        scale = _choice(scale_key, self.scale, jnp.float32)
        cap = _choice(cap_key, self.cap, jnp.int32)
        ordinal = jnp.arange(self.num_jobs, dtype=jnp.int32)

        def draw(ordinal: Array) -> tuple[Array, Array, Array]:
            key = random.fold_in(job_key, ordinal)
            return (
                random.uniform(key, (), jnp.float32),
                *random.exponential(random.fold_in(key, 1), (2,), jnp.float32),
            )

        uniform, gap, redraw = jax.vmap(draw)(ordinal)
        gap, redraw = (jnp.floor(scale * value).astype(jnp.int32) for value in (gap, redraw))
        if self.arrivals == "fixed":
            gap = jnp.full_like(gap, jnp.floor(scale).astype(jnp.int32))
        gap = jnp.where(self.steady & (ordinal < cap), 0, gap)

        num_profiles = system.profile_mask.sum(dtype=jnp.int32)
        weights = system.profile_mask.astype(jnp.float32)
        if self.probabilities is not None:
            weights *= jnp.asarray(self.probabilities, jnp.float32)
        below = jnp.cumsum(weights) / weights.sum()
        profile = jnp.minimum(
            (below[None] <= uniform[:, None]).sum(-1, dtype=jnp.int32), num_profiles - 1
        )
        noise = None
        if self.noise_std is not None:
            std_key, noise_key = random.split(noise_key)
            noise = Noise(noise_key, _choice(std_key, self.noise_std, jnp.float32))
        places = jnp.arange(max(self.cap), dtype=jnp.int32)
        return Instance(
            system=system,
            profile=profile,
            gap=gap,
            redraw=redraw,
            job_mask=jnp.ones((self.num_jobs,), jnp.bool_),
            slot_mask=places < cap,
            entry_mask=jnp.ones((max(self.cap) * width,), jnp.bool_),
            horizon=jnp.int32(LATEST if self.horizon is None else self.horizon),
            warm_up=jnp.int32(self.warm_up),
            noise=noise,
        )


def streams(
    platform: Data | Platform = "socrates_top",
    profiles: Sequence[Data | Job] = PROFILES,
    *,
    systems: Sequence[tuple[Platform, Sequence[Job]]] | None = None,
    probabilities: Sequence[float] | None = None,
    num_jobs: int | None = None,
    scale: float | Sequence[float] = 25.0,
    cap: int | Sequence[int] = 3,
    noise_std: float | Sequence[float] | None = None,
    arrivals: str = "exponential",
    steady: bool = True,
    horizon: int | None = None,
    warm_up: int = 0,
    communication: str = "pe_to_pe",
) -> Streams:
    """Streams of `num_jobs` jobs on a platform, profiles drawn with `probabilities` (uniform by
    default).

    `arrivals`: gaps of floor(Exp(mean `scale`)) us, or `fixed`, of floor(scale). `cap` jobs at most
    are in the system (in `open` loop: have a place there); with `steady` the first `cap` enter at
    0. `num_jobs` defaults to 30, with a `horizon` in us to more than can enter before it: as many
    as `cap` places complete if every job takes the shortest critical path (twice that with noise),
    or 6 standard deviations above the mean number of arrivals, whichever is less. `noise_std`:
    standard deviation of execution times, relative to the mean. Several values of `scale`, `cap`
    and `noise_std`, and several `systems`, are drawn from uniformly, once per instance.
    `communication` is the setting of the environment, which plans of HEFT and PEFT count with.
    Raises `ValueError` and `UnknownNameError`.
    """
    if systems is None:
        platform = platform if isinstance(platform, Platform) else load_platform(platform)
        given_jobs = array(profiles, "profiles")
        loaded = [job if isinstance(job, Job) else load_job(job) for job in given_jobs]
        systems = [(platform, loaded)]
    given: Systems = tuple((each, tuple(jobs)) for each, jobs in systems)
    if not given or not all(jobs for _, jobs in given):
        raise ValueError("streams need a system, and every system a job profile")
    for name, value, known in (
        ("arrivals", arrivals, ARRIVALS),
        ("communication", communication, COMMUNICATION),
        ("steady", plain_number(steady), (True, False)),
    ):
        if value not in known:
            raise UnknownNameError(name, str(value), map(str, known))
    scales = _numbers(scale, "scale", below=1e6)
    caps = tuple(integer(value, *path, least=1) for value, path in _each(cap, "cap"))
    noises = None if noise_std is None else _numbers(noise_std, "noise_std", below=100)
    weights = None if probabilities is None else _numbers(probabilities, "probabilities")
    fewest = min(len(jobs) for _, jobs in given)
    if weights is not None and (len(weights) != fewest or sum(weights) <= 0):
        raise Fault("expected one number per profile, not all of them zero", "probabilities")
    horizon = None if horizon is None else integer(horizon, "horizon", least=1)
    if num_jobs is None and horizon is None:
        num_jobs = 30
    elif num_jobs is None and horizon is not None:
        mean = horizon / max(min(scales), 1e-3)
        done = max(caps) * math.ceil(horizon / _shortest(given)) * (1 if noises is None else 2)
        num_jobs = max(caps) + min(math.ceil(mean + 6 * math.sqrt(mean)), done)
    return Streams(
        systems=given,
        probabilities=weights,
        num_jobs=integer(num_jobs, "num_jobs", least=1),
        scale=scales,
        cap=caps,
        noise_std=noises,
        arrivals=arrivals,
        steady=bool(steady),
        horizon=horizon,
        warm_up=integer(warm_up, "warm_up"),
        communication=communication,
    )


def _each(values: Any, name: str) -> list[tuple[Any, tuple[str | int, ...]]]:
    """One number or several, each with its path."""
    if not is_array(values):
        return [(plain_number(values), (name,))]
    if not len(values):
        raise Fault("expected a number, or several", name)
    return [(plain_number(value), (name, i)) for i, value in enumerate(array(values, name))]


def _numbers(values: Any, name: str, below: float = 1e30) -> tuple[float, ...]:
    return tuple(number(value, *path, below=below) for value, path in _each(values, name))


def fitting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `streams` that settings ask for: in open loop there is no cap."""
    fitted = {"communication": settings["communication"]}
    return fitted | {"cap": 16, "steady": False} if settings["cap_mode"] == "open" else fitted


@functools.lru_cache(64)
def default_streams(settings: Settings) -> Streams:
    """What an environment of these settings trains on unless it is told otherwise."""
    return streams(**fitting(settings))


def random_systems(
    count: int,
    *,
    seed: int = 0,
    num_pes: tuple[int, int] = (2, 4),
    num_profiles: int = 3,
    num_tasks: tuple[int, int] = (5, 12),
    mean_time: tuple[int, int] = (5, 20),
    heterogeneity: float = 1.0,
    transfer: tuple[float, float] = (0.1, 2.0),
    missing: float = 0.0,
) -> list[tuple[Platform, tuple[Job, ...]]]:
    """Random platforms with job profiles, ours after Topcuoglu, Hariri & Wu 2002, section 5.1.
    Ranges are inclusive.

    A job has one head, one tail and random layers between them. A task's mean time is uniform in
    `mean_time`, its times on the PEs are uniform within mean * (1 +- heterogeneity / 2), at least
    1; a PE cannot run it with probability `missing`. The mean transfer over the mean time of a job
    is uniform in `transfer`, bandwidths are 1 to 4.
    """
    rng, systems = np.random.Generator(np.random.PCG64(seed)), []
    for i in range(count):
        pes = int(rng.integers(num_pes[0], num_pes[1] + 1))
        bandwidth = rng.integers(1, 5, (pes, pes), np.int32)
        np.fill_diagonal(bandwidth, 10_000)
        times: dict[str, tuple[int | None, ...]] = {}
        jobs = []
        for p in range(num_profiles):
            size = int(rng.integers(num_tasks[0], num_tasks[1] + 1))
            means = rng.integers(mean_time[0], mean_time[1] + 1, size)
            names = tuple(f"{p}.{k}" for k in range(size))
            for name, mean in zip(names, means, strict=True):
                drawn = np.maximum(
                    1,
                    np.rint(mean * rng.uniform(1 - heterogeneity / 2, 1 + heterogeneity / 2, pes)),
                )
                able = rng.random(pes) >= missing
                able[rng.integers(pes)] = True
                times[name] = tuple(
                    int(t) if can else None for t, can in zip(drawn, able, strict=True)
                )
            edges = _layered(rng, size)
            volume = 2 * means.mean() * rng.uniform(*transfer)  # at a mean bandwidth of about 2
            volumes = np.rint(volume * rng.uniform(0.5, 1.5, len(edges))).astype(int)
            jobs.append(
                Job(
                    f"{i}.{p}",
                    names,
                    tuple((a, b, int(v)) for (a, b), v in zip(edges, volumes, strict=True)),
                )
            )
        memory = rng.integers(1, 5, (2, pes), np.int32)
        names = tuple(f"PE {q}" for q in range(pes))
        systems.append(
            (Platform(f"random {i}", names, times, bandwidth, memory[0], memory[1]), tuple(jobs))
        )
    return systems


def _layered(rng: np.random.Generator, size: int) -> list[tuple[int, int]]:
    """Edges of a graph with head 0 and tail size - 1: each task follows one or two of an earlier
    layer.
    """
    layer = np.concatenate(
        [[0], np.sort(rng.integers(1, max(2, size // 2), max(size - 2, 0))), [size]]
    )[:size]
    layer = np.unique(layer, return_inverse=True)[1]  # consecutive
    edges = set()
    for k in range(1, size):
        earlier = np.flatnonzero(layer < layer[k])
        near = np.flatnonzero(layer == layer[k] - 1)
        edges.add((int(rng.choice(near)), k))
        if rng.random() < 0.5:
            edges.add((int(rng.choice(earlier)), k))
    followed = {a for a, _ in edges}
    edges |= {(k, size - 1) for k in range(size - 1) if k not in followed}
    return sorted(edges)


def _choice(key: Array, values: Sequence[float], dtype: type) -> Array:
    index = random.randint(key, (), 0, len(values), jnp.int32)
    return jnp.asarray(values, dtype)[index]


@functools.lru_cache(64)
def _tables(systems: Systems, communication: str) -> tuple[System, int]:
    """The systems stacked and padded, NumPy, and the most tasks of one job that are in the
    system at once.
    """
    made = [
        instances.make_system(platform, jobs, communication=communication)
        for platform, jobs in systems
    ]
    with jax.ensure_compile_time_eval():  # a source may be called while it is traced
        stacked = jax.tree.map(np.asarray, pad_stack(made))
    return stacked, max(instances.width(job) for _, jobs in systems for job in jobs)


@functools.lru_cache(64)
def _shortest(systems: Systems) -> int:
    """us, > 0: the shortest critical path of a job on its fastest PEs."""
    found = [1 << 30]
    for platform, jobs in systems:
        found += [job_task_graph(platform, job).critical_path() for job in jobs]
    return max(1, min(found))
