"""What problems offer: refused before the work or done, looked up by the instance and under the
settings.
"""

from __future__ import annotations

import inspect
import itertools
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("tyro", reason="the command line is part of the extra `train`")

import jaxsched
from jaxsched import cli
from jaxsched.core import UnknownNameError
from jaxsched.core.identity import instance_hash
from jaxsched.core.rules import Rules
from jaxsched.envs import job_shop
from jaxsched.envs.job_shop import blocking, flexible
from jaxsched.envs.registry import list_envs, offer
from jaxsched.evaluation.results import best_known

SHOPS = {"JobShop-v0": job_shop, "FlexibleJobShop-v0": flexible, "BlockingJobShop-v0": blocking}


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("id", list_envs())
def test_rules_have_one_plan(id: str):
    rules = jaxsched.make(id).rules  # pyright: ignore[reportAttributeAccessIssue]
    for name in ("init", "legal", "apply", "bound", "lower_bound"):
        wanted = [
            parameter
            for parameter in inspect.signature(getattr(Rules, name)).parameters
            if parameter != "self"
        ]
        assert list(inspect.signature(getattr(rules, name)).parameters) == wanted


# Issue 16, row 10: facts are those of the instance, not those of the name typed.


def test_a_file_called_like_a_published_instance_has_no_bounds_of_it():
    Path("ft06").write_text("3 3\n0 1 1 2 2 3\n1 2 2 3 0 1\n2 1 0 2 1 3\n")
    env = jaxsched.make("JobShop-v0")
    assert best_known(env, job_shop.load("ft06")) is None


def test_a_published_instance_is_known_under_any_name():
    job_shop.write_standard(job_shop.load("ft06"), "copy.txt")
    found = best_known(jaxsched.make("JobShop-v0"), job_shop.load("copy.txt"))
    assert found == job_shop.bounds("ft06")


def test_bounds_are_those_of_the_settings():
    classic = job_shop.load("ft06")
    dated = job_shop.from_jobs(job_shop.to_jobs(classic), due=[60] * 6)
    assert best_known(jaxsched.make("JobShop-v0", objective="flow_time"), classic) is None
    assert best_known(jaxsched.make("JobShop-v0"), dated) is None
    shop = blocking.load("ft06")
    assert best_known(jaxsched.make("BlockingJobShop-v0"), shop) == blocking.bounds("ft06")
    assert best_known(jaxsched.make("BlockingJobShop-v0", swap=False), shop) is None
    late = blocking.from_jobs([[(0, 1)], [(0, 2)]], release=[0, 3])
    assert best_known(jaxsched.make("BlockingJobShop-v0"), late) is None


