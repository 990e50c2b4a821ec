"""Charts drawn with matplotlib, on a figure of fitting size or on axes of the user's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxsched.host.chart import (
    AXIS,
    FONT,
    GAP,
    HEADING,
    INK,
    MANY,
    SMALL,
    Chart,
    Key,
    Layout,
    Panel,
    arrange,
    clean,
    fit_label,
    fold,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = {"up": "^", "down": "v", "dot": "o"}
_POINTS = 0.75  # per pixel


def render_figure(chart: Chart) -> Figure:
    """The chart on a figure of its own size, for a file."""
    from matplotlib.figure import Figure

    chart = fold(chart)
    layout = arrange(chart)
    figure = Figure(figsize=_inches(layout))
    _plot(chart, layout, _panel_axes(figure, layout))
    return figure


def draw_on(chart: Chart, axes: Sequence[Axes] | None) -> list[Axes]:
    """The chart on a new figure of pyplot, or on given axes; see `Picture.plot`."""
    if axes is None:
        import matplotlib.pyplot as plt

        layout = arrange(chart)
        axes = _panel_axes(plt.figure(figsize=_inches(layout)), layout)
    else:
        panels = [*chart.panels[: len(axes) - 1], chart.panels[-1]]
        chart = dataclasses.replace(chart, panels=panels)
        places = [ax.get_window_extent() for ax in axes]
        scale = 96 / axes[0].figure.dpi
        # A layout engine may yet make them smaller.
        heights = [0.75 * place.height * scale for place in places]
        layout = arrange(chart, places[0].width * scale, heights)
        if layout.legend_height > sum(heights) / 3:
            layout = layout._replace(keys=[])
    _plot(chart, layout, axes)
    return list(axes)


def _inches(layout: Layout) -> tuple[float, float]:
    width, height = layout.size
    return width / 96, height / 96


def _panel_axes(figure: Figure, layout: Layout) -> list[Axes]:
    """One for each panel, where the SVG has it."""
    width, height = layout.size
    axes, top = [], layout.top
    for tall in layout.heights:
        low, across = 1 - (top + tall) / height, layout.width / width
        axes.append(figure.add_axes((layout.left / width, low, across, tall / height)))
        top += tall + GAP
    return axes


def _plot(chart: Chart, layout: Layout, axes: Sequence[Axes]) -> None:
    many = chart.num_boxes > MANY
    for i, (panel, height, ax) in enumerate(zip(chart.panels, layout.heights, axes, strict=True)):
        ax.set_xlim(chart.span[0] + panel.shift, chart.span[1] + panel.shift)
        ax.set_ylim(*panel.y_range)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_axisbelow(True)
        ax.grid(color="#ddd", linewidth=0.6)
        positions, names = zip(*layout.y_ticks[i], strict=True)
        ax.set_yticks(positions, names, parse_math=False, fontsize=FONT * _POINTS)
        ax.set_ylabel(clean(panel.label), fontsize=FONT * _POINTS)
        ticks = layout.x_ticks[i]
        ax.set_xticks([x for x, _ in ticks], [text for _, text in ticks], fontsize=FONT * _POINTS)
        above = layout.tall and i == 0
        ax.tick_params(labelbottom=chart.ends_axis(i), labeltop=above, top=above)
        _plot_boxes(ax, panel, layout.width / chart.length, height, many)
        _plot_marks(ax, chart, layout, panel, height)
    style: dict[str, Any] = {"loc": "left", "fontsize": HEADING * _POINTS, "fontweight": "bold"}
    axes[0].set_title(layout.heading, pad=16 * _POINTS, parse_math=False, **style)
    axes[-1].set_xlabel(chart.x_label, fontsize=FONT * _POINTS)
    if not layout.keys:
        return
    legend = axes[-1].legend(
        [_handle(key) for key in layout.keys],
        [""] * len(layout.keys),  # set below: _ first would hide one, $ is read as mathematics
        title=layout.title,
        loc="upper left",
        bbox_to_anchor=(0, -AXIS / layout.heights[-1]),
        ncols=layout.columns,
        fontsize=FONT * _POINTS,
        title_fontsize=FONT * _POINTS,
        alignment="left",
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.2,
        handletextpad=0.5,
        columnspacing=1.5,
        labelspacing=0.35,
    )
    for text, key in zip(legend.get_texts(), layout.keys, strict=True):
        text.set_parse_math(False)
        text.set_text(key.name)


def _plot_boxes(ax: Axes, panel: Panel, across: float, height: float, many: bool) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Rectangle

    up = height / abs(panel.y_range[1] - panel.y_range[0])
    merged: dict[str, list[tuple[Any, dict[str, Any]]]] = {}
    for box in panel.boxes:
        if box.style == "clear":
            continue
        start, end, low, high = panel.outline(box, across, up)
        wide, tall = (end - start) * across, (high - low) * up
        fill, ink = box.colours
        paint = _paint(box.style, fill, wide)
        if many:  # a patch takes a third of a millisecond
            corners = ((start, low), (end, low), (end, high), (start, high))
            merged.setdefault(box.style, []).append((corners, paint))
        else:
            ax.add_artist(Rectangle((start, low), end - start, high - low, **paint))
        label, upwards = fit_label(box.label, wide, tall)
        if label:
            ax.text(
                (start + end) / 2,
                (low + high) / 2,
                clean(label),
                ha="center",
                va="center",
                color=ink,
                fontsize=SMALL * _POINTS,
                rotation=90 if upwards else 0,
                clip_on=True,
                parse_math=False,
            )
    for shapes in merged.values():
        every: dict[str, Any] = dict(shapes[0][1])
        for name in ("facecolor", "edgecolor", "linewidth"):
            every[name] = [paint[name] for _, paint in shapes]
        corners = [corners for corners, _ in shapes]
        ax.add_collection(PolyCollection(corners, **every), autolim=False)


def _plot_marks(ax: Axes, chart: Chart, layout: Layout, panel: Panel, height: float) -> None:
    for line in panel.lines:
        ax.plot(
            [x for x, _ in line.points],
            [y for _, y in line.points],
            color=line.colour,
            linewidth=0.9,
            linestyle="--" if line.dashed else "-",
            zorder=2.5,
        )
    right = chart.length / layout.width  # units per pixel
    down = (panel.y_range[0] - panel.y_range[1]) / height
    for shape, fill in dict.fromkeys((mark.shape, mark.fill) for mark in panel.marks):
        mine = [mark for mark in panel.marks if (mark.shape, mark.fill) == (shape, fill)]
        ax.scatter(
            [mark.x + mark.right * right for mark in mine],
            [mark.y + mark.down * down for mark in mine],
            s=14 if shape == "dot" else 36,
            marker=_MARKERS[shape],
            color=fill,
            edgecolor=INK,
            linewidth=0.5,
            clip_on=False,
            zorder=3,
        )


def _paint(style: str, fill: str, wide: float) -> dict[str, Any]:
    """The properties of a patch, as the SVG has them."""
    if style == "hatched":
        return {"facecolor": "white", "edgecolor": fill, "linewidth": 0.5, "hatch": "////"}
    if style == "dashed":
        paint = {"facecolor": fill, "edgecolor": INK, "linewidth": 0.5}
        return {**paint, "linestyle": "--", "alpha": 0.65}
    edge = INK if style == "outlined" else "white"
    return {"facecolor": fill, "edgecolor": edge, "linewidth": 0.5 if wide >= 3 else 0}


def _handle(key: Key) -> Any:
    """What stands before the name in the legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if key.shape in _MARKERS:
        marker = _MARKERS[key.shape]
        return Line2D([], [], linestyle="", marker=marker, color=key.fill, markeredgecolor=INK)
    if key.shape.endswith("line"):
        dashes = "--" if key.shape.startswith("dashed") else "-"
        return Line2D([], [], color=key.fill, linestyle=dashes)
    return Patch(**_paint(key.shape, key.fill, 14))
