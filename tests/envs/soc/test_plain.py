"""`simulate` against the plain-Python simulator, and what it says to bad input."""

from __future__ import annotations

import re

import pytest

from jaxsched.envs import soc
from jaxsched.host.errors import InstanceError, UnknownNameError
from tests.reference import soc as reference

NAMES = ("socrates_top1", "socrates_top2", "socrates_top3")
STREAM = [NAMES[i % 3] for i in range(12)]
ARRIVALS = [5, 5, 9, 14, 20, 21, 40, 66, 66, 90, 91, 130]


def expected(scheduler: str, **settings) -> reference.Run:
    platform = soc.load_platform("socrates_top")
    assert platform.to_memory is not None
    assert platform.from_memory is not None
    speeds = platform.bandwidth.tolist(), platform.to_memory.tolist(), platform.from_memory.tolist()
    jobs = {
        name: reference.Job(job.tasks, job.edges) for name in NAMES for job in [soc.load_job(name)]
    }
    gaps = [b - a for a, b in zip([0, *ARRIVALS], ARRIVALS, strict=False)]
    return reference.simulate(
        reference.Platform(dict(platform.exec_time), *speeds),
        [jobs[name] for name in STREAM],
        gaps,
        scheduler=scheduler,
        **settings,
    )


def test_without_a_cap_jobs_enter_when_they_arrive():
    """More than the places to begin with are needed."""
    trace = soc.simulate(
        "socrates_top", STREAM, ARRIVALS, scheduler="heft", dispatch_order="insertion"
    )
    run = expected("heft", cap_mode="open", dispatch_order="insertion")
    assert (trace.tasks, trace.jobs) == (run.tasks, run.jobs)
    assert [job.arrival for job in trace.jobs] == ARRIVALS
    assert trace.held_back == 0
    assert (
        max(sum(job.arrival <= t < (job.finish or 0) for job in trace.jobs) for t in range(400)) > 8
    )


def test_with_a_cap_gaps_count_from_entries():
    trace = soc.simulate(
        "socrates_top",
        STREAM,
        ARRIVALS,
        scheduler="etf",
        max_jobs_in_system=2,
        communication="shared_memory",
    )
    run = expected("etf", cap=2, communication="shared_memory")
    assert (trace.tasks, trace.jobs, trace.held_back) == (run.tasks, run.jobs, len(run.held_back))
    assert trace.average_latency == run.mean_latency
    # its power is its time
    assert trace.energy == sum((row.finish - row.start) ** 2 for row in trace.tasks)


def test_noise_and_random_depend_on_the_seed_alone():
    def run(seed):
        return soc.simulate(
            "socrates_top", STREAM, ARRIVALS, scheduler="random", noise_std=0.3, seed=seed
        )

    first, again, other = run(1), run(1), run(2)
    assert first.tasks == again.tasks
    assert first.tasks != other.tasks
    assert first.tasks[0].finish > first.tasks[0].start


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arrivals": [0]}, "2 jobs and 1 arrivals"),
        ({"jobs": [], "arrivals": []}, "0 jobs and 0 arrivals"),
        ({"arrivals": [3, 2]}, "arrivals[1]: 2 is before the one ahead of it, 3"),
        ({"arrivals": [0, -1]}, "arrivals[1]: -1 is negative"),
        ({"arrivals": [0, 1.5]}, "arrivals[1]: 1.5 is not an integer"),
        ({"arrivals": [0, 2**31 - 1]}, "exceeds int32"),
        ({"max_jobs_in_system": 0}, "max_jobs_in_system: must be at least 1, got 0"),
        ({"noise_std": -1.0}, "noise_std: -1.0 is not a number from 0"),
        # Issue 16, row 0: what is no container.
        ({"jobs": "socrates_top1"}, "jobs: expected an array, got 'socrates_top1'"),
        ({"jobs": [None, None]}, "expected a job profile by name, path or dict, got None"),
        ({"arrivals": None}, "arrivals: expected an array, got None"),
        ({"max_jobs_in_system": 1.5}, "max_jobs_in_system: 1.5 is not an integer"),
        ({"noise_std": "0.1"}, "noise_std: '0.1' is not a number"),
        ({"platform": ["socrates_top"]}, "expected a platform by name, path or dict"),
        ({"jobs": ["socrates_top1", "socrates_top99"]}, "socrates_top99"),
    ],
)
def test_bad_input_is_named(change, message):
    given = {"platform": "socrates_top", "jobs": ["socrates_top1"] * 2, "arrivals": [0, 1]} | change
    with pytest.raises(InstanceError, match=re.escape(message)):
        soc.simulate(**given)


@pytest.mark.parametrize("name", ["scheduler", "communication", "dispatch_order"])
def test_unknown_names_are_refused(name):
    with pytest.raises(UnknownNameError, match=f"unknown {name} 'eth'"):
        soc.simulate("socrates_top", ["socrates_top1"], [0], **{name: "eth"})


def test_a_task_that_no_pe_can_run_and_a_missing_memory_are_refused():
    platform = soc.Platform("two", ("a", "b"), {"t": (1, None)}, [[9, 1], [1, 9]])
    with pytest.raises(InstanceError, match="no PE of platform 'two' can run it"):
        soc.simulate(platform, [soc.Job("j", ("u",), ())], [0])
    with pytest.raises(InstanceError, match="has no memory node"):
        soc.simulate(platform, [soc.Job("j", ("t",), ())], [0], communication="shared_memory")
