"""Exact solver, orders of machines, judge, draws, files and pictures of the blocking job shop."""

from __future__ import annotations

import copy
import dataclasses
import random
import time
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched import cli
from jaxsched.core import InstanceError, UnknownNameError
from jaxsched.envs import job_shop
from jaxsched.envs.job_shop import blocking
from jaxsched.envs.job_shop.blocking import failures as addressed
from tests.envs.job_shop.blocking import cases
from tests.reference import blocking as reference
from tests.reference import job_shop as classic_reference

SMALL = (3, 3, 3)


def small_cases(seed: int, count: int, least: int = 0) -> list[cases.Case]:
    rng, found = random.Random(seed), []
    while len(found) < count:
        case = cases.random_case(rng, SMALL, interrupted=False)
        if min(duration for job in case.jobs for _, duration in job) >= least:
            found.append(case)
    return found


def test_exact_equals_brute_force_and_classic_is_below_swap_is_below_no_swap():
    pytest.importorskip("ortools")
    strict = set()
    for case in small_cases(1, 40):
        instance = blocking.from_jobs(case.jobs, release=case.release)
        found = []
        for swap in (True, False):
            result = blocking.solve_exact(instance, swap=swap, time_limit=20, num_workers=1)
            assert result.proved
            assert blocking.validate(instance, result.schedule, swap=swap) == []
            assert result.objective == reference.optimum(case.jobs, case.release, swap=swap)
            found.append(result.objective)
        best = classic_reference.optimum(case.jobs, case.release)
        assert best <= found[0] <= found[1]
        strict |= {best < found[0], ("swap", found[0] < found[1])}
    assert len(strict) == 4  # both kinds of both


def test_exact_starts_from_a_hint_and_refuses_what_it_cannot_solve():
    pytest.importorskip("ortools")
    instance = blocking.from_jobs([[(0, 2), (1, 5)], [(1, 2), (0, 5)]])
    hint = blocking.Schedule([[0, 2], [0, 2]], 7, [[], []])
    assert blocking.solve_exact(instance, time_limit=0, hint=hint, num_workers=1).objective == 7
    assert blocking.solve_exact(instance, time_limit=0, num_workers=1).objective <= 14
    with pytest.raises(ValueError, match="the hint is not a valid schedule"):
        blocking.solve_exact(instance, swap=False, hint=hint)
    with pytest.raises(ValueError, match="time_limit is in seconds"):
        blocking.solve_exact(instance, time_limit=-1)
    interrupted = blocking.interrupt(instance, blocking.Interruptions(0.5), jax.random.key(0))
    with pytest.raises(InstanceError, match="interrupted"):
        blocking.solve_exact(interrupted)


def test_the_method_is_who_found_the_schedule():
    """Issue 16, row 14: the solver gives its name only to what it found or proved."""
    pytest.importorskip("ortools")
    there_and_back = [[(0, 2), (1, 5), (0, 1)]] * 2
    # Alone, the start is optimal at sight; of two jobs that would have to exchange machines it
    # takes a search to see.
    for jobs, swap, method in (
        ([[(0, 2), (1, 5)]], True, "one_by_one"),
        (there_and_back, False, "one_by_one, proved by cp_sat"),
        (there_and_back, True, "cp_sat"),
    ):
        instance = blocking.from_jobs(jobs)
        assert blocking.solve_exact(instance, 0, swap=swap).method == "one_by_one"
        best = blocking.solve_exact(instance, 20, swap=swap, num_workers=1)
        assert (best.proved, best.method) == (True, method)
        assert blocking.solve_exact(instance, 0, best.schedule, swap=swap).method == "hint"


@pytest.mark.nightly
def test_a_large_shop_ends_within_the_limit():
    """Issue 16, row 13: 30,000 operations. The margin is for a busy machine."""
    pytest.importorskip("ortools")
    rng = random.Random(0)
    jobs = [
        [(machine, rng.randint(1, 99)) for machine in rng.sample(range(20), 5)] for _ in range(6000)
    ]
    instance = blocking.from_jobs(jobs)
    began = time.perf_counter()
    result = blocking.solve_exact(instance, 1)
    assert time.perf_counter() - began < 10
    assert blocking.validate(instance, result.schedule) == []


# ------------------------------------------------------------------------------- orders of machines


def orders_of(case: cases.Case, start: list[list[int]]) -> list[list[tuple[int, int]]]:
    machines = 1 + max(machine for job in case.jobs for machine, _ in job)
    orders = [[] for _ in range(machines)]
    for j, job in enumerate(case.jobs):
        for k, (machine, _) in enumerate(job):
            orders[machine].append((start[j][k], j, k))
    return [[(j, k) for _, j, k in sorted(order)] for order in orders]


