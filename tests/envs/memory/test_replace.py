"""`replace`, `Graph` and `verify`: every method against the independent oracle, and what bad
input gets.
"""

from __future__ import annotations

import copy
import dataclasses
import random

import jax
import numpy as np
import pytest

import jaxsched
from jaxsched.core import Infeasible, InstanceError, UnknownNameError, greedy
from jaxsched.envs import memory
from jaxsched.envs.memory.replacement import exact
from jaxsched.envs.memory.replacement.heuristics import SCORES, play
from jaxsched.envs.memory.replacement.plain import forced_out
from jaxsched.envs.memory.replacement.settings import PLACEMENTS, SCHEDULES
from jaxsched.envs.memory.replacement.types import assemble, traffic_of
from jaxsched.host import deadline
from jaxsched.host.deadline import Deadline
from tests.envs.memory.replacement_cases import padded, random_capacity, random_graph, to_reference
from tests.reference import replacement as reference

MODES = [(schedule, placement) for schedule in SCHEDULES for placement in PLACEMENTS]


def small_case(rng: random.Random):
    """A graph small enough for the oracle's search over addresses."""
    while True:
        graph = random_graph(rng, 4, longest=3)
        capacity = memory.Graph.from_dict(graph).largest_working_set() + rng.choice([0, 0, 1])
        if len(graph["tensors"]) <= 7 and capacity <= 8:
            return graph, capacity


def program(seed: int, least: int, most: int) -> tuple[memory.Graph, int]:
    """A generated program and M_H of it."""
    graph = memory.draw_graph(np.random.default_rng(seed), least, most)
    return graph, memory.capacities(graph).M_H


# --------------------------------------------------------------------------------------- heuristics


@pytest.mark.parametrize(("schedule", "placement"), MODES)
def test_heuristics_equal_the_simulator(schedule, placement):
    rng = random.Random(0)
    for _ in range(150):
        graph = random_graph(rng)
        capacity = random_capacity(rng, graph)
        problem = to_reference(graph, capacity)
        names = [row["id"] for row in graph["ops"]]
        methods: dict[str, list[int] | None] = {"belady": None, "greedy": None}
        if schedule == "free":
            order, peak, proved = memory.min_peak_order(memory.Graph.from_dict(graph))
            assert proved
            assert peak == min_peak(problem)
            methods["belady_min_peak"] = order
        for method, order in methods.items():
            plan = memory.replace(graph, capacity, schedule, placement, method)
            assert memory.verify(graph, plan) == []
            if order is None:
                sim = reference.play(problem, schedule, placement, method)
                assert (plan.traffic, plan.compulsory) == (sim.traffic(), sim.first_loads)
                assert [step["op"] for step in plan.steps] == [names[op] for op in sim.order]
            else:
                assert [step["op"] for step in plan.steps] == [names[op] for op in order]


def min_peak(problem: reference.Problem) -> int:
    """By trying every order with room for everything: nothing is ever evicted."""
    best = sum(problem.sizes)

    def extend(done: list[int], peak: int) -> None:
        nonlocal best
        if peak >= best:
            return
        if len(done) == len(problem.ops):
            best = peak
            return
        touched = {a for op in done for a in problem.tensors(op)}
        left = [op for op in range(len(problem.ops)) if op not in done]
        live = {a for a in touched if any(a in problem.ops[op][0] for op in left)}
        for op in problem.ready(done):
            extend(
                [*done, op], max(peak, sum(problem.sizes[a] for a in live | {*problem.tensors(op)}))
            )

    extend([], 0)
    return best


def test_belady_in_an_order_with_the_smallest_peak_moves_nothing_at_that_peak():
    for seed in range(6):
        graph, _ = program(seed, 10, 60)
        limits = memory.capacities(graph)
        assert limits.M_R < limits.M_P <= memory.peak_footprint(graph)
        assert memory.replace(graph, limits.M_P, method="belady_min_peak").traffic == 0
        assert (
            memory.replace(graph, memory.peak_footprint(graph), "fixed", method="belady").traffic
            == 0
        )


