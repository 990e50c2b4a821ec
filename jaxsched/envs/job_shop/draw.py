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

from jaxsched.core.picture import Bar, Picture, bar_chart, draw_bars, round_ticks, xml
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
    span = max((end for *_, end in bars), default=0)
    makespan = labels.span_text(int(schedule.makespan))
    return bar_chart(
        f"{title} (makespan {makespan})" if title else f"Makespan {makespan}",
        _rows(_num_rows(bars), labels),
        [_bar(labels, *bar) for bar in bars],
        _axis(span, labels),
        _UNITS[labels.origin is not None],
        span=span,
        kind="operation",
    )


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
    span = max((end for *_, end in bars), default=0)
    ax = draw_bars(
        f"Makespan {labels.span_text(int(schedule.makespan))}",
        _rows(_num_rows(bars), labels),
        [_bar(labels, *bar) for bar in bars],
        _UNITS[labels.origin is not None],
        span=span,
        ax=ax,
    )
    if labels.origin is not None:
        ticks, texts = zip(*_axis(span, labels), strict=True)
        ax.set_xticks(ticks, texts)
    return ax


def _bar(labels: Labels, job: int, op: int, machine: int, start: int, end: int) -> Bar:
    step = f"operation {op}" if labels.orders is None else f"step {labels.step(job, op)}"
    tooltip = (
        f"{labels.job_text(job)}, {step}, {labels.machine_text(machine)}: {labels.time(start)} to "
        f"{labels.time(end)} (duration {labels.span_text(end - start)})"
    )
    return Bar(machine, start, end, job, str(labels.job(job)), tooltip)


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