@pytest.mark.parametrize("swap", [True, False])
def test_orders_of_a_played_schedule_give_starts_that_are_no_later(swap: bool):
    rng, tight = random.Random(2), 0
    for case in small_cases(2, 150, least=1):
        sim = reference.random_play(
            reference.Simulator(case.jobs, case.release, swap=swap, waits=True), rng
        )
        if sim.deadlock is not None:
            continue
        instance = blocking.from_jobs(case.jobs, release=case.release)
        starts = blocking.earliest_starts(instance, orders_of(case, sim.start), swap)
        assert starts is not None
        assert all(
            a <= b
            for ours, theirs in zip(starts, sim.start, strict=True)
            for a, b in zip(ours, theirs, strict=True)
        )
        makespan = max(row[-1] + job[-1][1] for row, job in zip(starts, case.jobs, strict=True))
        assert (
            blocking.validate(
                instance,
                blocking.Schedule(starts, makespan, [[]] * instance.num_machines),
                swap=swap,
            )
            == []
        )
        assert blocking.sequence_deadlock(instance, orders_of(case, sim.start), swap) is None
        tight += starts == sim.start
    assert tight > 20


def test_orders_that_deadlock():
    instance = blocking.from_jobs([[(0, 2), (1, 5)], [(1, 2), (0, 5)]])
    swapping, crossed = [[(0, 0), (1, 1)], [(1, 0), (0, 1)]], [[(1, 1), (0, 0)], [(0, 1), (1, 0)]]
    assert blocking.earliest_starts(instance, swapping) == [[0, 2], [0, 2]]
    assert blocking.earliest_starts(instance, swapping, swap=False) is None
    assert blocking.earliest_starts(instance, crossed) is None
    told = blocking.sequence_deadlock(instance, swapping, swap=False)
    assert told is not None
    assert all(f"job {j}, operation 1 on machine {1 - j}" in told for j in (0, 1))


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        ([[(0, 0)], [(1, 0), (0, 1)]], "operation 1 of job 1 is missing"),
        ([[(0, 0), (1, 1), (0, 0)], [(1, 0), (0, 1)]], "operation 0 of job 0 is listed twice"),
        ([[(0, 0), (0, 1)], [(1, 0), (1, 1)]], "operation 1 of job 0 is done on machine 1"),
        ([[(0, 0), (2, 1)], [(1, 0), (0, 1)]], "there is no operation 1 of job 2"),
    ],
)
def test_orders_that_are_none(orders, message):
    instance = blocking.from_jobs([[(0, 2), (1, 5)], [(1, 2), (0, 5)]])
    with pytest.raises(InstanceError, match=message):
        blocking.earliest_starts(instance, orders)


# ---------------------------------------------------------------------------------------- the judge


def played(
    case: cases.Case, instance, rng: random.Random
) -> tuple[blocking.Schedule, reference.Simulator]:
    """A schedule of the simulator, with its downtimes."""
    sim = reference.random_play(cases.simulator(case, instance), rng)
    down = []
    for windows, failures in zip(case.windows, sim.failures, strict=True):
        ticks = {t for a, b in [*windows, *failures] for t in range(a, b)}
        down.append(
            [
                (t, next(u for u in range(t, t + 10**6) if u not in ticks))
                for t in sorted(ticks)
                if t - 1 not in ticks
            ]
        )
    return blocking.Schedule(sim.start, sim.makespan, down), sim


def test_the_judge_accepts_what_the_simulator_plays_and_finds_what_is_corrupted():
    rng, kinds = random.Random(6), dict.fromkeys(("start", "swap", "down", "makespan"), 0)
    for _ in range(120):
        case = cases.random_case(rng)
        instance = cases.to_instance(case)
        schedule, _ = played(case, instance, rng)
        assert blocking.validate(instance, schedule) == []
        assert blocking.measure(instance, schedule) == schedule.makespan
        job = rng.randrange(len(schedule.start))
        op = rng.randrange(len(schedule.start[job]))
        broken = copy.deepcopy(schedule)
        broken.start[job][op] += rng.choice([-1000, 10**6]) if op else -1000
        assert blocking.validate(instance, broken)
        kinds["start"] += 1
        spans = [m for m, row in enumerate(schedule.down) if row]
        if spans:
            broken = copy.deepcopy(schedule)
            machine = rng.choice(spans)
            a, b = broken.down[machine][0]
            broken.down[machine][0] = (a, b + 1)
            assert any("down" in fault for fault in blocking.validate(instance, broken))
            kinds["down"] += 1
        assert any(
            "makespan" in f
            for f in blocking.validate(instance, dataclasses.replace(schedule, makespan=-1))
        )
        kinds["makespan"] += 1
        kinds["swap"] += bool(blocking.validate(instance, schedule, swap=False))
    assert min(kinds.values()) >= 5, kinds


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (
            [[0, 2], [0, 2], [0, 6]],
            "job 2, operation 1 starts at 6 on machine 0, which job 1 holds",
        ),
        ([[0, 1], [0, 2], [0, 7]], "operation 1 starts at 1, before operation 0 ends at 2"),
        (
            [[0, 3], [0, 2], [0, 8]],
            "job 1, operation 1 starts at 2 on machine 0, which job 0 holds",
        ),
        ([[0, 2], [0, 2], [0]], "has 2 operations, but the schedule gives 1"),
    ],
)
def test_faults_are_named(start, message):
    instance = blocking.from_jobs([[(0, 2), (1, 5)], [(1, 2), (0, 5)], [(2, 1), (0, 1)]])
    assert (
        blocking.validate(instance, blocking.Schedule([[0, 2], [0, 2], [0, 7]], 8, [[]] * 3)) == []
    )
    assert any(
        message in fault
        for fault in blocking.validate(instance, blocking.Schedule(start, 8, [[]] * 3))
    )


