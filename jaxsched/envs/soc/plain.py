"""Plain functions on the host: a stream in, a trace out; a task graph in, a schedule out."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random

from jaxsched.core.arrays import take
from jaxsched.core.padding import bucket, pad_to
from jaxsched.core.rollout import masked_argmax
from jaxsched.envs.soc.env import SoC, make_trace
from jaxsched.envs.soc.exact_graph import solve_static
from jaxsched.envs.soc.heuristics import RULES
from jaxsched.envs.soc.instances import make_instance, make_system, width
from jaxsched.envs.soc.io import load_job, load_platform, load_static
from jaxsched.envs.soc.platforms import Data, Job, Platform, StaticGraph
from jaxsched.envs.soc.settings import WITH_BOOKS, Settings
from jaxsched.envs.soc.static import StaticSchedule, list_schedule
from jaxsched.envs.soc.task_graph import static_task_graph
from jaxsched.envs.soc.trace import Trace
from jaxsched.envs.soc.types import Instance, State
from jaxsched.host.checks import array, integer, number, rising
from jaxsched.host.errors import InstanceError, UnknownNameError

METHODS = ("heft", "peft", "exact")  # of `schedule_static`
PLACES = 8  # for jobs in the system to begin with, where there is no cap


def simulate(
    platform: Data | Platform,
    jobs: Sequence[Data | Job],
    arrivals: Sequence[int] | np.ndarray,
    *,
    scheduler: str = "etf",
    communication: str = "pe_to_pe",
    max_jobs_in_system: int | None = None,
    dispatch_order: str = "job_id",
    noise_std: float = 0.0,
    seed: int = 0,
) -> Trace:
    """Run a stream of jobs under a scheduler of `RULES` to the end.

    `jobs` has one profile per arrival, `arrivals` the non-decreasing times in us at which they ask
    to enter. Without a cap they enter then. With `max_jobs_in_system` the first time is absolute
    and the gaps between the others count from the actual entry of the job before (DS3); a job that
    finds no room enters as soon as there is some. `heft` and `peft` plan each job alone on an empty
    platform: the plan fixes each task's PE and the order of the job's own tasks there. `noise_std`:
    execution times are drawn as max(1, round(Normal(mean, noise_std * mean))) with `seed`, which is
    also that of `random`. Raises `InstanceError` and `UnknownNameError`.
    """
    if scheduler not in RULES:
        raise UnknownNameError("scheduler", scheduler, RULES)
    platform = platform if isinstance(platform, Platform) else load_platform(platform)
    loaded: dict[str, Job] = {}

    def load(job: Data | Job) -> Job:
        if isinstance(job, str):  # named often, read once
            return loaded.setdefault(job, load_job(job)) if job not in loaded else loaded[job]
        return job if isinstance(job, Job) else load_job(job)

    stream = [load(job) for job in array(jobs, "jobs")]
    times = rising(arrivals, "arrivals")
    if len(stream) != len(times) or not stream:
        raise InstanceError(
            f"{len(stream)} jobs and {len(times)} arrivals: one job per arrival, and at least one"
        )
    if max_jobs_in_system is not None:
        max_jobs_in_system = integer(max_jobs_in_system, "max_jobs_in_system", least=1)
    noise_std = number(noise_std, "noise_std", below=100)
    settings = Settings(
        view="fifo" if scheduler == "random" else "joint",
        communication=communication,
        cap_mode="open" if max_jobs_in_system is None else "ds3",
        dispatch_order=dispatch_order,
        rule=scheduler if scheduler in WITH_BOOKS else None,
    )
    profiles = list(dict.fromkeys(stream))
    ids = {job: i for i, job in enumerate(profiles)}
    system = make_system(platform, profiles, communication=communication)
    noise_key, key = random.split(random.key(seed))

    def run(places: int) -> State:
        instance = make_instance(
            system,
            [ids[job] for job in stream],
            np.diff(times, prepend=0),
            cap=places,
            width=max(map(width, profiles)),
            noise_std=noise_std or None,
            noise_key=noise_key,
        )
        return jax.device_get(_run(SoC(settings), scheduler, _bucketed(instance), key))

    places = min(len(stream), PLACES if max_jobs_in_system is None else max_jobs_in_system)
    state = run(places)
    # nobody may lack a place: again, with twice as many
    while max_jobs_in_system is None and state.held_back:
        places = min(len(stream), 2 * places)
        state = run(places)
    return make_trace(state, platform, profiles)


def schedule_static(
    dag: Data | StaticGraph, method: str = "heft", *, time_limit: float = 60.0, seed: int = 0
) -> StaticSchedule:
    """A schedule of one task graph that minimises its makespan.

    `dag`: name, path or dict of the schema `jaxsched-static-dag/1`, or a `StaticGraph`. `method`:
    `heft`, `peft`, or `exact` with CP-SAT in `time_limit` seconds (`solve_static` also tells the
    bound). Raises `InstanceError`, `UnknownNameError`, `ImportError` without OR-Tools.
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    if method == "exact":
        return solve_static(dag, time_limit=time_limit, seed=seed).solution
    graph = static_task_graph(dag if isinstance(dag, StaticGraph) else load_static(dag))
    return list_schedule(graph, method)


def _bucketed(instance: Instance) -> Instance:
    """With the number of jobs padded to a bucket, so that few programs are compiled."""
    size = bucket(instance.num_jobs)

    def shape(path: tuple, leaf: np.ndarray) -> jax.ShapeDtypeStruct:
        longer = path[0].name in ("profile", "gap", "redraw", "job_mask")
        return jax.ShapeDtypeStruct((size,) if longer else leaf.shape, leaf.dtype)

    return pad_to(instance, jax.tree_util.tree_map_with_path(shape, instance))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(env: SoC, scheduler: str, instance: Instance, key: Array) -> State:
    """To the end. One stream on the host ends when it ends: a loop, not a scan of the most steps
    there may be.
    """
    scores = env.heuristics[scheduler]

    def step(carry: tuple[State, Array]) -> tuple[State, Array]:
        state, key = carry
        mask = env.action_mask(state)
        value = scores(state)
        if scheduler == "random":
            key, draw = random.split(key)
            value = random.uniform(draw, mask.shape, jnp.float32)
        action = masked_argmax(value, mask)
        return env.apply(key, state, action, take(mask, action)), key

    return jax.lax.while_loop(lambda carry: ~carry[0].done, step, (env.init(key, instance), key))[0]
