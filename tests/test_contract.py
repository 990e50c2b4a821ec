"""The contract: every registered environment keeps it, a minimal one from outside does, and
every breach is found.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from jax import Array

import jaxsched
from jaxsched.core import (
    AutoReset,
    Environment,
    EpisodeStats,
    GraphObservation,
    HideFeatures,
    Pool,
    TimeLimit,
    UnknownNameError,
    put,
)
from jaxsched.core import graph as graphs
from jaxsched.core.wrappers import WrappedState, Wrapper
from jaxsched.envs import memory
from jaxsched.testing import CHECKS, STREAM_CHECKS, check_environment
from jaxsched.testing.observations import well_formed
from tests import shapes
from tests.envs.job_shop.blocking import cases as blocking_cases
from tests.envs.job_shop.flexible import cases as flexible_cases
from tests.envs.memory import cases as memory_cases
from tests.envs.memory import map_cases, replacement_cases
from tests.envs.soc import cases as soc_cases
from tests.reference import allocation as allocation_reference
from tests.reference import blocking as blocking_reference
from tests.reference import flexible as flexible_reference
from tests.reference import job_shop as reference
from tests.reference import mapping as mapping_reference
from tests.reference import replacement as replacement_reference


def job_shop_cases() -> tuple[Pool, list]:
    """A pool of mixed sizes, and small instances with their optima; one of them needs waiting."""
    rng = random.Random(1)
    small = [
        [[(0, 10)], [(1, 1), (0, 1), (2, 10)]],
        *(shapes.random_jobs(rng, 3, 3) for _ in range(7)),
    ]
    exact = [(shapes.instance_of(jobs), reference.optimum(jobs)) for jobs in small]
    return Pool(shapes.stacked(shapes.mixed_instances(32))), exact


def due_date_cases(objective: str) -> tuple[Pool, list]:
    """With release dates, due dates and weights, and optima under the objective."""
    rng = random.Random(2)

    def dated(jobs):
        due = [rng.choice([None, rng.randint(0, 60)]) for _ in jobs]
        return [rng.randint(0, 9) for _ in jobs], due, [rng.randint(0, 4) for _ in jobs]

    pool = [
        shapes.instance_of(jobs, *dated(jobs))
        for jobs in (shapes.random_jobs(rng) for _ in range(32))
    ]
    exact = []
    for jobs in (shapes.random_jobs(rng, 3, 3) for _ in range(6)):
        release, due, weight = dated(jobs)
        best = reference.optimum(jobs, release, "any", due, weight, objective)
        exact.append((shapes.instance_of(jobs, release, due, weight), best))
    return Pool(shapes.stacked(pool)), exact


def flexible_job_shop_cases() -> tuple[Pool, list]:
    """A pool of mixed sizes, and small instances with their optima."""
    rng = random.Random(4)
    pool = [flexible_cases.instance_of(flexible_cases.random_jobs(rng)) for _ in range(32)]
    exact = []
    for jobs in (flexible_cases.random_jobs(rng, 3, 2) for _ in range(8)):
        best = flexible_reference.optimum(jobs, flexible_cases.num_machines(jobs))
        exact.append((flexible_cases.instance_of(jobs), best))
    return Pool(flexible_cases.stacked(pool)), exact


def allocation_cases() -> tuple[Pool, list]:
    """Buffers with gaps, alignments, pinned ones and a capacity; small ones with their optima."""
    rng = random.Random(3)

    def instance(rows):
        buffers = memory.Buffers(rows)
        return memory.allocation.to_instance(
            buffers, rng.choice([None, 6 * memory.lower_bound(buffers) // 5])
        )

    pool = [instance(memory_cases.random_rows(rng)) for _ in range(32)]
    exact = []
    for rows in (memory_cases.small_rows(rng) for _ in range(8)):
        buffers = memory.Buffers(rows)
        best = allocation_reference.optimum(memory_cases.to_reference(rows, buffers.unit))
        exact.append((memory_cases.padded(memory.allocation.to_instance(buffers)), best))
    return Pool(memory_cases.stacked(pool)), exact


def mapping_cases() -> tuple[Pool, list]:
    """Programs with alias groups and tight memory; small ones with their optima."""
    rng = random.Random(4)
    pool = map_cases.stacked([map_cases.random_program(rng) for _ in range(32)])
    exact = []
    for program in (map_cases.small_program(rng) for _ in range(8)):
        scale = memory.mapping.to_instance(memory.Program.from_dict(program))[1]
        exact.append(
            (map_cases.instance_of(program), mapping_reference.optimum(program)[0] // scale.time)
        )
    return Pool(pool), exact


def replacement_cases_of(schedule: str) -> tuple[Pool, list]:
    """Random graphs at tight capacities; small ones with their optima in bytes, which addresses
    cannot beat.
    """
    rng = random.Random(4)

    def draw(most):
        graph = replacement_cases.random_graph(rng, most)
        return graph, replacement_cases.random_capacity(rng, graph)

    pool = [memory.replacement.to_instance(*draw(replacement_cases.NUM_OPS)) for _ in range(32)]
    exact = []
    for graph, capacity in (draw(4) for _ in range(4)):
        unit = memory.Graph.from_dict(graph).unit
        best = replacement_reference.optimum(
            replacement_cases.to_reference(graph, capacity), schedule, "bytes"
        )
        assert best is not None
        exact.append(
            (
                replacement_cases.padded(memory.replacement.to_instance(graph, capacity)),
                best // unit,
            )
        )
    return Pool(replacement_cases.stacked(pool)), exact


def soc_pool() -> tuple[Pool, list]:
    """Streams on platforms of different sizes."""
    return Pool(
        soc_cases.stack([soc_cases.to_instance(case) for case in soc_cases.random_cases(1, 16)])
    ), []


def blocking_pool(swap: bool = True) -> tuple[Pool, list]:
    """Shops that are interrupted, and small ones that are not with their optima; some need
    waiting.
    """
    rng, shape = random.Random(4), (3, 3, 3)
    pool = [blocking_cases.to_instance(blocking_cases.random_case(rng)) for _ in range(24)]
    exact = []
    while len(exact) < 8:
        case = blocking_cases.random_case(rng, shape, interrupted=False)
        best = blocking_reference.optimum(case.jobs, case.release, swap=swap)
        exact.append((blocking_cases.to_instance(case, shape, interrupted=False), best))
    return Pool(blocking_cases.stack(pool)), exact


# Settings to check, and where instances come from, of every registered id.
CASES: dict[str, tuple[dict[str, Any], Callable[[], tuple[Any, Sequence]]]] = {
    "BlockingJobShop-v0": ({}, blocking_pool),
    "JobShop-v0": ({"candidates": "any"}, job_shop_cases),
    "FlexibleJobShop-v0": ({"candidates": "any"}, flexible_job_shop_cases),
    "MemoryMap-v0": ({}, mapping_cases),
    "StaticAllocation-v0": ({"goal": "peak"}, allocation_cases),
    "SoC-v0": ({}, soc_pool),
    "TensorReplacement-v0": ({}, lambda: replacement_cases_of("free")),
}

# What a candidate mode or an objective changes; under them all of the contract is played nightly.
RULE_CHECKS = [
    "structure",
    "episodes_end",
    "legal_actions",
    "illegal_actions",
    "rewards",
    "clock",
    "bounds",
]
RULE_CHECKS += ["heuristics", "solutions", "observation", "same_world", "optimum"]
NIGHTLY = pytest.mark.nightly
EXTENT = [RULE_CHECKS, pytest.param(None, marks=NIGHTLY)]

# What takes longest to compile is played nightly: values with x64 (its types are compared in every
# run), and steps without jit but for two environments.
ALL_CHECKS = [check.__name__ for check in CHECKS]
EAGER = ["JobShop-v0", "StaticAllocation-v0"]


def checks_of_every_run(id: str) -> list[str]:
    """All but what is left to the night."""
    left = {"x64_values"} if id in EAGER else {"x64_values", "jit_equals_eager"}
    return [name for name in ALL_CHECKS if name not in left]


@pytest.mark.parametrize("id", jaxsched.list_envs())
def test_registered_environments_keep_the_contract(id: str):
    setting, cases = CASES[id]
    source, exact = cases()
    check_environment(
        jaxsched.make(id, **setting), source, exact=exact, checks=checks_of_every_run(id)
    )


@pytest.mark.nightly
@pytest.mark.parametrize("id", jaxsched.list_envs())
def test_registered_environments_keep_all_of_the_contract(id: str):
    setting, cases = CASES[id]
    source, exact = cases()
    check_environment(jaxsched.make(id, **setting), source, exact=exact)


# `event` has all that a mode may change: a no-op, a clock of its own, other legal actions.
@pytest.mark.parametrize("checks", EXTENT, ids=["rules", "all"])
@pytest.mark.parametrize(
    "mode", [*(pytest.param(mode, marks=NIGHTLY) for mode in ("non_delay", "insert")), "event"]
)
def test_job_shop_modes_keep_the_contract(mode: str, checks: list[str] | None):
    source, exact = job_shop_cases()
    check_environment(
        jaxsched.make("JobShop-v0", candidates=mode), source, exact=exact, checks=checks
    )


@pytest.mark.parametrize("checks", EXTENT, ids=["rules", "all"])
@pytest.mark.parametrize(
    ("mode", "objective"),
    [("event", "flow_time"), pytest.param("any", "weighted_tardiness", marks=NIGHTLY)],
)
def test_job_shop_objectives_keep_the_contract(mode: str, objective: str, checks: list[str] | None):
    source, exact = due_date_cases(objective)
    env = jaxsched.make("JobShop-v0", candidates=mode, objective=objective)
    check_environment(env, source, exact=exact, checks=checks)


OBSERVATIONS = {
    "operations": ("any", "event"),
    "l2d": ("insert",),
    "tassel": ("event",),
}


@pytest.mark.parametrize(
    ("observation", "mode"),
    [
        pytest.param(name, mode, marks=pytest.mark.nightly if name == "operations" else ())
        for name, modes in OBSERVATIONS.items()
        for mode in modes
    ],
)
def test_job_shop_observations_keep_the_contract(observation: str, mode: str):
    source, _ = job_shop_cases()
    env = jaxsched.make("JobShop-v0", candidates=mode, observation=observation)
    check_environment(
        env,
        source,
        num_instances=6,
        checks=["structure", "vmap_equals_loop", "observation", "padding", "x64"],
    )


def test_fitting_a_capacity_keeps_the_contract():
    """What differs from minimising the peak: where an episode ends, and whether it is feasible."""
    source, exact = allocation_cases()
    checks = [
        "structure",
        "episodes_end",
        "legal_actions",
        "illegal_actions",
        "rewards",
        "bounds",
        "heuristics",
    ]
    checks += ["solutions", "same_world", "optimum"]
    check_environment(
        jaxsched.make("StaticAllocation-v0", goal="fit"), source, exact=exact, checks=checks
    )


@pytest.mark.nightly
def test_flexible_non_delay_keeps_the_contract():
    """What the candidate mode changes: which actions are legal, and what they lead to."""
    source, exact = flexible_job_shop_cases()
    env = jaxsched.make("FlexibleJobShop-v0", candidates="non_delay")
    checks = [
        "episodes_end",
        "legal_actions",
        "illegal_actions",
        "rewards",
        "clock",
        "same_world",
        "optimum",
    ]
    check_environment(env, source, exact=exact, checks=checks)


def test_replacement_in_a_fixed_order_reaches_the_optimum():
    source, exact = replacement_cases_of("fixed")
    check_environment(
        jaxsched.make("TensorReplacement-v0", schedule="fixed"),
        source,
        exact=exact,
        checks=["structure", "optimum"],
    )


def test_replacement_with_addresses_keeps_the_contract():
    """The checks that do not take long to compile; all of them are played nightly."""
    source, _ = replacement_cases_of("fixed")
    checks = ["structure", "episodes_end", "rewards", "observation"]
    check_environment(
        jaxsched.make("TensorReplacement-v0", schedule="fixed", placement="address"),
        source,
        num_instances=6,
        checks=checks,
    )


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("schedule", "placement"), [("fixed", "bytes"), ("fixed", "address"), ("free", "address")]
)
def test_replacement_modes_keep_the_contract(schedule: str, placement: str):
    source, exact = replacement_cases_of(schedule)
    check_environment(
        jaxsched.make("TensorReplacement-v0", schedule=schedule, placement=placement),
        source,
        exact=exact,
    )


SOC_SETTINGS = {
    "fifo": {
        "view": "fifo",
        "communication": "shared_memory",
        "cap_mode": "socrates",
        "reward": "makespan",
    },
    "order": {"view": "order", "cap_mode": "open", "reward": "jobs_in_system"},
}
SOC_CHECKS = {
    "fifo": ["structure", "episodes_end", "rewards", "clock", "observation"],
    "order": [
        "structure",
        "episodes_end",
        "legal_actions",
        "illegal_actions",
        "rewards",
        "observation",
    ],
}


@pytest.mark.parametrize("view", [pytest.param("fifo", marks=pytest.mark.nightly), "order"])
def test_soc_settings_keep_the_contract(view: str):
    """With streams that are cut off by a horizon; in `fifo` also with drawn execution times."""
    setting = SOC_SETTINGS[view]
    mode = setting.get("communication", "pe_to_pe"), setting["cap_mode"]
    noise = {"noise_std": 0.3, "noise_key": jax.random.key(3)} if view == "fifo" else {}
    given = [*soc_cases.random_cases(2, 8), *soc_cases.random_cases(3, 8, horizon=True)]
    source = Pool(soc_cases.stack([soc_cases.to_instance(case, *mode, **noise) for case in given]))
    check_environment(jaxsched.make("SoC-v0", **setting), source, checks=SOC_CHECKS[view])


BLOCKING_CHECKS = [
    "structure",
    "episodes_end",
    "legal_actions",
    "illegal_actions",
    "rewards",
    "observation",
    "optimum",
]


@pytest.mark.parametrize(
    ("setting", "checks"),
    [
        ({"wait": True}, BLOCKING_CHECKS),
        pytest.param({"swap": False}, None, marks=pytest.mark.nightly),
        pytest.param({"wait": True}, None, marks=pytest.mark.nightly),
        pytest.param({"wait": True, "swap": False}, None, marks=pytest.mark.nightly),
        pytest.param({"swap": False, "lookahead": True}, None, marks=pytest.mark.nightly),
    ],
    ids=str,
)
def test_blocking_settings_keep_the_contract(setting: dict[str, Any], checks: list[str] | None):
    source, exact = blocking_pool(setting.get("swap", True))
    env = jaxsched.make("BlockingJobShop-v0", **setting)
    check_environment(env, source, num_instances=6, exact=exact, checks=checks)


# Issue 16, row 2: wrappers are environments, and keep the contract around one environment of each
# family. The job shop keeps all of it, the others nightly; streams, the slowest, in every run only
# what starts again. The limit cuts off the longer ones of the episodes.
LIMITS = {"JobShop-v0": 9, "SoC-v0": 20, "StaticAllocation-v0": 6}
WRAPPERS: dict[str, Callable[[Environment, int, Pool], Environment]] = {
    "TimeLimit": lambda env, limit, pool: TimeLimit(env, limit),
    "EpisodeStats": lambda env, limit, pool: EpisodeStats(env),
    "HideFeatures": lambda env, limit, pool: HideFeatures(
        env, [next(iter(env.features().items()))]
    ),
    "AutoReset": lambda env, limit, pool: AutoReset(env, pool),
    "all": lambda env, limit, pool: AutoReset(EpisodeStats(TimeLimit(env, limit)), pool),
}
WRAPPER_CHECKS = [
    "structure",
    "episodes_end",
    "legal_actions",
    "illegal_actions",
    "rewards",
    "observation",
]


@pytest.mark.parametrize(
    ("id", "wrapper", "extent"),
    [
        pytest.param(id, wrapper, extent, marks=pytest.mark.nightly if nightly else ())
        for id in LIMITS
        for wrapper in WRAPPERS
        for extent in ("all", "some")
        for nightly in [
            (id == "JobShop-v0") != (extent == "all")
            or wrapper in ("HideFeatures", "all")
            or (id == "SoC-v0" and wrapper != "AutoReset")
            or (id == "JobShop-v0" and wrapper == "EpisodeStats")
        ]
        if id != "JobShop-v0" or extent == "all"
    ],
)
def test_wrappers_keep_the_contract(id: str, wrapper: str, extent: str):
    setting, cases = CASES[id]
    source, exact = cases()
    env = WRAPPERS[wrapper](jaxsched.make(id, **setting), LIMITS[id], source)
    stream = isinstance(env, AutoReset)
    some = [name for name in WRAPPER_CHECKS if not stream or name in STREAM_CHECKS]
    exact = [] if stream else exact
    every_run = [name for name in checks_of_every_run(id) if not stream or name in STREAM_CHECKS]
    check_environment(
        env, source, num_instances=6, exact=exact, checks=every_run if extent == "all" else some
    )


@pytest.mark.nightly
def test_a_time_limit_of_a_stream_with_a_horizon_keeps_the_contract():
    """Two ends that are cut off, one inside the other."""
    given = [*soc_cases.random_cases(2, 4), *soc_cases.random_cases(3, 4, horizon=True)]
    source = Pool(soc_cases.stack([soc_cases.to_instance(case) for case in given]))
    env = TimeLimit(jaxsched.make("SoC-v0"), 25)
    check_environment(env, source, num_instances=6, checks=["episodes_end", "rewards", "solutions"])


# --------------------------------------------------------------- a minimal environment from outside


@struct.dataclass
class Tasks:
    duration: Array  # i32[N]  ticks; 0 in padding
    mask: Array  # bool[N]


@struct.dataclass
class Line:
    instance: Tasks
    left: Array  # bool[N]
    completion: Array  # i32[N]
    time: Array  # i32[]
    baseline: Array  # i32[]
    memo: Any = None  # used by broken environments

    @property
    def done(self) -> Array:
        return ~self.left.any(-1)


@dataclasses.dataclass(frozen=True)
class OneMachine(Environment):
    """Order tasks on one machine, minimise the sum of completion times: shortest first is
    optimal.
    """

    id: ClassVar[str] = "OneMachine-v0"
    family: ClassVar[str] = "one_machine"

    complete: ClassVar[bool] = True

    @property
    def default_source(self):
        return draw_tasks

    @property
    def heuristics(self) -> Mapping[str, Callable]:
        return {
            "shortest": lambda state: -state.instance.duration,
            "longest": lambda state: state.instance.duration,
        }

    def max_steps(self, instance):
        return instance.mask.shape[-1]

    def init(self, key, instance):
        zero = jnp.zeros((), jnp.int32)
        state = Line(instance, instance.mask, jnp.zeros_like(instance.duration), zero, zero)
        return state.replace(baseline=self.bound(state))

    def apply(self, key, state, action, legal):
        time = state.time + jnp.where(legal, state.instance.duration[action], 0)
        index = jnp.where(legal, action, state.left.shape[0])
        completion, left = put(state.completion, time, index), put(state.left, False, index)
        return state.replace(left=left, completion=completion, time=time)

    def observe(self, state):
        duration = jnp.where(state.left, state.instance.duration, 0)
        left = jnp.maximum(duration.sum(dtype=jnp.int32), 1).astype(jnp.float32)
        share = duration.astype(jnp.float32) / left
        tasks = graphs.nodes("task", state.left, {"duration / all left": share})
        machine = graphs.nodes("machine", jnp.ones((1,), jnp.bool_), {"is there": jnp.float32(1)})
        run = graphs.actions(
            "task",
            uses="machine",
            kinds=("run",),
            mask=state.left[:, None],
            features={"duration / all left": share[:, None]},
        )
        waits = {("machine", "task"): state.left[None]}
        return GraphObservation(
            nodes=(tasks, machine),
            relation=graphs.relations((tasks, machine), waits),
            actions=(run,),
            action_mask=self.action_mask(state),
            relation_names=("waits here",),
        )

    def action_mask(self, state):
        return state.left

    def bound(self, state):
        open_ = jnp.where(state.left, state.time + state.instance.duration, 0)
        return (state.completion + open_).sum(dtype=jnp.int32)

    def clock(self, state):
        return state.time

    def lower_bound(self, instance):
        return jnp.cumsum(jnp.sort(instance.duration), dtype=jnp.int32).sum(dtype=jnp.int32)

    def solution(self, state):
        return np.asarray(state.completion)[np.asarray(state.instance.mask)]

    def validate(self, instance, solution):
        duration = np.asarray(instance.duration)[np.asarray(instance.mask)]
        order = np.lexsort((duration, solution))
        return (
            []
            if (solution[order] == np.cumsum(duration[order])).all()
            else ["tasks overlap, or the machine idles"]
        )

    def measure(self, instance, solution):
        return int(solution.sum())


def draw_tasks(key: Array) -> Tasks:
    size_key, duration_key = jax.random.split(key)
    mask = jnp.arange(4, dtype=jnp.int32) < jax.random.randint(size_key, (), 2, 5, jnp.int32)
    return Tasks(mask * jax.random.randint(duration_key, (4,), 1, 9, jnp.int32), mask)


def tasks_and_optima() -> list[tuple[Tasks, int]]:
    found = []
    for row in ([3, 1, 2, 0], [5, 4, 4, 1]):
        duration, mask = np.array(row, np.int32), np.array(row) > 0
        orders = itertools.permutations(duration[mask].tolist())
        found.append(
            (Tasks(duration, mask), min(sum(itertools.accumulate(order)) for order in orders))
        )
    return found


def test_a_minimal_environment_from_outside_keeps_the_contract(monkeypatch):
    from jaxsched.envs import registry

    monkeypatch.setattr(registry, "ENTRY_POINTS", dict(registry.ENTRY_POINTS))
    jaxsched.register("OneMachine-v0", OneMachine)
    assert "OneMachine-v0" in jaxsched.list_envs()
    env = jaxsched.make("OneMachine-v0")
    check_environment(env, env.default_source, exact=tasks_and_optima())


# -------------------------------------------------------------------------------------- broken ones


def broken(*checks: str) -> Callable[[type[OneMachine]], type[OneMachine]]:
    """Marks an environment that must fail these checks."""

    def mark(cls):
        BROKEN.extend((cls, check) for check in checks)
        return dataclasses.dataclass(frozen=True)(cls)

    return mark


BROKEN: list[tuple[Callable[[], Environment], str]] = []


@broken("structure", "one_trace")
class WeaklyTyped(OneMachine):
    def init(self, key, instance):
        return super().init(key, instance).replace(time=jnp.where(instance.mask.any(), 0, 1))


@broken("structure")
class FloatClock(OneMachine):
    def clock(self, state):
        return state.time.astype(jnp.float32)


@broken("structure")
class MissingMetric(OneMachine):
    def _timestep(self, *args):
        timestep = super()._timestep(*args)
        return timestep.replace(
            metrics={name: timestep.metrics[name] for name in ("decision", "illegal", "feasible")}
        )


@broken("jit_equals_eager")
class KnowsOfJit(OneMachine):
    def apply(self, key, state, action, legal):
        after = super().apply(key, state, action, legal)
        return after.replace(time=after.time + isinstance(action, jax.core.Tracer))


@jax.custom_batching.custom_vmap
def one_if_batched(x: Array) -> Array:
    return jnp.zeros_like(x)


@one_if_batched.def_vmap
def _(axis_size, in_batched, x):
    return jnp.ones_like(x), True


@broken("vmap_equals_loop")
class KnowsOfVmap(OneMachine):
    def init(self, key, instance):
        state = super().init(key, instance)
        return state.replace(time=one_if_batched(instance.duration.sum(dtype=jnp.int32)))


@broken("episodes_end", "heuristics")
class TooShort(OneMachine):
    def max_steps(self, instance):
        return 1


@broken("episodes_end")
class Restarts(OneMachine):
    def apply(self, key, state, action, legal):
        after = super().apply(key, state, action, legal)
        return after.replace(left=jnp.where(state.done, state.instance.mask, after.left))


@broken("episodes_end")
class AsksWithoutChoice(OneMachine):
    def action_mask(self, state):
        return state.left & (state.time == 0)


@broken("legal_actions", "observation")
class MaskTooWide(OneMachine):
    def action_mask(self, state):
        return state.instance.mask & ~state.done

    def apply(self, key, state, action, legal):
        return super().apply(key, state, action, legal & state.left[action])


@broken("illegal_actions")
class TimePassesAnyway(OneMachine):
    def apply(self, key, state, action, legal):
        after = super().apply(key, state, action, legal)
        return after.replace(time=after.time + ~legal)


@broken("illegal_actions")
class NeverIllegal(OneMachine):
    def decides(self, state):
        return ~state.done


@broken("rewards")
class ObjectiveApart(OneMachine):
    def objective(self, state):
        return super().objective(state) + 1


@broken("rewards")
class UnscaledReward(OneMachine):
    def step(self, key, state, action):
        after, timestep = super().step(key, state, action)
        return after, timestep.replace(
            reward=timestep.metrics["objective_delta"].astype(jnp.float32)
        )


@broken("clock")
class BackwardsClock(OneMachine):
    def clock(self, state):
        return -state.time


@broken("bounds")
class LowerBoundTooHigh(OneMachine):
    def lower_bound(self, instance):
        return super().lower_bound(instance) + 1


@broken("bounds")
class BoundSinks(OneMachine):
    def bound(self, state):
        return super().bound(state) + 100 * state.left.sum(dtype=jnp.int32)


@broken("bounds")
class GrowsInsteadOfImproving(OneMachine):
    improves = True


@broken("heuristics")
class HeuristicOfMinusInfinity(OneMachine):
    @property
    def heuristics(self):
        return {"never": lambda state: jnp.full(state.left.shape, -jnp.inf, jnp.float32)}


@broken("solutions")
class WrongSolution(OneMachine):
    def solution(self, state):
        return super().solution(state) + 1


@broken("solutions")
class MeasuredOtherwise(OneMachine):
    def measure(self, instance, solution):
        return super().measure(instance, solution) + 1


def with_run(observation: GraphObservation, **changes: Any) -> GraphObservation:
    """The observation with other values in its one group of actions."""
    (run,) = observation.actions
    return observation.replace(actions=(run.replace(**changes),))


@broken("observation")
class Infinite(OneMachine):
    def observe(self, state):
        seen = super().observe(state)
        return with_run(seen, features=seen.actions[0].features / state.left[:, None])


@broken("observation")
class PointsOutside(OneMachine):
    def observe(self, state):
        return with_run(super().observe(state), resource=jnp.ones_like(state.completion))


@broken("observation")
class LeavesTraces(OneMachine):
    def observe(self, state):
        seen = super().observe(state)
        tasks, machine = seen.nodes
        features = tasks.features + state.completion[:, None]
        return seen.replace(nodes=(tasks.replace(features=features), machine))


@broken("observation")
class ShowsOtherLegalActions(OneMachine):
    def observe(self, state):
        seen = super().observe(state)
        return seen.replace(action_mask=seen.action_mask & (state.time == 0))


@broken("observation")
class RemembersTheReset(OneMachine):
    def reset(self, key, instance):
        state, timestep = super().reset(key, instance)
        first = with_run(
            timestep.observation, features=timestep.observation.actions[0].features + 1
        )
        return state, timestep.replace(observation=first)


@broken("observation")
class ShowsTheStateBefore(OneMachine):
    def step(self, key, state, action):
        after, timestep = super().step(key, state, action)
        return after, timestep.replace(observation=self.observe(state))


@broken("padding")
class SeesPadding(OneMachine):
    def observe(self, state):
        seen = super().observe(state)
        return with_run(seen, features=seen.actions[0].features / state.left.shape[0])


@broken("padding")
class CountsPadding(OneMachine):
    def bound(self, state):
        return super().bound(state) + state.left.shape[0]


@broken("checkpoint")
class NotPlainArrays(OneMachine):
    def init(self, key, instance):
        return super().init(key, instance).replace(memo=jnp.zeros((), jnp.bfloat16))


@broken("x64")
class DefaultDtype(OneMachine):
    def init(self, key, instance):
        return super().init(key, instance).replace(memo=jnp.arange(3))


@broken("x64_values")
class DefaultPrecision(OneMachine):
    def init(self, key, instance):
        first = super().init(key, instance)
        odd = (jnp.asarray(16777217.0) - 16777216.0).astype(jnp.int32)  # 0 in float32
        return first.replace(memo=odd)


@broken("same_world")
class WorldOfSteps(OneMachine):
    def apply(self, key, state, action, legal):
        after = super().apply(key, state, action, legal)
        return after.replace(time=after.time + legal * jax.random.randint(key, (), 0, 9, jnp.int32))


@broken("same_world")
class InstanceChanges(OneMachine):
    def apply(self, key, state, action, legal):
        after = super().apply(key, state, action, legal)
        return after.replace(
            instance=state.instance.replace(duration=state.instance.duration + legal)
        )


@broken("optimum")
class Restricted(OneMachine):
    def action_mask(self, state):
        duration = jnp.where(state.left, state.instance.duration, -1)
        return state.left & (duration == duration.max())


def broken_wrapper(*checks: str) -> Callable[[type[Wrapper]], type[Wrapper]]:
    """Marks a wrapper that must fail these checks around a sound environment."""

    def mark(cls):
        def wrapped():
            return dataclasses.dataclass(frozen=True)(cls)(OneMachine())

        wrapped.__name__ = cls.__name__
        BROKEN.extend((wrapped, check) for check in checks)
        return cls

    return mark


@broken_wrapper("episodes_end")
class EndsInTheFlagsAlone(Wrapper):
    """Truncates after two steps, but the state inside goes on: `TimeLimit` before issue 16."""

    def init(self, key, instance):
        return WrappedState(self.env.init(key, instance), jnp.zeros((), jnp.int32))

    def step(self, key, state, action):
        inner, timestep = self.env.step(key, state.inner, jnp.where(state.extra < 2, action, -1))
        over = (state.extra >= 1) & ~timestep.terminated
        return WrappedState(inner, jnp.minimum(state.extra + 1, 2)), timestep.replace(
            truncated=over
        )


@broken_wrapper("episodes_end")
class KeepsItsMask(TimeLimit):
    limit: int | None = 2

    def action_mask(self, state):
        return self.env.action_mask(state.inner)


@broken_wrapper("observation")
class ShowsWhatIsNotLegal(TimeLimit):
    limit: int | None = 2

    def observe(self, state):
        return self.env.observe(state.inner)


@broken_wrapper("solutions")
class CallsWhatWasCutOffFeasible(TimeLimit):
    limit: int | None = 2

    def feasible(self, state):
        return self.env.feasible(state.inner)


@broken_wrapper("illegal_actions")
class GoesOnCounting(EpisodeStats):
    def apply(self, key, state, action, legal):
        after = super().apply(key, state, action, legal)
        return after.replace(
            extra=after.extra.replace(num_illegal=after.extra.num_illegal + ~legal)
        )


@broken_wrapper("illegal_actions")
class ComplainsAfterItsEnd(TimeLimit):
    limit: int | None = 2

    def step(self, key, state, action):
        after, timestep = super().step(key, state, action)
        return after, timestep.replace(
            metrics=timestep.metrics | {"illegal": timestep.metrics["illegal"] | state.done}
        )


@pytest.mark.parametrize(
    ("environment", "check"), BROKEN, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_breach_is_found(environment, check):
    with pytest.raises(AssertionError, match=rf"(?m)^{check}: "):
        check_environment(
            environment(), draw_tasks, num_instances=4, exact=tasks_and_optima(), checks=[check]
        )


# What is wrong with an observation that is not well-formed: the message, and a change that brings
# it about. `with_node` changes the nodes of kind task, `with_run` the only group of actions.


def with_node(seen: GraphObservation, **changes: Any) -> GraphObservation:
    """The observation with other values in the nodes of kind task."""
    task, machine = seen.nodes
    return seen.replace(nodes=(task.replace(**changes), machine))


def with_edges(seen: GraphObservation, **changes: Any) -> GraphObservation:
    """The relations as a list, with other values in it."""
    return seen.replace(relation=jax.tree.map(np.asarray, seen.edges.replace(**changes)))


MALFORMED: dict[str, Callable[[GraphObservation], GraphObservation]] = {
    "kinds of nodes come twice: machine": lambda seen: with_node(seen, kind="machine"),
    "the mask of the nodes task is int8[2, 4], not bool[2, 4]": lambda seen: with_node(
        seen, mask=seen["task"].mask.astype(np.int8)
    ),
    "the mask of the nodes task is bool[1, 4], not bool[2, 4]": lambda seen: with_node(
        seen, mask=seen["task"].mask[:1]
    ),
    "the nodes task have 1 features and 2 names": lambda seen: with_node(seen, names=("a", "b")),
    "names of the features of the nodes task come twice: a": lambda seen: with_node(
        seen, names=("a", "a"), features=np.repeat(seen["task"].features, 2, -1)
    ),
    "the features of the nodes task is float32[2, 3, 1], not float32[2, 4, 1]": (
        lambda seen: with_node(seen, features=seen["task"].features[:, :3])
    ),
    "the features of the nodes task is float64[2, 4, 1], not float32[2, 4, 1]": (
        lambda seen: with_node(seen, features=seen["task"].features.astype(np.float64))
    ),
    "a feature of the nodes task is not finite": lambda seen: with_node(
        seen, features=seen["task"].features * np.float32(np.nan)
    ),
    "a masked node task has features other than zero": lambda seen: with_node(
        seen, features=np.ones_like(seen["task"].features)
    ),
    "names of the relations come twice: waits here": lambda seen: seen.replace(
        relation_names=("waits here", "waits here")
    ),
    "relation is int8[2, 5, 4], not int8[2, 5, 5]": lambda seen: seen.replace(
        relation=seen.relation[..., 1:]
    ),
    "relation is int32[2, 5, 5], not int8[2, 5, 5]": lambda seen: seen.replace(
        relation=seen.relation.astype(np.int32)
    ),
    "relation is outside [0, 2)": lambda seen: seen.replace(relation=2 * seen.relation),
    "relation is outside [0, 1)": lambda seen: seen.replace(relation_names=()),
    "senders is outside [0, 5)": lambda seen: with_edges(seen, senders=seen.edges.senders + 1),
    "receivers is outside [0, 5)": lambda seen: with_edges(
        seen, receivers=seen.edges.receivers - 1
    ),
    "receivers is int32[2, 24], not int32[2, 25]": lambda seen: with_edges(
        seen, receivers=seen.edges.receivers[:, 1:]
    ),
    "senders is int8[2, 25], not int32[2, 25]": lambda seen: with_edges(
        seen, senders=seen.edges.senders.astype(np.int8)
    ),
    "the relation of the edges is outside [0, 2)": lambda seen: with_edges(
        seen, relation=seen.edges.relation + 1
    ),
    "a real edge has no relation": lambda seen: with_edges(
        seen, mask=np.ones_like(seen.edges.mask)
    ),
    "the mask of the edges is bool[1, 25], not bool[2, 25]": lambda seen: with_edges(
        seen, mask=seen.edges.mask[:1]
    ),
    "the actions run job name job, which is no kind of node": lambda seen: with_run(
        seen, about="job"
    ),
    "the actions run task name tool, which is no kind of node": lambda seen: with_run(
        seen, uses="tool"
    ),
    "the actions run task have resources of no kind": lambda seen: with_run(
        seen, uses=None, resource=np.zeros((2, 4), np.int32)
    ),
    "the actions run task have nodes, but no resources": lambda seen: with_run(
        seen, node=np.zeros((2, 4), np.int32)
    ),
    "node of the actions run task is outside [0, 4)": lambda seen: with_run(
        seen, node=np.full((2, 4), 4, np.int32), resource=np.zeros((2, 4), np.int32)
    ),
    "resource of the actions run task is outside [0, 1)": lambda seen: with_run(
        seen, resource=np.ones((2, 4), np.int32)
    ),
    "resource of the actions run task is int32[2, 3], not int32[2, 4]": lambda seen: with_run(
        seen, resource=np.zeros((2, 3), np.int32)
    ),
    "node of the actions run task is int32[2, 3], not int32[2, 4]": lambda seen: with_run(
        seen, node=np.zeros((2, 3), np.int32), resource=np.zeros((2, 4), np.int32)
    ),
    "node of the actions run task is bool[2, 4], not int32[2, 4]": lambda seen: with_run(
        seen, node=np.zeros((2, 4), np.bool_), resource=np.zeros((2, 4), np.int32)
    ),
    "the actions run / wait task are 4 actions of 2 kinds": lambda seen: with_run(
        seen, kinds=("run", "wait")
    ),
    "the actions run task have names of features, but no features": lambda seen: with_run(
        seen, features=None
    ),
    "the actions run task have 1 features and 0 names": lambda seen: with_run(seen, names=()),
    "the features of the actions run task is float32[2, 3, 1], not float32[2, 4, 1]": (
        lambda seen: with_run(seen, features=seen.actions[0].features[:, 1:])
    ),
    "a feature of the actions run task is not finite": lambda seen: with_run(
        seen, features=seen.actions[0].features + np.float32(np.inf)
    ),
    "action_mask is bool[2, 3], not bool[2, 4]": lambda seen: seen.replace(
        action_mask=seen.action_mask[:, 1:]
    ),
    "action_mask is bool[2, 4], not bool[2, 8]": lambda seen: seen.replace(
        actions=(seen.actions[0], seen.actions[0].replace(features=None, names=()))
    ),
    "two groups of actions have the same form": lambda seen: seen.replace(
        actions=2 * seen.actions, action_mask=np.tile(seen.action_mask, 2)
    ),
    "a legal action points to a masked node": lambda seen: seen.replace(
        action_mask=np.ones_like(seen.action_mask)
    ),
}


@pytest.fixture(scope="module")
def two_seen() -> GraphObservation:
    """What a policy sees of two instances, in arrays of NumPy."""
    tasks = shapes.stacked([instance for instance, _ in tasks_and_optima()])
    key, env = jax.random.key(0), OneMachine()
    seen = jax.vmap(lambda instance: env.observe(env.init(key, instance)))(tasks)
    return jax.tree.map(np.asarray, seen)


def test_well_formed_observations_pass(two_seen):
    well_formed(two_seen)
    well_formed(with_edges(two_seen))
    run = np.broadcast_to(np.arange(4, dtype=np.int32), (2, 4))
    well_formed(with_run(two_seen, resource=np.zeros_like(run)))
    well_formed(with_run(two_seen, node=run, resource=np.zeros_like(run)))
    well_formed(with_run(two_seen, node=run, uses=None))
    well_formed(with_run(two_seen, kinds=("run", "run", "wait", "run")))
    well_formed(with_run(two_seen, features=None, names=()))


@pytest.mark.parametrize("message", MALFORMED)
def test_an_observation_that_is_not_well_formed_is_found(two_seen, message: str):
    with pytest.raises(AssertionError, match=f"^{re.escape(message)}"):
        well_formed(MALFORMED[message](two_seen))


def test_every_check_can_fail():
    assert {check for _, check in BROKEN} == {check.__name__ for check in CHECKS}


def test_an_optimum_that_is_beaten_is_found():
    exact = [(instance, best + 1) for instance, best in tasks_and_optima()]
    with pytest.raises(AssertionError, match="better than the optimum"):
        check_environment(OneMachine(), draw_tasks, exact=exact, checks=["optimum"])


def test_all_failures_are_named():
    with pytest.raises(AssertionError) as caught:
        check_environment(
            FloatClock(),
            draw_tasks,
            checks=["structure", "optimum"],
            exact=[(tasks_and_optima()[0][0], 99)],
        )
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "structure",
        "optimum",
    ]


def test_an_unknown_check_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean rewards"):
        check_environment(OneMachine(), draw_tasks, checks=["reward"])
