"""CP-SAT: optima, bounds, hints, limits; checked by the judge and by exhaustive search."""

from __future__ import annotations

import math
import random
import sys
import time

import jax
import numpy as np
import pytest

from jaxsched.envs.job_shop import (
    Schedule,
    bounds,
    dispatch,
    exact,
    from_jobs,
    load,
    measure,
    solve_exact,
    validate,
)
from jaxsched.host import deadline
from jaxsched.host.cpsat import Solver
from jaxsched.host.errors import UnknownNameError
from tests import shapes
from tests.reference import job_shop as reference


def exhaustive(jobs, release):
    """The optimal makespan: the best semi-active schedule over all orders of dispatching."""

    def best(done, job_ready, machine_ready):
        ends = []
        for j, job in enumerate(jobs):
            if done[j] == len(job):
                continue
            machine, duration = job[done[j]]
            end = max(job_ready[j], machine_ready[machine]) + duration
            ends.append(
                best(
                    (*done[:j], done[j] + 1, *done[j + 1 :]),
                    (*job_ready[:j], end, *job_ready[j + 1 :]),
                    (*machine_ready[:machine], end, *machine_ready[machine + 1 :]),
                )
            )
        return min(ends, default=max(job_ready))

    return best((0,) * len(jobs), tuple(release), (0,) * 3)


def assert_sound(instance, result):
    assert validate(instance, result.schedule) == []
    assert result.objective == result.schedule.makespan
    assert result.bound <= result.objective
    assert result.proved == (result.bound == result.objective)
    assert result.seconds > 0


def one_after_another(instance):
    """A poor but valid schedule, to be used as a hint."""
    start, now = [], 0
    for durations, mask in zip(
        np.asarray(instance.duration).tolist(), np.asarray(instance.op_mask), strict=True
    ):
        start.append([])
        for duration in durations[: mask.sum()]:
            start[-1].append(now)
            now += duration
    return Schedule(start, now)


def test_proves_ft06():
    instance = load("ft06")
    result = solve_exact(instance, 60, num_workers=1)
    assert_sound(instance, result)
    assert result.proved
    assert result.objective == bounds("ft06").upper


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_exhaustive_search(seed):
    """Ragged jobs, revisited machines, durations of 0, release dates."""
    rng = np.random.default_rng(seed)
    jobs = [
        [(int(rng.integers(3)), int(rng.integers(6))) for _ in range(rng.integers(1, 4))]
        for _ in range(3)
    ]
    release = rng.integers(0, 5, 3).tolist()
    instance = from_jobs(jobs, release=release, num_machines=3)
    result = solve_exact(instance, 60, num_workers=1)
    assert_sound(instance, result)
    assert result.proved
    assert result.objective == exhaustive(jobs, release)


@pytest.mark.parametrize("objective", ["flow_time", "weighted_tardiness"])
@pytest.mark.parametrize("seed", range(6))
def test_sums_agree_with_exhaustive_search(objective, seed):
    rng = random.Random(seed)
    jobs = shapes.random_jobs(rng, 3, 3)
    release, weight = [rng.randint(0, 9) for _ in jobs], [rng.randint(0, 4) for _ in jobs]
    due = [rng.choice([None, rng.randint(0, 60)]) for _ in jobs]
    instance = from_jobs(jobs, release=release, due=due, weight=weight)
    result = solve_exact(instance, 60, num_workers=1, objective=objective)
    assert validate(instance, result.schedule) == []
    assert result.proved
    assert result.objective == measure(instance, result.schedule, objective)
    assert result.objective == reference.optimum(jobs, release, "any", due, weight, objective)


@pytest.mark.parametrize("objective", ["flow_time", "weighted_tardiness"])
def test_sums_never_get_worse_than_the_hint(objective):
    instance = with_dates(load("ft10"))
    hint = dispatch(instance, "slack")
    result = solve_exact(instance, 0.5, hint, num_workers=1, objective=objective)
    assert validate(instance, result.schedule) == []
    assert result.bound <= result.objective <= measure(instance, hint, objective)
    assert solve_exact(instance, 0, hint, num_workers=1, objective=objective).schedule == hint


