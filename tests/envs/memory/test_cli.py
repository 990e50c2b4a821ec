"""`jaxsched map`: a table of methods, files, and one line for each of the user's errors."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tyro", reason="the command line is part of the extra `train`")

from jaxsched import cli
from jaxsched.cli.memory import amount
from jaxsched.envs import memory


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.csv"
    path.write_text("id,lower,upper,size\na,0,4,6\nb,2,6,5\nc,5,9,7\n")
    return path


def test_all_methods_files_and_pictures(file, capsys):
    pytest.importorskip("matplotlib")
    assert cli.main(["map", "x.csv", "--capacity", "12", "--out", "plan.csv", "--picture", "plan.svg"]) == 0
    out = capsys.readouterr().out
    assert all(f"{name} " in out for name in (*memory.HEURISTICS, "search"))
    assert "no, 6 more" in out  # no_reuse
    solved = memory.read_csv("plan.csv")
    assert memory.verify(solved, memory.allocate(solved, 12, "search")) == []
    assert "<svg" in Path("plan.svg").read_text()
    assert cli.main(["map", "x.csv", "--method", "xla", "--picture", "plan.png"]) == 0
    assert Path("plan.png").stat().st_size > 1000


def test_what_does_not_fit_is_status_1_and_says_why(file, capsys):
    assert cli.main(["map", "x.csv", "--capacity", "10", "--method", "search"]) == 1
    assert "capacity 10 is 2 too small for any plan: most is live in [5, 6), 12" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("y.csv", "No such file"),
        ("x.csv --capacity 1XB", "capacity '1XB' is not an amount such as 1048576, 512KiB or 1MiB"),
        ("x.csv --method best", "unknown method 'best'"),
        ("x.csv --method policy", "a policy is played by"),
        ("x.csv --picture a.html", "a picture is an .svg or .png file"),
    ],
)
def test_errors_are_one_line(file, capsys, arguments, message):
    assert cli.main(["map", *arguments.split()]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_amounts():
    assert [amount(text) for text in ("12", "1 KiB", "1MiB", "2gib")] == [12, 2**10, 2**20, 2**31]
