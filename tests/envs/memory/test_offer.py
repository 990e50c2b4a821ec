"""What the three problems offer: files read, solved, judged, drawn and written in the user's own
units.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import jax
import numpy as np
import pytest

pytest.importorskip("tyro", reason="the command line is part of the extra `train`")

import jaxsched
from jaxsched import cli
from jaxsched.core import Infeasible, InstanceError, UnknownNameError, greedy, rollout
from jaxsched.core.wrappers import TimeLimit
from jaxsched.envs import memory
from jaxsched.envs.memory import allocation, mapping, replacement
from jaxsched.envs.memory.allocation import offer as allocation_offer
from jaxsched.envs.memory.mapping import offer as mapping_offer
from jaxsched.envs.memory.replacement import offer as replacement_offer
from jaxsched.envs.registry import offer
from jaxsched.evaluation.results import best_known
from tests.envs.memory import cases

FILES = {"StaticAllocation-v0": "b.csv", "MemoryMap-v0": "p.json", "TensorReplacement-v0": "g.json"}
OFFERS = {
    "StaticAllocation-v0": allocation_offer,
    "MemoryMap-v0": mapping_offer,
    "TensorReplacement-v0": replacement_offer,
}
RULES = {"StaticAllocation-v0": "area", "MemoryMap-v0": "all_drop", "TensorReplacement-v0": "lean"}
IDS = list(FILES)


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    graph = memory.attention(np.random.default_rng(0), 1)
    rows = [
        *memory.live_ranges(graph),
        {"id": "pin", "start": 0, "end": 3, "size": 4096, "offset": 2**22},
    ]
    memory.write_csv(memory.Buffers(rows), "b.csv")
    memory.write_json(memory.Graph.from_dict(graph), "g.json")
    memory.write_json(memory.graph_program(graph, np.random.default_rng(0)), "p.json")


def own(id: str, loaded, solution):
    """Problem and plan in the user's units, as pictures and tables show them."""
    return OFFERS[id].in_own_units(loaded.instance, solution, loaded.names)


@pytest.mark.parametrize("id", IDS)
def test_exact_plans_are_judged_in_both_units(id: str):
    pytest.importorskip("ortools", reason="the exact solver is an extra")
    env = jaxsched.make(id, **({"placement": "address"} if "Tensor" in id else {}))
    offered = offer(env)
    loaded = offered.load(env, FILES[id], {})
    result = offered.exact(env, loaded.instance, time_limit=3.0, num_workers=1)
    assert env.validate(loaded.instance, result.solution) == []
    assert env.measure(loaded.instance, result.solution) == result.objective
    assert result.bound <= result.objective
    assert result.proved == (result.bound == result.objective)
    assert result.plan is result.solution
    assert result.method == result.plan.method
    problem, plan = own(id, loaded, result.solution)
    assert problem is loaded.names
    assert memory.verify(problem, plan) == []
    # From its own plan it gets no worse, with no time at all.
    again = offered.exact(env, loaded.instance, time_limit=0.0, hint=result.solution)
    assert again.objective == result.objective
    assert env.validate(loaded.instance, again.solution) == []
    for name, value in (("num_workers", 0), ("seed", -1), ("time_limit", -1.0)):
        with pytest.raises(ValueError, match=name):
            offered.exact(env, loaded.instance, **({"time_limit": 1.0} | {name: value}))


@pytest.mark.parametrize("id", IDS)
def test_plans_of_rules_are_judged_in_both_units(id: str):
    """Also of instances that were drawn, and through a wrapper."""
    env = jaxsched.make(id)
    offered = offer(env)
    loaded = offered.load(TimeLimit(env, 999), FILES[id], {})
    policy = greedy(env.heuristics[RULES[id]])
    state = jax.device_get(
        jax.jit(lambda one: rollout(env, jax.random.key(0), one, policy).state)(loaded.instance)
    )
    solution = env.solution(state)
    for names in (loaded.names, None):
        problem, plan = OFFERS[id].in_own_units(loaded.instance, solution, names)
        if not isinstance(problem, mapping.Instance):
            assert memory.verify(problem, plan) == []
        assert "<svg" in offered.picture(env, loaded.instance, solution, names=names, title="t").svg
        assert all(offered.explain(env, loaded.instance, solution, names=names))
        offered.write(env, loaded.instance, solution, "plan.csv", names=names, overwrite=True)
        lines, faults = offered.summary(env, loaded.instance, names)
        assert lines
        assert not faults


