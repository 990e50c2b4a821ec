"""The command line, called in-process: output, files, and one line for each of the user's
errors.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jax
import pytest
from jax import random

pytest.importorskip("tyro", reason="the command line is part of the extra `train`")

import jaxsched
from jaxsched import InstanceError, cli, rollout
from jaxsched.cli import training
from jaxsched.core import pad_stack
from jaxsched.envs import job_shop
from jaxsched.envs.registry import list_envs
from jaxsched.evaluation import generate, instance_hash
from jaxsched.evaluation.comparison import TRACK_SEED, TRACKED
from jaxsched.policies import NetworkConfig, greedy_policy
from jaxsched.policies.network import example_observation
from jaxsched.training import estimate


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JAXSCHED_DEBUG", raising=False)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], command: str) -> tuple[int, str, str]:
    status = cli.main(command.split())
    return status, *capsys.readouterr()


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_option_is_described(name):
    """The help of an option is its entry below `Args:`, one a paragraph."""
    command = cli.COMMANDS[name]
    described = re.findall(r"^    (\w+): ", inspect.getdoc(command) or "", re.MULTILINE)
    assert described == list(inspect.signature(command).parameters)


def test_help_lists_the_commands_without_jax():
    script = (
        "import sys; from jaxsched.cli import main; "
        "code = main(['{}', '--help'][{}:]); print('jax' in sys.modules)"
    )
    for command, skip in [("", 1), *((name, 0) for name in cli.COMMANDS)]:
        done = subprocess.run(
            [sys.executable, "-c", script.format(command, skip)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == "False"
        assert not done.stderr
        if skip:
            assert all(f"  {name} " in done.stdout for name in cli.COMMANDS)
        else:
            assert f"usage: jaxsched {command}" in done.stdout


def test_list(capsys):
    status, out, _ = run(capsys, "list")
    assert status == 0
    for name in list_envs():
        assert f"{name}: " in out
    assert all(rule in out for rule in job_shop.JobShop().heuristics)
    assert all(preset.about in out for preset in job_shop.PRESETS.values())
    assert "ta          80 instances, Taillard 1993" in out


def test_doctor(capsys):
    status, out, _ = run(capsys, "doctor")
    assert status == 0
    assert all(f"check     {name} works" in out for name in list_envs())
    assert f"python    {sys.version.split()[0]}" in out
    assert "x64       off" in out


def test_doctor_names_what_is_missing_and_what_fails(capsys, monkeypatch):
    monkeypatch.setitem(cli.EXTRAS, "solvers", ("no_such_module",))

    def broken(*args, **settings):
        raise RuntimeError("no rule works")

    monkeypatch.setattr("jaxsched.evaluation.evaluate", broken)
    status, out, _ = run(capsys, "doctor")
    assert status == 1
    assert 'solvers   without no_such_module: pip install "jaxsched[solvers]"' in out
    assert "check     JobShop-v0 FAILS: RuntimeError: no rule works" in out


def test_solve_exactly(capsys):
    pytest.importorskip("ortools", reason="the exact solver is an extra")
    status, out, _ = run(
        capsys, "solve ft06 --method exact --time-limit 30 --out best.json --gantt best.svg"
    )
    assert status == 0
    upper = job_shop.bounds("ft06").upper
    assert (
        f"makespan    {upper}\nlower bound {upper} (the optimum is reached)\ngap         0.00 %"
        in out
    )
    data = json.loads(Path("best.json").read_text())
    instance = job_shop.load("ft06")
    assert job_shop.validate(instance, job_shop.Schedule(**data["solution"])) == []
    assert (data["objective"], data["instance_hash"]) == (upper, instance_hash(instance))
    assert Path("best.svg").read_text().startswith("<svg")


def test_solve_by_rule_and_draw(capsys):
    makespan = job_shop.dispatch(job_shop.load("ft06"), "spt").makespan
    status, out, _ = run(capsys, "solve ft06 --rule spt")
    assert status == 0
    assert f"makespan    {makespan}\n" in out
    assert run(capsys, "draw ft06 --rule spt")[0] == 0
    assert f"makespan {makespan}" in Path("ft06.svg").read_text()
    assert run(capsys, "draw ft06 --rule spt --out chart.png")[0] == 0
    assert Path("chart.png").read_bytes().startswith(b"\x89PNG")


def test_the_advice_for_a_stream_can_be_followed(capsys):
    """Issue 16, row 17: "try generated-0" led to the exact solver, which refused it."""
    pytest.importorskip("ortools", reason="the exact solver is an extra")
    _, _, error = run(capsys, "solve ft06 --env SoC-v0")
    assert "try generated-0 by a rule such as cpu" in error
    assert run(capsys, "solve generated-0 --env SoC-v0 --rule cpu")[0] == 0
    _, _, error = run(capsys, "solve generated-0 --env SoC-v0 --time-limit 1")
    assert (
        "streams of 1 to 16 jobs, this one has 30: play a rule, or draw shorter streams (num_jobs=8)"
        in error
    )
    assert run(capsys, "solve generated-0 --env SoC-v0 --source num_jobs=8 --time-limit 1")[0] == 0


ORDERS = """job,step,machine,minutes,release,due,weight
A,1,saw,60,2026-11-23T08:00,2026-11-23T10:00,2
A,2,drill,30,,,
B,1,saw,90,2026-11-23T08:30,{due},
"""


def test_plan_orders(capsys):
    pytest.importorskip("ortools", reason="the exact solver is an extra")
    Path("orders.csv").write_text(ORDERS.format(due="2026-11-23T09:30"))
    command = "solve orders.csv --rule atc --objective weighted_tardiness --polish --explain --num-workers 1"
    status, out, err = run(capsys, f"{command} --out plan.csv --gantt plan.html")
    assert status == 0, err
    assert "weighted tardiness 60\n" in out
    assert "- late: B by 60 min; weighted tardiness 60\n" in out
    orders = job_shop.read_orders("orders.csv")
    schedule = job_shop.read_schedule("plan.csv", orders.instance, orders=orders)
    assert job_shop.validate(orders.instance, schedule) == []
    assert "<!doctype html>" in Path("plan.html").read_text()
    assert "B,1,saw,2026-11-23T09:00,2026-11-23T10:30\n" in Path("plan.csv").read_text()
    assert run(capsys, f"{command} --out plan.csv")[0] == 2  # nothing is overwritten


def test_import_and_check(capsys):
    Path("orders.csv").write_text(ORDERS.format(due="2026-11-23T09:30"))
    status, out, _ = run(capsys, "import orders.csv")
    assert status == 0
    assert out.startswith("orders.csv: 2 jobs, 2 machines, 3 operations, 180 min of work\n")
    assert out.endswith(
        "cannot be met: B is due at 2026-11-23T09:30, but ends at 2026-11-23T10:00 at best\n"
    )
    assert run(capsys, "import orders.csv --check")[0] == 1
    Path("orders.csv").write_text(ORDERS.format(due=""))
    assert run(capsys, "import orders.csv --check")[0] == 0
    assert run(capsys, "import missing.csv")[2] == "error: missing.csv: no such file\n"
    job_shop.write_standard(job_shop.load("ft06"), "ft06.txt")
    assert run(capsys, "import ft06.txt --out copy.txt")[0] == 0
    assert Path("copy.txt").read_text() == Path("ft06.txt").read_text()


def test_polish_is_never_worse(capsys):
    pytest.importorskip("ortools", reason="the exact solver is an extra")
    makespan = job_shop.dispatch(job_shop.load("ft06"), "spt").makespan
    status, out, _ = run(capsys, "solve ft06 --rule spt --polish --time-limit 0 --num-workers 1")
    assert status == 0
    assert f"spt: {makespan} in" in out
    assert f"makespan    {makespan}\n" in out
    assert "by spt in" in out  # issue 16, row 14: nothing was polished
    out = run(capsys, "solve ft06 --rule spt --polish --time-limit 30 --num-workers 1")[1]
    assert f"makespan    {job_shop.bounds('ft06').upper}\n" in out
    assert "by spt, polished by cp_sat in" in out


def test_solve_prints_who_found_the_schedule(capsys):
    """Issue 16, row 14: without time it is no exact solver that did."""
    pytest.importorskip("ortools", reason="the exact solver is an extra")
    assert "by non_delay mwkr in" in run(capsys, "solve ft06 --time-limit 0")[1]
    assert "by cp_sat in" in run(capsys, "solve ft06 --num-workers 1")[1]


def test_settings_reach_the_environment(capsys):
    makespan = job_shop.dispatch(job_shop.load("ft06"), "spt", candidates="any").makespan
    assert makespan != job_shop.dispatch(job_shop.load("ft06"), "spt").makespan
    assert (
        f"makespan    {makespan}\n"
        in run(capsys, "solve ft06 --rule spt --settings candidates=any")[1]
    )


def test_evaluate_a_rule_on_files_and_names(capsys):
    job_shop.write_standard(job_shop.load("ft06"), "copy.txt")
    status, out, _ = run(capsys, "evaluate --rule spt --instances ft06,copy.txt --out rule.json")
    assert status == 0
    rows = json.loads(Path("rule.json").read_text())["rows"]
    makespan = job_shop.dispatch(job_shop.load("ft06"), "spt").makespan
    assert [(row["instance"], row["objective"]) for row in rows] == [
        ("ft06", makespan),
        ("copy.txt", makespan),
    ]
    assert rows[0]["instance_hash"] == rows[1]["instance_hash"]
    assert rows[0]["gap"] == pytest.approx(
        100 * (makespan / job_shop.bounds("ft06").upper - 1), abs=1e-3
    )
    # Bounds are those of the instance, whatever it is called.
    assert rows[1]["gap"] == rows[0]["gap"]
    assert "6 x 6" in out


def test_existing_output_is_kept_unless_forced(capsys):
    Path("rule.json").write_text("precious")
    status, _, err = run(capsys, "evaluate --rule spt --instances ft06 --out rule.json")
    assert status == 2
    assert err == "error: rule.json exists; choose another name, or pass overwrite=True (--force)\n"
    assert Path("rule.json").read_text() == "precious"
    assert run(capsys, "evaluate --rule spt --instances ft06 --out rule.json --force")[0] == 0
    assert json.loads(Path("rule.json").read_text())["rows"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("trian", "unknown command 'trian'; did you mean train"),
        ("solve ft06 --methd exact", "unknown option of solve '--methd'; did you mean --method"),
        ("solve ft06 --rule mkwr", "unknown rule 'mkwr'; did you mean mwkr"),
        ("solve ft6", "no file and no instance named 'ft6'; did you mean ft06"),
        ("solve bad.txt", "bad.txt:1:2: the first line must be `jobs machines`"),
        ("solve ft06 --method rule", "--method rule needs --rule NAME"),
        ("solve ft06 --rule spt --settings candidates", "expected NAME=VALUE, got 'candidates'"),
        (
            "solve ft06 --rule spt --settings kandidates=any",
            "unknown setting of JobShop-v0 'kandidates'",
        ),
        ("evaluate --rule spt --instances ft06,ta99", "no instances named 'ta99'; did you mean"),
        ("evaluate --instances ft06", "give either a --policy FOLDER or a --rule NAME"),
        ("evaluate --policy nowhere --instances ft06", "nowhere: no such policy"),
        (
            "draw ft06 --rule spt --out chart.doc",
            "chart.doc: a picture is written as .svg, .html, .png or .pdf",
        ),
        ("bench JobShop", "unknown environment 'JobShop'; did you mean JobShop-v0"),
        ("train --preset quik", "unknown preset 'quik'; did you mean quick"),
        (
            "train --preset smoke --lerning-rate 1",
            "unknown option of self_labeling 'lerning_rate'; did you mean",
        ),
        ("train --preset smoke --num-updates many", "num_updates is of type int, got 'many'"),
        ("train --preset smoke --num-updates 1 2", "one value too many: '2'"),
        ("train --preset smoke --num-envs 5", "num_envs 5 must be a multiple"),
        ("train --resume nowhere", "nowhere: no run to resume"),
        ("train --from-update 20", "--from-update says where to go on: it needs --resume RUN"),
        ("train --log-to tensorbord", "unknown logger 'tensorbord'; did you mean tensorboard"),
    ],
)
def test_an_error_of_the_user_is_one_line(capsys, command: str, message: str):
    Path("bad.txt").write_text("6\n")
    status, _, err = run(capsys, command)
    assert status == 2
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert not Path("runs").exists()


def test_debug_shows_the_traceback(monkeypatch):
    with pytest.raises(InstanceError, match="ft6"):
        cli.main(["solve", "ft6", "--debug"])
    monkeypatch.setenv("JAXSCHED_DEBUG", "1")
    with pytest.raises(InstanceError, match="ft6"):
        cli.main(["solve", "ft6"])


def test_a_fault_of_the_program_is_never_hidden(monkeypatch):
    def broken() -> None:
        raise RuntimeError("a fault")

    monkeypatch.setitem(cli.COMMANDS, "list", broken)
    with pytest.raises(RuntimeError, match="a fault"):
        cli.main(["list"])


def test_a_missing_extra_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ortools.sat.python", None)
    status, _, err = run(capsys, "solve ft06")
    assert (status, err) == (
        2,
        'error: solve_exact needs OR-Tools: pip install "jaxsched[solvers]"\n',
    )


def test_options_of_the_configuration(capsys):
    status, out, _ = run(
        capsys, "train --preset smoke --options --learning-rate 0.5 --network.width=8"
    )
    assert status == 0
    assert "--learning-rate 0.5\n" in out
    assert "--network.width 8\n" in out
    assert f"--num-envs {job_shop.PRESETS['smoke'].training['num_envs']}\n" in out


def test_a_dry_run_says_what_an_update_needs(capsys, monkeypatch):
    status, out, err = run(capsys, "train --preset smoke --dry-run")
    assert (status, err) == (0, "")
    found = re.search(r"an update needs +([\d.]+) MiB of [\d,]+ MiB on the device", out)
    assert found
    assert 0 < float(found[1]) < 100
    assert "12 an episode, 4 episodes or instances an update, 4 updates" in out
    assert not list(Path().iterdir())

    monkeypatch.setattr(estimate, "device_bytes", lambda: 2**15)
    status, _, err = run(capsys, "train --preset smoke --dry-run --num-envs 64")
    assert status == 2
    assert re.match(r"error: an update does not fit the device; try num_envs \d+; or keep", err)


def test_train_resume_and_use_the_policy(capsys):
    """From nothing to a policy that is compared, drawn, refused elsewhere and evaluated by name."""
    pytest.importorskip("orbax.checkpoint", reason="training is an extra")
    job_shop.write_standard(job_shop.uniform(4, 3)(random.key(0)), "small.txt")
    quick = "--preset smoke --evaluate-every 0 --samples 4 --time-limit 0"
    status, out, err = run(capsys, f"train {quick} --num-updates 2 --seed 5 --compare")
    assert (status, err) == (0, "")
    folder = Path("runs/001")
    assert f"run {folder}: JobShop-v0, preset smoke, seed 5" in out
    assert not (folder / "results.json").exists()
    assert json.loads((folder / "config.json").read_text())["seed"] == 5

    status, out, err = run(capsys, f"train --resume {folder} --num-updates 1")
    assert status == 2
    assert "num_updates: saved 2, wanted 1" in err

    # What it was started with is kept, what is given again takes its place.
    status, out, err = run(capsys, f"train --resume {folder} --num-updates 3 --compare small.txt")
    assert (status, err) == (0, "")
    assert "going on from update 2; 3 updates instead of 2" in out
    assert len((folder / "log.jsonl").read_text().splitlines()) == 3
    results = json.loads((folder / "results.json").read_text())
    labels = [method["policy"] for method in results["methods"]]
    assert labels == ["policy, greedy", "policy, best of 4", "mwkr"]
    candidates = [method["environment"]["settings"]["candidates"] for method in results["methods"]]
    assert candidates == ["any", "any", "non_delay"]
    assert (folder / "gantt_small.svg").exists()
    best = min(row["objective"] for row in results["rows"][:2])
    assert f"makespan {best}" in (folder / "gantt_small.svg").read_text()

    greedy = results["rows"][0]["objective"]
    status, out, _ = run(capsys, f"solve small.txt --policy {folder}")
    assert (status, f"makespan    {greedy}\n" in out) == (0, True)

    status, _, err = run(
        capsys, f"train {quick} --num-updates 1 --start-from {folder} --out runs/tuned --compare"
    )
    assert (status, err) == (0, "")
    assert json.loads(Path("runs/tuned/command.json").read_text())["start_from"] == str(folder)

    status, _, err = run(capsys, f"train {quick} --out {folder} --compare")
    assert status == 2
    assert err.startswith(f"error: {folder}: holds a run already")


def test_smoke_compiles_few_programs(tmp_path):
    """From nothing, in a process of its own: the work is the update, and one episode each of the
    policy, of its best of many and of a rule; what is beside them is bounded, since every operation
    of JAX outside a program is a program.
    """
    pytest.importorskip("orbax.checkpoint", reason="training is an extra")
    script = """
