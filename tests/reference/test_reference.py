"""The plain-Python simulator against published facts, instances solved by hand and CP-SAT."""

from __future__ import annotations

import ast
import itertools
import pathlib
import random
import sys

import pytest

from tests.reference import job_shop
from tests.reference.job_shop import RULES, Simulator, dispatch, optimum, random_rollout, replay

# Fisher & Thompson 1963, 6 x 6: (machine, duration) in route order. Optimum 55.
FT06 = [
    [(2, 1), (0, 3), (1, 6), (3, 7), (5, 3), (4, 6)],
    [(1, 8), (2, 5), (4, 10), (5, 10), (0, 10), (3, 4)],
    [(2, 5), (3, 4), (5, 8), (0, 9), (1, 1), (4, 7)],
    [(1, 5), (0, 5), (2, 5), (3, 3), (4, 8), (5, 9)],
    [(2, 9), (1, 3), (4, 5), (5, 4), (0, 3), (3, 1)],
    [(1, 3), (3, 3), (5, 9), (0, 10), (4, 4), (2, 1)],
]
FT06_OPTIMUM = 55

# Machine 0 is wanted by the long operation of job 0 at time 0 and by the head of the long job 1 at
# time 1. Waiting one tick for job 1 pays, which no non-delay schedule does.
WAITING_PAYS = [[(0, 10)], [(1, 1), (0, 1), (2, 10)]]


def random_jobs(
    rng: random.Random, num_jobs: int, num_machines: int, max_ops: int
) -> list[list[tuple[int, int]]]:
    """Ragged and re-entrant, with durations of 0."""
    return [
        [(rng.randrange(num_machines), rng.randint(0, 9)) for _ in range(rng.randint(1, max_ops))]
        for _ in range(num_jobs)
    ]


def square_jobs(rng: random.Random, size: int) -> list[list[tuple[int, int]]]:
    """Every job once on every machine, durations 1 to 9."""
    return [
        [(machine, rng.randint(1, 9)) for machine in rng.sample(range(size), size)]
        for _ in range(size)
    ]


def assert_feasible(jobs, start, makespan, release=None):
    """Every operation placed after its predecessor and its release, machines never shared, the
    makespan true.
    """
    spans = {}
    for job, ops in enumerate(jobs):
        ready = release[job] if release else 0
        assert len(start[job]) == len(ops)
        for (machine, duration), begin in zip(ops, start[job], strict=True):
            assert begin >= ready
            ready = begin + duration
            spans.setdefault(machine, []).append((begin, ready))
    for on_machine in spans.values():
        on_machine.sort()
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(on_machine))
    assert makespan == max(end for on_machine in spans.values() for _, end in on_machine)


def cp_sat(jobs, release=None) -> int:
    """The optimal makespan by constraint programming."""
    cp_model = pytest.importorskip(
        "ortools.sat.python.cp_model", reason='needs pip install "jaxsched[solvers]"'
    )
    model = cp_model.CpModel()
    horizon = sum(duration for ops in jobs for _, duration in ops) + max(release or [0])
    makespan, intervals = model.new_int_var(0, horizon, ""), {}
    for job, ops in enumerate(jobs):
        ready = release[job] if release else 0
        for machine, duration in ops:
            start = model.new_int_var(0, horizon, "")
            model.add(start >= ready)
            intervals.setdefault(machine, []).append(
                model.new_fixed_size_interval_var(start, duration, "")
            )
            ready = start + duration
        model.add(makespan >= ready)
    for on_machine in intervals.values():
        model.add_no_overlap(on_machine)
    model.minimize(makespan)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    assert solver.solve(model) == cp_model.OPTIMAL
    return round(solver.objective_value)


