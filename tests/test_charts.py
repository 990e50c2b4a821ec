"""Issue 16, row 16: charts of every family, small and large: sizes follow the content, and nothing
is nameless.

The kind of fault is a chart that is made for ten jobs: names that overlap, bars without a label,
colours without a legend. What is checked is where things stand, never pixels.
"""

from __future__ import annotations

import datetime
import itertools
import json
import random
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from jaxsched.envs import job_shop, memory, soc
from jaxsched.envs.job_shop import blocking, flexible
from jaxsched.envs.soc.platforms import Job, Platform
from jaxsched.host import chart as charts
from jaxsched.host.chart import COLOURS, Box, Chart, Panel, round_ticks, text_width, time_span
from jaxsched.host.picture import Picture, check_path

SVG = "{http://www.w3.org/2000/svg}"
LATEST = 2**31 - 1
NAMES = ("Fräse <1> & Söhne", "$x_1$ $", "_hidden", "a very long name of a machine, number ")


def shop(num_jobs: int, num_machines: int, longest: int = 99):
    """A job shop as lists, and a schedule of it: as early as possible, job by job in turn."""
    rng = random.Random(num_jobs * 1000 + num_machines)
    jobs = [
        [
            (machine, rng.randint(0, longest))
            for machine in rng.sample(range(num_machines), num_machines)
        ]
        for _ in range(num_jobs)
    ]
    ready, free = [0] * num_jobs, [0] * num_machines
    start = [[0] * num_machines for _ in jobs]
    for op, job in itertools.product(range(num_machines), range(num_jobs)):
        machine, duration = jobs[job][op]
        start[job][op] = max(ready[job], free[machine])
        ready[job] = free[machine] = start[job][op] + duration
    return jobs, job_shop.Schedule(start, max(ready))


def classic(num_jobs: int, num_machines: int) -> Picture:
    jobs, schedule = shop(num_jobs, num_machines)
    return job_shop.gantt_svg(job_shop.from_jobs(jobs), schedule)


def page(num_jobs: int, num_machines: int) -> Picture:
    jobs, schedule = shop(num_jobs, num_machines)
    return job_shop.gantt_html(job_shop.from_jobs(jobs), schedule)


def flexible_shop(num_jobs: int, num_machines: int) -> Picture:
    jobs, schedule = shop(num_jobs, num_machines)
    instance = flexible.from_jobs([[[operation] for operation in job] for job in jobs])
    machines = [[machine for machine, _ in job] for job in jobs]
    return flexible.gantt_svg(
        instance, flexible.Schedule(schedule.start, machines, schedule.makespan)
    )


def blocking_shop(num_jobs: int, num_machines: int) -> Picture:
    jobs, schedule = shop(num_jobs, num_machines)
    down = [[(start, start + 9)] for start in range(num_machines)]
    return blocking.gantt_svg(
        blocking.from_jobs(jobs),
        blocking.Schedule(schedule.start, schedule.makespan, down),
        title="down",
    )


def stream(num_jobs: int, num_pes: int) -> Picture:
    jobs, schedule = shop(num_jobs, num_pes)
    pes = tuple(f"PE {i} {NAMES[i % len(NAMES)]}" for i in range(num_pes))
    names = tuple(f"t{op}" for op in range(num_pes))
    platform = Platform(
        "p", pes, dict.fromkeys(names, (1,) * num_pes), np.ones((num_pes, num_pes), int)
    )
    tasks = [
        (job, op, machine, schedule.start[job][op], schedule.start[job][op] + duration)
        for job, row in enumerate(jobs)
        for op, (machine, duration) in enumerate(row)
    ]
    records = [(0, schedule.makespan, schedule.makespan)] * num_jobs
    profiles = [Job(NAMES[job % len(NAMES)], names, ()) for job in range(num_jobs)]
    return soc.gantt_svg(soc.Trace(tasks, records, platform, profiles, end=schedule.makespan))


def orders(num_jobs: int, folder) -> Picture:
    path = folder / "orders.csv"
    lines = ["job,step,machine,minutes,release"]
    for i in range(num_jobs):
        for step in (1, 2):
            machine = f"work centre in the second hall, number {(i + step) % 7}"
            lines.append(f'"{NAMES[i % 3]} {i}",{step},"{machine}",{30 + i % 5},2026-11-23T08:00')
    path.write_text("\n".join(lines) + "\n")
    read = job_shop.read_orders(path)
    schedule = job_shop.replay(read.instance, [i % num_jobs for i in range(2 * num_jobs)])
    return job_shop.gantt_html(read.instance, schedule, orders=read)