def test_buffers_of_an_instance_are_the_same_problem():
    rng = random.Random(0)
    for _ in range(40):
        rows = cases.random_rows(rng)
        instance = allocation.to_instance(memory.Buffers(rows))
        buffers = allocation.to_buffers(instance)
        again = allocation.to_instance(buffers)
        for name in ("live", "pinned_live", "beside", "twin"):
            assert np.array_equal(getattr(again, name), getattr(instance, name)), name
        assert memory.lower_bound(buffers) * memory.Buffers(rows).unit == memory.lower_bound(
            memory.Buffers(rows)
        )
        padded = allocation.to_buffers(cases.padded(instance))
        assert [*map(str, padded)] == [*map(str, buffers)]


@pytest.mark.parametrize("id", IDS)
def test_the_command_line_solves_draws_and_writes(id: str, capsys):
    """Issue 16, part 1: memory problems are citizens."""
    pytest.importorskip("ortools", reason="the exact solver is an extra")
    command = ["solve", FILES[id], "--env", id, "--time-limit", "2", "--num-workers", "1"]
    assert cli.main([*command, "--explain", "--out", "new/p.csv", "--gantt", "p.html"]) == 0
    assert "- " in capsys.readouterr().out
    assert "<svg" in Path("p.html").read_text()
    header = Path("new/p.csv").read_text().partition("\n")[0]
    assert header in (
        "id,lower,upper,size,offset",
        "access,instruction,value,kind,action,offset,saved",
        "step,operator,tensor,what,address",
    )
    assert cli.main([*command, "--rule", RULES[id], "--polish", "--out", "s.json"]) == 0
    saved = json.loads(Path("s.json").read_text())
    assert saved["objective"] >= saved["lower_bound"]
    assert cli.main(["import", FILES[id], "--env", id, "--out", "copy"]) == 0
    assert Path("copy").read_text() == Path(FILES[id]).read_text()
    capsys.readouterr()
    assert cli.main(["list"]) == 0
    assert "minimalloc" in capsys.readouterr().out


def test_the_command_line_prints_the_units_of_the_file(capsys):
    """Sizes of whole KiB are units of 1,024 bytes inside."""
    pytest.importorskip("ortools", reason="the exact solver is an extra")
    Path("kib.csv").write_text("id,lower,upper,size\na,0,4,4096\nb,2,6,3072\n")
    assert (
        cli.main(
            [
                "solve",
                "kib.csv",
                "--env",
                "StaticAllocation-v0",
                "--time-limit",
                "5",
                "--out",
                "s.json",
            ]
        )
        == 0
    )
    assert (
        "objective   7168\nlower bound 7168 (the optimum is reached)\n" in capsys.readouterr().out
    )
    saved = json.loads(Path("s.json").read_text())
    assert (saved["objective"], saved["unit"]) == (7, 1024)


@pytest.mark.parametrize("id", IDS)
def test_a_file_of_another_problem_is_refused_with_the_right_environment(id: str, capsys):
    for other, file in FILES.items():
        if other != id:
            assert cli.main(["solve", file, "--env", id]) == 2
            error = capsys.readouterr().err
            assert error.count("\n") == 1
            assert f"choose --env {other}" in error


