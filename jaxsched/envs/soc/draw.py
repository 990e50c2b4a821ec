"""Gantt charts of traces: PEs as rows, one bar per task, one colour per job, a mark where a job enters.

Bars are numbered by job, those of a single job by task.

SVG without dependencies, or matplotlib. Traces are drawn as they are, valid or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxsched.core.picture import Bar, Mark, Picture, bar_chart, draw_bars, round_ticks
from jaxsched.envs.soc.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UNIT = "time (us)"


def gantt_svg(trace: Trace, *, title: str | None = None) -> Picture:
    """The trace as a self-contained SVG; pointing at a bar shows its job, task, PE and times."""
    span = max(trace.makespan, trace.end)
    return bar_chart(
        f"{title} ({_summary(trace)})" if title else _summary(trace).capitalize(),
        trace.platform.pes,
        _bars(trace),
        [(tick, str(tick)) for tick in round_ticks(span)],
        _UNIT,
        span=span,
        kind="task",
        marks=[Mark(job.arrival, i, _job(trace, i)) for i, job in enumerate(trace.jobs)],
    )


def gantt(trace: Trace, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """The trace drawn with matplotlib on `ax`, or on a new figure of fitting size; returns the axes."""
    heading = f"{title} ({_summary(trace)})" if title else _summary(trace).capitalize()
    return draw_bars(heading, trace.platform.pes, _bars(trace), _UNIT, span=max(trace.makespan, trace.end), ax=ax)


def _summary(trace: Trace) -> str:
    unfinished = f", {len(trace.unfinished)} unfinished" if trace.unfinished else ""
    if not trace.completed:
        return f"no job completed{unfinished}"
    jobs = "1 job" if trace.completed == 1 else f"{trace.completed} jobs"
    return f"average latency {trace.average_latency:.1f} us, {jobs} completed{unfinished}"


def _bars(trace: Trace) -> list[Bar]:
    bars = []
    for job, task, pe, start, finish in trace.tasks:
        profile = trace.profiles[job]
        what = f"job {job} ({profile.name}), task {task} {profile.tasks[task]}, {trace.platform.pes[pe]}"
        number = job if len(trace.jobs) > 1 else task
        bars.append(Bar(pe, start, finish, job, str(number), f"{what}: {start} to {finish} ({finish - start} us)"))
    return bars


def _job(trace: Trace, i: int) -> str:
    job = trace.jobs[i]
    end = "unfinished" if job.finish is None else f"finishes at {job.finish}, latency {job.latency} us"
    return f"job {i} ({trace.profiles[i].name}) enters at {job.arrival}, {end}"