def with_dates(instance):
    work = np.asarray(instance.duration).sum(1)
    return instance.replace(
        due=(work * 3 // 2).astype(np.int32),
        due_mask=np.ones(work.shape, bool),
        weight=np.arange(len(work), dtype=np.int32),
    )


def test_padding_changes_nothing():
    instance = from_jobs([[(0, 3), (1, 2)], [(1, 4), (0, 1)]])
    padded = jax.tree.map(lambda leaf: np.pad(leaf, [(0, 1)] * leaf.ndim), instance)
    result = solve_exact(padded, num_workers=1)
    assert_sound(padded, result)
    assert result.objective == solve_exact(instance, num_workers=1).objective
    nothing = jax.tree.map(np.zeros_like, instance)
    assert solve_exact(nothing, num_workers=1).objective == 0


def test_a_poor_hint_is_improved():
    instance = load("ft06")
    result = solve_exact(instance, 60, one_after_another(instance), num_workers=1)
    assert_sound(instance, result)
    assert result.objective == bounds("ft06").upper


@pytest.mark.parametrize("name", ["ft06", "ta21"])
def test_no_time_returns_the_hint(name):
    instance = load(name)
    hint = one_after_another(instance)
    result = solve_exact(instance, 0, hint, num_workers=1)
    assert_sound(instance, result)
    assert result.schedule == hint
    assert not result.proved
    assert result.bound <= bounds(name).upper


def test_a_hint_is_never_made_worse():
    instance = load("ta01")
    good = solve_exact(instance, 1, num_workers=1)
    assert_sound(instance, good)
    again = solve_exact(instance, 0.3, good.schedule, num_workers=1)
    assert_sound(instance, again)
    assert again.objective <= good.objective


def test_an_optimal_hint_is_kept_and_proved():
    instance = load("ft06")
    best = solve_exact(instance, 60, num_workers=1)
    again = solve_exact(instance, 60, best.schedule, num_workers=1)
    assert_sound(instance, again)
    assert again.proved
    assert again.schedule == best.schedule


def test_without_hint_and_time_there_is_still_a_schedule():
    instance = load("ta21")
    result = solve_exact(instance, 0, num_workers=1)
    assert_sound(instance, result)
    assert result.bound <= bounds("ta21").lower
    assert result.objective >= bounds("ta21").lower


# -------------------------------------------------------------------------- time limits and methods


def slow_greedy(jobs, release, due, objective):
    """The start of `solve_exact` by its definition: each time the least of all jobs that wait."""
    job_ready, machine_ready = list(release), {}
    work = [sum(duration for _, duration in job) for job in jobs]
    start = [[] for _ in jobs]
    waiting = {j for j, job in enumerate(jobs) if job}

    def earliest(j):
        return max(job_ready[j], machine_ready.get(jobs[j][len(start[j])][0], 0))

    def priority(j):
        date = math.inf if due[j] is None else due[j]
        return {"makespan": -work[j], "flow_time": work[j], "weighted_tardiness": date}[objective]

    while waiting:
        j = min(waiting, key=lambda j: (earliest(j), priority(j), j))
        machine, duration = jobs[j][len(start[j])]
        begin = earliest(j)
        start[j].append(begin)
        job_ready[j] = machine_ready[machine] = begin + duration
        work[j] -= duration
        if len(start[j]) == len(jobs[j]):
            waiting.remove(j)
    return start


@pytest.mark.parametrize("objective", exact.START_RULES)
def test_the_greedy_start_is_that_of_the_quadratic_form(objective):
    """Issue 16, row 13: queues per machine give the same schedules; small numbers, so that most
    things tie.
    """
    rng = random.Random(0)
    for _ in range(400):
        machines, longest = rng.randint(1, 5), rng.choice([0, 1, 3, 99])
        jobs = [
            [(rng.randrange(machines), rng.randint(0, longest)) for _ in range(rng.randint(0, 6))]
            for _ in range(rng.randint(0, 12))
        ]
        release = [rng.choice([0, rng.randint(0, 2 * longest)]) for _ in jobs]
        due = [rng.choice([None, rng.randint(-5, 5)]) for _ in jobs]
        greedy = exact._greedy(jobs, release, due, objective)
        assert greedy.start == slow_greedy(jobs, release, due, objective), (jobs, release, due)


@pytest.mark.parametrize(
    ("jobs", "objective", "without_time", "with_time"),
    [
        # The start takes 8, the best schedule 7.
        ([[(0, 2), (1, 3)], [(1, 2), (0, 3)], [(1, 2), (0, 1)]], 7, "non_delay mwkr", "cp_sat"),
        # The start is optimal, which takes a search to see.
        (
            [[(0, 3), (1, 2)], [(0, 2), (1, 2)]],
            7,
            "non_delay mwkr",
            "non_delay mwkr, proved by cp_sat",
        ),
        # The start is as long as a machine is busy: it is optimal at sight.
        ([[(0, 3), (1, 3)], [(1, 3), (0, 1)]], 6, "non_delay mwkr", "non_delay mwkr"),
    ],
)
def test_the_method_is_who_found_the_schedule(jobs, objective, without_time, with_time):
    """Issue 16, row 14: the solver gives its name only to what it found or proved."""
    shop = from_jobs(jobs)
    start = solve_exact(shop, 0)
    assert (start.method, start.proved) == (without_time, without_time == with_time)
    best = solve_exact(shop, 60, num_workers=1)
    assert (best.objective, best.proved, best.method) == (objective, True, with_time)
    hint = one_after_another(shop)
    assert solve_exact(shop, 0, hint).method == "hint"
    assert solve_exact(shop, 60, hint, num_workers=1).method == "cp_sat"
    again = solve_exact(shop, 60, best.schedule, num_workers=1)
    assert again.method == ("hint" if start.bound == objective else "hint, proved by cp_sat")


def test_the_method_names_the_rule_of_the_objective():
    shop = with_dates(load("ft10"))
    for objective, rule in exact.START_RULES.items():
        assert solve_exact(shop, 0, objective=objective).method == rule


@pytest.mark.parametrize("objective", ["flow_time", "weighted_tardiness"])
def test_the_bound_of_a_sum_is_that_of_jobs_alone(objective):
    """Without time for a model the bound is what each job takes alone, and can prove a start."""
    jobs, due = [[(0, 3), (1, 4)], [(2, 5)]], [1, 6]
    result = solve_exact(
        from_jobs(jobs, release=[2, 0], due=due, weight=[2, 1]), 0, objective=objective
    )
    assert (
        result.objective == result.bound == {"flow_time": 12, "weighted_tardiness": 16}[objective]
    )
    assert result.proved


@pytest.mark.nightly
@pytest.mark.parametrize("objective", exact.START_RULES)
def test_a_large_shop_ends_within_the_limit(objective):
    """Issue 16, row 13: 30,000 operations; it took 208 s of a limit of 5. The margin is for a
    busy machine.
    """
    rng = random.Random(0)
    jobs = [
        [(machine, rng.randint(1, 5)) for machine in rng.sample(range(20), 5)] for _ in range(6000)
    ]
    shop = from_jobs(jobs, due=[10 + j // 20 for j in range(6000)])
    began = time.perf_counter()
    result = solve_exact(shop, 1, objective=objective)
    assert time.perf_counter() - began < 10
    assert result.seconds < 10
    assert validate(shop, result.schedule) == []


def test_the_time_before_the_search_counts(monkeypatch):
    """Issue 16, row 13, by a clock of the test's own: a start that takes all the time leaves no
    search.
    """
    now = [0.0]
    monkeypatch.setattr(deadline, "clock", lambda: now[0])
    greedy = exact._greedy

    def slow(*arguments):
        now[0] += 5
        return greedy(*arguments)

    monkeypatch.setattr(exact, "_greedy", slow)
    solve, limits = Solver.solve, []

    def record(solver, *arguments):
        limits.append(solver.deadline.left())
        return solve(solver, *arguments)

    monkeypatch.setattr(Solver, "solve", record)
    shop = load("ft06")
    result = solve_exact(shop, 65, num_workers=1)
    assert limits == [60]
    assert (result.method, result.seconds) == ("cp_sat", 5)
    # Without time for the model the start is returned, under its own name and with a bound.
    result = solve_exact(shop, 5, num_workers=1)
    assert limits == [60]
    assert_sound(shop, result)
    assert (result.method, result.proved) == ("non_delay mwkr", False)
    assert result.bound == exact.trivial_bound(exact.to_jobs(shop), [0] * 6) < result.objective


def test_refusals(monkeypatch):
    instance = from_jobs([[(0, 1)]])
    with pytest.raises(
        UnknownNameError, match="unknown objective 'makespam'; did you mean makespan"
    ):
        solve_exact(instance, objective="makespam")
    with pytest.raises(
        ValueError, match="hint is not a valid schedule: the makespan is given as 2"
    ):
        solve_exact(instance, hint=Schedule([[0]], 2))
    for limit in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="time_limit"):
            solve_exact(instance, limit)
    with pytest.raises(ValueError, match="batch"):
        solve_exact(jax.tree.map(lambda leaf: leaf[None], instance))
    monkeypatch.setitem(sys.modules, "ortools.sat.python", None)
    with pytest.raises(ImportError) as error:
        solve_exact(instance)
    assert str(error.value) == 'solve_exact needs OR-Tools: pip install "jaxsched[solvers]"'