import sys
from jax import monitoring
from jaxsched.cli import main
programs = []
def note(event, _, **about):
    if event == "/jax/core/compile/backend_compile_duration":
        programs.append(about["fun_name"])
monitoring.register_event_duration_secs_listener(note)
status = main(["train", "--preset", "smoke", "--time-limit", "0", "--out", sys.argv[1]])
print(status, *programs)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    status, *programs = done.stdout.splitlines()[-1].split()
    assert status == "0"
    counts = Counter(re.sub(r"jit\((\w+)\)", r"\1", name) for name in programs)
    main = {"_first_params": 1, "init_state": 1, "update": 1, "_best": 3}
    assert {name: counts.pop(name) for name in main} == main
    assert counts.total() <= 5, counts


def test_generated_instances_are_tracked():
    """By the mean of the objective over its lower bound, the same ones every time."""
    env, source = jaxsched.make("JobShop-v0"), job_shop.uniform(3, 2)
    config = NetworkConfig(width=16, num_layers=1, num_heads=2)
    apply, params = config(random.key(0), example_observation(env, source))
    score = training._tracker(env, None, {"3x2": source})
    name = "objective / lower bound, 3x2"
    first = score(apply, params)
    assert list(first) == [name]
    shops = generate(source, TRACKED, TRACK_SEED).values()

    @jax.jit
    @jax.vmap
    def ratio(shop):
        played = rollout(env, random.key(0), shop, greedy_policy(apply, params))
        return played.objective / env.lower_bound(shop)

    assert first[name] == pytest.approx(float(ratio(pad_stack(list(shops))).mean()))
    assert training._tracker(env, None, {}) is None
    assert list(training._tracker(env, "ft06", {"3x2": source})(apply, params)) == [
        "gap on ft06 (%)"
    ]


def test_bench(capsys):
    status, out, _ = run(capsys, "bench --batch 2 --seconds 0 --out bench.json")
    assert status == 0
    assert "JobShop-v0, batch 2" in out
    results = json.loads(Path("bench.json").read_text())["results"]
    assert [result["what"] for result in results] == [
        "reset with observation",
        "episodes, rules only",
        "episodes with observation",
    ]
    assert all(result["schedules_per_second"] > 0 for result in results)
