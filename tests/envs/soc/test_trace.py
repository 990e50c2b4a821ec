"""Traces: means and what is unfinished, energy, CSV, Chrome traces and charts."""

from __future__ import annotations

import csv
import json
import math
import random
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from jaxsched.envs.soc.draw import gantt, gantt_svg
from jaxsched.envs.soc.platforms import Job, Platform
from jaxsched.envs.soc.trace import Trace
from tests.envs.soc import cases

SVG = "{http://www.w3.org/2000/svg}"
PLATFORM = Platform(
    "two <PEs>",
    ("big, fast", "small"),
    {"fft": (3, 8), "end": (0, 0)},
    np.array([[9, 1], [1, 9]]),
    power={"fft": (2.0, 0.5), "end": (1.0, None)},
)
PAIR, ONE = Job('a "pair"', ("fft", "end"), ((0, 1, 0),)), Job("one", ("fft",), ())


@pytest.fixture
def trace() -> Trace:
    """Two complete jobs, one that runs at the end, one that has not started."""
    tasks = [(2, 0, 1, 5, 13), (0, 1, 0, 3, 3), (0, 0, 0, 0, 3), (1, 0, 0, 4, 7)]
    jobs = [(0, 3, 3), (2, 7, 5), (5, None, None), (9, None, None)]
    return Trace(tasks, jobs, PLATFORM, [PAIR, ONE, ONE, ONE], end=10)


def test_means_and_what_is_unfinished(trace):
    assert [row[:2] for row in trace.tasks] == [(0, 0), (0, 1), (1, 0), (2, 0)]
    assert (trace.completed, trace.average_latency) == (2, 4.0)
    assert (trace.unfinished, trace.latency_so_far) == ([2, 3], [5, 1])
    assert trace.makespan == 13
    assert trace.jobs[1].latency == 5


def test_the_warm_up_counts_by_finish(trace):
    later = Trace(trace.tasks, trace.jobs, PLATFORM, trace.profiles, end=10, warmup=4)
    assert (later.completed, later.average_latency) == (1, 5.0)
    nothing = Trace([], [], PLATFORM, [], end=10)
    assert nothing.completed == nothing.makespan == 0
    assert math.isnan(nothing.average_latency)


def test_energy_is_power_times_time(trace):
    assert trace.energy == 3 * 2.0 + 0 + 3 * 2.0 + 8 * 0.5
    unstated = Trace([(0, 1, 1, 3, 3)], [(0, None, None)], PLATFORM, [PAIR], end=9)
    assert unstated.energy is None
    powerless = Platform("p", ("x",), {"fft": (1,)}, np.ones((1, 1), int))
    assert Trace([(0, 0, 0, 0, 1)], [(0, 1, 1)], powerless, [ONE], end=1).energy is None


def test_profiles_must_be_one_per_job():
    with pytest.raises(ValueError, match="1 profiles for 2 jobs"):
        Trace([], [(0, None, None)] * 2, PLATFORM, [PAIR], end=9)


def test_csv(trace, tmp_path):
    path = tmp_path / "trace.csv"
    trace.to_csv(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[1]) == ["job", "profile", "task", "name", "pe", "pe_name", "start", "finish"]
    assert list(rows[1].values()) == ["0", 'a "pair"', "1", "end", "0", "big, fast", "3", "3"]
    assert len(rows) == 4


def test_chrome_trace(trace, tmp_path):
    """The fields of the Trace Event Format: complete events per task, one asynchronous pair per
    job, in us.
    """
    path = tmp_path / "trace.json"
    trace.to_chrome(path)
    events = json.loads(path.read_text())["traceEvents"]
    tasks = [event for event in events if event["ph"] == "X"]
    assert [(e["tid"], e["ts"], e["dur"], e["name"]) for e in tasks] == [
        *((0, 0, 3, "fft"), (0, 3, 0, "end"), (0, 4, 3, "fft"), (1, 5, 8, "fft")),
    ]
    assert tasks[3]["args"] == {"job": 2, "profile": "one", "task": 0}
    begins, ends = ([e for e in events if e["ph"] == phase] for phase in "be")
    assert [(e["id"], e["ts"], e["args"]["completed"]) for e in begins] == [
        *((0, 0, True), (1, 2, True), (2, 5, False), (3, 9, False)),
    ]
    assert [(e["id"], e["ts"]) for e in ends] == [(0, 3), (1, 7), (2, 10), (3, 10)]
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert names == {0: "big, fast", 1: "small"}


