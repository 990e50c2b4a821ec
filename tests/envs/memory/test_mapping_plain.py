"""`map_program`, `replay_program`, `stalls`, `verify`, and what malformed programs get."""

from __future__ import annotations

import copy
import dataclasses
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from jaxsched.core import InstanceError, UnknownNameError, greedy
from jaxsched.envs import memory
from jaxsched.envs.memory.mapping import plain
from jaxsched.envs.memory.mapping import search as evolution
from jaxsched.envs.memory.mapping.relaxation import relax, relaxation
from jaxsched.envs.memory.mapping.replay import Replay, problem_of
from jaxsched.host import deadline
from jaxsched.host.deadline import Deadline
from tests.envs.memory.map_cases import random_program, small_program
from tests.reference import mapping as reference

COPY, NOCOPY, DROP = range(3)


def access(value, kind="read", **more):
    return {"value": value, "kind": kind, **more}


def searched(given, **options):
    """The plan of `search` without the relaxation, after as many generations as it plays at
    least.
    """

    def at_once(*args, deadline, **settings):
        return evolution.search(*args, deadline=Deadline(0), **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "search", at_once)
        patch.setattr(plain, "find_spec", lambda name: None)
        return memory.map_program(given, "search", time_limit=1000, **options)


def program(**changes):
    """x is read at 0 and 2, y made at 0 and read at 2, z an output; one of them fits;
    instruction 1 supplies 10.
    """
    return {
        "values": [
            {"id": "x", "size": 4, "input": True, "output": False},
            {"id": "y", "size": 4, "input": False, "output": False},
            {"id": "z", "size": 2, "input": False, "output": True},
        ],
        "instructions": [
            {"id": "a", "compute": 1, "accesses": [access("x"), access("y", "write")]},
            {"id": "b", "compute": 10, "accesses": []},
            {"id": "c", "compute": 1, "accesses": [access("x"), access("y"), access("z", "write")]},
        ],
        "capacity": 5,
        "alignment": 1,
        "slow_cost": 2,
        "fast_cost": 1,
        "copy_cost": 2,
    } | changes


# ------------------------------------------------------------------------------------------ by hand


def test_a_program_by_hand():
    """8 + 8, 10, 8 + 8 + 4 ticks; y stays: 4 less twice; x copied in by instruction 1: 4 less."""
    given = memory.Program.from_dict(program())
    assert given.to_dict() == program()
    steps = memory.replay_program(given, [DROP, NOCOPY, DROP, NOCOPY, DROP])
    assert steps == [
        (0, [DROP], DROP, 0, None),
        (1, [NOCOPY, DROP], NOCOPY, 4, 0),
        (2, [COPY, DROP], DROP, 0, None),
        (3, [NOCOPY, DROP], NOCOPY, 4, 0),
        (4, [DROP], DROP, 0, None),
    ]
    assert steps[1].reward == 4
    plan = memory.map_program(program(), "exact")
    assert (plan.latency, plan.baseline, plan.bound, plan.feasible, plan.proved) == (
        38,
        46,
        38,
        True,
        True,
    )
    assert memory.verify(given, plan) == []
    copied = memory.replay_program(given, [DROP, DROP, COPY, DROP, DROP])
    assert [step.reward for step in copied] == [0, 0, 4, 0, 0]


def test_what_forbids_an_action_is_said():
    cases = {
        (COPY,): "access 0: COPY: too little supply in instructions 0 to -1 for 8",
        (NOCOPY,): "access 0: NOCOPY: the value was never in fast memory",
        (DROP, COPY): "access 1: COPY: a write is not copied",
        (3,): "access 0: unknown action 3; known: 0 COPY, 1 NOCOPY, 2 DROP",
        (
            DROP,
            NOCOPY,
            COPY,
            NOCOPY,
        ): "access 3: NOCOPY: offset 0 is not free in instructions 1 to 2",
        (DROP, DROP, DROP, DROP, NOCOPY): "access 4: NOCOPY: an output is written to slow memory",
        (DROP,) * 6: "all 5 accesses are decided already",
    }
    for actions, message in cases.items():
        with pytest.raises(ValueError, match=f"^{message}$"):
            memory.replay_program(program(), actions)


