"""`jaxsched map`: a table of methods, files, and one line for each of the user's errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tyro", reason="the command line is part of the extra `train`")

from jaxsched import InstanceError, cli
from jaxsched.envs import memory

GRAPH = memory.Graph.from_dict(
    {
        "tensors": [
            {"id": "<w>", "size": 2, "backed": True},
            *({"id": id, "size": 3} for id in "abc"),
        ],
        "ops": [
            {"id": 0, "name": "one", "inputs": ["<w>"], "outputs": ["a"]},
            {"id": 1, "name": "two", "inputs": [], "outputs": ["b"]},
            {"id": 2, "name": "three", "inputs": ["a", "<w>"], "outputs": ["c"]},
        ],
    }
)
PROGRAM = memory.Program.from_dict(
    {
        "values": [{"id": "x", "size": 4, "input": True}, {"id": 7, "size": 2}],
        "instructions": [
            {"compute": 20, "accesses": [{"value": 7, "kind": "write"}]},
            {
                "compute": 1,
                "accesses": [
                    {"value": "x", "kind": "read"},
                    {"value": 7, "kind": "read", "alias": 0},
                ],
            },
        ],
        "capacity": 8,
        "slow_cost": 3,
        "fast_cost": 1,
        "copy_cost": 3,
    }
)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.csv"
    path.write_text("id,lower,upper,size\na,0,4,6\nb,2,6,5\nc,5,9,7\n")
    return path


def test_all_methods_files_and_pictures(file, capsys):
    pytest.importorskip("matplotlib")
    assert (
        cli.main(["map", "x.csv", "--capacity", "12", "--out", "plan.csv", "--picture", "plan.svg"])
        == 0
    )
    out = capsys.readouterr().out
    assert all(f"{name} " in out for name in (*memory.HEURISTICS, "search"))
    assert "no, 6 more" in out  # no_reuse
    solved = memory.read_csv("plan.csv")
    assert memory.verify(solved, memory.allocate(solved, 12, "search")) == []
    assert "<svg" in Path("plan.svg").read_text()
    assert cli.main(["map", "x.csv", "--method", "xla", "--picture", "plan.png"]) == 0
    assert Path("plan.png").stat().st_size > 1000


def test_a_graph(file, capsys):
    memory.write_json(GRAPH, "g.json")
    assert memory.read_json("g.json").to_dict() == GRAPH.to_dict()
    options = [
        "--capacity",
        "M_R",
        "--schedule",
        "fixed",
        "--out",
        "p.csv",
        "--table",
        "t.csv",
        "--picture",
        "p.html",
    ]
    assert cli.main(["map", "g.json", *options]) == 0
    out = capsys.readouterr().out
    assert "g.json: 3 operators, 4 tensors, fixed order, address, capacity 8" in out
    rows = [line.split(",") for line in Path("p.csv").read_text().splitlines()]
    plan = memory.replace(GRAPH, "M_R", "fixed", "address", "search")
    assert rows[0] == ["step", "operator", "tensor", "what", "address"]
    assert sum(row[3] in ("spill", "retrieve", "make") for row in rows[1:]) == 3 + sum(
        len(step["spill"]) + len(step["retrieve"]) for step in plan.steps
    )
    assert all((row[4] == "") == (row[3] == "spill") for row in rows[1:])
    table = Path("t.csv").read_text().splitlines()
    assert table[0] == "method,bytes moved,bound,first loads,note,seconds"
    assert [line.split(",")[0] for line in table[1:]] == ["belady", "greedy", "search"]
    page = Path("p.html").read_text()
    assert "<svg" in page
    assert "&lt;w&gt;" in page
    assert "<w>" not in page
    assert cli.main(["map", "g.json", "--capacity", "4", "--method", "belady"]) == 1
    assert "capacity 4 is 4 bytes too small for operator 2 (three)" in capsys.readouterr().out


def test_a_program(file, capsys):
    memory.write_json(PROGRAM, "p.json")
    assert memory.read_json("p.json").to_dict() == PROGRAM.to_dict()
    options = ["--method", "belady+drop_backup", "--out", "plan.csv", "--picture", "p.svg"]
    assert cli.main(["map", "p.json", *options]) == 0
    assert "p.json: 2 instructions, 3 accesses, capacity 8" in capsys.readouterr().out
    rows = [line.split(",") for line in Path("plan.csv").read_text().splitlines()]
    assert rows[0] == ["access", "instruction", "value", "kind", "action", "offset", "saved"]
    plan = memory.map_program(PROGRAM, "belady+drop_backup")
    assert sum(int(row[-1]) for row in rows[1:]) == plan.baseline - plan.latency
    assert [row[4] for row in rows[1:]] == [
        ("COPY", "NOCOPY", "DROP")[action] for action in plan.actions
    ]
    assert 'class="block"' in Path("p.svg").read_text()


def test_examples_can_be_read(file, capsys):
    for example, name in (("buffers", "e.csv"), ("program", "e.json"), ("graph", "g.json")):
        assert cli.main(["map", name, "--example", example]) == 0
    assert len(memory.read_csv("e.csv")) == 14
    assert isinstance(memory.read_json("e.json"), memory.Program)
    assert isinstance(memory.read_json("g.json"), memory.Graph)


def test_ids_that_a_file_would_change_are_refused(tmp_path):
    for id in (1.5, ("a", 1), True):
        graph = memory.Graph.from_dict(
            {"tensors": [{"id": id, "size": 1}], "ops": [{"id": 0, "inputs": [], "outputs": [id]}]}
        )
        with pytest.raises(InstanceError, match="neither a text nor an integer"):
            memory.write_json(graph, tmp_path / "x.json")
    graph = memory.Graph.from_dict(
        {
            "tensors": [{"id": "a\nb", "size": 1}],
            "ops": [{"id": 0, "inputs": [], "outputs": ["a\nb"]}],
        }
    )
    with pytest.raises(InstanceError, match="does not fit a cell"):
        memory.write_plan(graph, memory.replace(graph, 1, method="belady"), tmp_path / "x.csv")


@settings(max_examples=150)
@given(st.data())
def test_fuzzed_json_is_an_instance_error_or_a_problem(tmp_path_factory, data):
    """A byte of a good file changed, or a piece cut out: an `InstanceError` that names the file,
    or a problem.
    """
    folder = tmp_path_factory.getbasetemp()
    path = folder / "fuzz.json"
    memory.write_json(data.draw(st.sampled_from([GRAPH, PROGRAM])), path, overwrite=True)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] = data.draw(st.integers(0, 255))
        else:
            del content[at : at + data.draw(st.integers(1, 40))]
    path.write_bytes(bytes(content))
    problem, refused = None, ""
    try:
        problem = memory.read_json(path)
    except InstanceError as error:
        refused = str(error)
    if problem is None:
        assert refused.startswith(f"{path}:")
        assert "\n" not in refused
    else:
        assert type(problem).from_dict(problem.to_dict()).to_dict() == problem.to_dict()


def test_what_does_not_fit_is_status_1_and_says_why(file, capsys):
    assert cli.main(["map", "x.csv", "--capacity", "10", "--method", "search"]) == 1
    assert (
        "capacity 10 is 2 too small for any plan: most is live in [5, 6), 12"
        in capsys.readouterr().out
    )


def test_every_row_is_of_its_method(file, capsys):
    """Issue 16, row 14."""
    file.write_text("id,lower,upper,size\na,0,4,4\nb,2,6,3\nc,4,9,5\nd,6,9,2\ne,0,3,2\nf,7,12,6\n")
    assert (
        cli.main(
            [
                "map",
                "x.csv",
                "--method",
                "no_reuse,best_fit_size",
                "--capacity",
                "8",
                "--table",
                "t.csv",
            ]
        )
        == 1
    )
    rows = [line.split(",")[:5] for line in Path("t.csv").read_text().splitlines()[1:]]
    assert rows == [
        ["no_reuse", "22", "13", "69.23", ""],
        ["best_fit_size", "14", "13", "7.69", ""],
    ]
    assert "no, 14 more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("y.csv", "No such file"),
        ("x.csv --capacity 1XB", "capacity '1XB' is not an amount such as 1048576, 512KiB or 1MiB"),
        ("x.csv --method best", "unknown method 'best'"),
        ("x.csv --method policy", "a policy is played by"),
        ("x.csv --picture a.doc", "a.doc: a picture is written as .svg, .html, .png or .pdf"),
        ("x.csv --out a.json", "a.json: a plan or table is written as .csv"),
        ("x.csv --out x.csv", "x.csv exists"),
        ("x.csv --example buffers", "x.csv exists"),
        ("y.csv --example graph", "y.csv: an example of graph is written as .json"),
        ("x.txt", "x.txt:1:9: no column upper, size in the header"),
        (
            "list.json",
            "list.json:1:1: expected a program (with instructions) or a graph (with ops) as one JSON",
        ),
        ("other.json", "other.json: neither a program (with instructions) nor a graph (with ops)"),
        ("cycle.json", "cycle.json: "),
        ("huge.json", "huge.json: larger than 4 MiB"),
        ("g.json --alignment 64", "--alignment is for buffers"),
        ("g.json --capacity M_X", "capacity 'M_X' is not an amount"),
        ("g.json --schedule fixed --method belady_min_peak", "it needs schedule='free'"),
    ],
)
def test_errors_are_one_line(file, capsys, arguments, message):
    cycle = [
        {"id": 0, "inputs": ["a"], "outputs": ["b"]},
        {"id": 1, "inputs": ["b"], "outputs": ["a"]},
    ]
    tensors = [{"id": "a", "size": 1}, {"id": "b", "size": 1}]
    Path("x.txt").write_text("id,lower\n")
    Path("list.json").write_text("[]")
    Path("other.json").write_text('{"ops": [], "instructions": []}')
    Path("cycle.json").write_text(json.dumps({"tensors": tensors, "ops": cycle}))
    Path("huge.json").write_text(" " * (2**22 + 1))
    memory.write_json(GRAPH, "g.json", overwrite=True)
    assert cli.main(["map", *arguments.split()]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_amounts():
    assert [memory.read_amount(text) for text in ("12", "1 KiB", "1MiB", "2gib")] == [
        12,
        2**10,
        2**20,
        2**31,
    ]
