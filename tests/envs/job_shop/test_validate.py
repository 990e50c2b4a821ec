"""The judge: every kind of violation is found by mutating a valid schedule; overlaps agree with
a pairwise oracle.
"""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsched.envs.job_shop import Schedule, from_jobs, validate

JOBS = [[(0, 3), (1, 2)], [(1, 4), (0, 0), (0, 2)]]
START = [[0, 4], [0, 4, 4]]


@pytest.fixture(scope="module")
def instance():
    return from_jobs(JOBS, release=[0, 0])


def test_a_valid_schedule(instance):
    assert validate(instance, Schedule(START, 6)) == []
    as_numpy = Schedule([[np.int32(t) for t in row] for row in START], np.int64(6))  # pyright: ignore[reportArgumentType]
    assert validate(instance, as_numpy) == []


@pytest.mark.parametrize(
    ("start", "makespan", "faults"),
    [
        ([[0, 4], [0, 4, 4]], 7, ["the makespan is given as 7, but the latest end is 6"]),
        ([[0, 4], [0, 4, 4]], 6.0, ["the makespan is given as 6.0, but the latest end is 6"]),
        ([[0, 5], [0, 4, 4]], 6, ["the makespan is given as 6, but the latest end is 7"]),
        (
            [[2, 4], [0, 5, 5]],
            7,
            ["job 0: operation 1 starts at 4, before operation 0 ends at 5"],
        ),
        (
            [[0, 3], [0, 4, 4]],
            6,
            ["machine 1: operation 1 of job 0 starts at 3, before operation 0 of job 1 ends at 4"],
        ),
        (
            [[4, 7], [0, 5, 7]],
            9,
            ["machine 0: operation 1 of job 1 starts at 5, before operation 0 of job 0 ends at 7"],
        ),
        ([[0, 4], [0, 4]], 6, ["job 1 has 3 operations, but the schedule gives 2 starts"]),
        ([[0, 4]], 6, ["job 1 has 3 operations, but the schedule gives 0 starts"]),
        ([[0, 4], [0, 4, 4], [1]], 6, ["job 2 has 0 operations, but the schedule gives 1 starts"]),
        ([[0, 4.0], [0, 4, 4]], 6, ["job 0, operation 1: start 4.0 is not an integer"]),
        ([[False, 4], [0, 4, 4]], 6, ["job 0, operation 0: start False is not an integer"]),
        (
            [[None, 4], [0, 4, "4"]],
            6,
            [
                "job 0, operation 0: start None is not an integer",
                "job 1, operation 2: start '4' is not an integer",
            ],
        ),
        ([[-1, 4], [0, 4, 4]], 6, ["job 0, operation 0: start -1 is not in [0, 2**31)"]),
        ([[0, 2**70], [0, 4, 4]], 6, [f"job 0, operation 1: start {2**70} is not in [0, 2**31)"]),
    ],
)
def test_faults(instance, start, makespan, faults):
    assert validate(instance, Schedule(start, makespan)) == faults


def test_release_dates():
    instance = from_jobs(JOBS, release=[1, 0])
    assert validate(instance, Schedule(START, 6)) == ["job 0 starts at 0, before its release at 1"]


def test_an_overlap_with_an_earlier_long_operation_is_found():
    instance = from_jobs([[(0, 10)], [(0, 1)], [(0, 1)], [(0, 1)]])
    faults = validate(instance, Schedule([[0], [2], [5], [10]], 11))
    assert faults == [
        "machine 0: operation 0 of job 1 starts at 2, before operation 0 of job 0 ends at 10",
        "machine 0: operation 0 of job 2 starts at 5, before operation 0 of job 0 ends at 10",
    ]


@pytest.mark.parametrize(
    ("time", "valid"),
    [(0, True), (3, True), (4, True), (5, True), (8, True), (1, False), (2, False), (7, False)],
)
def test_duration_zero_stands_at_borders_only(time, valid):
    instance = from_jobs([[(0, 3)], [(0, 3)], [(0, 0)], [(0, 0)]])
    faults = validate(instance, Schedule([[0], [5], [time], [time]], 8))
    assert bool(faults) != valid


def test_padding_changes_nothing(instance):
    padded = jax.tree.map(lambda leaf: np.pad(leaf, [(0, 2)] * leaf.ndim), instance)
    for rows in (START, [*START, [], []]):
        assert validate(padded, Schedule(rows, 6)) == []
    assert validate(padded, Schedule(START, 5)) == validate(instance, Schedule(START, 5)) != []
    nothing = jax.tree.map(np.zeros_like, instance)
    assert validate(nothing, Schedule([], 0)) == []


def test_batches_are_refused(instance):
    with pytest.raises(ValueError, match=r"one instance, got a batch of shape \(1,\)"):
        validate(jax.tree.map(lambda leaf: leaf[None], instance), Schedule(START, 6))


def oracle(jobs, release, start, makespan):
    """Whether a schedule is valid, from the definition: every pair of operations is compared."""
    flat = [
        (j, k, m, t, t + d)
        for j, job in enumerate(jobs)
        for k, ((m, d), t) in enumerate(zip(job, start[j], strict=True))
    ]
    return (
        all(t >= release[j] for j, _, _, t, _ in flat)
        and all(
            a[4] <= b[3] for a, b in itertools.product(flat, flat) if a[0] == b[0] and a[1] < b[1]
        )
        and all(
            a[4] <= b[3] or b[4] <= a[3] for a, b in itertools.combinations(flat, 2) if a[2] == b[2]
        )
        and makespan == max(end for *_, end in flat)
    )


@st.composite
def schedules(draw):
    """A small job shop with a semi-active schedule, then a few starts and the makespan
    disturbed.
    """
    jobs = draw(
        st.lists(
            st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=3),
            min_size=1,
            max_size=4,
        )
    )
    release = draw(st.lists(st.integers(0, 3), min_size=len(jobs), max_size=len(jobs)))
    order = draw(st.permutations([j for j, job in enumerate(jobs) for _ in job]))
    start, job_ready, machine_ready = [[] for _ in jobs], list(release), [0, 0]
    for j in order:
        machine, duration = jobs[j][len(start[j])]
        start[j].append(max(job_ready[j], machine_ready[machine]))
        job_ready[j] = machine_ready[machine] = start[j][-1] + duration
    makespan = max(job_ready)
    for _ in range(draw(st.integers(0, 2))):
        j = draw(st.integers(0, len(jobs) - 1))
        k = draw(st.integers(0, len(jobs[j]) - 1))
        start[j][k] = max(0, start[j][k] + draw(st.integers(-2, 2)))
    makespan = draw(
        st.sampled_from([makespan, makespan + 1, max(t + d for t, d in latest(jobs, start))])
    )
    return jobs, release, start, makespan


def latest(jobs, start):
    return [
        (t, d)
        for job, row in zip(jobs, start, strict=True)
        for (_, d), t in zip(job, row, strict=True)
    ]


@given(schedules())
@settings(max_examples=500)
def test_agrees_with_the_pairwise_oracle(case):
    jobs, release, start, makespan = case
    faults = validate(from_jobs(jobs, release=release), Schedule(start, makespan))
    assert (faults == []) == oracle(jobs, release, start, makespan)
