"""The frontier observation: every feature by hand, and what must not change it."""

from __future__ import annotations

import functools
import itertools
import random

import jax
import numpy as np
import pytest

import jaxsched
from jaxsched.core.graph import LIMIT
from jaxsched.envs import job_shop
from tests import shapes

ENV = job_shop.JobShop()
TWO_JOBS = [[(0, 3), (1, 2)], [(0, 4), (1, 1)]]


@jax.jit
def play(instance, actions):
    """State and observation after the actions; negative ones are skipped."""
    state, _ = ENV.reset(jax.random.key(0), instance)
    state, _ = jax.lax.scan(
        lambda state, action: (ENV.step(jax.random.key(0), state, action)[0], None), state, actions
    )
    return state, ENV.observe(state)


@jax.jit
def observe(state):
    return ENV.observe(state)


def after(jobs, actions, release=None):
    padded = np.full(shapes.JOBS * shapes.OPS, -1, np.int32)
    padded[: len(actions)] = actions
    return jax.device_get(play(shapes.instance_of(jobs, release), padded))


def assert_same(actual, expected):
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), actual, expected
    )


def assert_features(part, expected):
    """Features of the first nodes, all by name and in order; the others are zero."""
    assert part.names == tuple(expected)
    table = np.transpose([*expected.values()])
    np.testing.assert_allclose(part.features[: len(table)], table, rtol=1e-6, atol=1e-6)
    assert not part.features[len(table) :].any()


def test_features_at_the_start():
    """Mean duration 10 / 4, bound 7: machine 0 needs 3 + 4."""
    _, seen = after(TWO_JOBS, [])
    unit, span = 4 / 10, 1 / 7
    jobs = {
        "duration / unit": [3 * unit, 4 * unit],
        "(start - now) / span": [0, 0],
        "(job ready - now) / span": [0, 0],
        "(machine ready - now) / span": [0, 0],
        "(start - job ready) / unit": [0, 0],
        "(start - machine ready) / unit": [0, 0],
        "work left / span": [5 * span, 5 * span],
        "work after / span": [2 * span, 1 * span],
        "operations left / mean": [1, 1],
        "machine load / span": [1, 1],
        "(machine ready + load - now) / span": [1, 1],
        "(start + work left - now) / span": [5 * span, 5 * span],
        "(start - rival start) / unit": [0, 0],
        "(rival work after - work after) / span": [(1 - 2) * span, (2 - 1) * span],
        "rivals' durations / span": [4 * span, 3 * span],
        "(rivals' completion - now) / span": [(3 + 5) * span, (4 + 5) * span],
        "rivals / open jobs": [1 / 2, 1 / 2],
        "second duration / unit": [2 * unit, 1 * unit],
        "second machine load / span": [3 * span, 3 * span],
        "(second machine ready - end) / span": [-3 * span, -4 * span],
        "starts now": [1, 1],
        "open jobs / (open jobs + machines)": [1 / 2, 1 / 2],
        # Both go on to machine 1, which ends at 3, and job 0 would arrive there first.
        "(critical machine end - now) / span": [3 * span, 3 * span],
        "(critical arrival - now) / span": [3 * span, 4 * span],
        "critical work / unit": [2 * unit, 1 * unit],
        "(critical machine ready - critical arrival) / span": [-3 * span, -4 * span],
        "work weighted by machine end / span": [
            2 * span * np.exp(8 * (3 * span - 1)),
            1 * span * np.exp(8 * (3 * span - 1)),
        ],
        "(next arrival - end) / unit": [0, 0],  # nobody comes to machine 0 any more
        "(next arrival's work - work after) / span": [0, 0],
        "(completion bound - now) / span": [5 * span, 5 * span],
        "second machine waiting / span": [0, 0],
        # Machine 0 has 7 to do, and the least after it is 1; machine 1 starts 3 at 3.
        "(machine bound - now) / span": [8 * span, 8 * span],
        "(critical bound - now) / span": [6 * span, 6 * span],
        "(critical arrival - first start there) / span": [0, 1 * span],
        "(first start there - critical machine ready) / span": [3 * span, 3 * span],
    }
    assert [part.kind for part in seen.nodes] == ["job"]
    assert_features(seen["job"], jobs)
    assert seen.node_mask.tolist() == [True, True, False, False]
    assert seen.action_kinds == ("dispatch",)
    assert [(group.features, group.uses) for group in seen.actions] == [(None, None)]
    assert seen.action_node.tolist() == [0, 1, 2, 3]
    assert seen.action_mask.tolist() == [True, True, False, False]