def test_the_beam_finds_orders_too():
    for seed in range(4):
        graph, _ = program(seed, 10, 30)
        best, beam = memory.min_peak_order(graph), memory.min_peak_order(graph, limit=0)
        assert best[1] <= beam[1] <= memory.peak_footprint(graph)
        assert memory.peak_footprint(graph.reordered(beam[0])) == beam[1]


def test_capacities_by_name():
    graph, half = program(0, 10, 20)
    assert memory.replace(graph, "M_H", method="belady").capacity == half
    with pytest.raises(UnknownNameError, match="unknown capacity 'M_Q'; did you mean M_"):
        memory.replace(graph, "M_Q")


# -------------------------------------------------------------------------------------------- exact


def test_exact_equals_brute_force():
    rng, checked = random.Random(1), 0
    moved = 0
    while checked < 40:
        graph, capacity = small_case(rng)
        for schedule, placement in MODES:
            best = reference.optimum(to_reference(graph, capacity), schedule, placement)
            plan = memory.replace(graph, capacity, schedule, placement, "exact", num_workers=1)
            assert (plan.traffic, plan.bound, plan.proved) == (best, best, True), (graph, capacity)
            assert memory.verify(graph, plan) == []
            moved += plan.traffic > 0
            checked += 1
    assert moved >= 4


def test_more_freedom_never_costs_more():
    """Free order at or below fixed, bytes at or below addresses, every heuristic at or above the
    optimum.
    """
    rng = random.Random(2)
    for _ in range(12):
        graph = random_graph(rng)
        capacity = random_capacity(rng, graph)
        plans = {
            mode: memory.replace(graph, capacity, *mode, "exact", num_workers=1) for mode in MODES
        }
        assert all(plan.proved for plan in plans.values())
        for placement in PLACEMENTS:
            assert plans["free", placement].traffic <= plans["fixed", placement].traffic
        for schedule in SCHEDULES:
            assert plans[schedule, "bytes"].traffic <= plans[schedule, "address"].traffic
        for mode, plan in plans.items():
            for method in ("belady", "greedy", "search"):
                other = memory.replace(graph, capacity, *mode, method, num_workers=1)
                assert other.traffic >= plan.traffic
                assert memory.verify(graph, other) == []
                assert other.bound <= plan.traffic


def test_what_an_operator_forces_out_is_a_bound():
    rng = random.Random(3)
    tight = 0
    in_jit = jax.jit(jaxsched.make("TensorReplacement-v0", schedule="fixed").lower_bound)
    for _ in range(60):
        graph = random_graph(rng)
        capacity = random_capacity(rng, graph)
        best = reference.optimum(to_reference(graph, capacity), "fixed", "bytes")
        bound = forced_out(memory.Graph.from_dict(graph), capacity)
        if memory.Graph.from_dict(graph).unit == 1:
            assert int(in_jit(padded(memory.replacement.to_instance(graph, capacity)))) == bound
        assert best is not None
        assert bound <= best
        tight += 0 < bound == best
    assert tight > 3


def test_windows_improve_a_plan_step_by_step():
    """Small windows, so that a small program needs several: no worse than heuristics, and every
    plan is valid.
    """
    improved = 0
    for seed, placement in enumerate(PLACEMENTS * 3):
        graph, capacity = program(seed, 12, 24)
        plan = memory.replace(graph, capacity, "free", placement, "belady")
        found = play(graph, capacity, range(len(graph.op_ids)), "belady", placement)
        traffic = plan.traffic
        for begin in range(0, len(graph.op_ids) - 3, 3):
            end = min(begin + 6, len(graph.op_ids))
            found, bound = exact.solve_window(
                graph, capacity, "free", found, begin, end, deadline=Deadline(5), num_workers=1
            )
            now = traffic_of(graph, found.retrieved)[0]
            assert bound <= now <= traffic
            traffic = now
            steps = assemble(graph, found.order, found.retrieved, found.address)
            after = dataclasses.replace(plan, steps=steps, traffic=now, bound=0, proved=now == 0)
            assert memory.verify(graph, after) == []
        improved += traffic < plan.traffic
    assert improved >= 2