@pytest.mark.parametrize("problem", [job_shop, flexible], ids=["classic", "flexible"])
def test_the_committed_hashes_are_those_of_the_instances(problem, data_dir):
    hashes = json.loads((Path(problem.__file__).parent / "data" / "hashes.json").read_text())
    names = [name for family in problem.instance_sets() for name in problem.expand(family)]
    for name in names[:: max(1, len(names) // 40)]:
        known = hashes[instance_hash(problem.load(name))[:16]]
        assert problem.bounds(known) == problem.bounds(name)
    assert len(hashes) == len(names)


# Issue 16, row 15: an option that the problem does not offer is refused before the work.

OPTIONS = {
    "--explain": "explain",
    "--out p.csv": "write",
    "--gantt p.svg": "picture",
    "--gantt p.html": "picture",
    "--gantt p.PDF": "picture",
    "--method exact": "exact",
}


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*args, **options):
        raise AssertionError("the work began")

    monkeypatch.setattr("jaxsched.evaluation.evaluate", work)
    monkeypatch.setattr("jaxsched.evaluation.evaluate_exact", work)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("id", list_envs())
def test_options_are_refused_before_the_work_or_offered(id: str, option: str, no_work, capsys):
    env = jaxsched.make(id)
    rule = "" if "exact" in option else f"--rule {next(iter(env.heuristics))} "
    command = f"solve generated-0 --env {id} {rule}{option}".split()
    if getattr(offer(env), OPTIONS[option]) is None:
        assert cli.main(command) == 2
        error = capsys.readouterr().err
        assert f"{id} offers no " in error
        assert error.count("\n") == 1
    else:
        with pytest.raises(AssertionError, match="the work began"):
            cli.main(command)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--gantt plan.doc", "plan.doc: a picture is written as"),
        ("--out plan.xlsx", "plan.xlsx: a solution is written as .csv or .json"),
        ("--out taken.json", "taken.json exists"),
        ("--gantt file.txt/plan.svg", ""),
        ("--out folder.csv", "folder.csv: is a folder"),
        ("--out plan.html --gantt plan.html", "plan.html: --out and --gantt name the same file"),
        ("--start 2026-11-23", "`start`"),
        (
            "--read machine_from=1",
            "unknown reading option of JobShop-v0 'machine_from'; did you mean machines_from",
        ),
        ("--source cap=3", "JobShop-v0 offers no options of its source"),
    ],
)
def test_files_that_cannot_be_written_are_refused_before_the_work(
    options: str, message: str, no_work, capsys
):
    Path("taken.json").write_text("{}")
    Path("file.txt").write_text("")
    Path("folder.csv").mkdir()
    assert cli.main(f"solve ft06 --rule spt {options}".split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1


def test_missing_folders_are_made_and_endings_may_be_capital(capsys):
    assert (
        cli.main(
            ["solve", "ft06", "--rule", "spt", "--out", "new/plan.CSV", "--gantt", "other/plan.SVG"]
        )
        == 0
    )
    assert Path("new/plan.CSV").read_text().startswith("job,step,machine")
    assert Path("other/plan.SVG").read_text().startswith("<svg")


def test_a_result_is_kept_where_its_file_cannot_be_written_any_more(monkeypatch, capsys):
    def full(*args, **options):
        raise OSError("no space left on the disk")

    monkeypatch.setattr("jaxsched.cli.solving.save_solution", full)
    assert (
        cli.main(["solve", "ft06", "--rule", "spt", "--out", "plan.csv", "--gantt", "plan.svg"])
        == 2
    )
    error = capsys.readouterr().err
    assert "plan.csv was not written (no space left on the disk); the solution is kept in " in error
    kept = json.loads(Path(error.rpartition(" kept in ")[2].strip()).read_text())
    assert job_shop.validate(job_shop.load("ft06"), job_shop.Schedule(**kept["solution"])) == []
    assert Path("plan.svg").exists()


def test_streams_have_options(capsys):
    command = ["solve", "generated-0", "--env", "SoC-v0", "--rule", "etf", "--source"]
    assert cli.main([*command, "num_jobs=3", "--out", "plan.json"]) == 0
    assert len(json.loads(Path("plan.json").read_text())["solution"]["jobs"]) == 3
    assert cli.main([*command, "num_job=3"]) == 2
    assert "did you mean num_jobs" in capsys.readouterr().err


# Issue 16, row 17: a number that makes no sense is named in one line.


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--num-workers -1", "num_workers must be at least 1, got -1"),
        ("--num-workers 0", "num_workers must be at least 1, got 0"),
        ("--time-limit -1", "time_limit is in seconds and not negative, got -1.0"),
        ("--seed -1", "seed must be from 0"),
    ],
)
def test_numbers_of_the_solver_that_make_no_sense(option: str, message: str, capsys):
    pytest.importorskip("ortools", reason="the exact solver is an extra")
    assert cli.main(f"solve ft06 {option}".split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1


@pytest.mark.parametrize("setting", [{"caps": 5}, {"num_jobs": 5}])
def test_unknown_settings_of_a_stream_are_named(setting):
    with pytest.raises(UnknownNameError, match="unknown setting of SoC-v0"):
        jaxsched.make("SoC-v0", **setting)


def test_a_setting_of_a_wrong_type_is_named():
    with pytest.raises(ValueError, match="swap must be of type bool, got 'no'"):
        jaxsched.make("BlockingJobShop-v0", swap="no")


@pytest.mark.parametrize(
    ("id", "columns"),
    [
        ("FlexibleJobShop-v0", "job,step,machine,start,end"),
        ("BlockingJobShop-v0", "job,step,machine,start,end,leaves"),
    ],
)
def test_a_schedule_of_every_shop_can_be_written(id: str, columns: str, capsys):
    """Issue 16, row 15: `--out p.csv` was refused after the work."""
    job_shop.write_standard(job_shop.load("ft06"), "six.txt")
    assert cli.main(f"solve six.txt --env {id} --rule spt --out p.csv --gantt p.svg".split()) == 0
    makespan = int(re.findall(r"(?:makespan|objective) +(\d+)", capsys.readouterr().out)[0])
    header, *rows = [line.split(",") for line in Path("p.csv").read_text().splitlines()]
    assert ",".join(header) == columns
    places = [(int(row[0]), int(row[1])) for row in rows]
    assert places == list(itertools.product(range(6), range(6)))
    assert max(int(row[4]) for row in rows) == makespan
    jobs = job_shop.to_jobs(job_shop.load("ft06"))
    for (job, op), row in zip(places, rows, strict=True):
        assert (int(row[2]), int(row[4]) - int(row[3])) == jobs[job][op]
    spans = {}
    for row in rows:
        spans.setdefault(int(row[2]), []).append((int(row[3]), int(row[-1])))
    for taken in spans.values():
        taken.sort()
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(taken))