def test_features_after_a_step():
    """Job 0 is at 3 and needs machine 1, job 1 waited for machine 0 until 3: clock 3, bound 7,
    mean duration 7 / 3.
    """
    _, seen = after(TWO_JOBS, [0])
    unit, span = 3 / 7, 1 / 4
    jobs = {
        "duration / unit": [2 * unit, 4 * unit],
        "(start - now) / span": [0, 0],
        "(job ready - now) / span": [0, -3 * span],
        "(machine ready - now) / span": [-3 * span, 0],
        "(start - job ready) / unit": [0, 3 * unit],
        "(start - machine ready) / unit": [3 * unit, 0],
        "work left / span": [2 * span, 5 * span],
        "work after / span": [0, 1 * span],
        "operations left / mean": [2 / 3, 4 / 3],
        "machine load / span": [3 * span, 1],
        "(machine ready + load - now) / span": [0, 1],
        "(start + work left - now) / span": [2 * span, 5 * span],
        "(start - rival start) / unit": [0, 0],
        "(rival work after - work after) / span": [0, 0],
        "rivals' durations / span": [0, 0],
        "(rivals' completion - now) / span": [2 * span, 5 * span],
        "rivals / open jobs": [0, 0],
        "second duration / unit": [0, 1 * unit],
        "second machine load / span": [0, 3 * span],
        "(second machine ready - end) / span": [0, -7 * span],
        "starts now": [1, 1],
        "open jobs / (open jobs + machines)": [1 / 2, 1 / 2],
        # Job 0 is at its last operation, on machine 1, where job 1 arrives at 3 + 4 with 1 left.
        "(critical machine end - now) / span": [0, 0],  # machine 1 has 3 left and was free at 0
        "(critical arrival - now) / span": [0, 4 * span],
        "critical work / unit": [0, 1 * unit],
        "(critical machine ready - critical arrival) / span": [0, -7 * span],
        "work weighted by machine end / span": [0, 1 * span * np.exp(-8)],
        "(next arrival - end) / unit": [(7 - 5) * unit, 0],
        "(next arrival's work - work after) / span": [1 * span, 0],
        "(completion bound - now) / span": [2 * span, 5 * span],
        # Machine 1: job 0 now, 2 of 3; machine 0: 4 from 3 on, and then 1.
        "second machine waiting / span": [0, 2 * span],
        "(machine bound - now) / span": [(6 - 3) * span, (8 - 3) * span],
        "(critical bound - now) / span": [0, (6 - 3) * span],
        "(critical arrival - first start there) / span": [0, (7 - 3) * span],
        "(first start there - critical machine ready) / span": [0, 3 * span],
    }
    assert_features(seen["job"], jobs)
    assert seen.action_node.tolist() == [0, 1, 2, 3]
    assert seen.action_mask.tolist() == [True, True, False, False]


def test_in_insert_the_gaps_of_the_next_machine_show():
    """Machine 1 is taken from 0 to 1, 5 to 7 and 12 to 14, the bound, and job 3 needs it. A release
    at 3 leaves it the last gap, and the clock is at 3, where job 2 goes on; else both are at 1.
    """
    insert = jaxsched.make("JobShop-v0", candidates="insert")
    jobs = [[(1, 1)], [(0, 5), (1, 2), (0, 5), (1, 2)], [(2, 3), (2, 1)], [(1, 4)]]
    for release, now, gaps in ((3, 3, (2 + 5, 5)), (0, 1, (4 + 5, 5))):
        instance = shapes.instance_of(jobs, release=[0, 0, 0, release])
        state, _ = insert.reset(jax.random.key(0), instance)
        for job in (0, 1, 1, 1, 1, 2):
            state, timestep = insert.step(jax.random.key(0), state, job)
        seen = jax.device_get(timestep.observation)["job"]
        assert seen.names[-2:] == ("machine gaps / span", "longest machine gap / span")
        assert seen.mask.tolist() == [False, False, True, True]
        np.testing.assert_allclose(seen.features[3, -2:], np.array(gaps) / (14 - now), rtol=1e-6)
        assert not seen.features[2, -2:].any()  # a machine that is free for good has no gap