def test_a_dead_end_without_an_alias_group():
    """w covers y, whose only copy is in fast memory: it can neither stay nor be written back.
    Drop-backup drops y.
    """
    rows = program()
    rows["values"].append({"id": "w", "size": 4, "input": False, "output": False})
    rows["instructions"][1]["accesses"] = [access("w", "write")]
    given = memory.Program.from_dict(rows)
    plan = memory.map_program(given, "greedy")
    assert (plan.actions, plan.latency, plan.feasible) == (
        (DROP, NOCOPY, NOCOPY, DROP),
        plan.baseline,
        False,
    )
    assert memory.verify(given, plan) == []
    with pytest.raises(
        ValueError, match="access 4: DROP: offset 0 is not free in instructions 1 to 1"
    ):
        memory.replay_program(given, [*plan.actions, DROP])
    plan = memory.map_program(given, "greedy+drop_backup")
    assert (plan.actions, plan.feasible) == ((DROP, DROP, NOCOPY, DROP, DROP, DROP), True)
    assert memory.verify(given, plan) == []


def test_an_alias_group_is_slow_or_at_one_offset():
    rows = program(capacity=20)
    for i, k in ((0, 1), (2, 1)):  # both accesses of y
        rows["instructions"][i]["accesses"][k]["alias"] = 7
    steps = memory.replay_program(rows, [DROP, DROP, DROP, DROP, DROP])
    assert steps[3].legal == [DROP]
    steps = memory.replay_program(rows, [DROP, NOCOPY, DROP, NOCOPY, DROP])
    assert steps[3].legal == [NOCOPY]


def test_stalls_are_what_shorter_instructions_leave_of_the_copy():
    """The copy of x takes 8 of the 12 ticks that instruction 1 has with w slow, but with w fast
    it has 2.
    """
    rows = program(capacity=100)
    rows["values"].append({"id": "w", "size": 6, "input": False, "output": False})
    rows["instructions"][0]["accesses"].append(access("w", "write"))
    rows["instructions"][1] = {"id": "b", "compute": 2, "accesses": [access("w")]}
    rows["fast_cost"] = 0
    actions = [DROP, DROP, NOCOPY, NOCOPY, COPY, DROP, DROP]
    sim = reference.play(rows, actions)
    found = memory.stalls(rows, actions)
    assert sim.elapsed() == [16, 2, 12]
    assert found == (sim.latency + 6, [0, 0, 6], [(4, 6)])
    assert memory.stalls(rows, [DROP] * 7) == (sim.baseline, [0, 0, 0], [])


# ---------------------------------------------------------------------------------- random programs


def test_replay_equals_the_simulator():
    rng, steps = random.Random(1), 0
    for _ in range(400):
        rows = random_program(rng)
        sim = reference.Simulator(rows)
        expected = []
        while legal := sim.legal():
            action = rng.choice(legal)
            low, at = sim.effect(action)[1], sim.at
            expected.append((at, legal, action, sim.apply(action), low))
        found = memory.replay_program(rows, sim.actions)
        assert found == expected
        steps += len(found)
        for action in {-1, 0, 1, 2, 3} - set(sim.legal()):
            with pytest.raises(ValueError, match="access"):
                memory.replay_program(rows, [*sim.actions, action])
    assert steps > 2000


def test_exact_is_the_exhaustive_optimum_and_every_plan_verifies():
    rng, proved, found, tight = random.Random(2), 0, 0, 0
    for _ in range(24):
        rows = small_program(rng, 10)
        given = memory.Program.from_dict(rows)
        best = reference.optimum(rows)[0]
        methods = [
            method for method in memory.MAP_METHODS if method != "search" and "policy" not in method
        ]
        plans = {method: memory.map_program(given, method) for method in methods}
        plans["search"] = searched(given)
        for plan in plans.values():
            assert memory.verify(given, plan) == [], (plan, rows)
            assert plan.bound <= best <= plan.latency, (plan, rows)
            assert plan.baseline == reference.Simulator(rows).baseline
        assert plans["exact"].latency == best
        found += plans["search"].latency == best
        proved += plans["exact"].proved
        bound = relax(problem_of(given), deadline=Deadline(10), num_workers=1).bound
        assert bound <= best
        tight += bound == best
        for method, plan in plans.items():  # issue 16, row 14: under the name of what found it
            own = plan if plan.method == method else memory.map_program(given, plan.method)
            assert (own.latency, bool(plan.note)) == (plan.latency, plan.method != method)
    assert proved > 20
    assert found > 20
    assert tight > 15


