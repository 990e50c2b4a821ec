"""Pictures of plans: time to the right, addresses upwards; SVG without dependencies, or matplotlib.

With `even` every section of time between two events is equally wide, so that what happens at once can be told apart;
without, time is to scale. Plans are drawn as they are, valid or not, so that a fault of `verify` can be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from jaxsched.core.picture import Picture, colour_of, round_ticks, xml
from jaxsched.envs.memory.types import Buffers, Plan, live_sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT, _LEFT, _TOP = 960, 480, 96, 44


def memory_map_svg(buffers: Buffers, plan: Plan, *, title: str | None = None, even: bool = True) -> Picture:
    """The plan as a self-contained SVG; pointing at a buffer shows its id, life, size and offset.

    The line is the live size, the dashed line the lower bound. Raises `ValueError` where the plan does not have an
    offset for every buffer.
    """
    times, where = _axis(buffers, even)
    top = max(int(plan.peak), int(plan.lower_bound), 1)
    wide, high = _WIDTH / max(where[-1], 1e-9), _HEIGHT / top

    def x(at: float) -> float:
        return _LEFT + at * wide

    def y(address: float) -> float:
        return _TOP + _HEIGHT - address * high

    text = f"peak {plan.peak:,}, lower bound {plan.lower_bound:,}" + (", optimal" if plan.proved else "")
    heading = xml(f"{title}: {text}" if title else text[0].upper() + text[1:])
    total_width, total_height = _LEFT + _WIDTH + 48, _TOP + _HEIGHT + 48
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_width} {total_height}" width="{total_width}" '
        f'height="{total_height}" role="img" font-family="sans-serif" font-size="12" fill="#222">'
        f"<title>{heading}</title>",
        f'<rect width="{total_width}" height="{total_height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="24" font-size="15" font-weight="bold">{heading}</text>',
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="#f3f3f3"/>',
    ]
    for address in round_ticks(top):
        parts.append(f'<path d="M{_LEFT - 5} {y(address):.2f}H{_LEFT + _WIDTH}" stroke="#ccc" stroke-width="1"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y(address):.2f}" text-anchor="end" dy=".35em">{address:,}</text>')
    for i, begin, end, low, size in _boxes(buffers, plan):
        left, right = x(np.interp(begin, times, where)), x(np.interp(end, times, where))
        fill, ink = colour_of(i)
        name = str(buffers.ids[i])
        tooltip = xml(
            f"{name}: live [{begin}, {end}), size {size:,}, addresses [{low:,}, {low + size:,})"
            + (", pinned" if buffers.pinned[i] else "")
        )
        label = ""
        if right - left >= 7 * len(name) + 4 and size * high >= 14:
            label = (
                f'<text x="{(left + right) / 2:.2f}" y="{y(low + size / 2):.2f}" text-anchor="middle" dy=".35em" '
                f'fill="{ink}">{xml(name)}</text>'
            )
        stroke = "#222" if buffers.pinned[i] else "#fff"
        parts.append(
            f'<g class="buffer"><title>{tooltip}</title><rect x="{left:.2f}" y="{y(low + size):.2f}" '
            f'width="{max(right - left, 0.5):.2f}" height="{max(size * high, 0.5):.2f}" fill="{fill}" '
            f'stroke="{stroke}" stroke-width="0.7"/>{label}</g>'
        )
    steps = "".join(
        f"{'L' if k else 'M'}{x(np.interp(a, times, where)):.2f} {y(live):.2f}H{x(np.interp(b, times, where)):.2f}"
        for k, (a, b, live) in enumerate(_profile(buffers))
    )
    parts.append(f'<path d="{steps}" fill="none" stroke="#222" stroke-width="1.2"/>')
    parts.append(
        f'<path d="M{_LEFT} {y(plan.lower_bound):.2f}H{_LEFT + _WIDTH}" stroke="#b00020" stroke-dasharray="6 4"/>'
    )
    for at, tick in _ticks(times, where):
        parts.append(f'<text x="{x(at):.2f}" y="{_TOP + _HEIGHT + 18}" text-anchor="middle">{tick}</text>')
    parts.append(
        f'<text x="{_LEFT + _WIDTH / 2}" y="{_TOP + _HEIGHT + 38}" text-anchor="middle">{_label(even)}</text></svg>'
    )
    return Picture("\n".join(parts))


def memory_map(buffers: Buffers, plan: Plan, ax: Axes | None = None, *, even: bool = True) -> Axes:
    """The plan drawn with matplotlib on `ax`, or on a new figure; returns the axes.

    Raises `ValueError` where the plan does not have an offset for every buffer.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(11, 6), layout="constrained")
    assert ax is not None
    times, where = _axis(buffers, even)
    for i, begin, end, low, size in _boxes(buffers, plan):
        left, right = np.interp([begin, end], times, where)
        edge = "#222" if buffers.pinned[i] else "white"
        ax.bar(left, size, right - left, low, align="edge", color=colour_of(i)[0], edgecolor=edge, linewidth=0.5)
    profile = list(_profile(buffers))
    edges = [np.interp(a, times, where) for a, _, _ in profile] + [np.interp(profile[-1][1], times, where)]
    ax.stairs([live for *_, live in profile], edges, color="#222", linewidth=1.2, label="live", baseline=None)
    ax.axhline(plan.lower_bound, color="#b00020", linestyle="--", linewidth=1, label="lower bound")
    ax.set_xlim(where[0], where[-1])
    ax.set_ylim(0, max(int(plan.peak), int(plan.lower_bound), 1))
    positions, labels = zip(*_ticks(times, where), strict=True)
    ax.set_xticks(positions, labels)
    ax.set_xlabel(_label(even))
    ax.set_ylabel("address")
    ax.set_title(f"Peak {plan.peak:,}, lower bound {plan.lower_bound:,}", loc="left")
    ax.legend(loc="lower right")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _boxes(buffers: Buffers, plan: Plan) -> Iterator[tuple[int, int, int, int, int]]:
    """(buffer, start, end, offset, size) of every live stretch."""
    if len(plan.offsets) != len(buffers):
        raise ValueError(f"{len(buffers)} buffers, but the plan has {len(plan.offsets)} offsets")
    for i, begin, end in zip(*(values.tolist() for values in buffers.segments()), strict=True):
        yield i, begin, end, int(plan.offsets[i]), int(buffers.size[i])


def _profile(buffers: Buffers) -> Iterator[tuple[int, int, int]]:
    """(from, to, live size)."""
    times, live = live_sizes(buffers)
    yield from zip(times[:-1].tolist(), times[1:].tolist(), live[:-1].tolist(), strict=True)


def _axis(buffers: Buffers, even: bool) -> tuple[np.ndarray, np.ndarray]:
    """The times of events and where they stand, f64[T] each."""
    times = live_sizes(buffers)[0].astype(np.float64)
    return times, np.arange(len(times), dtype=np.float64) if even else times - times[0]


def _ticks(times: np.ndarray, where: np.ndarray) -> list[tuple[float, str]]:
    """About eight events, spread evenly over the axis."""
    chosen = np.unique(np.searchsorted(where, np.linspace(where[0], where[-1], 8)))
    return [(float(where[i]), str(int(times[i]))) for i in chosen]


def _label(even: bool) -> str:
    return "time (every section equally wide)" if even else "time"
