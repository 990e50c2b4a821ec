"""Gantt charts: well-formed, one bar per operation in the right place, files protected."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsched.envs.job_shop import (
    Schedule,
    from_jobs,
    gantt,
    gantt_html,
    gantt_svg,
    read_orders,
    replay,
)
from jaxsched.host.chart import colour_of

SVG = "{http://www.w3.org/2000/svg}"
JOBS = [[(0, 3), (1, 2)], [(1, 4), (0, 0), (0, 2)]]
SCHEDULE = Schedule([[0, 4], [0, 4, 4]], 6)


@pytest.fixture(scope="module")
def instance():
    return from_jobs(JOBS)


def bars(svg):
    """(tooltip, x, y, width) of every bar."""
    groups = ElementTree.fromstring(svg).findall(f"{SVG}g[@class='operation']")
    found = []
    for group in groups:
        (title,), (rect,) = group.findall(f"{SVG}title"), group.findall(f"{SVG}rect")
        found.append((title.text, *(float(rect.attrib[name]) for name in ("x", "y", "width"))))
    return found


def test_one_bar_per_operation_in_place(instance):
    found = bars(gantt_svg(instance, SCHEDULE).svg)
    assert [text for text, *_ in found] == [
        "job 0, operation 0, machine 0: 0 to 3 (duration 3)",
        "job 0, operation 1, machine 1: 4 to 6 (duration 2)",
        "job 1, operation 0, machine 1: 0 to 4 (duration 4)",
        "job 1, operation 1, machine 0: 4 to 4 (duration 0)",
        "job 1, operation 2, machine 0: 4 to 6 (duration 2)",
    ]
    x, y, width = np.array([bar[1:] for bar in found]).T
    scale = width[0] / 3
    np.testing.assert_allclose(x - x[0], scale * np.array([0, 4, 0, 4, 4]), atol=0.02)
    np.testing.assert_allclose(width[[0, 1, 2, 4]], scale * np.array([3, 2, 4, 2]), atol=0.02)
    assert 0 < width[3] < scale / 2  # duration 0 is visible, but a hairline
    assert y[0] == y[3] == y[4] < y[1] == y[2]


@given(st.data())
@settings(max_examples=25)
def test_any_schedule_is_drawn_inside_its_picture(data):
    num_jobs, num_machines = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 20))
    longest = data.draw(st.sampled_from([1, 100, 10**6]))
    pair = st.tuples(st.integers(0, num_machines - 1), st.integers(0, longest))
    jobs = data.draw(
        st.lists(st.lists(pair, min_size=1, max_size=3), min_size=num_jobs, max_size=num_jobs)
    )
    start = [[longest * (j + k) for k in range(len(job))] for j, job in enumerate(jobs)]
    svg = gantt_svg(from_jobs(jobs), Schedule(start, 0)).svg
    width, height = (
        float(ElementTree.fromstring(svg).attrib[name]) for name in ("width", "height")
    )
    found = bars(svg)
    assert len(found) == sum(map(len, jobs))
    assert all(x >= 0 and x + wide <= width and 0 <= y <= height for _, x, y, wide in found)


@given(st.text())
@settings(max_examples=50)
def test_titles_are_escaped(title):
    svg = gantt_svg(from_jobs([[(0, 1)]]), Schedule([[0]], 1), title=title).svg
    svg.encode()
    assert "akespan 1" in (ElementTree.fromstring(svg).findtext(f"{SVG}title") or "")


def test_markup_in_a_title_is_text():
    svg = gantt_svg(from_jobs([[(0, 1)]]), Schedule([[0]], 1), title='<script>&"\0').svg
    assert ElementTree.fromstring(svg).findtext(f"{SVG}title") == '<script>&"  (makespan 1)'


def test_notebooks_and_files(instance, tmp_path):
    picture = gantt_svg(instance, SCHEDULE, title="two jobs")
    assert picture.svg in picture._repr_html_()
    ElementTree.fromstring(picture._repr_html_())
    path = tmp_path / "a.svg"
    picture.save(path)
    assert path.read_text("utf-8") == picture.svg
    other = gantt_svg(instance, SCHEDULE)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        other.save(path)
    assert path.read_text("utf-8") == picture.svg
    other.save(path, overwrite=True)
    assert path.read_text("utf-8") == other.svg


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    path = tmp_path_factory.mktemp("orders") / "orders.csv"
    path.write_text(
        "job,step,machine,minutes,release,due\n"
        '"<b>&1",1,a < b,45,2026-11-23T08:10,2026-11-23T08:30\n'
        "two,1,a < b,30,2026-11-23 08:00,\ntwo,2,a machine with a very long name,1500,,\n"
    )
    return read_orders(path)


def test_names_and_dates_of_orders(orders):
    schedule = replay(orders.instance, [0, 1, 1])
    tree = ElementTree.fromstring(gantt_svg(orders.instance, schedule, orders=orders).svg)
    texts = [element.text for element in tree.iter(f"{SVG}text")]
    assert "a < b" in texts
    # the end, where names differ, is kept
    assert "a machine wi\N{HORIZONTAL ELLIPSIS}y long name" in texts
    assert "a machine with a very long name" in [title.text for title in tree.iter(f"{SVG}title")]
    assert "11-24 00:00" in texts
    assert bars(ElementTree.tostring(tree).decode())[0][0] == (
        "<b>&1, step 1, a < b: 2026-11-23T08:10 to 2026-11-23T08:55 (duration 45 min)"
    )


def test_the_page_needs_nothing_else_and_escapes_names(orders, tmp_path):
    schedule = replay(orders.instance, [0, 1, 1])
    chart = gantt_html(orders.instance, schedule, title="<i>plan", orders=orders)
    assert chart.page.startswith("<!doctype html>")
    for outside in ("src=", "href=", "url(", "@import", "<b>", "<i>"):
        assert outside not in chart.page
    assert chart.page.replace("http://www.w3.org/2000/svg", "").count("http") == 0
    assert chart.page.count('<tr data-group="') == 2
    assert '<tr data-group="0" class="late">' in chart.page
    assert "late: &lt;b&gt;&amp;1 by 25 min" in chart.page
    chart.save(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text("utf-8") == chart.page
    assert chart.svg in chart._repr_html_()


def test_matplotlib_with_orders(orders):
    plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    plt.switch_backend("agg")
    ax = gantt(orders.instance, replay(orders.instance, [0, 1, 1]), orders=orders)
    assert ax.get_yticklabels()[0].get_text() == "a < b"
    assert "11-24 00:00" in [label.get_text() for label in ax.get_xticklabels()]
    plt.close("all")


def test_padding_changes_nothing(instance):
    padded = jax.tree.map(lambda leaf: np.pad(leaf, [(0, 2)] * leaf.ndim), instance)
    assert gantt_svg(padded, SCHEDULE) == gantt_svg(instance, SCHEDULE)


@pytest.mark.parametrize("draw", [gantt, gantt_svg])
def test_a_schedule_of_another_instance_is_refused(instance, draw):
    with pytest.raises(ValueError, match="job 1 has 3 operations, but the schedule gives 2 starts"):
        draw(instance, Schedule([[0, 4], [0, 4]], 6))


def test_jobs_have_distinct_legible_colours():
    assert len({colour_of(job)[0] for job in range(21)}) == 21

    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    for job in range(21):
        fill, ink = colour_of(job)
        light, dark = sorted((luminance(fill), {"#000": 0.0, "#fff": 1.0}[ink]), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, job  # WCAG 2 level AA


def test_matplotlib(instance):
    plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    plt.switch_backend("agg")
    ax = gantt(instance, SCHEDULE)
    boxes = [(p.get_x(), p.get_width(), round(p.get_y() + p.get_height() / 2)) for p in ax.patches]
    assert boxes == [
        (0, 3, 0),
        (4, 2, 1),
        (0, 4, 1),
        (4, pytest.approx(0.014, abs=0.001), 0),
        (4, 2, 0),
    ]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["M0", "M1"]
    assert {text.get_text() for text in ax.texts} == {"0", "1"}
    ax.figure.canvas.draw()
    _, mine = plt.subplots()
    assert gantt(instance, SCHEDULE, mine) is mine
    plt.close("all")


def test_the_svg_needs_no_drawing_library():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from jaxsched.envs.job_shop import Schedule, from_jobs, gantt_svg\n"
        "print(gantt_svg(from_jobs([[(0, 1)]]), Schedule([[0]], 1)).svg)"
    )
    svg = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert len(bars(svg)) == 1