def test_a_graph_beyond_the_model_is_refused_by_exact():
    graph = memory.draw_program(1)
    with pytest.raises(
        InstanceError, match=r"225 operators and 279 tensors: too many for one model"
    ):
        memory.replace(graph, "M_H", method="exact")


# ----------------------------------------------------------------------------------------- policies


def test_policies_play_the_same_rules():
    rng = random.Random(5)
    graph = random_graph(rng, 7)
    capacity = random_capacity(rng, graph)
    for schedule, placement, rule in (("free", "bytes", "belady"), ("fixed", "address", "greedy")):
        plan = memory.replace(
            graph, capacity, schedule, placement, "policy", policy=greedy(SCORES[rule])
        )
        other = memory.replace(graph, capacity, schedule, placement, rule)
        assert memory.verify(graph, plan) == []
        assert (plan.traffic, plan.steps) == (other.traffic, other.steps)


# ------------------------------------------------------------------------------------------- verify


def moving_case():
    """8 bytes are live in the second operator, one more than there is room for: `a` has to leave
    and to come back.
    """
    graph = {
        "tensors": [
            {"id": "w", "size": 2, "backed": True},
            {"id": "a", "size": 3},
            {"id": "b", "size": 3},
            {"id": "c", "size": 2},
            {"id": "d", "size": 1},
        ],
        "ops": [
            {"id": "first", "inputs": ["w"], "outputs": ["a"]},
            {"id": "second", "inputs": ["w"], "outputs": ["b"]},
            {"id": "third", "inputs": ["b", "w"], "outputs": ["c"]},
            {"id": "last", "inputs": ["a", "c"], "outputs": ["d"]},
        ],
    }
    return graph, memory.replace(graph, 7, "fixed", "address", "belady")


def step(op, spill, retrieve, keep, address):
    return {"op": op, "spill": spill, "retrieve": retrieve, "keep": keep, "address": address}


def test_a_plan_by_hand():
    graph, plan = moving_case()
    assert (plan.traffic, plan.compulsory, plan.bound, plan.proved) == (6, 2, 6, True)
    assert plan.steps == [
        step("first", [], ["w"], [], {"a": 0, "w": 3}),
        step("second", ["a"], [], ["w"], {"b": 0, "w": 3}),
        step("third", [], [], ["w", "b"], {"b": 0, "w": 3, "c": 5}),
        step("last", [], ["a"], ["c"], {"a": 0, "d": 3, "c": 5}),
    ]
    assert memory.verify(graph, plan) == []
    assert memory.verify(memory.Graph.from_dict(graph), plan) == []


CORRUPTIONS = {
    "operator 'second' never runs": lambda p: p.steps.pop(1),
    "operator 'last' runs 2 times": lambda p: p.steps.append(p.steps[-1]),
    "the schedule is fixed, but the operators run in another order": lambda p: p.steps.insert(
        0, p.steps.pop(1)
    ),
    "step 3, operator 'last': reads 'a', which is not resident": lambda p: p.steps[3][
        "retrieve"
    ].clear(),
    "step 3, operator 'last': retrieves 'a', of which there is no copy": lambda p: p.steps[1][
        "spill"
    ].clear(),
    "step 1, operator 'second': spills 'w', of which a copy exists": lambda p: p.steps[1][
        "spill"
    ].append("w"),
    "step 2, operator 'third': spills 'a', which was not resident": lambda p: p.steps[2][
        "spill"
    ].append("a"),
    "step 3, operator 'last': keeps 'a', which was not resident": lambda p: p.steps[3][
        "keep"
    ].append("a"),
    "step 3, operator 'last': both keeps and retrieves 'c'": lambda p: p.steps[3][
        "retrieve"
    ].append("c"),
    "step 1, operator 'second': 8 bytes are resident, 1 more than the cap": lambda p: p.steps[1][
        "keep"
    ].append("a"),
    "step 1, operator 'second': 'a' is resident, but has no address": lambda p: p.steps[1][
        "keep"
    ].append("a"),
    "step 3, operator 'last': 'b' has an address, but is not resident": lambda p: p.steps[3][
        "address"
    ].update(b=4),
    "step 2, operator 'third': 'b' and 'w' overlap in address": lambda p: p.steps[2][
        "address"
    ].update(w=2),
    "step 2, operator 'third': 'w' is kept, but moves from 3 to 2": lambda p: p.steps[2][
        "address"
    ].update(w=2),
    "step 2, operator 'third': 'c' at [6, 8) is outside the capacity 7": lambda p: p.steps[2][
        "address"
    ].update(c=6),
    "step 0, operator 'first': makes 'a', which was resident already": lambda p: p.steps[0][
        "keep"
    ].append("a"),
    "step 0: unknown operator 'zero'": lambda p: p.steps[0].update(op="zero"),
    "step 0: keep has the unknown tensor 'z'": lambda p: p.steps[0]["keep"].append("z"),
    "step 0: address is None, not a dict": lambda p: p.steps[0].update(address=None),
    "step 0: the address 1.5 is not an integer": lambda p: p.steps[0]["address"].update(a=1.5),
    "step 1: spill names a tensor twice": lambda p: p.steps[1]["spill"].append("a"),
    "step 0: expected a dict with op, spill, retrieve, keep, address": lambda p: p.steps[0].pop(
        "keep"
    ),
}


