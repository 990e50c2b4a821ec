"""Gantt charts of shops without buffers: where a job stands blocked on its machine it is hatched, a machine that is
down is grey, across the operation that it interrupts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jaxsched.core.picture import Bar, Picture, bar_chart, draw_bars, round_ticks
from jaxsched.envs.job_shop.blocking.realised import work
from jaxsched.envs.job_shop.blocking.types import Instance, Schedule
from jaxsched.envs.job_shop.lists import to_jobs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UNIT = "time (ticks)"


def gantt_svg(instance: Instance, schedule: Schedule, *, title: str | None = None) -> Picture:
    """The schedule as a self-contained SVG; pointing at a bar shows its job, operation, start and end.

    Jobs, operations and machines count from 0. Raises `ValueError` where the schedule does not fit the instance.
    """
    bars, rows = _bars_and_rows(instance, schedule)
    span = max((bar.end for bar in bars), default=0)
    heading = f"{title} (makespan {schedule.makespan})" if title else f"Makespan {schedule.makespan}"
    axis = [(tick, str(tick)) for tick in round_ticks(span)]
    return bar_chart(heading, rows, bars, axis, _UNIT, span=span, kind="operation")


def gantt(instance: Instance, schedule: Schedule, ax: Axes | None = None) -> Axes:
    """The same drawn with matplotlib on `ax`, or on a new figure of fitting size; returns the axes."""
    bars, rows = _bars_and_rows(instance, schedule)
    span = max((bar.end for bar in bars), default=0)
    return draw_bars(f"Makespan {schedule.makespan}", rows, bars, _UNIT, span=span, ax=ax)


def _bars_and_rows(instance: Instance, schedule: Schedule) -> tuple[list[Bar], list[str]]:
    bars = list(_bars(instance, schedule))
    num_rows = max([len(schedule.down), *(1 + bar.row for bar in bars)])
    return bars, [f"M{machine}" for machine in range(num_rows)]


def _bars(instance: Instance, schedule: Schedule) -> Iterator[Bar]:
    """Operations, then the time in which their jobs stand blocked, then downtimes, which lie on top."""
    span = int(schedule.makespan)
    for j, job in enumerate([job for job in to_jobs(instance) if job]):
        row = schedule.start[j] if j < len(schedule.start) else []
        if len(row) != len(job):
            raise ValueError(f"job {j} has {len(job)} operations, but the schedule gives {len(row)} starts")
        for k, (machine, duration) in enumerate(job):
            start = int(row[k])
            end = work(schedule.down[machine] if machine < len(schedule.down) else [], start, duration)
            where = f"job {j}, operation {k}, machine {machine}"
            yield Bar(machine, start, end, j, str(j), f"{where}: {start} to {end} (duration {duration})")
            leaves = int(row[k + 1]) if k + 1 < len(job) else end
            if leaves > end:
                yield Bar(machine, end, leaves, j, "", f"{where}: blocked from {end} to {leaves}", "hatched")
    for machine, spans in enumerate(schedule.down):
        for start, end in spans:
            if start < span:
                text = f"machine {machine}: down from {start} to {end}"
                yield Bar(machine, start, min(end, span), 0, "", text, "grey")