def test_the_relaxation_has_every_rule_but_the_addresses():
    """Every mapping is a plan of it, with the latency that it has: the bound is one, and no
    looser than said.
    """
    cp_model = pytest.importorskip(
        "ortools.sat.python.cp_model", reason="OR-Tools is not installed"
    )
    rng, num = random.Random(3), 0
    for _ in range(100):
        problem = problem_of(memory.Program.from_dict(random_program(rng)))
        replay, actions = Replay(problem), []
        while legal := replay.legal():
            actions.append(rng.choice(legal))
            replay.take(actions[-1])
        if replay.is_over:
            model, moves = relaxation(problem, cp_model, Deadline())
            for action, (fast, copied) in zip(actions, moves, strict=True):
                model.add(fast == (action != DROP))
                model.add(copied == (action == COPY))
            solver = cp_model.CpSolver()
            assert solver.solve(model) == cp_model.OPTIMAL, (problem, actions)
            assert solver.objective_value == replay.latency, (problem, actions)
            num += 1
    assert num > 50


@pytest.mark.nightly
def test_search_beats_the_heuristics_and_goes_on_from_what_a_policy_plays():
    given = memory.draw_mapping(3, 20)
    plans = [memory.map_program(given, method) for method in ("all_drop", "greedy+drop_backup")]
    worse, better = (searched(given, seed=seed) for seed in (0, 1))
    assert memory.verify(given, worse) == []
    assert better.latency < worse.latency < min(other.latency for other in plans if other.feasible)
    actions = jnp.zeros((64,), jnp.int32).at[: len(better.actions)].set(jnp.array(better.actions))

    def policy(key, state, observation):
        return actions[state.position]

    plan = searched(given, policy=policy)
    assert memory.verify(given, plan) == []
    assert plan.latency <= better.latency


def test_a_policy_is_played():
    given = memory.draw_mapping(3, 40)
    env = jaxsched.make("MemoryMap-v0")
    plan = memory.map_program(given, "policy", policy=greedy(env.heuristics["belady"]))
    assert plan.actions == memory.map_program(given, "belady").actions
    assert memory.verify(given, plan) == []
    plan = memory.map_program(
        given, "policy+drop_backup", policy=greedy(env.heuristics["greedy_keep"])
    )
    assert plan.latency == memory.map_program(given, "greedy_keep+drop_backup").latency
    with pytest.raises(ValueError, match="needs policy="):
        memory.map_program(given, "policy")
    with pytest.raises(UnknownNameError, match="unknown method 'gredy'; did you mean greedy"):
        memory.map_program(given, "gredy")


def test_no_accesses_take_the_time_of_the_computation():
    rows = program(instructions=[{"compute": 3, "accesses": []}], values=[])
    for method in ("greedy", "search", "exact"):
        plan = memory.map_program(rows, method)
        assert (plan.actions, plan.latency, plan.bound, plan.feasible) == ((), 3, 3, True)
    assert memory.map_program(rows | {"instructions": []}, "exact").latency == 0


def test_large_numbers_are_scaled():
    small = program()
    large = copy.deepcopy(small)
    for value in large["values"]:
        value["size"] *= 2**30
    for instruction in large["instructions"]:
        instruction["compute"] *= 2**30
    large["capacity"] = 5 * 2**30
    plans = [memory.map_program(rows, "exact") for rows in (small, large)]
    assert plans[0].actions == plans[1].actions
    assert plans[1].latency == plans[0].latency * 2**30


# -------------------------------------------------------------------------------------- time limits