def test_a_compiled_program_is_read_as_what_each_environment_solves(monkeypatch):
    text = (
        jax.jit(lambda x: (x @ x).sum(0) @ x).lower(np.ones((8, 8), np.float32)).compile().as_text()
    )
    assert text is not None
    Path("x_after_optimizations.txt").write_text(text)
    for id, kind in zip(IDS, (memory.Buffers, memory.Program, memory.Graph), strict=True):
        env = jaxsched.make(id)
        assert isinstance(offer(env).load(env, "x_after_optimizations.txt", {}).names, kind)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "solve b.csv --env StaticAllocation-v0 --read alignment=x",
            "alignment 'x' is not an amount",
        ),
        (
            "solve b.csv --env StaticAllocation-v0 --read alignment=0",
            "alignment must be at least 1, got 0",
        ),
        ("solve p.json --env MemoryMap-v0 --read capacity=1XB", "capacity '1XB' is not an amount"),
        (
            "solve p.json --env MemoryMap-v0 --read alignment=2",
            "unknown reading option of MemoryMap-v0 'alignment'",
        ),
        (
            "solve g.json --env TensorReplacement-v0 --read capacity=M_X",
            "capacity 'M_X' is not an amount",
        ),
        ("solve g.json --env TensorReplacement-v0 --read capacity=64", "too small for operator"),
        ("solve y.csv --env StaticAllocation-v0", "No such file"),
        ("solve b.csv --env StaticAllocation-v0 --gantt b.xyz", "b.xyz: a picture is written as"),
        ("solve p.json --env MemoryMap-v0 --rule greedy_keep", "no feasible end in 1 episodes"),
        (
            "map b.csv --out p.csv --table p.csv",
            "p.csv: two of --out, --table and --picture name the same file",
        ),
        ("map b.csv --picture p.xyz", "p.xyz: a picture is written as"),
        ("map b.csv --picture b.csv/p.svg", ""),
    ],
)
def test_errors_are_one_line(command: str, message: str, capsys):
    pytest.importorskip("ortools", reason="the exact solver is an extra")
    assert cli.main(command.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_plan_that_must_fit_fits_or_there_is_none(capsys):
    pytest.importorskip("ortools", reason="the exact solver is an extra")
    env = jaxsched.make("StaticAllocation-v0", goal="fit")
    loaded = offer(env).load(env, "b.csv", {"capacity": "1KiB"})
    with pytest.raises(Infeasible, match="no plan fits the capacity of 16"):
        offer(env).exact(env, loaded.instance, time_limit=1.0)
    assert offer(env).summary(env, loaded.instance, loaded.names).faults
    assert (
        cli.main(
            [
                "import",
                "b.csv",
                "--env",
                "StaticAllocation-v0",
                "--check",
                "--read",
                "capacity=1KiB",
            ]
        )
        == 1
    )
    assert "cannot be met: the capacity of 1,024" in capsys.readouterr().out


def test_map_keeps_a_plan_that_cannot_be_written(monkeypatch, capsys):
    """Issue 16, row 15: the picture is written all the same, and the plan is kept in another
    place.
    """

    def full(*args, **options):
        raise OSError("no space left on the disk")

    monkeypatch.setattr(memory, "write_plan", full)
    assert (
        cli.main(
            ["map", "b.csv", "--method", "xla", "--out", "new/p.csv", "--picture", "new/p.svg"]
        )
        == 2
    )
    error = capsys.readouterr().err
    assert "p.csv was not written (no space left on the disk); the solution is kept in " in error
    kept = json.loads(Path(error.rpartition(" kept in ")[2].strip()).read_text())
    assert len(kept["solution"]["offsets"]) == len(memory.read_csv("b.csv"))
    assert Path("new/p.svg").exists()


def test_published_instances_are_known_by_what_they_are(data_dir, monkeypatch):
    """Issue 16, row 10: whatever the file is called and its capacity is."""
    monkeypatch.setenv("JAXSCHED_DATA", str(data_dir))
    env = jaxsched.make("StaticAllocation-v0")
    offered = offer(env)
    names = offered.expand(env, "minimalloc, b.csv")
    assert [names[0], names[10], names[11]] == ["minimalloc-A", "minimalloc-K", "b.csv"]
    for name in names[:11]:
        loaded = offered.load(env, name, {"capacity": "1MiB"})
        known = best_known(env, loaded.instance)
        assert known is not None
        assert memory.lower_bound(loaded.names) == known.lower * loaded.names.unit
        assert known.upper <= 1024
    Path("minimalloc-A").write_text("id,lower,upper,size\na,0,4,4\n")
    loaded = offered.load(env, "minimalloc-D", {})
    memory.write_csv(loaded.names, "A.csv")
    assert best_known(env, offered.load(env, "A.csv", {}).instance) == best_known(
        env, loaded.instance
    )
    assert best_known(env, offered.load(env, "b.csv", {}).instance) is None
    monkeypatch.delenv("JAXSCHED_DATA")
    with pytest.raises(InstanceError, match="minimalloc-B: set JAXSCHED_DATA"):
        offered.load(env, "minimalloc-B", {})


def test_settings_are_records():
    for id, problem in zip(IDS, (allocation, mapping, replacement), strict=True):
        assert isinstance(jaxsched.make(id).settings, problem.Settings)
    for id, setting in zip(
        IDS, ({"goal": "pek"}, {"reward": "elapse"}, {"schedule": "freee"}), strict=True
    ):
        with pytest.raises(UnknownNameError, match="did you mean"):
            jaxsched.make(id, **setting)
        with pytest.raises(ValueError, match="must be of type str, got 3"):
            jaxsched.make(id, **dict.fromkeys(setting, 3))
