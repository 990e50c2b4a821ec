"""Gantt charts of traces: PEs as rows, one bar per task, one colour per job, a mark where a job
enters.

Bars are numbered by job, those of a single job by task. Traces are drawn as they are, valid or
not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxsched.envs.soc.trace import Trace
from jaxsched.host.chart import Box, Chart, Key, Mark, Panel, colour_of, time_span
from jaxsched.host.picture import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def gantt_svg(trace: Trace, *, title: str | None = None) -> Picture:
    """The trace as a picture; pointing at a bar shows its job, task, PE and times."""
    bars, marks = _bars(trace), _marks(trace)
    times = [time for bar in bars for time in (bar.start, bar.end)]
    chart = Chart(
        f"{title} ({_summary(trace)})" if title else _summary(trace).capitalize(),
        [Panel(bars, trace.platform.pes, marks=marks)],
        time_span([*times, *(mark.x for mark in marks), trace.end]),
        "time (us)",
        groups=[f"{i} {profile.name}" for i, profile in enumerate(trace.profiles)],
        keys=[Key("a job enters", "#fff", "down")] if marks else (),
    )
    return Picture(chart)


def gantt(trace: Trace, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """The trace drawn with matplotlib on `ax`, or on a new figure of fitting size; returns the
    axes.
    """
    return gantt_svg(trace, title=title).plot(None if ax is None else [ax])[0]


def _summary(trace: Trace) -> str:
    unfinished = f", {len(trace.unfinished)} unfinished" if trace.unfinished else ""
    if not trace.completed:
        return f"no job completed{unfinished}"
    jobs = "1 job" if trace.completed == 1 else f"{trace.completed} jobs"
    return f"average latency {trace.average_latency:.1f} us, {jobs} completed{unfinished}"


def _bars(trace: Trace) -> list[Box]:
    bars = []
    for job, task, pe, start, finish in trace.tasks:
        profile = trace.profiles[job]
        number = job if len(trace.jobs) > 1 else task
        tooltip = (
            f"job {job} ({profile.name}), task {task} {profile.tasks[task]}, "
            f"{trace.platform.pes[pe]}: {start} to {finish} ({finish - start} us)"
        )
        bars.append(Box(start, finish, pe, pe, job, str(number), tooltip, "task"))
    return bars


def _marks(trace: Trace) -> list[Mark]:
    """One above the rows for each job that enters."""
    marks = []
    for i, job in enumerate(trace.jobs):
        end = "unfinished"
        if job.finish is not None:
            end = f"finishes at {job.finish}, latency {job.latency} us"
        tooltip = f"job {i} ({trace.profiles[i].name}) enters at {job.arrival}, {end}"
        marks.append(Mark(job.arrival, -0.5, "down", colour_of(i)[0], tooltip, down=-5))
    return marks
