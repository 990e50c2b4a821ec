"""What binds a schedule, against schedules worked out by hand and properties of random ones."""

from __future__ import annotations

import itertools
import random

import pytest

from jaxsched.core import UnknownNameError
from jaxsched.envs import job_shop
from jaxsched.envs.job_shop import Schedule, critical_chain, explain, from_jobs, replay, summary
from tests import shapes

ORDERS = """job,step,machine,minutes,release,due,weight
A,1,saw,60,2026-11-23T08:00,2026-11-23T10:00,2
A,2,drill,30,,,
B,1,saw,90,2026-11-23T08:30,2026-11-23T09:30,
"""


def test_a_chain_changes_between_machines_and_jobs():
    instance = from_jobs([[(0, 3), (1, 4)], [(1, 2), (0, 5)], [(0, 1)]])
    schedule = replay(instance, [0, 1, 1, 0, 2])  # machine 0: job 0 to 3, job 1 to 8, job 2 to 9
    chain = critical_chain(instance, schedule)
    assert [
        (link.job, link.op, link.machine, link.start, link.end, link.waits_for) for link in chain
    ] == [
        (0, 0, 0, 0, 3, "start"),
        (1, 1, 0, 3, 8, "machine"),
        (2, 0, 0, 8, 9, "machine"),
    ]
    assert [(link.job, link.op) for link in critical_chain(instance, schedule, job=0)] == [
        (0, 0),
        (0, 1),
    ]


def test_a_chain_may_begin_at_a_release_or_after_needless_waiting():
    instance = from_jobs([[(0, 3)]], release=[2])
    assert critical_chain(instance, Schedule([[2]], 5))[0].waits_for == "release"
    assert critical_chain(instance, Schedule([[4]], 7))[0].waits_for == "nothing"


@pytest.mark.parametrize("seed", range(60))
def test_chains_of_random_schedules_have_no_gap(seed):
    rng = random.Random(seed)
    jobs = shapes.random_jobs(rng)
    sequence = [job for job, row in enumerate(jobs) for _ in row]
    rng.shuffle(sequence)
    instance = shapes.instance_of(jobs, [rng.randint(0, 9) for _ in jobs])
    schedule = replay(instance, sequence)
    chain = critical_chain(instance, schedule)
    assert chain[-1].end == schedule.makespan
    assert chain[0].waits_for in ("start", "release")  # dispatching leaves no needless waiting
    for before, after in itertools.pairwise(chain):
        assert before.end == after.start
        assert (
            before.job == after.job if after.waits_for == "job" else before.machine == after.machine
        )
    lines = explain(instance, schedule)
    assert lines[0].startswith(f"makespan {schedule.makespan}; no schedule is below ")
    bound = int(lines[0].partition("below ")[2].split()[0])
    assert bound == int(job_shop.JobShop().lower_bound(instance))


def test_in_the_names_of_the_orders(tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text(ORDERS)
    orders = job_shop.read_orders(path)
    schedule = replay(orders.instance, [0, 1, 0])
    assert explain(orders.instance, schedule, objective="weighted_tardiness", orders=orders) == [
        "makespan 150 min; no schedule is below 150 min (saw: 150 min of work): reached",
        "busiest: saw, 150 min of work, 100 % of the makespan",
        "the end of B is decided by 2 operations without a gap, from time 0: "
        "saw 2026-11-23T08:00 to 2026-11-23T10:30 (A, B)",
        "late: B by 60 min; weighted tardiness 60",
    ]
    assert summary(orders.instance, orders=orders) == (
        [
            "2 jobs, 2 machines, 3 operations, 180 min of work",
            "planning starts 2026-11-23T08:00, the earliest release date (`start` sets another)",
            "saw: 150 min of work",
            "drill: 30 min of work",
            "1 jobs with a later release, 2 with a due date",
        ],
        ["B is due at 2026-11-23T09:30, but ends at 2026-11-23T10:00 at best"],
    )


def test_other_objectives_ask_for_the_job_that_costs_most():
    instance = from_jobs([[(0, 9)], [(1, 2)]], due=[None, 0], release=[0, 3])
    schedule = replay(instance, [0, 1])
    assert (
        "the end of job 1 is decided by 1 operations"
        in explain(instance, schedule, objective="weighted_tardiness")[2]
    )
    assert "the end of job 0" in explain(instance, schedule, objective="flow_time")[2]
    assert explain(instance, schedule)[-1] == "late: job 1 by 5; weighted tardiness 5"
    met = from_jobs([[(0, 9)]], due=[9])
    assert explain(met, replay(met, [0]), objective="weighted_tardiness")[-1] == "late: no job"


def test_refusals():
    instance = from_jobs([[(0, 9)]])
    with pytest.raises(UnknownNameError, match="unknown objective"):
        explain(instance, Schedule([[0]], 9), objective="cost")
    with pytest.raises(ValueError, match="not a schedule of this instance"):
        explain(instance, Schedule([[0]], 8))