def test_nobody_moves_to_a_machine_in_maintenance():
    instance = blocking.interrupt(
        blocking.from_jobs([[(0, 4)], [(0, 1)]]),
        blocking.Interruptions(windows=[(0, 2, 5), (0, 4, 9)]),
        jax.random.key(0),
    )
    schedule = blocking.dispatch(instance, "lpt")
    # two ticks of work, the pause, two more
    assert schedule == blocking.Schedule([[0], [11]], 12, [[(2, 9)]])
    assert blocking.validate(instance, schedule) == []
    moved = blocking.Schedule([[5], [0]], 13, [[(2, 9)]])
    assert blocking.validate(instance, moved)[0] == "job 0 moves to machine 0 at 5, which is down"


# -------------------------------------------------------------------------------------------- draws


def test_failures_follow_their_distributions():
    failures = blocking.Failures(jax.random.key(1), jnp.float32(0.2), jnp.float32(12.5))
    ids = np.arange(40, dtype=np.int32), np.arange(500, dtype=np.int32)
    fails, share, repair = addressed.failure_table(failures, *ids)
    count = fails.size
    assert abs(np.mean(fails) - 0.2) < 4 * (0.16 / count) ** 0.5
    assert abs(np.mean(np.asarray(share) / 2**32) - 0.5) < 4 * (1 / 12 / count) ** 0.5
    assert abs(np.mean(repair) - 12.5) < 4 * 12 / count**0.5
    assert abs(np.mean(np.asarray(repair) == 1) - 1 / 12.5) < 0.008
    assert np.min(repair) == 1
    assert np.max(repair) <= addressed.LONGEST * 12.5 + 1


def test_moments_are_exact():
    rng = np.random.default_rng(0)
    share, duration = (
        rng.integers(2**32, size=999, dtype=np.uint32),
        rng.integers(2**31, size=999, dtype=np.int32),
    )
    share[:2], duration[:4] = (2**32 - 1, 0), (2**31 - 1, 2**31 - 1, 0, 1)
    expected = [int(s) * int(d) >> 32 for s, d in zip(share, duration, strict=True)]
    assert (
        addressed.work_before_failure(jnp.asarray(share), jnp.asarray(duration)).tolist()
        == expected
    )


def test_probability_one_fails_always_and_zero_never():
    for probability, share in ((0.0, 0), (1.0, 1)):
        failures = blocking.Failures(jax.random.key(1), jnp.float32(probability), jnp.float32(1.0))
        ids = np.arange(4, dtype=np.int32), np.arange(64, dtype=np.int32)
        fails, _, repair = addressed.failure_table(failures, *ids)
        assert np.mean(fails) == share
        assert (np.asarray(repair) == 1).all()


def test_a_source_draws_failures():
    source = blocking.interrupted(job_shop.uniform(3, 3), (0.0, 0.5), 2.0)
    worlds = jax.jit(jax.vmap(source))(jax.random.split(jax.random.key(0), 64))
    rates = np.asarray(worlds.failures.probability)
    assert set(rates.tolist()) == {0.0, 0.5}
    mean = np.asarray(worlds.duration).mean((1, 2))
    np.testing.assert_allclose(worlds.failures.mean_repair, 2 * mean, rtol=1e-5)
    assert hash(source) == hash(blocking.interrupted(job_shop.uniform(3, 3), (0.0, 0.5), 2.0))
    with pytest.raises(ValueError, match="at least one"):
        blocking.interrupted(job_shop.uniform(3, 3), ())