def test_due_dates_and_weights_show_where_they_count():
    """Weights 3 and 1, dates 9 and none, at the start of the two jobs."""
    dated = jaxsched.make("JobShop-v0", objective="weighted_tardiness")
    instance = shapes.instance_of(TWO_JOBS, due=[9, None], weight=[3, 1])
    _, timestep = dated.reset(jax.random.key(0), instance)
    seen = jax.device_get(timestep.observation)["job"]
    names = "slack / span", "slack / unit", "weight / mean", "has a due date"
    assert seen.names[-4:] == names
    np.testing.assert_allclose(
        seen.features[:, -4:], [[4 / 7, 4 * 0.4, 1, 1], *np.zeros((3, 4))], rtol=1e-6
    )


def test_in_event_the_clock_shows_how_long_a_wait_would_be():
    """Job 1 is released at 2: until then only job 0 can start, and its no-op waits for it."""
    event = jaxsched.make("JobShop-v0", candidates="event")
    instance = shapes.instance_of([[(0, 3), (1, 2)], [(1, 4), (0, 1)]], release=[0, 2])
    _, timestep = event.reset(jax.random.key(0), instance)
    seen = jax.device_get(timestep.observation)
    assert [part.kind for part in seen.nodes] == ["job", "clock"]
    clock = {
        "wait / unit": [2 * 0.4],
        "wait / span": [2 / 7],
        "jobs that can start / jobs": [1 / 2],
    }
    assert_features(seen["clock"], clock)
    assert seen["clock"].mask.tolist() == [True]
    assert seen.action_kinds == ("dispatch", "wait")
    assert seen.action_node.tolist() == [0, 1, 2, 3, 4]
    assert seen.action_mask.tolist() == [True, False, False, False, True]
    assert not seen.relation[4].any()
    assert not seen.relation[:, 4].any()


def test_relations():
    """Jobs 0 and 1 compete for machine 0, job 2 needs machine 2, job 3 is not there."""
    _, seen = after([[(0, 3)], [(0, 4), (2, 1)], [(2, 2)]], [])
    assert seen.relation_names == ("other job", "competes")
    edges, there = seen.edges, seen.node_mask
    found = [
        ((int(sender), int(receiver)), seen.relation_names[int(relation) - 1])
        for sender, receiver, relation, real in zip(
            edges.senders, edges.receivers, edges.relation, edges.mask, strict=True
        )
        if real and there[sender] and there[receiver]
    ]
    expected = {(i, j): "other job" for i in range(3) for j in range(3) if i != j}
    expected |= dict.fromkeys([(0, 1), (1, 0)], "competes")
    assert len(dict(found)) == len(found)  # none is parallel
    assert dict(found) == expected
    assert not np.diagonal(seen.relation).any()


def test_a_finished_episode_is_all_zero():
    _, seen = after(TWO_JOBS, [0, 1, 0, 1])
    assert not seen.node_mask.any()
    assert not seen.action_mask.any()
    assert not seen["job"].features.any()


def test_another_history_with_the_same_rest_looks_the_same():
    """Other operations in another order, but jobs and machines are ready at the same times, with
    the same ahead.
    """
    rest = [(1, 4), (2, 2)]
    state, seen = after([[(0, 2), (0, 3), *rest], [(1, 6), (0, 1)], [(2, 3)]], [0, 0, 1, 2])
    other_state, other = after(
        [[(0, 5), *rest], [(1, 0), (1, 6), (0, 1)], [(2, 1), (2, 2)]], [2, 1, 2, 1, 0]
    )
    assert state.next_op.tolist() != other_state.next_op.tolist()
    assert seen.action_mask.tolist() == [True, True, False, False]
    assert_same(other, seen)