@pytest.mark.parametrize("fault", CORRUPTIONS)
def test_a_corrupted_plan_is_found(fault):
    graph, plan = moving_case()
    plan = dataclasses.replace(plan, steps=copy.deepcopy(plan.steps))
    CORRUPTIONS[fault](plan)
    found = memory.verify(graph, plan)
    assert any(line.startswith(fault) for line in found), found


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"traffic": 5}, "the traffic is given as 5, but 6 bytes are moved"),
        ({"compulsory": 0}, "first loads are given as 0, but are 2 bytes"),
        ({"bound": 7}, "the bound 7 is not within 0 and the traffic 6"),
        ({"proved": False}, "proved is False, with a traffic of 6 and a bound of 6"),
        ({"placement": "bites"}, "unknown schedule 'fixed' or placement 'bites'"),
        (
            {"capacity": 6},
            "step 2, operator 'third': 7 bytes are resident, 1 more than the capacity",
        ),
    ],
)
def test_a_false_claim_is_found(changes, fault):
    graph, plan = moving_case()
    assert fault in memory.verify(graph, dataclasses.replace(plan, **changes))


def test_random_corruptions_are_found():
    """Whatever is taken out of a step that something depends on."""
    rng, changed = random.Random(6), 0
    for _ in range(120):
        graph = random_graph(rng)
        capacity = random_capacity(rng, graph)
        plan = memory.replace(graph, capacity, "free", "address", "greedy")
        steps = copy.deepcopy(plan.steps)
        t, field = rng.randrange(len(steps)), rng.choice(["spill", "retrieve", "keep"])
        if steps[t][field]:
            steps[t][field].pop()
            changed += 1
            assert memory.verify(graph, dataclasses.replace(plan, steps=steps)) != []
    assert changed > 20


# ------------------------------------------------------------------------------------ fragmentation

# Eight operators keep 5 bytes full; the order in which neighbours die cannot suit both of what
# comes later.
GAPS = (
    [3, 2, 1, 1, 1, 1, 1, 1, 2, 3],
    [
        ([], [0, 1]),
        ([0], []),
        ([1], [2, 3, 4]),
        ([3], [5, 6]),
        ([4, 6], [7]),
        ([2, 5, 7], [8]),
        ([8], [9]),
        ([9], []),
    ],
)


def gap_graph():
    size, ops = GAPS
    rows = [{"id": op, "inputs": reads, "outputs": makes} for op, (reads, makes) in enumerate(ops)]
    return {"tensors": [{"id": a, "size": s} for a, s in enumerate(size)], "ops": rows}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_fragmentation_shows_in_address_mode_only(schedule):
    graph, found = gap_graph(), {}
    for placement in PLACEMENTS:
        plan = memory.replace(graph, 5, schedule, placement, "exact", num_workers=1)
        assert plan.proved
        assert memory.verify(graph, plan) == []
        found[placement] = plan.traffic
    assert found == {"bytes": 0, "address": 2}


