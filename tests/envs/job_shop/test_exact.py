"""CP-SAT: optima, bounds, hints, limits; checked by the judge and by exhaustive search."""

from __future__ import annotations

import random
import sys

import jax
import numpy as np
import pytest

from jaxsched.core.errors import UnknownNameError
from jaxsched.envs.job_shop import Schedule, bounds, dispatch, from_jobs, load, measure, solve_exact, validate
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
    for durations, mask in zip(np.asarray(instance.duration).tolist(), np.asarray(instance.op_mask), strict=True):
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
    jobs = [[(int(rng.integers(3)), int(rng.integers(6))) for _ in range(rng.integers(1, 4))] for _ in range(3)]
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


def test_refusals(monkeypatch):
    instance = from_jobs([[(0, 1)]])
    with pytest.raises(UnknownNameError, match="unknown objective 'makespam'; did you mean makespan"):
        solve_exact(instance, objective="makespam")
    with pytest.raises(ValueError, match="hint is not a valid schedule: the makespan is given as 2"):
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