@pytest.mark.parametrize("actions", [[], [0], [0, 1, 1], [1, 0, 2, 0]])
def test_another_origin_of_time_looks_the_same(actions):
    jobs = [[(0, 5), (1, 2), (0, 4)], [(2, 3), (1, 7)], [(1, 4), (1, 0)]]
    state, seen = after(jobs, actions, release=[0, 2, 5])
    shifted = state.replace(
        job_ready=state.job_ready + 1000,
        machine_ready=state.machine_ready + 1000,
        start=state.start + 1000,
    )
    assert_same(jax.device_get(observe(shifted)), seen)


@pytest.mark.parametrize("actions", [[], [0], [0, 1, 1], [1, 0, 2, 0]])
def test_another_unit_of_time_looks_the_same(actions):
    jobs, release = [[(0, 5), (1, 2), (0, 4)], [(2, 3), (1, 7)], [(1, 4), (1, 0)]], [0, 2, 5]
    scaled = [[(machine, 10 * duration) for machine, duration in row] for row in jobs]
    _, seen = after(jobs, actions, release)
    _, other = after(scaled, actions, [10 * date for date in release])
    assert seen.graph.nodes.any()
    assert_same(other, seen)


def test_features_are_clipped():
    """A machine that is free since long before a late job's release."""
    _, seen = after([[(0, 1)], [(1, 1)]], [], release=[10_000, 10_000])
    assert np.abs(seen.graph.nodes).max() == LIMIT
    assert np.isfinite(seen.graph.nodes).all()


def visits_ahead(ops):
    """Of the operations from the next one on [(machine, duration), ...]: by machine the first
    later visit as (work before it, work from it on, work on that machine).
    """
    found = {}
    for k in range(len(ops) - 1, 0, -1):
        machine, duration = ops[k]
        work = found[machine][2] if machine in found else 0
        before, tail = (sum(d for _, d in part) for part in (ops[:k], ops[k:]))
        found[machine] = before, tail, work + duration
    return found


def queue_of(machine, ahead, start, visits, ready, load):
    """Of a machine: the work that waits for it now, when it can start at the earliest, and when
    all is done at the earliest that still needs it.
    """
    waiting, heads, tails = 0, [], []
    for job, ops in ahead.items():
        if ops[0][0] == machine:
            waiting += ops[0][1]
            heads.append(start[job])
            tails.append(sum(duration for _, duration in ops[1:]))
        if machine in visits[job]:
            before, tail, on_it = visits[job][machine]
            heads.append(start[job] + before)
            tails.append(tail - on_it)
    opens = max([ready, min(heads)]) if heads else ready
    return waiting, opens, opens + load + min(tails, default=0)


