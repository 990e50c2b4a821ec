"""The rules against the plain-Python simulator: PE, start and finish of every task, under every
scheduler and mode.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched.core import masked_argmax, take
from jaxsched.envs.soc import decisions, instances, io, objectives, sources
from jaxsched.envs.soc import env as soc_env
from jaxsched.envs.soc.settings import CAP_MODES, COMMUNICATION, DISPATCH_ORDERS, Settings
from jaxsched.envs.soc.types import LATEST, State
from tests.envs.soc import cases

# `etf_lb` only adds its counters, so that every scheduler without a plan can be played with it.
SIMPLE = ("etf_lb", (*cases.RULES, "drawn"))
HEFT_RT, HEFT, PEFT = (("heft_rt", ("heft_rt",)), ("heft", ("heft",)), ("peft", ("peft",)))
EVERYTHING = list(itertools.product(COMMUNICATION, CAP_MODES, DISPATCH_ORDERS))
# Every pair of values, and every scheduler with both kinds of communication.
CI = [
    ("pe_to_pe", "ds3", "job_id", *SIMPLE),
    ("shared_memory", "socrates", "job_id", *SIMPLE),
    ("pe_to_pe", "open", "insertion", *SIMPLE),
    ("shared_memory", "ds3", "insertion", *HEFT_RT),
    ("pe_to_pe", "socrates", "insertion", *HEFT_RT),
    ("pe_to_pe", "ds3", "job_id", *HEFT),
    ("shared_memory", "open", "job_id", *PEFT),
]


def drawn(state: State, draws: jax.Array) -> jax.Array:
    """i32[F * Q]: 1 for the ready task and PE that the draw for this decision means, as
    `cases.drawn`.
    """
    front, ready = state.frontier, decisions.ready(state)
    which, pe = draws[jnp.minimum(state.num_dispatched, draws.shape[0] - 1)]
    order = jnp.argsort(jnp.where(ready, front.ready_seq, LATEST))
    entry = order[which % jnp.maximum(ready.sum(), 1)]
    able = front.exec_mask[entry]
    chosen = able & (jnp.cumsum(able) - 1 == pe % jnp.maximum(able.sum(), 1))
    return ((jnp.arange(len(ready)) == entry)[:, None] & chosen).astype(jnp.int32).ravel()


@functools.partial(jax.jit, static_argnums=(0, 1))
def play(env: soc_env.SoC, schedulers: tuple[str, ...], batch: Any, draws: jax.Array) -> State:
    """Final states [scheduler, case], without their instance: one program for all schedulers."""

    def episode(scheduler, instance, draws):
        def step(state, _):
            mask = env.action_mask(state)
            scores = [
                drawn(state, draws) if name == "drawn" else env.heuristics[name](state)
                for name in schedulers
            ]
            action = jnp.stack([masked_argmax(each, mask) for each in scores])[scheduler]
            return env.apply(jax.random.key(0), state, action, take(mask, action)), None

        start = env.init(jax.random.key(0), instance)
        return jax.lax.scan(step, start, length=env.max_steps(instance))[0].replace(instance=None)

    over_cases = jax.vmap(episode, (None, 0, 0))
    return jax.vmap(over_cases, (0, None, None))(jnp.arange(len(schedulers)), batch, draws)


def make(
    communication: str, cap_mode: str, order: str, rule: str | None, **more: Any
) -> soc_env.SoC:
    given = {"communication": communication, "cap_mode": cap_mode, "dispatch_order": order}
    return soc_env.SoC(Settings(**given, rule=rule, **more))


def check(
    env: soc_env.SoC,
    schedulers: tuple[str, ...],
    given: Sequence[cases.Case],
    expect: Any = None,
    **noise: Any,
):
    """`expect` says under which scheduler of the simulator; the same one unless stated."""
    settings = env.settings
    each = [
        cases.to_instance(case, settings.communication, settings.cap_mode, **noise)
        for case in given
    ]
    states = jax.device_get(
        play(env, schedulers, cases.stack(each), np.array([case.draws for case in given], np.int32))
    )
    for (s, scheduler), (i, case) in itertools.product(enumerate(schedulers), enumerate(given)):
        state = jax.tree.map(lambda leaf, s=s, i=i: leaf[s, i], states)
        times = (
            np.asarray(objectives.drawn_times(jax.tree.map(jnp.asarray, each[i])))
            if noise
            else None
        )
        expected = cases.simulate(
            case,
            expect or scheduler,
            communication=settings.communication,
            cap_mode=settings.cap_mode,
            dispatch_order=settings.dispatch_order,
            realised=None if times is None else lambda j, k, p, times=times: int(times[j, k, p]),
        )
        found = soc_env.make_trace(state.replace(instance=each[i]), case.platform, case.profiles)
        where = f"{scheduler} under {settings}: {case}"
        assert found.tasks == expected.tasks, where
        assert found.jobs == expected.jobs, where
        late = [job for job in expected.held_back if job < len(expected.jobs)]
        assert settings.cap_mode == "socrates" or found.held_back == len(late), where


@pytest.mark.parametrize(("communication", "cap_mode", "order", "rule", "schedulers"), CI)
def test_streams_equal_the_simulator(communication, cap_mode, order, rule, schedulers):
    check(make(communication, cap_mode, order, rule), schedulers, cases.random_cases(0, 100))


@pytest.mark.nightly
@pytest.mark.parametrize("setting", EVERYTHING, ids="-".join)
def test_streams_equal_the_simulator_2000(setting):
    for seed in range(1, 21):
        given = cases.random_cases(seed, 100)
        for rule, schedulers in (SIMPLE, HEFT_RT, HEFT, PEFT):
            check(make(*setting, rule), schedulers, given)


def longer(case: cases.Case) -> cases.Case:
    """Without tasks of length 0."""
    times = {
        name: tuple(1 if time == 0 else time for time in row)
        for name, row in case.platform.exec_time.items()
    }
    return case._replace(platform=dataclasses.replace(case.platform, exec_time=times))


RELEASED = ("heft_rt_released", ("heft_rt_released",))


def test_released_heft_rt_equals_the_simulator():
    given = list(map(longer, cases.random_cases(6, 100)))
    check(make("pe_to_pe", "socrates", "insertion", RELEASED[0]), RELEASED[1], given)
    differ = [
        cases.simulate(case, "heft_rt").tasks != cases.simulate(case, "heft_rt_released").tasks
        for case in given
    ]
    assert sum(differ) > 5


@pytest.mark.nightly
@pytest.mark.parametrize("setting", EVERYTHING, ids="-".join)
def test_released_heft_rt_equals_the_simulator_2000(setting):
    for seed in range(21, 41):
        check(
            make(*setting, RELEASED[0]),
            RELEASED[1],
            list(map(longer, cases.random_cases(seed, 100))),
        )


def test_a_horizon_cuts_the_stream_off():
    check(
        make("pe_to_pe", "ds3", "job_id", "etf_lb"),
        SIMPLE[1],
        cases.random_cases(1, 100, horizon=True),
    )


def test_noise_changes_times_and_not_what_schedulers_know():
    given = cases.random_cases(2, 30)
    noise = {"noise_std": 0.4, "noise_key": jax.random.key(5)}
    check(make("pe_to_pe", "ds3", "job_id", "etf_lb"), ("met", "etf", "drawn"), given, **noise)


@pytest.mark.nightly
def test_noise_and_plans():
    noise = {"noise_std": 0.4, "noise_key": jax.random.key(5)}
    for rule, schedulers in (HEFT_RT, HEFT):
        check(
            make("pe_to_pe", "ds3", "job_id", rule), schedulers, cases.random_cases(3, 100), **noise
        )


def test_views_reach_the_schedules_of_the_rules_they_are_made_of():
    given = cases.random_cases(4, 60)
    check(make("pe_to_pe", "ds3", "job_id", None, view="fifo"), ("met", "stf", "eft"), given)
    check(make("pe_to_pe", "ds3", "insertion", "heft_rt", view="order"), ("heft_rt",), given)
    env = make("pe_to_pe", "ds3", "job_id", None, view="order", order_mapping="eft")
    check(env, ("eft", "etf"), given[:20])


# -------------------------------------------------------------------------------- published numbers

ALONE = {  # job alone on the platform of DS3, us
    "ds3_wifi_tx": {"met": 71, "eft": 71, "etf": 71, "stf": 165},
    "ds3_wifi_rx": {"met": 389, "eft": 301, "etf": 301, "stf": 641},
    "ds3_range_detection": {"met": 177, "eft": 177, "etf": 177},
    "ds3_temporal_mitigation": {"met": 81, "eft": 81, "etf": 81},
}


def test_single_jobs_on_the_platform_of_ds3(data_dir):
    folder = data_dir / "soc"
    platform = io.load_platform(folder / "soc_ds3_multiple_bal.json")
    jobs = [io.load_job(folder / f"job_{name}.json") for name in ALONE]
    system = instances.make_system(platform, jobs)
    widest = max(map(instances.width, jobs))
    batch = [
        instances.make_instance(system, [i], [0], cap=1, width=widest) for i in range(len(jobs))
    ]
    schedulers = ("met", "eft", "etf", "stf")
    draws = np.zeros((len(jobs), 1, 2), np.int32)
    states = play(make("pe_to_pe", "ds3", "job_id", None), schedulers, cases.stack(batch), draws)
    for i, (name, published) in enumerate(ALONE.items()):
        found = dict(zip(schedulers, states.latency[:, i].tolist(), strict=True))
        assert found | published == found, name


# ---------------------------------------------------------------------------------------- open loop


def test_a_place_that_is_missing_in_open_loop_counts_as_latency():
    env = make("pe_to_pe", "open", "job_id", None)
    source = sources.streams(num_jobs=6, scale=5, cap=2, steady=False)
    instance = jax.device_get(source(jax.random.key(0)))
    state = play(
        env,
        ("etf",),
        jax.tree.map(lambda leaf: leaf[None], instance),
        np.zeros((1, 1, 2), np.int32),
    )
    state = jax.tree.map(lambda leaf: leaf[0, 0], jax.device_get(state)).replace(instance=instance)
    trace = soc_env.make_trace(state)
    assert state.held_back > 0
    assert [job.arrival for job in trace.jobs] == np.cumsum(instance.gap).tolist()
    assert state.latency == sum(job.latency or 0 for job in trace.jobs)
    # The third job waits for one of the two places.
    first_starts = [min(row.start for row in trace.tasks if row.job == i) for i in range(6)]
    assert first_starts[2] >= min(trace.jobs[0].finish or 0, trace.jobs[1].finish or 0)


def test_what_is_compared_can_differ():
    """The simulator tells schedulers and modes apart on these cases, so that equality means
    something.
    """
    given = cases.random_cases(0, 100)
    runs = [
        [cases.simulate(case, name, cap_mode="ds3").tasks for case in given] for name in SIMPLE[1]
    ]
    assert all(a != b for a, b in itertools.combinations(runs, 2))
    for setting in (
        {"cap_mode": "open"},
        {"cap_mode": "socrates"},
        {"dispatch_order": "insertion"},
    ):
        assert any(
            cases.simulate(case, "met", **setting).tasks != run
            for case, run in zip(given, runs[1], strict=True)
        )
    assert any(
        cases.simulate(case, "met", communication="shared_memory").tasks != run
        for case, run in zip(given, runs[1], strict=True)
    )
