"""Gantt charts: machines as rows, one bar per operation, one colour per job. With `orders` jobs,
machines and times are called as in the file they come from.

Operations of duration 0 are drawn as a hairline. Schedules are drawn as they are, valid or not, so
that a fault reported by `validate` can be looked at.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from jaxsched.envs.job_shop.explain import explain
from jaxsched.envs.job_shop.labels import Labels
from jaxsched.envs.job_shop.orders import Orders
from jaxsched.envs.job_shop.types import Instance, Schedule
from jaxsched.host.chart import Box, Chart, Panel, time_span
from jaxsched.host.picture import Picture, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def gantt_svg(
    instance: Instance,
    schedule: Schedule,
    *,
    title: str | None = None,
    orders: Orders | None = None,
) -> Picture:
    """The schedule as a picture; pointing at a bar shows its job, operation, machine, start and
    end.

    Jobs, operations and machines count from 0. Raises `ValueError` where the schedule does not fit
    the instance.
    """
    labels = Labels(instance, orders)
    bars = _bars(schedule, labels)
    num_machines = 1 + max((int(bar.low) for bar in bars), default=0)
    num_jobs = 1 + max((bar.group or 0 for bar in bars), default=-1)
    makespan = labels.span_text(int(schedule.makespan))
    chart = Chart(
        f"{title} (makespan {makespan})" if title else f"Makespan {makespan}",
        [Panel(bars, [_machine(labels, machine) for machine in range(num_machines)])],
        time_span([time for bar in bars for time in (bar.start, bar.end)]),
        "time (ticks)" if labels.origin is None else "time (date and hour)",
        origin=labels.origin,
        groups=[str(labels.job(job)) for job in range(num_jobs)],
    )
    return Picture(chart)


def gantt_html(
    instance: Instance,
    schedule: Schedule,
    *,
    title: str | None = None,
    orders: Orders | None = None,
) -> Picture:
    """The same with `explain` and a table of the jobs, for a page that needs nothing else.

    A click on a bar or a row of the table leaves only that job in colour. Raises `ValueError` for
    a schedule that is not valid.
    """
    labels = Labels(instance, orders)
    objective = "weighted_tardiness" if bool(np.asarray(instance.due_mask).any()) else "makespan"
    leaves = (instance.release, instance.due, instance.due_mask)
    release, due, due_mask = (np.asarray(leaf).tolist() for leaf in leaves)
    rows = []
    for job, operations in enumerate(labels.jobs):
        if not operations:
            continue
        end = int(schedule.start[job][-1]) + operations[-1][1]
        late = max(end - due[job], 0) if due_mask[job] else 0
        cells = (
            labels.job(job),
            len(operations),
            labels.time(release[job]),
            labels.time(int(schedule.start[job][0])),
            labels.time(end),
            labels.time(due[job]) if due_mask[job] else "",
            labels.span_text(late) if late else "",
        )
        rows.append(Row(cells, job, late > 0))
    return dataclasses.replace(
        gantt_svg(instance, schedule, title=title, orders=orders),
        notes=explain(instance, schedule, objective=objective, orders=orders),
        columns=("job", "operations", "release", "start", "end", "due", "late"),
        rows=rows,
    )


def gantt(
    instance: Instance,
    schedule: Schedule,
    ax: Axes | None = None,
    *,
    orders: Orders | None = None,
) -> Axes:
    """The schedule drawn with matplotlib on `ax`, or on a new figure of fitting size; returns the
    axes.

    Raises `ValueError` where the schedule does not fit the instance.
    """
    return gantt_svg(instance, schedule, orders=orders).plot(None if ax is None else [ax])[0]


def _bars(schedule: Schedule, labels: Labels) -> list[Box]:
    """One for each operation, on the row of its machine, in the order of jobs and operations."""
    bars = []
    for job, operations in enumerate(labels.jobs):
        row = schedule.start[job] if job < len(schedule.start) else []
        if len(row) != len(operations):
            what = f"job {job} has {len(operations)} operations"
            raise ValueError(f"{what}, but the schedule gives {len(row)} starts")
        for op, (machine, duration) in enumerate(operations):
            start = int(row[op])
            end = start + duration
            step = f"operation {op}" if labels.orders is None else f"step {labels.step(job, op)}"
            name = str(labels.job(job))
            tooltip = (
                f"{labels.job_text(job)}, {step}, {labels.machine_text(machine)}: "
                f"{labels.time(start)} to {labels.time(end)} "
                f"(duration {labels.span_text(duration)})"
            )
            bars.append(Box(start, end, machine, machine, job, name, tooltip, "operation"))
    return bars


def _machine(labels: Labels, machine: int) -> str:
    """What stands before its row."""
    return f"M{machine}" if labels.orders is None else str(labels.machine(machine))