def test_an_input_is_evicted_where_only_that_makes_room():
    """Of 5 bytes `a` has one in the middle; it is read beside 3 new ones, which fit in sum, but
    not beside it.
    """
    graph = {
        "tensors": [{"id": name, "size": size} for name, size in (("p", 2), ("a", 1), ("b", 3))],
        "ops": [
            {"id": 0, "inputs": [], "outputs": ["p", "a"]},
            {"id": 1, "inputs": ["p"], "outputs": []},
            {"id": 2, "inputs": ["a"], "outputs": ["b"]},
        ],
    }
    for method in ("belady", "greedy"):
        assert memory.replace(graph, 5, "fixed", "bytes", method).traffic == 0
        plan = memory.replace(graph, 5, "fixed", "address", method)
        assert plan.steps[1]["spill"] == ["a"]  # as soon as it is not read for a while
        assert plan.steps[2] == step(2, [], ["a"], [], {"a": 3, "b": 0})
        assert plan.traffic == 2
        assert memory.verify(graph, plan) == []
    assert memory.replace(graph, 5, "fixed", "address", "exact", num_workers=1).traffic == 0


# ---------------------------------------------------------------------------------------- bad input


def graph_with(tensors=(), ops=()):
    """Two operators in a row, with rows added."""
    return {
        "tensors": [
            {"id": "x", "size": 2, "backed": True},
            {"id": "y", "size": 2},
            {"id": "z", "size": 2},
            *tensors,
        ],
        "ops": [
            {"id": 0, "inputs": ["x"], "outputs": ["y"]},
            {"id": 1, "inputs": ["y"], "outputs": ["z"]},
            *ops,
        ],
    }


def op(inputs, outputs, id=2):
    return {"id": id, "inputs": inputs, "outputs": outputs}


BAD = {
    "the graph: expected an object with tensors, ops, got 3": 3,
    "the graph: 'ops' is missing": {"tensors": []},
    "the graph: unknown key 'nodes'; known: tensors, ops": {"tensors": [], "ops": [], "nodes": []},
    "tensors: expected an array, got 'x'": {"tensors": "x", "ops": []},
    "the graph has no operators": {"tensors": [], "ops": []},
    "tensor 7: expected an object with id, size, got 7": graph_with([7]),
    "tensor 'u': 'size' is missing": graph_with([{"id": "u"}]),
    "tensor 'u': unknown key 'bytes'; known: id, size, backed": graph_with(
        [{"id": "u", "size": 1, "bytes": 1}]
    ),
    "tensor ([],): the id ([],) is not hashable": graph_with([{"id": ([],), "size": 1}]),
    "operator 2: inputs has the unknown tensor ([],)": graph_with(ops=[op([([],)], [])]),
    "tensor 'x': another one has the same id": graph_with([{"id": "x", "size": 1}]),
    "tensor 'u': size must be at least 1, got 0": graph_with([{"id": "u", "size": 0}]),
    "tensor 'u': size 1.5 is not an integer": graph_with([{"id": "u", "size": 1.5}]),
    "tensor 'u': size True is not an integer": graph_with([{"id": "u", "size": True}]),
    "tensor 'u': backed 1 is not true or false": graph_with([{"id": "u", "size": 1, "backed": 1}]),
    "tensor 'u': size 4294967297 exceeds int32 in units of the greatest common divisor, 1": graph_with(
        [{"id": "u", "size": 2**32 + 1, "backed": True}]
    ),
    "tensor 'u': nobody makes it, and it is not backed": graph_with([{"id": "u", "size": 1}]),
    "operator 2: inputs has the unknown tensor 'u'": graph_with(ops=[op(["u"], [])]),
    "operator 2.outputs: expected an array, got 'z'": graph_with(ops=[op([], "z")]),
    "operator 2: inputs has tensor 'y' twice": graph_with(ops=[op(["y", "y"], [])]),
    "operator 1: another one has the same id": graph_with(ops=[op(["y"], [], 1)]),
    "the graph has no tensors": {"tensors": [], "ops": [op([], [])]},
    "operator 2: it makes tensor 'x', which is backed": graph_with(ops=[op([], ["x"])]),
    "operator 2: it makes tensor 'z', which operator 1 makes": graph_with(ops=[op([], ["z"])]),
    "operator 0: it reads tensor 'u', which nobody makes and which is not backed": {
        "tensors": [{"id": "u", "size": 1}, {"id": "v", "size": 1}],
        "ops": [op(["u"], ["v"], 0)],
    },
    "operator 2: it reads tensor 'v' before operator 3 makes it; list the operators in an order that runs": graph_with(
        [{"id": "u", "size": 1}, {"id": "v", "size": 1}], [op(["v"], ["u"]), op([], ["v"], 3)]
    ),
    "operators 2 -> 3 -> 2 form a cycle": graph_with(
        [{"id": "u", "size": 1}, {"id": "v", "size": 1}], [op(["v"], ["u"]), op(["u"], ["v"], 3)]
    ),
    "operators 2 -> 2 form a cycle": graph_with([{"id": "u", "size": 1}], [op(["u"], ["u"])]),
}