def memory_map(num_buffers: int, even: bool) -> Picture:
    rng = random.Random(num_buffers)
    rows = []
    for i in range(num_buffers):
        start = rng.randrange(num_buffers)
        end = start + rng.randint(1, 20)
        rows.append(
            {
                "id": f"{NAMES[i % len(NAMES)]}{i}",
                "start": start,
                "end": end,
                "size": rng.randint(1, 9**4),
            }
        )
    buffers = memory.Buffers(rows)
    return memory.memory_map_svg(
        buffers, memory.allocate(buffers, method="first_fit_start"), even=even
    )


def mapping(num: int) -> Picture:
    instructions = []
    for i in range(num):
        read = [{"value": f"{NAMES[0]}{i - 1}", "kind": "read"}] * (i > 0)
        instructions.append(
            {"compute": 50, "accesses": [*read, {"value": f"{NAMES[0]}{i}", "kind": "write"}]}
        )
    values = [{"id": f"{NAMES[0]}{i}", "size": 1 + i % 9} for i in range(num)]
    costs = {"capacity": 24, "slow_cost": 9, "fast_cost": 1, "copy_cost": 2}
    program = memory.Program.from_dict({"values": values, "instructions": instructions} | costs)
    return memory.mapping_svg(program, memory.map_program(program, "belady"))


def replacement(num: int, placement: str) -> Picture:
    tensors = [
        {"id": f"{NAMES[i % len(NAMES)]}{i}", "size": 1 + i % 9, "backed": i == 0}
        for i in range(num + 1)
    ]
    ids = [tensor["id"] for tensor in tensors]
    ops = [{"id": f"op{i}", "inputs": [ids[i]], "outputs": [ids[i + 1]]} for i in range(num)]
    graph = memory.Graph.from_dict({"tensors": tensors, "ops": ops})
    return memory.replacement_svg(graph, memory.replace(graph, 20, "fixed", placement, "belady"))


PICTURES = {
    "shop 1 x 1": lambda folder: classic(1, 1),
    "shop 6 x 6": lambda folder: classic(6, 6),
    "shop 50 x 20": lambda folder: classic(50, 20),
    "shop 120 x 12": lambda folder: classic(120, 12),
    "shop 1 x 200": lambda folder: classic(1, 200),
    "shop 400 x 1": lambda folder: classic(400, 1),
    "shop 1 x 700": lambda folder: classic(1, 700),
    "page 25 x 40": lambda folder: page(25, 40),
    "flexible 30 x 10": lambda folder: flexible_shop(30, 10),
    "blocking 4 x 3": lambda folder: blocking_shop(4, 3),
    "blocking 30 x 15": lambda folder: blocking_shop(30, 15),
    "stream of 1": lambda folder: stream(1, 3),
    "stream of 30": lambda folder: stream(30, 16),
    "3 orders": lambda folder: orders(3, folder),
    "60 orders": lambda folder: orders(60, folder),
    "3 buffers": lambda folder: memory_map(3, True),
    "500 buffers": lambda folder: memory_map(500, True),
    "100 buffers to scale": lambda folder: memory_map(100, False),
    "mapping of 4": lambda folder: mapping(4),
    "mapping of 150": lambda folder: mapping(150),
    "replacement of 3, bytes": lambda folder: replacement(3, "bytes"),
    "replacement of 100, bytes": lambda folder: replacement(100, "bytes"),
    "replacement of 100, address": lambda folder: replacement(100, "address"),
}


@pytest.fixture(scope="module", params=PICTURES)
def picture(request, tmp_path_factory) -> Picture:
    return PICTURES[request.param](tmp_path_factory.mktemp("chart"))


