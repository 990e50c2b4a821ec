"""`replay` and `dispatch`: what they return, and what they refuse."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from jaxsched.core import UnknownNameError
from jaxsched.envs import job_shop
from tests import shapes
from tests.reference import job_shop as reference

JOBS = [[(0, 5), (1, 2), (0, 4)], [(2, 3)], [(1, 4), (1, 0), (2, 6), (0, 1)]]
INSTANCE = shapes.instance_of(JOBS)
SEQUENCE = [2, 0, 2, 1, 0, 2, 2, 0]


@pytest.mark.parametrize(
    "sequence", [SEQUENCE, tuple(SEQUENCE), np.array(SEQUENCE), np.array(SEQUENCE, np.uint8)]
)
def test_replay(sequence):
    schedule, expected = job_shop.replay(INSTANCE, sequence), reference.replay(JOBS, SEQUENCE)
    assert schedule == job_shop.Schedule(expected.start, expected.makespan)
    assert all(
        type(value) is int for value in [schedule.makespan, *itertools.chain(*schedule.start)]
    )
    assert job_shop.validate(INSTANCE, schedule) == []


def test_replay_of_many():
    rng = random.Random(0)
    for _ in range(20):
        jobs = shapes.random_jobs(rng)
        sequence = [job for job, row in enumerate(jobs) for _ in row]
        rng.shuffle(sequence)
        release = [rng.randint(0, 9) for _ in jobs]
        expected = reference.replay(jobs, sequence, release)
        schedule = job_shop.replay(shapes.instance_of(jobs, release), sequence)
        assert (schedule.start, schedule.makespan) == (expected.start, expected.makespan)


def test_replay_under_non_delay():
    expected = reference.dispatch(JOBS, "mwkr", "non_delay")
    order = sorted((start, job) for job, row in enumerate(expected.start) for start in row)
    assert job_shop.replay(INSTANCE, [job for _, job in order], "non_delay").start == expected.start
    with pytest.raises(ValueError, match="step 1: job 0 is not legal with candidates='non_delay'"):
        job_shop.replay(INSTANCE, [0, 0, 0, 1, 2, 2, 2, 2], "non_delay")


def test_replay_under_insert_fills_gaps():
    jobs = [[(0, 9), (1, 5)], [(1, 2), (0, 1)], [(1, 2)]]
    schedule = job_shop.replay(shapes.instance_of(jobs), [0, 0, 1, 1, 2], "insert")
    # the operations on machine 1 go before that of job 0
    assert schedule.start == [[0, 9], [0, 9], [2]]


@pytest.mark.parametrize("rule", ["spt", "fifo", "mwkr"])
def test_replay_under_event_with_no_ops(rule):
    """What the rules of the published environment play, with no-ops in between, step for step."""
    rng = random.Random(3)
    for _ in range(10):
        jobs = shapes.random_jobs(rng)
        sim, sequence = reference.EventSimulator(jobs), []
        while legal := sim.legal():
            waits = len(jobs) in legal and rng.random() < 0.3
            playable = [job for job in legal if job < len(jobs)]
            sequence.append(
                len(jobs)
                if waits
                else min(playable, key=lambda job: reference.RULES[rule](sim, job))
            )
            sim.apply(sequence[-1])
        schedule = job_shop.replay(shapes.instance_of(jobs), sequence, "event")
        assert (schedule.start, schedule.makespan) == (sim.start, sim.makespan)


def test_a_no_op_needs_something_to_wait_for():
    alone = shapes.instance_of([[(0, 1)], [(1, 1)]])
    with pytest.raises(ValueError, match="step 0: job 2 is not legal with candidates='event'"):
        job_shop.replay(alone, [2, 0, 1], "event")


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ([2, 0, 1, 1], "step 3: job 1 is not legal"),
        ([2, -1, 0], "step 1: job -1 is not legal"),
        ([3], "step 0: job 3 is not legal"),  # a padded job
        ([2**40], f"step 0: job {2**40} is not legal"),
        (SEQUENCE[:-1], "1 operations are left"),
        ([], "must be a flat sequence of integers|8 operations are left"),
        ([*SEQUENCE, 0], "9 entries, the instance only 8"),
        ([0.0, 1.0], "flat sequence of integers"),
        ([[0], [1]], "flat sequence of integers"),
        (0, "flat sequence of integers"),
    ],
)
def test_replay_refuses(sequence, message):
    with pytest.raises(ValueError, match=message):
        job_shop.replay(INSTANCE, sequence)


@pytest.mark.parametrize("rule", ["mwkr", "fdd_mwkr"])
@pytest.mark.parametrize("candidates", ["any", "non_delay", "insert", "event"])
def test_dispatch(rule, candidates):
    schedule, expected = (
        job_shop.dispatch(INSTANCE, rule, candidates),
        reference.dispatch(JOBS, rule, candidates),
    )
    assert (schedule.start, schedule.makespan) == (expected.start, expected.makespan)


def test_dispatch_by_default_takes_most_work_remaining_without_delay():
    assert job_shop.dispatch(INSTANCE) == job_shop.dispatch(INSTANCE, "mwkr", "non_delay")


def test_random_dispatch_depends_on_its_seed_only():
    first, *others = (job_shop.dispatch(INSTANCE, "random", "any", seed=seed) for seed in range(8))
    assert job_shop.dispatch(INSTANCE, "random", "any", seed=0) == first
    assert any(other != first for other in others)
    assert job_shop.validate(INSTANCE, first) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "mwk"}, "unknown rule 'mwk'; did you mean mwkr"),
        ({"candidates": "all"}, "unknown candidates 'all'"),
        ({"objective": "makspan"}, "unknown objective 'makspan'; did you mean makespan"),
    ],
)
def test_unknown_names(arguments, message):
    with pytest.raises(UnknownNameError, match=message):
        job_shop.dispatch(INSTANCE, **arguments)
    if "candidates" in arguments:
        with pytest.raises(UnknownNameError, match=message):
            job_shop.replay(INSTANCE, SEQUENCE, **arguments)