class StoppedClock:
    """A clock that goes on by a second with every look at it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def test_the_time_limit_stops_whatever_is_slow(monkeypatch):
    """Issue 16, row 13: starts, models, compilation and generations all count, and what was left
    out is said.
    """
    given = memory.draw_mapping(1, 400)  # 746 accesses
    monkeypatch.setattr(deadline, "clock", StoppedClock())
    monkeypatch.setattr(deadline, "probe", lambda: 0.5)
    monkeypatch.setattr(deadline, "_compiled", set())
    monkeypatch.setattr(plain, "search", None)  # nothing is compiled
    env = jaxsched.make("MemoryMap-v0")
    for method in ("greedy+drop_backup", "belady", "msa+drop_backup", "search", "exact", "policy"):
        options = {"policy": greedy(env.heuristics["msa"])} if method == "policy" else {}
        plan = memory.map_program(given, method, time_limit=5, **options)
        assert memory.verify(given, plan) == []
        assert (plan.method, plan.latency) == ("all_drop", plan.baseline)
        assert plan.note.startswith(f"{method} did not end") or plan.note.endswith(
            "no time was left to compile it"
        )
    monkeypatch.setattr(plain, "search", lambda instance, given, *args, **options: given[0])
    monkeypatch.setattr(plain, "find_spec", lambda name: None)
    given = memory.draw_mapping(5)
    # time for all but another generation
    plan = memory.map_program(given, "search", time_limit=100_000)
    assert plan.method in ("greedy+drop_backup", "belady+drop_backup", "msa+drop_backup")
    assert plan.note == "search found no better plan in its time"
    assert memory.verify(given, plan) == []


def test_numbers_of_numpy_and_jax_are_numbers():
    """Issue 16, row 8."""
    plan = memory.map_program(program(), "search", time_limit=np.float32(20.0), seed=np.int64(1))
    assert plan.proved
    for limit in (-1, float("nan"), "5", None, True):
        with pytest.raises(ValueError, match="time_limit is in seconds and not negative"):
            memory.map_program(program(), "greedy", time_limit=limit)


# ------------------------------------------------------------------------------------------- verify


def test_verify_names_the_fault():
    given = memory.Program.from_dict(program())
    good = memory.map_program(given, "exact")
    cases = {
        "access 0: COPY: too little supply in instructions 0 to -1 for 8": {
            "actions": (COPY, *good.actions[1:])
        },
        "5 accesses, but 4 actions": {"actions": good.actions[:4]},
        "all 5 accesses are decided already": {"actions": (*good.actions, DROP)},
        "the latency is given as 37, but it is 38": {"latency": 37},
        "the baseline is given as 40, but it is 46": {"baseline": 40},
        "the bound 39 is above the latency 38": {"bound": 39},
        "feasible is False, but the actions are complete": {"feasible": False},
        "actions are not all integers: [2, 1.0, 2, 2, 2]": {"actions": (2, 1.0, 2, 2, 2)},
    }
    for message, changes in cases.items():
        assert memory.verify(given, dataclasses.replace(good, **changes)) == [message]


def test_verify_finds_what_the_oracle_finds():
    rng, wrong = random.Random(3), 0
    for _ in range(300):
        rows = random_program(rng)
        given = memory.Program.from_dict(rows)
        sim = reference.Simulator(rows)
        while legal := sim.legal():
            sim.apply(rng.choice(legal))
        actions = list(sim.actions)
        actions[rng.randrange(len(actions))] = rng.randrange(3)
        latency = sim.baseline if sim.dead() else sim.latency
        plan = memory.mapping.Plan(tuple(actions), latency, sim.baseline, 0, sim.over())
        try:
            other = reference.play(rows, actions)
            right = (other.over(), other.dead()) == (sim.over(), sim.dead()) and (
                sim.dead() or other.latency == sim.latency
            )
        except AssertionError:
            right = False
        assert (memory.verify(given, plan) == []) == right, (actions, rows)
        wrong += not right
    assert wrong > 60


# ------------------------------------------------------------------------------- malformed programs


def change(path, value):
    """The program with another value at a path of keys; None deletes."""
    rows = program()
    at = rows
    for key in path[:-1]:
        at = at[key]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return rows


MALFORMED = {
    "the program: 'capacity' is missing": (("capacity",), None),
    "the program: unknown key 'speed'; known: values, instructions, capacity": (("speed",), 1),
    "capacity -1 is negative": (("capacity",), -1),
    "alignment must be at least 1, got 0": (("alignment",), 0),
    "slow_cost 1.5 is not an integer": (("slow_cost",), 1.5),
    "fast_cost 3 is above slow_cost 2": (("fast_cost",), 3),
    "copy_cost is beyond 2\\*\\*62": (("copy_cost",), 2**70),
    "values: expected an array, got 'xyz'": (("values",), "xyz"),
    "value number 1: expected an object with id, size, got 3": (("values", 1), 3),
    "value number 1: 'id' is missing": (("values", 1, "id"), None),
    "value \\['y'\\]: the id \\['y'\\] is not hashable": (("values", 1, "id"), ["y"]),
    "value 'x': another one has the same id": (("values", 1, "id"), "x"),
    "value 'y': size must be at least 1, got 0": (("values", 1, "size"), 0),
    "value 'y': size True is not an integer": (("values", 1, "size"), True),
    "value 'y': input 'no' is not true or false": (("values", 1, "input"), "no"),
    "value 'y': an output that no instruction writes": (("instructions",), []),
    "instruction number 1: 'compute' is missing": (("instructions", 1, "compute"), None),
    "instruction 'b': compute -4 is negative": (("instructions", 1, "compute"), -4),
    "instruction 'b'.accesses: expected an array, got 7": (("instructions", 1, "accesses"), 7),
    "instruction 'c', access 1: unknown value 'w'": (
        ("instructions", 2, "accesses", 1, "value"),
        "w",
    ),
    "instruction 'c', access 1: kind is 'read' or 'write', got 'load'": (
        ("instructions", 2, "accesses", 1, "kind"),
        "load",
    ),
    "instruction 'c', access 1: alias 'g' is not an integer": (
        ("instructions", 2, "accesses", 1, "alias"),
        "g",
    ),
    "instruction 'c', access 1: unknown key 'at'; known: value, kind, alias": (
        ("instructions", 2, "accesses", 1, "at"),
        0,
    ),
    "instruction 'a' reads 'y' before it is written": (
        ("instructions", 0, "accesses", 0, "value"),
        "y",
    ),
    "instruction 'c' writes 'y' a second time": (("instructions", 2, "accesses", 2, "value"), "y"),
    "instruction 'c' writes 'x', an input": (("instructions", 2, "accesses", 2, "value"), "x"),
    "instruction 'a' reads 'x' after a write; reads come first": (
        ("instructions", 0, "accesses"),
        [access("y", "write"), access("x")],
    ),
}


@pytest.mark.parametrize("message", MALFORMED)
def test_malformed_programs(message):
    path, value = MALFORMED[message]
    rows = change(path, value)
    if message.startswith("value 'y': an output"):
        rows["values"] = [dict(rows["values"][1], output=True)]
    with pytest.raises(InstanceError, match=f"^{message}"):
        memory.Program.from_dict(rows)


def test_what_does_not_fit_int32_is_refused():
    rows = program(slow_cost=2**33 + 1, copy_cost=3)
    with pytest.raises(
        InstanceError, match=r"^with everything slow the program takes .* ticks of 1, beyond int32$"
    ):
        memory.map_program(rows)
    rows = program(capacity=2**40, slow_cost=0, fast_cost=0, copy_cost=0)
    rows["values"][0]["size"] = 2**30 + 1
    with pytest.raises(
        InstanceError, match=r"^capacity 1099511627776 is beyond 2\*\*30 units of 1$"
    ):
        memory.map_program(rows)
    rows = program(slow_cost=0, fast_cost=0, copy_cost=0)
    rows["values"][0]["size"] = 2**33 + 1
    with pytest.raises(
        InstanceError, match=r"^value 'x': size 8589934593 exceeds int32 in units of 1$"
    ):
        memory.map_program(rows)
    many = [{"compute": 1, "accesses": [access("x")] * 5000}]
    with pytest.raises(InstanceError, match="5000 accesses, more than 4096"):
        memory.map_program(program(instructions=many, values=program()["values"][:1]))


def test_mutilated_programs_get_an_instance_error_or_a_plan():
    """Whatever is put anywhere in a program, it is either read or refused in one line."""
    rng = random.Random(5)
    junk = [
        None,
        -1,
        0,
        2**80,
        1.5,
        "x",
        b"x",
        [],
        {},
        [1],
        {"id": 1},
        True,
        float("nan"),
        np.int64(3),
        ("x",),
        set(),
    ]
    refused = 0
    for _ in range(3000):
        rows = copy.deepcopy(random_program(rng, 6))
        at = rows
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            key = rng.choice(keys)
            if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.8:
                at = at[key]
            else:
                break
        if rng.random() < 0.3:
            del at[key]
        else:
            at[key] = rng.choice(junk)
        reason = ""
        try:
            memory.Program.from_dict(rows)
        except InstanceError as error:
            reason = str(error)
            refused += 1
        assert len(reason.splitlines()) <= 1
    assert refused > 1500


def test_plans_are_host_data():
    plan = memory.map_program(program(), "all_drop")
    assert str(plan).startswith("latency 46, bound 34, baseline 46, 0.00 % saved, all_drop in ")
    assert jax.tree.leaves(plan) == [plan]
    assert all(type(action) is int for action in plan.actions)