def test_the_look_ahead_is_what_its_words_say():
    """On random states of ragged, re-entrant shops with ties, releases and finished jobs."""
    rng, seen_ahead, seen_arrivals = random.Random(1), 0, 0
    for _ in range(60):
        jobs = shapes.random_jobs(rng)
        order = [job for job, ops in enumerate(jobs) for _ in ops]
        rng.shuffle(order)
        release = [rng.randrange(20) for _ in jobs]
        state, seen = after(jobs, order[: rng.randrange(len(order))], release)
        ahead = {job: ops[state.next_op[job] :] for job, ops in enumerate(jobs)}
        ahead = {job: ops for job, ops in ahead.items() if ops}
        ready, load = state.machine_ready, [0] * shapes.MACHINES
        for machine, duration in itertools.chain(*ahead.values()):
            load[machine] += duration
        start = {job: max(state.job_ready[job], ready[ops[0][0]]) for job, ops in ahead.items()}
        now, work = min(start.values()), {j: sum(d for _, d in ops) for j, ops in ahead.items()}
        unit = sum(map(len, ahead.values())) / max(sum(work.values()), 1)
        span = 1 / max(int(ENV.bound(state)) - now, 1)
        visits = {job: visits_ahead(ops) for job, ops in ahead.items()}
        queues = [queue_of(m, ahead, start, visits, ready[m], load[m]) for m in range(len(load))]
        for job, ops in ahead.items():
            own_end, rest = start[job] + ops[0][1], work[job] - ops[0][1]
            criticals = [
                (ready[m] + load[m], start[job] + before, on_it, ready[m], queues[m][1])
                for m, (before, _, on_it) in visits[job].items()
            ]
            end, arrival, on_it, free, opens = max(criticals, default=(now, now, 0, now, now))
            rivals = [other for other in ahead if other != job and ahead[other][0][0] == ops[0][0]]
            arrivals = [
                (start[other] + found[ops[0][0]][0], -found[ops[0][0]][1])
                for other, found in visits.items()
                if ops[0][0] in found
            ]
            first, tail = min(arrivals, default=(own_end, -rest))
            expected = {
                "rivals' durations / span": sum(ahead[other][0][1] for other in rivals) * span,
                "(rivals' completion - now) / span": span
                * (
                    max(
                        [
                            start[job] + work[job],
                            *(max(own_end, start[other]) + work[other] for other in rivals),
                        ]
                    )
                    - now
                ),
                "second machine waiting / span": (
                    queues[ops[1][0]][0] * span if len(ops) > 1 else 0
                ),
                "(machine bound - now) / span": (queues[ops[0][0]][2] - now) * span,
                "(critical bound - now) / span": (
                    (max((queues[m][2] for m in visits[job]), default=now) - now) * span
                ),
                "(critical arrival - first start there) / span": (arrival - opens) * span,
                "(first start there - critical machine ready) / span": (opens - free) * span,
                "(critical machine end - now) / span": (end - now) * span,
                "(critical arrival - now) / span": (arrival - now) * span,
                "critical work / unit": on_it * unit,
                "(critical machine ready - critical arrival) / span": (free - arrival) * span,
                "work weighted by machine end / span": sum(
                    spent * span * np.exp(8 * (min((ready[m] + load[m] - now) * span, 1) - 1))
                    for m, (_, _, spent) in visits[job].items()
                ),
                "(next arrival - end) / unit": (first - own_end) * unit,
                "(next arrival's work - work after) / span": (-tail - rest) * span,
                "(completion bound - now) / span": span
                * (
                    max(
                        [start[job] + work[job], *(ready[m] + v[1] for m, v in visits[job].items())]
                    )
                    - now
                ),
            }
            for name, value in expected.items():
                value = np.clip(value, -LIMIT, LIMIT)
                np.testing.assert_allclose(
                    seen["job"][name][job], value, rtol=1e-5, atol=1e-6, err_msg=name
                )
            seen_ahead += len(criticals) > 1
            seen_arrivals += len(arrivals) > 1
    assert seen_ahead > 10
    assert seen_arrivals > 10


def test_rivals_are_the_other_jobs_that_need_the_same_machine():
    """On random states with ties and finished jobs: how many, when the first of them could start,
    and the most work that one of them has after it.
    """
    rng, found = random.Random(0), set()
    for _ in range(60):
        jobs = shapes.random_jobs(rng)
        order = [job for job, ops in enumerate(jobs) for _ in ops]
        rng.shuffle(order)
        state, seen = after(jobs, order[: rng.randrange(len(order))])
        open_jobs = [job for job, ops in enumerate(jobs) if state.next_op[job] < len(ops)]
        ahead = {job: jobs[job][state.next_op[job] :] for job in open_jobs}
        start = {
            job: max(state.job_ready[job], state.machine_ready[ops[0][0]])
            for job, ops in ahead.items()
        }
        work = {job: sum(duration for _, duration in ops) for job, ops in ahead.items()}
        tail = {job: work[job] - ops[0][1] for job, ops in ahead.items()}
        unit = sum(map(len, ahead.values())) / max(sum(work.values()), 1)
        span = 1 / max(int(ENV.bound(state)) - min(start.values()), 1)
        for job in open_jobs:
            rivals = [
                other
                for other in open_jobs
                if other != job and ahead[other][0][0] == ahead[job][0][0]
            ]
            first = min((start[other] for other in rivals), default=start[job])
            longest = max((tail[other] for other in rivals), default=tail[job])
            expected = {
                "rivals / open jobs": len(rivals) / len(open_jobs),
                "(start - rival start) / unit": (start[job] - first) * unit,
                "(rival work after - work after) / span": (longest - tail[job]) * span,
            }
            for name, value in expected.items():
                value = np.clip(value, -LIMIT, LIMIT)
                np.testing.assert_allclose(seen["job"][name][job], value, rtol=1e-5, err_msg=name)
            found.add(len(rivals))
    assert {0, 1, 2} <= found
