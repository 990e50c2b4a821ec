"""Pictures of plans: time to the right, addresses upwards.

With `even` every section of time between two events is equally wide, so that what happens at once
can be told apart; without, time is to scale. Plans are drawn as they are, valid or not, so that a
fault of `verify` can be looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched.envs.memory.mapping.draw import mapping_svg
from jaxsched.envs.memory.mapping.program import Program
from jaxsched.envs.memory.mapping.types import Instance
from jaxsched.envs.memory.replacement.draw import replacement_svg
from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.envs.memory.types import Buffers, Plan, live_sizes
from jaxsched.host.chart import Box, Chart, Key, Line, Panel
from jaxsched.host.picture import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LIVE, _BOUND = Key("live size", "#222222", "line"), Key("lower bound", "#b00020", "dashed line")


def memory_map_svg(
    buffers: Buffers,
    plan: Plan,
    *,
    title: str | None = None,
    even: bool = True,
) -> Picture:
    """The plan as a picture; pointing at a buffer shows its id, life, size and offset.

    The line is the live size, the dashed line the lower bound. Raises `ValueError` where the plan
    does not have an offset for every buffer.
    """
    if len(plan.offsets) != len(buffers):
        raise ValueError(f"{len(buffers)} buffers, but the plan has {len(plan.offsets)} offsets")
    times, live = live_sizes(buffers)
    where = np.arange(len(times)) if even else times
    text = f"peak {plan.peak:,}, lower bound {plan.lower_bound:,}"
    text += ", optimal" if plan.proved else ""
    at = dict(zip(times.tolist(), where.tolist(), strict=True))
    start, end = (at[times[0]], at[times[-1]]) if len(times) else (0, 1)
    corners = (np.repeat(where, 2)[1:-1].tolist(), np.repeat(live[:-1], 2).tolist())
    points = list(zip(*corners, strict=True))
    panel = Panel(
        [
            _box(buffers, plan, at, *segment)
            for segment in zip(*map(np.ndarray.tolist, buffers.segments()), strict=True)
        ],
        top=max(int(plan.peak), int(plan.lower_bound), 1),
        label="address",
        lines=[
            Line(points, _LIVE.fill),
            Line([(start, plan.lower_bound), (end, plan.lower_bound)], _BOUND.fill, dashed=True),
        ],
    )
    chart = Chart(
        f"{title}: {text}" if title else text[0].upper() + text[1:],
        [panel],
        (start, end),
        "time (every section equally wide)" if even else "time",
        ticks=_ticks(times, where) if even else None,
        things="buffers",
        groups=[str(id) for id in buffers.ids],
        keys=[_LIVE, _BOUND],
    )
    return Picture(chart)


def draw_plan(
    problem: Buffers | Program | Instance | Graph,
    plan: Any,
    title: str | None = None,
) -> Picture:
    """The plan of a problem of any kind as a picture: see `memory_map_svg`, `mapping_svg`,
    `replacement_svg`.
    """
    if isinstance(problem, Buffers):
        return memory_map_svg(problem, plan, title=title)
    if isinstance(problem, Graph):
        return replacement_svg(problem, plan, title=title)
    return mapping_svg(problem, plan, title=title)


def memory_map(buffers: Buffers, plan: Plan, ax: Axes | None = None, *, even: bool = True) -> Axes:
    """The plan drawn with matplotlib on `ax`, or on a new figure of fitting size; returns the
    axes.

    Raises `ValueError` where the plan does not have an offset for every buffer.
    """
    return memory_map_svg(buffers, plan, even=even).plot(None if ax is None else [ax])[0]


def _box(buffers: Buffers, plan: Plan, at: dict[int, int], i: int, start: int, end: int) -> Box:
    """A live stretch of a buffer."""
    low, size, pinned = int(plan.offsets[i]), int(buffers.size[i]), bool(buffers.pinned[i])
    name = str(buffers.ids[i])
    tooltip = f"{name}: live [{start}, {end}), size {size:,}, addresses [{low:,}, {low + size:,})"
    style = "outlined" if pinned else "solid"
    if pinned:
        tooltip += ", pinned"
    return Box(at[start], at[end], low, low + size, i, name, tooltip, "buffer", style)


def _ticks(times: np.ndarray, where: np.ndarray) -> list[tuple[float, str]]:
    """About eight events, spread evenly over the axis."""
    chosen = np.unique(np.linspace(0, len(where) - 1, 8).round().astype(int)) if len(where) else []
    return [(int(where[i]), f"{int(times[i]):,}") for i in chosen]