@pytest.mark.parametrize("message", BAD)
def test_a_malformed_graph_gets_one_clear_line(message):
    with pytest.raises(InstanceError) as caught:
        memory.Graph.from_dict(BAD[message])
    assert str(caught.value) == message


def test_a_graph_survives_the_way_through_a_dict():
    for seed in range(4):
        drawn = memory.draw_program(seed)
        graph = memory.Graph.from_dict(drawn)
        assert graph.to_dict()["ops"] == drawn["ops"]
        assert memory.Graph.from_dict(graph.to_dict()).to_dict() == graph.to_dict()


def test_traffic_beyond_int32_is_refused_on_the_device_only():
    graph = graph_with([{"id": i, "size": 2**30 + i, "backed": True} for i in range(3)])
    with pytest.raises(
        InstanceError, match=r"traffic may reach 3221225\d+ in units of 1, beyond int32: round"
    ):
        memory.replacement.to_instance(graph, 10)
    assert memory.replace(graph, 4, method="belady").traffic == 0


@pytest.mark.parametrize(("schedule", "placement"), MODES)
def test_too_little_room_names_the_operator_and_what_is_missing(schedule, placement):
    graph, _ = moving_case()
    with pytest.raises(Infeasible) as caught:
        memory.replace(graph, 4, schedule, placement, "belady")
    error = caught.value
    assert (error.missing, error.proved) == (3, True)
    assert str(error).startswith(
        "capacity 4 is 3 bytes too small for operator 'third': its inputs and outputs take 7; "
        "with 7 the plan of belady "
    )
    assert error.plan.capacity == 7
    assert memory.verify(graph, error.plan) == []


def test_a_plan_at_the_least_capacity_is_the_plan_of_its_method():
    """Issue 16, row 14, a sibling: at too small a capacity every method had the best plan of all
    heuristics.
    """
    rng, different = random.Random(8), 0
    for _ in range(40):
        graph = random_graph(rng)
        least = memory.Graph.from_dict(graph).largest_working_set()
        traffic = {}
        for method in ("belady", "greedy", "belady_min_peak", "search"):
            own = memory.replace(graph, least, "free", "address", method, num_workers=1)
            with pytest.raises(Infeasible) as caught:
                memory.replace(graph, least - 1, "free", "address", method, num_workers=1)
            plan = caught.value.plan
            assert (plan.traffic, plan.method, plan.capacity) == (own.traffic, own.method, least)
            traffic[method] = plan.traffic
            assert own.method == method or own.note
        different += len(set(traffic.values())) > 1
    assert different > 3