@pytest.mark.parametrize(
    ("interruptions", "message"),
    [
        ({"windows": [(5, 0, 1)]}, "window 0: machine 5 is out of range, there are 2"),
        ({"windows": [(0, 3, 3)]}, "window 0: needs start < end, got 3 and 3"),
        ({"windows": [(0, 0, 1), (0, 1)]}, "window 1: expected"),
        # Of its kind: True was machine 1, and a number in place of a window no InstanceError.
        ({"windows": [(True, 0, 1)]}, "window 0: machine True is not an integer"),
        ({"windows": [(0, 0, 2**31)]}, "window 0: end does not fit int32"),
        ({"windows": [7]}, "window 0: expected an array, got 7"),
        ({"windows": [(0, 0, 2**31 - 1)]}, "beyond int32"),
    ],
)
def test_interruptions_that_make_no_sense(interruptions, message):
    instance = blocking.from_jobs([[(0, 2), (1, 5)]])
    with pytest.raises(InstanceError, match=message):
        blocking.interrupt(instance, blocking.Interruptions(**interruptions), jax.random.key(0))


def test_interruptions_out_of_range():
    with pytest.raises(ValueError, match="probability is in"):
        blocking.Interruptions(1.5)
    with pytest.raises(ValueError, match="mean_repair is in"):
        blocking.Interruptions(mean_repair=0)


# --------------------------------------------------------------------------- names, rules, pictures


def test_classic_instances_are_blocking_ones():
    instance = blocking.load("ft06")
    assert job_shop.to_jobs(instance) == job_shop.to_jobs(job_shop.load("ft06"))
    assert (blocking.bounds("ft06").lower, blocking.bounds("ft06").upper) == (63, 63)
    assert blocking.bounds("la02").upper == 793
    with pytest.raises(InstanceError, match="no bounds for instance 'zz'"):
        blocking.bounds("zz")


def test_dispatch_meets_the_same_world_for_a_seed():
    instance = blocking.load("ft06")
    interruptions = blocking.Interruptions(0.3, 1.0, [(2, 20, 30)])
    one, same, other = (
        blocking.dispatch(instance, "mtwr", True, interruptions, seed) for seed in (1, 1, 2)
    )
    assert one == same != other
    assert (
        blocking.validate(blocking.interrupt(instance, interruptions, jax.random.key(1)), one) == []
    )
    assert one.down[2][0][0] <= 20
    with pytest.raises(UnknownNameError, match="did you mean mtwr"):
        blocking.dispatch(instance, "mtw")


def test_the_chart_hatches_blocked_time_and_greys_downtime():
    instance = blocking.interrupt(
        blocking.from_jobs([[(0, 4), (1, 2)], [(1, 9)]]),
        blocking.Interruptions(windows=[(0, 1, 3)]),
        jax.random.key(0),
    )
    schedule = blocking.dispatch(instance)
    picture = blocking.gantt_svg(instance, schedule, title="two <jobs>")
    root, svg = ElementTree.fromstring(picture.svg), "{http://www.w3.org/2000/svg}"
    found = {}
    for group in root.findall(f"{svg}g"):
        (title,), (rect,) = group.findall(f"{svg}title"), group.findall(f"{svg}rect")
        found.setdefault(group.attrib["class"], []).append((title.text, rect.attrib["fill"]))
    assert [text for text, _ in found["operation"]] == [
        "job 0, operation 0, machine 0: 0 to 6 (duration 4)",
        "job 0, operation 1, machine 1: 9 to 11 (duration 2)",
        "job 1, operation 0, machine 1: 0 to 9 (duration 9)",
    ]
    assert found["hatched"] == [
        ("job 0, operation 0, machine 0: blocked from 6 to 9", "url(#stripes0072b2)")
    ]
    assert [text for text, _ in found["grey"]] == ["machine 0: down from 1 to 3"]
    with pytest.raises(ValueError, match="job 0 has 2 operations"):
        blocking.gantt_svg(instance, blocking.Schedule([[0], [0]], 9))


def test_the_chart_with_matplotlib():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    instance = blocking.from_jobs([[(0, 4), (1, 2)], [(1, 9)]])
    axes = blocking.gantt(instance, blocking.Schedule([[0, 9], [0]], 11, [[(1, 2)], []]))
    assert len(axes.patches) == 5
    assert any(patch.get_hatch() for patch in axes.patches)


@pytest.mark.parametrize("swap", ["true", "false"])
def test_the_command_line_solves_the_shop_that_is_set(swap: str, capsys, tmp_path):
    pytest.importorskip("ortools")
    pytest.importorskip("tyro")
    shop = tmp_path / "two.txt"
    shop.write_text("2 2\n0 2 1 5\n1 2 0 5\n")
    chart = tmp_path / "two.svg"
    options = [
        "--env",
        "BlockingJobShop-v0",
        "--settings",
        f"swap={swap}",
        "--gantt",
        str(chart),
        "--num-workers",
        "1",
    ]
    assert cli.main(["solve", str(shop), *options]) == 0
    assert f"objective   {7 if swap == 'true' else 14}" in capsys.readouterr().out
    assert chart.exists()