def test_it_is_independent():
    """Neither jaxsched nor an array library: an error there must not show in both."""
    tree = ast.parse(pathlib.Path(job_shop.__file__).read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


def test_ft06_facts():
    sim = Simulator(FT06)
    assert len(sim.jobs) == len(sim.machine_ready) == 6
    assert sum(map(len, sim.jobs)) == 36
    assert (
        sum(sim.work_left)
        == sum(sim.load_left)
        == sum(duration for job in FT06 for _, duration in job)
    )
    # the longest job, `trivial_lower_bound` of the published data
    assert sim.makespan_bound() == 47
    assert sim.clock() == 0
    for rule in RULES:
        for candidates in ("any", "non_delay"):
            done = dispatch(FT06, rule, candidates)
            assert_feasible(FT06, done.start, done.makespan)
            assert done.makespan >= FT06_OPTIMUM


def test_by_hand():
    """Two jobs that cross: every quantity after every decision."""
    jobs = [[(0, 3), (1, 2)], [(1, 4), (0, 1)]]
    sim = Simulator(jobs, release=[1, 0], due=[5, None], weight=[2, 3])
    assert (sim.clock(), sim.makespan_bound(), sim.makespan) == (0, 6, 0)
    assert (sim.legal("any"), sim.legal("non_delay")) == ([0, 1], [1])
    sim.apply(1)  # machine 1, 0 to 4
    assert (sim.start, sim.job_ready, sim.machine_ready) == ([[], [0]], [1, 4], [0, 4])
    assert (sim.clock(), sim.makespan_bound(), sim.legal("non_delay")) == (1, 6, [0])
    sim.apply(1)  # machine 0, 4 to 5: job 0 now has to wait for it
    assert (sim.start, sim.job_ready, sim.machine_ready) == ([[], [0, 4]], [1, 5], [5, 4])
    assert (sim.clock(), sim.makespan_bound(), sim.legal("any")) == (5, 8, [0])
    sim.apply(0)  # machine 0, 5 to 8
    sim.apply(0)  # machine 1, 8 to 10
    assert (sim.start, sim.makespan, sim.clock(), sim.makespan_bound()) == (
        [[5, 8], [0, 4]],
        10,
        10,
        10,
    )
    assert sim.done
    assert sim.legal("any") == sim.legal("non_delay") == []
    assert (sim.flow_time(), sim.weighted_tardiness()) == (10 - 1 + 5, 2 * (10 - 5))


def test_unknown_candidates():
    with pytest.raises(ValueError, match="active"):
        Simulator(FT06).legal("active")


@pytest.mark.parametrize(
    ("rule", "first"),
    [
        ("spt", 2),
        ("lpt", 0),
        ("mwkr", 1),
        ("lwkr", 2),
        ("mopnr", 1),
        ("lopnr", 0),
        ("fifo", 3),
        ("fdd_mwkr", 1),  # (4 + 6) / 6, (3 + 3) / 12, (2 + 2) / 3, (1 + 5) / 9
        ("cr", 2),  # (4 + 9 - 4) / 6, (3 + 18 - 4) / 12, (7 - 4) / 3, (1 + 13.5 - 4) / 9
    ],
)
def test_rules_by_hand(rule, first):
    """One decision at time 4, worked out by hand: job 4 holds machine 0 until then, so that all
    others are legal.
    """
    jobs = [
        [(0, 6)],
        [(0, 3), (1, 4), (2, 5)],
        [(0, 2), (1, 1)],
        [(0, 5), (1, 4)],
        [(0, 4)],
    ]
    sim = Simulator(jobs, release=[4, 3, 2, 1, 0], due=[None, None, 7, None, None])
    sim.apply(4)
    assert (sim.clock(), sim.legal("non_delay")) == (4, [0, 1, 2, 3])
    assert min(sim.legal("non_delay"), key=lambda job: RULES[rule](sim, job)) == first


def test_ties_go_to_the_lowest_job():
    jobs = [[(0, 5)], [(0, 5)], [(0, 5)]]
    for rule in RULES:
        assert dispatch(jobs, rule).start == [[0], [5], [10]]


def test_no_work_left_comes_last_in_ratio_rules():
    jobs = [[(0, 0)], [(0, 3)]]
    for rule in ("fdd_mwkr", "cr"):
        assert dispatch(jobs, rule).start == [[3], [0]]


def test_ratios_are_compared_exactly():
    """n / (n + 1) against (n - 1) / n: equal in double precision, the second is smaller."""
    n = 10**9
    assert n / (n + 1) == pytest.approx((n - 1) / n, rel=1e-15)
    assert dispatch([[(0, n), (1, 1)], [(0, n - 1), (1, 1)]], "fdd_mwkr").start[1][0] == 0


@pytest.mark.parametrize("seed", range(20))
def test_random_rollout_is_legal_play(seed):
    rng = random.Random(seed)
    jobs = random_jobs(rng, num_jobs=rng.randint(1, 7), num_machines=4, max_ops=5)
    release = [rng.randint(0, 20) for _ in jobs]
    played = random_rollout(jobs, rng, release)
    assert sorted(played.sequence) == [job for job, ops in enumerate(jobs) for _ in ops]
    assert_feasible(jobs, played.start, played.makespan, release)
    sim = replay(jobs, played.sequence, release)
    assert (sim.start, sim.makespan) == (played.start, played.makespan)


@pytest.mark.parametrize("seed", range(20))
def test_bound_and_clock_never_fall(seed):
    rng = random.Random(seed)
    jobs = random_jobs(rng, num_jobs=5, num_machines=3, max_ops=5)
    sim = Simulator(jobs, release=[rng.randint(0, 9) for _ in jobs])
    bound, clock = sim.makespan_bound(), sim.clock()
    while legal := sim.legal(rng.choice(["any", "non_delay"])):
        assert set(legal) <= set(sim.unfinished)
        sim.apply(rng.choice(legal))
        assert bound <= sim.makespan_bound()
        assert clock <= sim.clock()
        bound, clock = sim.makespan_bound(), sim.clock()
    assert bound == clock == sim.makespan


def test_waiting_can_pay():
    """`any` reaches the optimum by hand, `non_delay` cannot."""
    assert optimum(WAITING_PAYS) == 12
    assert optimum(WAITING_PAYS, candidates="non_delay") == 21


def test_optimum_of_trivial_shops():
    assert optimum([[(0, 4), (0, 3)]]) == 7
    assert optimum([[(0, 4)], [(0, 3)], [(0, 2)]], release=[0, 0, 5]) == 9
    assert optimum([[(0, 0)], [(1, 0)]]) == 0
    assert (
        optimum([[(0, 2)]], release=[5])
        == optimum([[(0, 2)]], release=[5], candidates="non_delay")
        == 7
    )


@pytest.mark.parametrize("seed", range(8))
def test_exhaustive_search_agrees_with_cp_sat(seed):
    rng = random.Random(seed)
    jobs = (
        square_jobs(rng, 3) if seed % 2 else random_jobs(rng, num_jobs=3, num_machines=3, max_ops=4)
    )
    release = None if seed < 4 else [rng.randint(0, 9) for _ in jobs]
    best = cp_sat(jobs, release)
    assert optimum(jobs, release) == best
    assert optimum(jobs, release, "non_delay") >= best