def test_a_plan_of_the_start_has_its_name(monkeypatch):
    """Issue 16, row 14, a sibling: the plan of a heuristic is not that of `search` where there
    is no solver.
    """
    monkeypatch.setattr(
        exact, "search", lambda *args, **options: (_ for _ in ()).throw(ImportError("no OR-Tools"))
    )
    for seed in range(3):
        graph, capacity = program(seed, 12, 24)
        plan = memory.replace(graph, capacity)
        assert plan.method in ("belady", "greedy", "belady_min_peak", "greedy_min_peak")
        assert plan.note == "nothing was searched: no OR-Tools"
        assert memory.verify(graph, plan) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "belaby"}, "unknown method 'belaby'; did you mean belady"),
        ({"schedule": "fix"}, "unknown schedule 'fix'; did you mean fixed"),
        ({"placement": "byte"}, "unknown placement 'byte'; did you mean bytes"),
    ],
)
def test_unknown_names_are_refused(settings, message):
    with pytest.raises(UnknownNameError, match=message):
        memory.replace(moving_case()[0], 7, **settings)
    if "method" not in settings:
        with pytest.raises(UnknownNameError, match=message):
            jaxsched.make("TensorReplacement-v0", **settings)


def test_a_range_without_programs_is_refused():
    with pytest.raises(
        ValueError, match="found no program of 1 to 1 operators in which something must move"
    ):
        memory.draw_graph(np.random.default_rng(0), 1, 1)


def test_settings_that_contradict_each_other_are_refused():
    graph, _ = moving_case()
    with pytest.raises(ValueError, match="it needs schedule='free'"):
        memory.replace(graph, 7, "fixed", method="belady_min_peak")
    with pytest.raises(ValueError, match="method 'policy' needs policy="):
        memory.replace(graph, 7, method="policy")
    with pytest.raises(ValueError, match="not negative"):
        memory.replace(graph, 7, time_limit=-1)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_time_limit_stops_whatever_is_slow(monkeypatch, schedule, placement):
    """Issue 16, row 13, siblings: heuristics, orders, models and compilation count, and what was
    left out is said.
    """
    graph = memory.draw_graph(np.random.default_rng(0), 30, 40)
    looks = iter(range(10**9))
    # a second passes with every look at it
    monkeypatch.setattr(deadline, "clock", lambda: float(next(looks)))
    monkeypatch.setattr(deadline, "probe", lambda: 0.5)
    monkeypatch.setattr(deadline, "_compiled", set())
    for method in ("belady", "greedy", "belady_min_peak", "search", "exact", "policy"):
        if method == "belady_min_peak" and schedule == "fixed":
            continue
        rule = jaxsched.make(
            "TensorReplacement-v0", schedule=schedule, placement=placement
        ).heuristics["belady"]
        options = {"policy": greedy(rule)} if method == "policy" else {}
        plan = memory.replace(graph, "M_H", schedule, placement, method, time_limit=5, **options)
        assert memory.verify(graph, plan) == []
        assert plan.method == "evict_all"
        assert plan.note.startswith(f"{method} ")
        assert (
            plan.traffic
            == memory.replace(graph, plan.capacity, schedule, placement, "evict_all").traffic
        )


def test_operators_without_tensors_run():
    """Issue 16, row 18: they wait for nothing and move nothing, first, between and last,
    whatever plans them.
    """
    graph = memory.Graph.from_dict(
        {
            "tensors": [
                {"id": "w", "size": 3, "backed": True},
                {"id": "a", "size": 2},
                {"id": "b", "size": 2},
            ],
            "ops": [
                op([], [], 0),
                op(["w"], ["a"], 1),
                op([], ["b"], 2),
                op([], [], 3),
                op(["a", "w"], [], 4),
                op(["b"], [], 5),
                op([], [], 6),
            ],
        }
    )
    for schedule in SCHEDULES:
        for placement in PLACEMENTS:
            rule = jaxsched.make(
                "TensorReplacement-v0", schedule=schedule, placement=placement
            ).heuristics["lean"]
            for method in ("belady", "greedy", "evict_all", "search", "exact", "policy"):
                options = {"policy": greedy(rule)} if method == "policy" else {"time_limit": 9}
                plan = memory.replace(graph, "M_R", schedule, placement, method, **options)
                assert memory.verify(graph, plan) == []
                assert sorted(step["op"] for step in plan.steps) == list(range(7))
                assert "<svg" in memory.replacement_svg(graph, plan).svg
    only = memory.Graph.from_dict(
        {"tensors": [{"id": "w", "size": 3, "backed": True}], "ops": [op([], [], 0)]}
    )
    assert memory.replace(only, 0).traffic == 0
