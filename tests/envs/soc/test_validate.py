"""The judge: traces of the plain-Python simulator are valid, every kind of damage is named."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from jaxsched.envs.soc.platforms import Job, Platform
from jaxsched.envs.soc.trace import Trace
from jaxsched.envs.soc.validate import MOST_FAULTS, validate
from jaxsched.host.errors import UnknownNameError
from tests.envs.soc import cases
from tests.reference import soc as reference

PLATFORM = Platform(
    "two",
    ("x", "y"),
    {"a": (4, 6), "b": (5, None), "z": (0, 0)},
    np.array([[9, 1], [1, 9]]),
    to_memory=np.array([2, 1]),
    from_memory=np.array([1, 3]),
)
PAIR, SINGLE = Job("pair", ("a", "b"), ((0, 1, 6),)), Job("single", ("a",), ())
JOBS = [PAIR, SINGLE, SINGLE]
ARRIVALS = [0, 1, 1]
TASKS = [(0, 0, 1, 0, 6), (0, 1, 0, 12, 17), (1, 0, 0, 1, 5), (2, 0, 1, 6, 12)]
ENDS = [(0, 17, 17), (1, 5, 4), (5, 12, 7)]


def judge(tasks=TASKS, jobs=ENDS, cap=2, arrivals=ARRIVALS, end=17, **settings) -> list[str]:
    trace = Trace(tasks, jobs, PLATFORM, JOBS[: len(jobs)], end)
    return validate(PLATFORM, JOBS, trace, max_jobs_in_system=cap, arrivals=arrivals, **settings)


def with_task(i, row):
    return [*TASKS[:i], row, *TASKS[i + 1 :]]


def with_job(i, row):
    return [*ENDS[:i], row, *ENDS[i + 1 :]]


def test_by_hand():
    """Job 2 is due at 1 and finds two in the system; it enters at 5, when job 1 leaves."""
    assert judge() == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"tasks": with_task(1, (0, 1, 0, 11, 16)), "jobs": with_job(0, (0, 16, 16))}, "data from task 0 arrive at 12"),
        ({"tasks": with_task(1, (0, 1, 0, 5, 10)), "jobs": with_job(0, (0, 10, 10))}, "before task 0 is complete"),
        ({"tasks": with_task(1, (0, 1, 1, 12, 17))}, "job 0, task 1 is on PE 1, which cannot run it"),
        ({"tasks": with_task(1, (0, 1, 0, 12, 18))}, "takes 5 us on PE 0, but runs from 12 to 18"),
        ({"tasks": with_task(1, (0, 1, 2, 12, 17))}, "there is no job 0, task 1 on PE 2"),
        ({"tasks": with_task(1, (0, 2, 0, 12, 17))}, "there is no job 0, task 2 on PE 0"),
        ({"tasks": with_task(1, (5, 0, 0, 12, 17))}, "there is no job 5, task 0 on PE 0"),
        ({"tasks": [*TASKS, TASKS[0]]}, "job 0, task 0 runs twice"),
        ({"tasks": with_task(1, (0, 1, 0, 17, 12))}, "runs from 17 to 12"),
        ({"tasks": with_task(2, (1, 0, 0, 0, 4)), "jobs": with_job(1, (1, 4, 3))}, "before its job arrives at 1"),
        ({"tasks": with_task(3, (2, 0, 1, 5, 11)), "jobs": with_job(2, (5, 11, 6))}, "PE 1: job 2, task 0 starts at 5"),
        ({"tasks": TASKS[:3]}, "job 2 finishes at 12 without its task 0"),
        ({"jobs": with_job(0, (0, 16, 16))}, "job 0 finishes at 16, but its last task at 17"),
        ({"jobs": with_job(0, (0, 17, 16))}, "job 0 has latency 16, but is there from 0 to 17"),
        ({"jobs": with_job(1, (1, None, None))}, "job 1 has no finish, but its last task is complete at 5, before 17"),
        ({"jobs": with_job(1, (1, None, 4))}, "job 1 has arrival 1, finish None and latency 4"),
        ({"jobs": with_job(2, (4, 12, 8))}, "job 2 enters at 4 as one of 3 in the system, the cap is 2"),
        ({"jobs": with_job(2, (4, 12, 8))}, "job 2 arrives at 4, expected at 5"),
        ({"jobs": with_job(2, (6, 12, 6))}, "job 2 arrives at 6, expected at 5"),
        ({"jobs": ENDS[:2], "tasks": TASKS[:3]}, "job 2 did not enter, though it could at 5, before the end at 17"),
        ({"jobs": [*ENDS, (9, None, None)]}, "the trace has 4 jobs, but there are 3"),
        ({"arrivals": [0, 1]}, "2 requests for 3 jobs"),
        ({"cap_mode": "open"}, "job 2 arrives at 5, expected at 1"),
        ({"cap_mode": "socrates", "redraw": [0, 0, 3]}, "job 2 arrives at 5, expected at 9"),
        ({"duration": lambda job, task, pe: 5}, "job 0, task 0 takes 5 us on PE 1, but runs from 0 to 6"),
        ({"communication": "shared_memory", "tasks": with_task(1, (0, 1, 0, 17, 22)), "jobs": with_job(0, (0, 22, 22))},
         "data are in the memory at 12 and take 6 us from there"),
        ({"end": 11, "jobs": with_job(0, (0, None, None))}, "job 0, task 1 starts at 12, not before the end at 11"),
    ],
)  # fmt: skip
def test_damage_is_named(damage, message):
    profiles = JOBS if len(damage.get("jobs", ENDS)) <= 3 else [*JOBS, SINGLE]
    settings = {"tasks": TASKS, "jobs": ENDS, "end": 17, **damage}
    trace = Trace(
        settings.pop("tasks"),
        settings["jobs"],
        PLATFORM,
        profiles[: len(settings.pop("jobs"))],
        settings.pop("end"),
    )
    settings = {"max_jobs_in_system": 2, "arrivals": ARRIVALS, **settings}
    assert any(message in fault for fault in validate(PLATFORM, JOBS, trace, **settings))


def test_unknown_settings():
    with pytest.raises(UnknownNameError):
        judge(communication="pe-to-pe")
    with pytest.raises(UnknownNameError):
        judge(cap_mode="closed")


def test_a_task_of_length_0_holds_its_pe_and_its_job_for_1_us():
    job = Job("j", ("z", "a"), ((0, 1, 0),))
    good = Trace([(0, 0, 0, 0, 0), (0, 1, 0, 1, 5)], [(0, 5, 5)], PLATFORM, [job], 5)
    assert validate(PLATFORM, [job], good) == []
    early = Trace([(0, 0, 0, 0, 0), (0, 1, 0, 0, 4)], [(0, 4, 4)], PLATFORM, [job], 4)
    assert [fault.split(":")[0].split(",")[0] for fault in validate(PLATFORM, [job], early)] == [
        "PE 0",
        "job 0",
    ]


def test_only_so_many_faults_are_listed():
    tasks = [(i, 0, 0, 0, 9) for i in range(300)]
    trace = Trace(tasks, [(0, 9, 9)] * 300, PLATFORM, [SINGLE] * 300, 9)
    assert len(validate(PLATFORM, [SINGLE] * 300, trace)) == MOST_FAULTS


@pytest.mark.parametrize("seed", range(60))
def test_simulated_traces_are_valid(seed):
    """Every rule, mode and order of the reference, complete or cut off, with and without noise."""
    rng = random.Random(seed)
    case = cases.random_case(rng, horizon=bool(seed % 3 == 0))
    communication, cap_mode = (
        rng.choice(["pe_to_pe", "shared_memory"]),
        rng.choice(["ds3", "socrates", "open"]),
    )
    noise = (lambda job, task, pe: (7 * job + 3 * task + pe) % 9) if seed % 2 else None
    rule = rng.choice([*cases.RULES, "heft", "heft_rt", "peft", "drawn"])
    order = rng.choice(["job_id", "insertion"])
    run = cases.simulate(
        case,
        rule,
        communication=communication,
        cap_mode=cap_mode,
        dispatch_order=order,
        realised=noise,
    )
    jobs = [case.profiles[p] for p in case.profile]
    trace = Trace(run.tasks, run.jobs, case.platform, jobs[: len(run.jobs)], run.end)
    settings = {
        "communication": communication,
        "cap_mode": cap_mode,
        "redraw": case.redraw,
        "duration": noise,
    }
    settings |= {"arrivals": list(itertools.accumulate(case.gap)), "max_jobs_in_system": case.cap}
    assert validate(case.platform, jobs, trace, **settings) == []

    # A task that starts earlier cannot have, unless the simulator had let it wait: for its turn,
    # its plan, a decision.
    if rule in ("met", "eft") and communication == "pe_to_pe" and run.tasks and noise is None:
        i = rng.randrange(len(run.tasks))
        job, task, pe, start, finish = run.tasks[i]
        if start > run.jobs[job][0]:
            ahead = [*run.tasks]
            ahead[i] = (job, task, pe, run.jobs[job][0] - 1, finish - start + run.jobs[job][0] - 1)
            damaged = Trace(ahead, run.jobs, case.platform, jobs[: len(run.jobs)], run.end)
            assert validate(case.platform, jobs, damaged, **settings)


def test_the_judge_agrees_with_the_reference_on_who_may_enter():
    """One arrival moved by one tick is found, whatever the cap mode."""
    moved = 0
    for seed in range(80):
        case = cases.random_case(random.Random(seed))
        for cap_mode in ("ds3", "socrates", "open"):
            run = reference.simulate(
                *cases.to_reference(case),
                case.gap,
                cap=case.cap,
                cap_mode=cap_mode,
                extra=case.redraw,
            )
            jobs = [case.profiles[p] for p in case.profile]
            last = len(run.jobs) - 1
            for by in (-1, 1):
                arrival, finish, _ = run.jobs[last]
                assert finish is not None
                if arrival + by < 0:
                    continue
                ends = [*run.jobs[:last], (arrival + by, finish, finish - arrival - by)]
                trace = Trace(run.tasks, ends, case.platform, jobs, run.end)
                settings = {
                    "cap_mode": cap_mode,
                    "redraw": case.redraw,
                    "max_jobs_in_system": case.cap,
                }
                faults = validate(
                    case.platform,
                    jobs,
                    trace,
                    arrivals=list(itertools.accumulate(case.gap)),
                    **settings,
                )
                assert any(
                    f"job {last} arrives at {arrival + by}, expected at {arrival}" in fault
                    for fault in faults
                )
                moved += 1
    assert moved > 300
