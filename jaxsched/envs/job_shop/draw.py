"""Gantt charts: machines as rows, one bar per operation, one colour per job; SVG and HTML without dependencies, or
matplotlib. With `orders` jobs, machines and times are called as in the file they come from.

Operations of duration 0 are drawn as a hairline. Schedules are drawn as they are, valid or not, so that a fault
reported by `validate` can be looked at.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from jaxsched.core.picture import Picture, colour_of, round_ticks, xml
from jaxsched.envs.job_shop.explain import explain
from jaxsched.envs.job_shop.labels import Labels
from jaxsched.envs.job_shop.lists import to_jobs
from jaxsched.envs.job_shop.orders import Orders
from jaxsched.envs.job_shop.types import Instance, Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MINUTES = (15, 30, 60, 120, 240, 480, 1440, 2880, 10080)  # steps of an axis of dates
_UNITS = ("time (ticks)", "time (date and hour)")


def gantt_svg(
    instance: Instance, schedule: Schedule, *, title: str | None = None, orders: Orders | None = None
) -> Picture:
    """The schedule as a self-contained SVG; pointing at a bar shows its job, operation, start and end.

    Jobs, operations and machines count from 0. Raises `ValueError` where the schedule does not fit the instance.
    """
    bars, labels = list(_bars(instance, schedule)), Labels(instance, orders)
    num_machines, span = _num_rows(bars), max((end for *_, end in bars), default=0)
    names = _rows(num_machines, labels)
    row = 34 if num_machines <= 10 else 26
    busiest = max((sum(bar[2] == machine for bar in bars) for machine in range(num_machines)), default=0)
    width, left, top = min(max(16 * busiest, 840), 1760), 26 + 8 * max(map(len, names), default=0), 40
    height = row * num_machines
    scale = width / max(span, 1)
    makespan = labels.span_text(int(schedule.makespan))
    heading = xml(f"{title} (makespan {makespan})" if title else f"Makespan {makespan}")

    total_width, total_height = left + width + 48, top + height + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_width} {total_height}" width="{total_width}" '
        f'height="{total_height}" role="img" font-family="sans-serif" '
        f'font-size="12" fill="#222"><title>{heading}</title>',
        f'<rect width="{total_width}" height="{total_height}" fill="#fff"/>',
        f'<text x="{left}" y="24" font-size="15" font-weight="bold">{heading}</text>',
    ]
    for machine, name in enumerate(names):
        y = top + machine * row
        shade = "#f3f3f3" if machine % 2 == 0 else "#fff"
        parts.append(f'<rect x="{left}" y="{y}" width="{width}" height="{row}" fill="{shade}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + row / 2}" text-anchor="end" dy=".35em">{xml(name)}</text>')
    for tick, text in _axis(span, labels):
        x = f"{left + tick * scale:.2f}"
        parts.append(f'<path d="M{x} {top}V{top + height + 5}" stroke="#ccc" stroke-width="1"/>')
        parts.append(f'<text x="{x}" y="{top + height + 18}" text-anchor="middle">{text}</text>')
    unit = _UNITS[labels.origin is not None]
    parts.append(f'<text x="{left + width / 2}" y="{top + height + 36}" text-anchor="middle">{unit}</text>')
    for job, op, machine, start, end in bars:
        x, wide, y = left + start * scale, max((end - start) * scale, 1.5), top + machine * row + 3
        colour, ink = colour_of(job)
        step = f"operation {op}" if orders is None else f"step {labels.step(job, op)}"
        tooltip = xml(
            f"{labels.job_text(job)}, {step}, {labels.machine_text(machine)}: {labels.time(start)} to "
            f"{labels.time(end)} (duration {labels.span_text(end - start)})"
        )
        label, name = "", str(labels.job(job))
        if wide >= 8 * len(name) + 4:
            label = (
                f'<text x="{x + wide / 2:.2f}" y="{y + row / 2 - 3}" text-anchor="middle" '
                f'dy=".35em" fill="{ink}">{xml(name)}</text>'
            )
        parts.append(
            f'<g class="operation" data-job="{job}"><title>{tooltip}</title><rect x="{x:.2f}" y="{y}" '
            f'width="{wide:.2f}" height="{row - 6}" fill="{colour}" stroke="#fff" stroke-width="0.7"/>{label}</g>'
        )
    parts.append("</svg>")
    return Picture("\n".join(parts))


def gantt_html(
    instance: Instance, schedule: Schedule, *, title: str | None = None, orders: Orders | None = None
) -> Picture:
    """The chart with `explain` and a table of the jobs as one page that needs nothing else.

    A click on a bar or a row of the table leaves only that job in colour. Raises `ValueError` for a schedule that is
    not valid.
    """
    picture, labels = gantt_svg(instance, schedule, title=title, orders=orders), Labels(instance, orders)
    objective = "weighted_tardiness" if bool(np.asarray(instance.due_mask).any()) else "makespan"
    reasons = "".join(
        f"<li>{xml(line)}</li>" for line in explain(instance, schedule, objective=objective, orders=orders)
    )
    release, due, due_mask = (np.asarray(leaf).tolist() for leaf in (instance.release, instance.due, instance.due_mask))
    rows = []
    for job, operations in enumerate(to_jobs(instance)):
        if not operations:
            continue
        end = int(schedule.start[job][-1]) + operations[-1][1]
        late = max(end - due[job], 0) if due_mask[job] else 0
        cells = [
            labels.job(job),
            len(operations),
            labels.time(release[job]),
            labels.time(int(schedule.start[job][0])),
            labels.time(end),
            labels.time(due[job]) if due_mask[job] else "",
            labels.span_text(late) if late else "",
        ]
        late_class = ' class="late"' if late else ""
        rows.append(f'<tr data-job="{job}"{late_class}>' + "".join(f"<td>{xml(str(c))}</td>" for c in cells) + "</tr>")
    heading = xml(title or "Schedule")
    page = _PAGE.format(title=heading, svg=picture.svg, reasons=reasons, rows="\n".join(rows))
    return Picture(picture.svg, page)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 14px/1.5 sans-serif; color: #222; margin: 1.5rem; }}
.chart {{ overflow-x: auto; }}
.operation, tr[data-job] {{ cursor: pointer; }}
.chosen .operation:not(.on) {{ opacity: .15; }}
table {{ border-collapse: collapse; margin-top: 1rem; }}
th, td {{ padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }}
th:first-child, td:first-child {{ text-align: left; }}
tr.on {{ background: #eef4fb; }}
tr.late td:last-child {{ color: #b00020; font-weight: bold; }}
</style></head><body>
<div class="chart">{svg}</div>
<ul>{reasons}</ul>
<table><thead><tr><th>job</th><th>operations</th><th>release</th><th>start</th><th>end</th><th>due</th><th>late</th></tr>
</thead><tbody>
{rows}
</tbody></table>
<script>
let chosen = null;
document.addEventListener("click", event => {{
  const hit = event.target.closest("[data-job]");
  chosen = hit && hit.dataset.job !== chosen ? hit.dataset.job : null;
  document.body.classList.toggle("chosen", chosen !== null);
  for (const element of document.querySelectorAll("[data-job]"))
    element.classList.toggle("on", element.dataset.job === chosen);
}});
</script></body></html>
"""