@pytest.mark.parametrize("method", ["to_csv", "to_chrome"])
def test_files_are_not_overwritten_unless_told_to(trace, tmp_path, method):
    path = tmp_path / "there"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        getattr(trace, method)(path)
    assert path.read_text() == "mine"
    getattr(trace, method)(path, overwrite=True)
    assert "fft" in path.read_text()


def test_chart(trace, tmp_path):
    """One bar per task at its place, one mark per job, names escaped."""
    picture = gantt_svg(trace, title="<b>")
    tree = ElementTree.fromstring(picture.svg)
    assert (
        tree.findtext(f"{SVG}title")
        == "<b> (average latency 4.0 us, 2 jobs completed, 2 unfinished)"
    )
    groups = tree.findall(f"{SVG}g[@class='task']")
    assert [group.findtext(f"{SVG}title") for group in groups][:2] == [
        'job 0 (a "pair"), task 0 fft, big, fast: 0 to 3 (3 us)',
        'job 0 (a "pair"), task 1 end, big, fast: 3 to 3 (0 us)',
    ]
    x, y, width = np.array(
        [
            [float(rect.attrib[name]) for name in ("x", "y", "width")]
            for rect in tree.findall(f"{SVG}g/{SVG}rect")
        ]
    ).T
    scale = width[0] / 3
    np.testing.assert_allclose(x - x[0], scale * np.array([0, 3, 4, 5]), atol=0.02)
    np.testing.assert_allclose(width[2:], scale * np.array([3, 8]), atol=0.02)
    assert 0 < width[1] < scale / 2  # length 0 is visible, but a hairline
    assert y[0] == y[1] == y[2] < y[3]
    marks = [mark.findtext(f"{SVG}title") for mark in tree.findall(f"{SVG}path[@class='mark']")]
    assert marks[1:3] == [
        "job 1 (one) enters at 2, finishes at 7, latency 5 us",
        "job 2 (one) enters at 5, unfinished",
    ]
    assert picture._repr_html_().startswith("<div")
    picture.save(tmp_path / "chart.svg")
    with pytest.raises(FileExistsError):
        picture.save(tmp_path / "chart.svg")


def test_chart_of_one_job_numbers_its_tasks():
    single = Trace([(0, 0, 0, 0, 3), (0, 1, 0, 3, 3)], [(0, 3, 3)], PLATFORM, [PAIR], end=3)
    tree = ElementTree.fromstring(gantt_svg(single).svg)
    assert tree.findtext(f"{SVG}title") == "Average latency 3.0 us, 1 job completed"
    assert [text.text for text in tree.findall(f"{SVG}g/{SVG}text")] == ["0"]
    assert "No job completed" in gantt_svg(Trace([], [], PLATFORM, [], end=5)).svg


@pytest.mark.parametrize("seed", range(10))
def test_any_trace_is_drawn_inside_its_picture(seed):
    case = cases.random_case(random.Random(seed), horizon=bool(seed % 2))
    run = cases.simulate(case, "etf")
    profiles = [case.profiles[p] for p in case.profile[: len(run.jobs)]]
    tree = ElementTree.fromstring(
        gantt_svg(Trace(run.tasks, run.jobs, case.platform, profiles, run.end)).svg
    )
    rects = tree.findall(f"{SVG}g/{SVG}rect")
    assert len(rects) == len(run.tasks)
    for rect in rects:
        x, wide = float(rect.attrib["x"]), float(rect.attrib["width"])
        assert 0 <= x <= x + wide <= float(tree.attrib["width"])


def test_matplotlib(trace):
    matplotlib = pytest.importorskip("matplotlib", reason='needs pip install "jaxsched[viz]"')
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ax = gantt(trace)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["big, fast", "small"]
    assert [bar.get_width() for bar in ax.patches][::3] == [3, 8]
    assert ax.get_title(loc="left") == "Average latency 4.0 us, 2 jobs completed, 2 unfinished"
    _, other = plt.subplots()
    assert gantt(trace, other, title="t") is other
    plt.close("all")


def test_the_host_side_is_light():
    """Reading data, judging and drawing SVG start no JAX backend and import no optional package."""
    modules = ("platforms", "trace", "validate", "static", "exact", "draw")
    statement = "".join(f"import jaxsched.envs.soc.{name}\n" for name in modules)
    script = (
        f"{statement}import sys, jax\nprint('matplotlib' in sys.modules, 'ortools' in sys.modules)"
    )
    script += "\njax.config.update('jax_num_cpu_devices', 2)\nprint(jax.device_count())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["False", "False", "2"], done.stderr
