"""Gantt charts of shops without buffers: where a job stands blocked on its machine it is hatched,
a machine that is down is grey along the lower edge of its row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jaxsched.envs.job_shop.blocking.realised import work
from jaxsched.envs.job_shop.blocking.types import Instance, Schedule
from jaxsched.envs.job_shop.lists import to_jobs
from jaxsched.host.chart import GREY, Box, Chart, Key, Panel, time_span
from jaxsched.host.picture import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KEYS = {"hatched": Key("blocked", GREY, "hatched"), "thin": Key("machine down", GREY)}


def gantt_svg(instance: Instance, schedule: Schedule, *, title: str | None = None) -> Picture:
    """The schedule as a picture; pointing at a bar shows its job, operation, machine, start and
    end.

    Jobs, operations and machines count from 0. Raises `ValueError` where the schedule does not fit
    the instance.
    """
    jobs = [job for job in to_jobs(instance) if job]
    bars = sorted(_bars(jobs, schedule), key=lambda bar: bar.style != "hatched")  # beneath the rest
    num_machines = max([len(schedule.down), *(1 + int(bar.low) for bar in bars)])
    styles = {bar.style for bar in bars}
    chart = Chart(
        f"{title} (makespan {schedule.makespan})" if title else f"Makespan {schedule.makespan}",
        [Panel(bars, [f"M{machine}" for machine in range(num_machines)])],
        time_span([time for bar in bars for time in (bar.start, bar.end)]),
        "time (ticks)",
        groups=[str(job) for job in range(len(jobs))],
        keys=[key for style, key in _KEYS.items() if style in styles],
    )
    return Picture(chart)


def gantt(instance: Instance, schedule: Schedule, ax: Axes | None = None) -> Axes:
    """The schedule drawn with matplotlib on `ax`, or on a new figure of fitting size; returns the
    axes.

    Raises `ValueError` where the schedule does not fit the instance.
    """
    return gantt_svg(instance, schedule).plot(None if ax is None else [ax])[0]


def _bars(jobs: list[list[tuple[int, int]]], schedule: Schedule) -> Iterator[Box]:
    """Operations, the time in which their jobs stand blocked, and downtimes, which lie on top."""
    span = int(schedule.makespan)
    for j, job in enumerate(jobs):
        row = schedule.start[j] if j < len(schedule.start) else []
        if len(row) != len(job):
            what = f"job {j} has {len(job)} operations"
            raise ValueError(f"{what}, but the schedule gives {len(row)} starts")
        for k, (machine, duration) in enumerate(job):
            start = int(row[k])
            down = schedule.down[machine] if machine < len(schedule.down) else []
            end = work(down, start, duration)
            where = f"job {j}, operation {k}, machine {machine}"
            text = f"{where}: {start} to {end} (duration {duration})"
            yield Box(start, end, machine, machine, j, str(j), text, "operation")
            leaves = int(row[k + 1]) if k + 1 < len(job) else end
            if leaves > end:
                text = f"{where}: blocked from {end} to {leaves}"
                yield Box(end, leaves, machine, machine, j, "", text, "hatched", "hatched")
    for machine, spans in enumerate(schedule.down):
        for start, end in spans:
            if start < span:
                text = f"machine {machine}: down from {start} to {end}"
                yield Box(start, min(end, span), machine, machine, None, "", text, "grey", "thin")