def gantt(instance: Instance, schedule: Schedule, ax: Axes | None = None, *, orders: Orders | None = None) -> Axes:
    """The schedule drawn with matplotlib on `ax`, or on a new figure of fitting size; returns the axes.

    Raises `ValueError` where the schedule does not fit the instance.
    """
    bars, labels = list(_bars(instance, schedule)), Labels(instance, orders)
    num_machines, span = _num_rows(bars), max((end for *_, end in bars), default=0)
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(11, 1.2 + 0.32 * num_machines), layout="constrained")
    assert ax is not None
    ax.set_xlim(0, max(span, 1))
    ax.set_ylim(num_machines - 0.5, -0.5)
    points_per_tick = ax.get_window_extent().width * 72 / ax.figure.dpi / max(span, 1)
    machines, starts = [bar[2] for bar in bars], [bar[3] for bar in bars]
    widths = [max(end - start, span / 1000) for *_, start, end in bars]  # a hairline for duration 0
    colours = [colour_of(job)[0] for job, *_ in bars]
    ax.barh(machines, widths, left=starts, height=0.82, color=colours, edgecolor="white", linewidth=0.5)
    for (job, _, machine, start, _), wide in zip(bars, widths, strict=True):
        name = str(labels.job(job))
        if wide * points_per_tick >= 5 * len(name) + 3:
            ink = colour_of(job)[1]
            ax.text(start + wide / 2, machine, name, ha="center", va="center", color=ink, fontsize=8, clip_on=True)
    ax.set_yticks(range(num_machines), _rows(num_machines, labels))
    if labels.origin is not None:
        ticks, texts = zip(*_axis(span, labels), strict=True)
        ax.set_xticks(ticks, texts)
    ax.set_xlabel(_UNITS[labels.origin is not None])
    ax.set_title(f"Makespan {labels.span_text(int(schedule.makespan))}", loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _bars(instance: Instance, schedule: Schedule) -> Iterator[tuple[int, int, int, int, int]]:
    """(job, operation, machine, start, end) of every operation."""
    for j, job in enumerate(to_jobs(instance)):
        row = schedule.start[j] if j < len(schedule.start) else []
        if len(row) != len(job):
            raise ValueError(f"job {j} has {len(job)} operations, but the schedule gives {len(row)} starts")
        for k, (machine, duration) in enumerate(job):
            yield j, k, machine, int(row[k]), int(row[k]) + duration


def _num_rows(bars: list[tuple[int, int, int, int, int]]) -> int:
    return 1 + max((machine for _, _, machine, _, _ in bars), default=0)


def _axis(span: int, labels: Labels) -> list[tuple[int, str]]:
    """Where the axis has a line and what stands there: round numbers, or dates at round hours."""
    if labels.origin is None:
        return [(tick, str(tick)) for tick in round_ticks(span)]
    step = next((step for step in _MINUTES if span / step <= 8), _MINUTES[-1] * (1 + span // (8 * _MINUTES[-1])))
    midnight = labels.origin.hour * 60 + labels.origin.minute  # minutes since
    first = -midnight % min(step, 1440)
    return [
        (tick, (labels.origin + datetime.timedelta(minutes=tick)).strftime("%m-%d %H:%M"))
        for tick in range(first, span + 1, step)
    ]


def _rows(num_machines: int, labels: Labels) -> list[str]:
    """What stands before each machine's row."""
    if labels.orders is None:
        return [f"M{machine}" for machine in range(num_machines)]
    return [_cut(str(labels.machine(machine))) for machine in range(num_machines)]


def _cut(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "\N{HORIZONTAL ELLIPSIS}"