def boxes_of_texts(root: ElementTree.Element) -> list[tuple[str, float, float, float, float]]:
    """(text, left, right, top, bottom) of every text outside bars that is not turned."""
    found = []
    for text in root.findall(f"{SVG}text"):
        if text.get("transform") is None:
            size = float(text.get("font-size", 12))
            x, y, wide = (
                float(text.attrib["x"]),
                float(text.attrib["y"]),
                text_width(text.text or "", size),
            )
            x -= {"middle": wide / 2, "end": wide}.get(text.get("text-anchor", ""), 0)
            middle = y if text.get("dy") else y - size / 3
            found.append((text.text or "", x, x + wide, middle - size / 2, middle + size / 2))
    return found


def test_no_two_texts_of_an_svg_overlap_and_all_are_inside(picture):
    root = ElementTree.fromstring(picture.svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    texts = sorted(boxes_of_texts(root), key=lambda box: box[3])
    for i, (text, left, right, top, bottom) in enumerate(texts):
        assert left >= 0, text
        assert right <= width, text
        assert 0 <= top <= bottom <= height, text
        for other, its_left, its_right, its_top, _ in texts[i + 1 :]:
            if its_top >= bottom:
                break
            assert its_left >= right or its_right <= left, (text, other)


def test_every_box_of_an_svg_says_what_it_is(picture):
    root = ElementTree.fromstring(picture.svg)
    groups = root.findall(f"{SVG}g")
    assert groups
    for group in groups:
        assert group.findtext(f"{SVG}title"), ElementTree.tostring(group)
    for mark in root.findall(f"{SVG}path[@class='mark']") + root.findall(
        f"{SVG}path[@class='move']"
    ):
        assert mark.findtext(f"{SVG}title")


def test_labels_are_inside_their_boxes(picture):
    root = ElementTree.fromstring(picture.svg)
    for group in root.findall(f"{SVG}g"):
        text, rect = group.find(f"{SVG}text"), group.find(f"{SVG}rect")
        if text is not None and rect is not None:
            wide, tall = float(rect.attrib["width"]), float(rect.attrib["height"])
            turned = "rotate" in text.attrib["transform"]
            long, high = text_width(text.text or "", 11), 11
            assert (high, long) <= (wide, tall) if turned else (long, high) <= (wide, tall)


def test_what_colours_mean_is_said_where_no_label_says_it(picture):
    """A legend has every group by name, or as many of each colour as there is room for."""
    root, chart = ElementTree.fromstring(picture.svg), picture.chart
    keys = [text.text or "" for text in root.findall(f"{SVG}text[@class='key']")]
    groups = {box.group for panel in chart.panels for box in panel.boxes if box.group is not None}
    assert len(keys) == len(chart.keys) + (min(len(groups), COLOURS) if chart.groups else 0)
    texts = [text for text, *_ in boxes_of_texts(root)]
    if chart.groups and len(groups) > COLOURS:
        assert any(f"{len(groups):,} {chart.things} in {COLOURS} colours" in text for text in texts)
    if chart.groups and len(groups) <= COLOURS:
        assert len(set(keys)) == len(keys)


def test_a_figure_has_what_the_svg_has_and_its_names_are_apart(picture):
    pytest.importorskip("matplotlib")
    figure, root = picture.figure(), ElementTree.fromstring(picture.svg)
    width, height = figure.get_size_inches() * 96
    assert abs(width - float(root.attrib["width"])) <= 1
    assert abs(height - float(root.attrib["height"])) <= 1
    figure.draw_without_rendering()
    whole = figure.bbox
    for ax in figure.axes:
        names = [label for label in ax.get_yticklabels() if label.get_text()]
        boxes = sorted((label.get_window_extent() for label in names), key=lambda box: box.y0)
        for below, above in itertools.pairwise(boxes):
            assert below.y1 <= above.y0 + 0.5
        assert all(box.x0 >= 0 for box in boxes)
        for text in ax.texts:
            extent = text.get_window_extent()
            assert extent.x0 >= whole.x0 - 1
            assert extent.x1 <= whole.x1 + 1
    last = figure.axes[-1]
    ticks = [label.get_window_extent() for label in last.get_xticklabels() if label.get_visible()]
    for left, right in itertools.pairwise(sorted(ticks, key=lambda box: (round(box.y0), box.x0))):
        assert left.x1 < right.x0 or left.y1 < right.y0  # tall charts have a second axis above
    keys = [text.text for text in root.findall(f"{SVG}text[@class='key']")]
    legend = last.get_legend()
    assert ([] if legend is None else [text.get_text() for text in legend.get_texts()]) == keys
    if legend is not None:
        extent = legend.get_window_extent()
        assert extent.x1 <= whole.x1 + 1
        assert extent.y0 >= whole.y0 - 1


def test_height_grows_with_rows_and_width_with_bars():
    def size(picture: Picture) -> tuple[float, float]:
        root = ElementTree.fromstring(picture.svg)
        return float(root.attrib["width"]), float(root.attrib["height"])

    heights = [size(classic(3, rows))[1] for rows in (2, 10, 40, 200)]
    assert heights == sorted(set(heights))
    assert size(classic(1, 3000))[1] < 6200  # within bounds
    widths = [size(classic(jobs, 30))[0] for jobs in (2, 40)]
    assert widths[0] < widths[1] < 2400
    tensors = [size(replacement(num, "bytes"))[1] for num in (3, 30, 100)]
    assert tensors == sorted(set(tensors))
    assert size(memory_map(500, True))[0] > size(memory_map(3, True))[0]


def test_few_rows_with_many_bars_go_on_below():
    """2,000 jobs on one machine are no barcode: one line after the other, each with its own
    times.
    """
    jobs, schedule = shop(2000, 1)
    root = ElementTree.fromstring(job_shop.gantt_svg(job_shop.from_jobs(jobs), schedule).svg)
    bars = root.findall(f"{SVG}g[@class='operation']")
    assert len(bars) == 2000
    lines = {rect.attrib["y"] for bar in bars for rect in bar.findall(f"{SVG}rect")}
    assert len(lines) > 20
    named = sum(bar.find(f"{SVG}text") is not None for bar in bars)
    assert named > 1300
    spans: dict[str, list[tuple[float, float]]] = {}
    for bar in root.findall(f"{SVG}g[@data-group]"):
        rect = bar.find(f"{SVG}rect")
        assert rect is not None
        x = float(rect.attrib["x"])
        spans.setdefault(rect.attrib["y"], []).append((x, x + float(rect.attrib["width"])))
    assert all(
        start >= 0 and end <= float(root.attrib["width"])
        for line in spans.values()
        for start, end in line
    )


def test_what_is_at_the_very_end_is_on_the_last_line():
    boxes = [Box(k, k + 1, 0, 0, k, f"job {k}", "x") for k in range(999)] + [
        Box(999, 999, 0, 0, 1, "end", "the end")
    ]
    chart = charts.fold(
        Chart("", [Panel(boxes, ["M0"])], (0, 999), "time", groups=[str(k) for k in range(999)])
    )
    assert len(chart.panels) > 5
    assert [box.tooltip for box in chart.panels[-1].boxes][-1] == "the end"
    assert sum(box.kind == "box" for panel in chart.panels for box in panel.boxes) == 1000


@pytest.mark.parametrize(
    ("jobs", "start"),
    [
        ([], []),
        ([[(0, 5)]], [[0]]),
        ([[(0, 0)], [(1, 0)]], [[0], [0]]),
        ([[(0, LATEST)]], [[0]]),
        ([[(0, 500)], [(0, 300)]], [[LATEST - 1000], [LATEST - 300]]),
        ([[(0, 5)], [(0, 5)]], [[-7], [2**40]]),  # not valid, and still to be looked at
    ],
)
def test_degenerate_schedules(jobs, start, tmp_path):
    makespan = max((row[-1] for row in start if row), default=0)
    picture = job_shop.gantt_svg(
        job_shop.from_jobs(jobs or [[(0, 0)]]), job_shop.Schedule(start or [[0]], makespan)
    )
    root = ElementTree.fromstring(picture.svg)
    width = float(root.attrib["width"])
    for rect in root.findall(f"{SVG}g/{SVG}rect"):
        assert (
            0
            <= float(rect.attrib["x"])
            <= float(rect.attrib["x"]) + float(rect.attrib["width"])
            <= width
        )
    pytest.importorskip("matplotlib")
    for suffix in ("svg", "html", "png", "pdf"):
        picture.save(tmp_path / f"a.{suffix}")


def test_degenerate_problems_of_the_other_families():
    buffers = memory.Buffers([])
    pictures = [memory.memory_map_svg(buffers, memory.allocate(buffers, method="xla"))]
    long = memory.Buffers([{"id": "x", "start": 0, "end": LATEST, "size": LATEST}])
    pictures.append(memory.memory_map_svg(long, memory.allocate(long, method="xla"), even=False))
    empty = {
        "values": [],
        "instructions": [],
        "capacity": 8,
        "slow_cost": 3,
        "fast_cost": 1,
        "copy_cost": 3,
    }
    pictures.append(
        memory.mapping_svg(memory.Program.from_dict(empty), memory.mapping.Plan((), 0, 0, 0))
    )
    graph = {"tensors": [{"id": 0, "size": 3}], "ops": [{"id": 0, "inputs": [], "outputs": [0]}]}
    for placement in ("bytes", "address"):
        plan = memory.replacement.Plan([], 0, 0, False, 0, "fixed", placement, 0)
        pictures.append(memory.replacement_svg(graph, plan))
    platform = Platform("p", ("a",), {"t": (1,)}, np.ones((1, 1), int))
    pictures.append(soc.gantt_svg(soc.Trace([], [], platform, [], end=LATEST)))
    for picture in pictures:
        ElementTree.fromstring(picture.svg)
        pytest.importorskip("matplotlib")
        picture.figure().draw_without_rendering()


def huge(num_rows: int, num_jobs: int) -> Picture:
    boxes = [
        Box(10 * job, 10 * job + 8, row, row, job, str(job), f"job {job}", "operation")
        for row in range(num_rows)
        for job in range(num_jobs)
    ]
    rows, groups = [f"M{row}" for row in range(num_rows)], [str(job) for job in range(num_jobs)]
    return Picture(Chart("huge", [Panel(boxes, rows)], (0, 10 * num_jobs), "time", groups=groups))


def test_a_chart_of_a_hundred_thousand_bars_stays_small():
    """Bars of a job are one shape, which says whose it is; no bar is left out."""
    picture = huge(100, 1000)
    root = ElementTree.fromstring(picture.svg)
    assert len(picture.svg) < 4e6
    shapes = root.findall(f"{SVG}path[@class='operation']")
    assert len(shapes) == 1000
    assert sum(shape.attrib["d"].count("z") for shape in shapes) == 100_000
    assert shapes[17].findtext(f"{SVG}title") == "17"
    assert any("tells its job" in text for text, *_ in boxes_of_texts(root))


def test_many_bars_with_matplotlib():
    pytest.importorskip("matplotlib")
    picture = huge(20, 600)
    axes = picture.figure().axes
    assert sum(len(shapes.get_paths()) for ax in axes for shapes in ax.collections) >= 12_000


@pytest.mark.parametrize("size", [(3, 2), (6.4, 4.8), (11, 4.5)])
def test_axes_of_the_users_own_get_as_many_names_as_they_have_room_for(size):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    jobs, schedule = shop(20, 40)
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    assert job_shop.gantt(job_shop.from_jobs(jobs), schedule, ax) is ax
    figure.draw_without_rendering()
    boxes = sorted(
        (label.get_window_extent() for label in ax.get_yticklabels()), key=lambda box: box.y0
    )
    assert all(below.y1 <= above.y0 + 1 for below, above in itertools.pairwise(boxes))
    assert len(boxes) > 2
    assert (ax.get_legend() is None) == (size[1] < 4)
    plt.close("all")


def test_names_are_cut_in_the_middle_and_whole_in_the_tooltip():
    rows = [f"machining centre of the second hall, number {i}" for i in range(3)]
    chart = Chart("", [Panel([Box(0, 1, 0, 0, 0, "a", "b")], rows)], (0, 1), "time", groups=["a"])
    root = ElementTree.fromstring(Picture(chart).svg)
    shown = root.findall(f"{SVG}text[@class='row']")
    assert len({text.text for text in shown}) == 3
    assert [text.findtext(f"{SVG}title") for text in shown] == rows


def test_labels_are_whole_or_cut_in_the_middle_or_not_there():
    assert charts.fit_label("119", 40, 20) == ("119", False)
    assert charts.fit_label("119", 14, 40) == ("119", True)
    assert charts.fit_label("119", 14, 20)[0] == ""
    text, upwards = charts.fit_label("order 2026-00017", 70, 20)
    assert text.startswith("ord")
    assert text.endswith("017")
    assert not upwards
    assert charts.fit_label("order 2026-00017", 16, 70) == (text, True)
    assert charts.fit_label("order 2026-00017", 30, 20)[0] == ""


def test_operations_lie_on_blocked_time_whatever_the_schedule():
    """One that is not valid is drawn to be looked at: nothing is hidden beneath hatching."""
    boxes = blocking_shop(30, 15).chart.panels[0].boxes
    styles = [box.style for box in boxes]
    assert styles == sorted(styles, key=["hatched", "solid", "thin"].index)


@pytest.mark.parametrize("days", [0, 0.005, 0.2, 1, 9, 400, 100_000])
def test_dates_on_the_axis_are_few_and_round(days):
    minutes = int(days * 1440)
    origin = datetime.datetime(2026, 11, 23, 8, 7)
    panel = Panel([Box(0, minutes, 0, 0, 0, "a", "b")], ["M0"])
    chart = Chart("", [panel], time_span([0, minutes]), "time", origin=origin, groups=["a"])
    ticks = charts.arrange(chart).x_ticks[0]
    assert 1 <= len(ticks) <= 9
    assert len({text for _, text in ticks}) == len(ticks)
    for tick, text in ticks:
        date = origin + datetime.timedelta(minutes=tick)
        assert text in (f"{date:%m-%d %H:%M}", f"{date:%Y-%m-%d}")


@pytest.mark.parametrize(
    ("start", "end"), [(0, 0), (0, 1), (0, 55), (-7, 5), (LATEST - 900, LATEST), (0, 10**15)]
)
def test_round_numbers_on_the_axis(start, end):
    ticks = round_ticks(start, end, 10)
    assert 1 <= len(ticks) <= 11
    assert all(start <= tick <= end for tick in ticks)


def test_files_are_told_by_their_ending_before_any_work(tmp_path):
    """Refused are what nobody can write, what is in the way and what has no folder; endings as
    users write them.
    """
    picture = classic(2, 2)
    for name in ("a.svg", "A.SVG", "a.html", "a.png", "a.pdf"):
        assert check_path(tmp_path / f"x{name}") == name.lower()[1:]
    picture.save(tmp_path / "A.SVG")
    assert (tmp_path / "A.SVG").read_text("utf-8") == picture.svg
    picture.save(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text("utf-8").startswith("<!doctype html>")
    with pytest.raises(
        ValueError, match=r"a\.doc: a picture is written as \.svg, \.html, \.png or \.pdf"
    ):
        picture.save(tmp_path / "a.doc")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        picture.save(tmp_path / "a.html")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        check_path(tmp_path / "missing" / "a.svg")
    pytest.importorskip("matplotlib")
    picture.save(tmp_path / "a.PDF")
    assert (tmp_path / "a.PDF").read_bytes().startswith(b"%PDF")
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "a.png", overwrite=True)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_names_with_dollars_and_underscores_are_text_with_matplotlib(tmp_path):
    """matplotlib reads $...$ as mathematics, and leaves names with a leading _ out of legends."""
    pytest.importorskip("matplotlib")
    rows = ["$\\broken", "_a", "line\nbreak\0 \ud800"]
    boxes = [Box(0, 9, row, row, row, name, "x") for row, name in enumerate(rows)]
    picture = Picture(Chart("$\\frac", [Panel(boxes, rows)], (0, 9), "$x", groups=rows))
    picture.save(tmp_path / "a.png")
    assert [text.get_text() for text in picture.figure().axes[0].get_legend().get_texts()] == [
        *rows[:2],
        "line break   ",
    ]


def test_a_learning_curve_of_many_seeds_and_metrics(tmp_path):
    """The sibling of row 16 in training: one entry for all seeds, a legend beside the lines for
    many metrics.
    """
    pytest.importorskip("matplotlib")
    from jaxsched.training.loop import draw_curve

    for num, seeds in ((0, 1), (1, 1), (45, 8)):
        rows = []
        for update in range(1, 9):
            value = [1.0 / update] * seeds if seeds > 1 else 1.0 / update
            row = {"update": update, "seconds": 7.0 * update, "objective_over_scale": value}
            if num and update % 4 == 0:
                row["evaluation"] = {f"$ metric {i}": float(i) for i in range(num - (update == 4))}
            rows.append(row)
        (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        draw_curve(tmp_path)
        assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
