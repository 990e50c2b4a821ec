"""Pictures of charts: SVG and pages without dependencies, which notebooks show by themselves; PNG, PDF and axes with
matplotlib.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.sax.saxutils import escape

from jaxsched.core.chart import (
    AXIS,
    FONT,
    GAP,
    GREY,
    HEADING,
    LINE,
    MANY,
    SMALL,
    Box,
    Chart,
    Key,
    Layout,
    Mark,
    Panel,
    arrange,
    clean,
    colour_of,
    fold,
    label_direction,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".svg", ".html", ".png", ".pdf")
_INK, _SHADE = "#222", "#f3f3f3"
_MARKERS = {"up": "^", "down": "v", "dot": "o"}
_POINTS = 0.75  # per pixel


class Row(NamedTuple):
    """A row of the table of a page."""

    cells: Sequence[object]
    group: int | None = None  # whose boxes it is about
    late: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
    """A chart, and on a page the lines and the table beside it; notebooks show the chart by themselves."""

    chart: Chart = dataclasses.field(repr=False)
    notes: Sequence[str] = dataclasses.field(repr=False, default=())
    columns: Sequence[str] = dataclasses.field(repr=False, default=())
    rows: Sequence[Row] = dataclasses.field(repr=False, default=())

    @functools.cached_property
    def svg(self) -> str:
        """The chart as self-contained SVG; pointing at a box shows what it is."""
        return _svg(self.chart)

    @property
    def page(self) -> str:
        """The chart, the lines and the table as one page of HTML that needs nothing else."""
        return _page(self)

    def figure(self) -> Figure:
        """The chart as a figure of matplotlib of fitting size."""
        from matplotlib.figure import Figure

        chart = fold(self.chart)
        layout = arrange(chart)
        figure = Figure(figsize=_inches(layout))
        _plot(chart, layout, _panel_axes(figure, layout))
        return figure

    def plot(self, axes: Sequence[Axes] | None = None) -> list[Axes]:
        """Draw with matplotlib on a new figure, or on given axes: the panels from above, the last one on the last.

        Axes of the user's own get as many names of rows, ticks and labels as they have room for, and a legend where it
        takes less than a third of their height. Returns the axes.
        """
        if axes is None:
            import matplotlib.pyplot as plt

            layout = arrange(self.chart)
            made = _panel_axes(plt.figure(figsize=_inches(layout)), layout)
            _plot(self.chart, layout, made)
            return made
        panels = [*self.chart.panels[: len(axes) - 1], self.chart.panels[-1]]
        chart = dataclasses.replace(self.chart, panels=panels)
        sizes = [ax.get_window_extent().size * 96 / ax.figure.dpi for ax in axes]
        # A layout engine may yet make them smaller.
        layout = arrange(chart, float(sizes[0][0]), [0.75 * float(height) for _, height in sizes])
        if layout.legend_height > sum(layout.heights) / 3:
            layout = layout._replace(keys=[])
        _plot(chart, layout, axes)
        return list(axes)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write an .svg, .html, .png or .pdf file; the errors are those of `check_path`."""
        suffix = check_path(path, overwrite)
        if suffix in (".svg", ".html"):
            content = (self.svg if suffix == ".svg" else self.page).encode()
        else:
            buffer = io.BytesIO()
            self.figure().savefig(buffer, format=suffix[1:], dpi=120)
            content = buffer.getvalue()
        with open(path, "wb" if overwrite else "xb") as file:
            file.write(content)

    def _repr_html_(self) -> str:
        return f'<div style="max-width:100%;overflow-x:auto">{self.svg}</div>'


def check_path(path: str | os.PathLike[str], overwrite: bool = False) -> str:
    """The kind of file that a picture is written as: one of `FORMATS`.

    Raises, before any work: `ValueError` for another kind, `ModuleNotFoundError` where it needs matplotlib and there is
    none, `FileExistsError` where the file is in the way, `FileNotFoundError` where there is no such folder.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{path}: a picture is written as {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    if suffix in (".png", ".pdf") and find_spec("matplotlib") is None:
        raise ModuleNotFoundError(f'{path}: {suffix} needs matplotlib, pip install "jaxsched[viz]"; .svg does not')
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True to replace it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    return suffix


def xml(text: str) -> str:
    """`text` as XML character data on one line; characters that XML forbids become spaces."""
    return escape(clean(text))


# SVG


def _svg(chart: Chart) -> str:
    chart = fold(chart)
    layout = arrange(chart)
    left, width = layout.left, layout.width
    total_width, total_height = (round(length) for length in layout.size)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_width} {total_height}" width="{total_width}" '
        f'height="{total_height}" role="img" font-family="sans-serif" font-size="{FONT}" fill="{_INK}">'
        f"<title>{xml(chart.heading)}</title>",
        f'<rect width="{total_width}" height="{total_height}" fill="#fff"/>',
        f'<text x="{left:.0f}" y="24" font-size="{HEADING}" font-weight="bold">{xml(_heading(chart, layout))}</text>',
    ]
    boxes = [box for panel in chart.panels for box in panel.boxes]
    hatched = {_fill(box) for box in boxes if box.style == "hatched"}
    hatched |= {key.fill for key in layout.keys if key.shape == "hatched"}
    if hatched:
        parts.append("<defs>" + "".join(_stripes(fill) for fill in sorted(hatched)) + "</defs>")
    top, many = layout.top, chart.num_boxes > MANY
    for i, (panel, height) in enumerate(zip(chart.panels, layout.heights, strict=True)):
        parts += _svg_panel(chart, layout, i, top, many)
        edges = [top - 10] if i == 0 and layout.tall else []
        if _ends_axis(chart, i):
            edges.append(top + height + 18)
        for x, text in layout.x_ticks[i]:
            at = left + (x - panel.shift - chart.span[0]) * width / (chart.span[1] - chart.span[0])
            for y in edges:
                parts.append(f'<text x="{at:.2f}" y="{y:.2f}" text-anchor="middle">{xml(text)}</text>')
        top += height + GAP
    bottom = layout.bottom
    parts.append(
        f'<text x="{left + width / 2:.2f}" y="{bottom + 36:.2f}" text-anchor="middle">{xml(chart.x_label)}</text>'
    )
    y = bottom + AXIS + LINE / 2
    if layout.title:
        parts.append(f'<text x="{left:.2f}" y="{y:.2f}" dy=".35em">{xml(layout.title)}</text>')
        y += LINE
    lines = -(-len(layout.keys) // layout.columns)
    for i, key in enumerate(layout.keys):
        x, at = left + i // lines * layout.key_width, y + i % lines * LINE
        parts.append(_svg_symbol(key, x, at))
        parts.append(f'<text class="key" x="{x + 20:.2f}" y="{at:.2f}" dy=".35em">{xml(key.name)}</text>')
    return "\n".join([*parts, "</svg>"])


def _svg_panel(chart: Chart, layout: Layout, number: int, top: float, many: bool) -> list[str]:
    panel, height, left, width = chart.panels[number], layout.heights[number], layout.left, layout.width
    start_of_axis, (lower, upper) = chart.span[0] + panel.shift, panel.y_range
    across, up = width / (chart.span[1] - chart.span[0]), height / (upper - lower)  # pixels per unit; up < 0 on rows

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (x - start_of_axis) * across, top + (upper - y) * up

    parts = [f'<rect x="{left:.2f}" y="{top:.2f}" width="{width}" height="{height}" fill="{_SHADE}"/>']
    for row in range(1, len(panel.rows), 2):
        y = place(0, row - 0.5)[1]
        parts.append(f'<rect x="{left:.2f}" y="{y:.2f}" width="{width}" height="{abs(up):.2f}" fill="#fff"/>')
    for x, _ in layout.x_ticks[number]:
        parts.append(f'<path d="M{place(x, 0)[0]:.2f} {top:.2f}v{height + 5}" stroke="#ccc"/>')
    for at, text in layout.y_ticks[number]:
        y = place(0, at)[1]
        if not panel.rows:
            parts.append(f'<path d="M{left - 5:.2f} {y:.2f}h{width + 5}" stroke="#ccc"/>')
        full = panel.rows[int(at)] if panel.rows else text
        hover = f"<title>{xml(full)}</title>" if full != text else ""
        parts.append(
            f'<text class="row" x="{left - 8:.2f}" y="{y:.2f}" text-anchor="end" dy=".35em">{xml(text)}{hover}</text>'
        )
    if panel.label:
        at = f"translate(16 {top + height / 2:.0f}) rotate(-90)"
        parts.append(f'<text transform="{at}" text-anchor="middle">{xml(panel.label)}</text>')

    merged: dict[tuple[str, str], list[str]] = {}
    labels = []
    for box in panel.boxes:
        start, end, low, high = panel.outline(box, across, abs(up))
        x, (_, y) = place(start, 0)[0], place(0, low if panel.rows else high)
        wide, tall = (end - start) * across, abs(high - low) * abs(up)
        data = f'class="{box.kind}"' + ("" if box.group is None else f' data-group="{box.group}"')
        paint = _svg_paint(box.style, _fill(box), wide)
        label = _svg_label(box, x, y, wide, tall)
        if many and box.style != "clear":
            merged.setdefault((data, paint), []).append(f"M{x:.1f} {y:.1f}h{wide:.1f}v{tall:.1f}h-{wide:.1f}z")
            labels.append(label)
            continue
        parts.append(
            f'<g {data}><title>{xml(box.tooltip)}</title><rect x="{x:.2f}" y="{y:.2f}" width="{wide:.2f}" '
            f'height="{tall:.2f}" {paint}/>{label}</g>'
        )
    for (data, paint), shapes in merged.items():
        group = data.rpartition('data-group="')[2][:-1]
        name = chart.groups[int(group)] if chart.groups and group.isdigit() else ""
        parts.append(f'<path {data} {paint} d="{"".join(shapes)}"><title>{xml(name)}</title></path>')
    parts += filter(None, labels)

    for line in panel.lines:
        points = " ".join("{:.2f},{:.2f}".format(*place(*point)) for point in line.points)
        dashes = ' stroke-dasharray="6 4"' if line.dashed else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="1.2"{dashes}/>')
    for mark in panel.marks:
        x, y = place(mark.x, mark.y)
        parts.append(_svg_mark(mark.shape, mark.fill, x + mark.right, y + mark.down, mark))
    return parts


def _ends_axis(chart: Chart, number: int) -> bool:
    """Whether the panel below has another time axis, or there is none."""
    panels = chart.panels
    return number + 1 == len(panels) or panels[number + 1].shift != panels[number].shift


def _svg_paint(style: str, fill: str, wide: float) -> str:
    """The attributes of a box; an edge would hide one that is hardly wider."""
    if style == "clear":
        return 'fill-opacity="0"'
    if style == "hatched":
        fill = f"url(#stripes{fill[1:]})"
    edge = _INK if style in ("outlined", "dashed") else "#fff"
    dashes = ' stroke-dasharray="4 3" fill-opacity="0.65"' if style == "dashed" else ""
    return f'fill="{fill}"' + (f' stroke="{edge}" stroke-width="0.7"{dashes}' if wide >= 3 else "")


def _svg_label(box: Box, x: float, y: float, wide: float, tall: float) -> str:
    direction = label_direction(box.label, wide, tall)
    if not direction:
        return ""
    middle = f"{x + wide / 2:.2f} {y + tall / 2:.2f}"
    turn = " rotate(-90)" if direction == "up" else ""
    return (
        f'<text transform="translate({middle}){turn}" text-anchor="middle" dy=".35em" font-size="{SMALL}" '
        f'fill="{_ink(box)}">{xml(box.label)}</text>'
    )


def _svg_mark(shape: str, fill: str, x: float, y: float, mark: Mark | None = None) -> str:
    path = {"up": "m-5 4.5l5 -9l5 9z", "down": "m-5 -4.5l5 9l5 -9z", "dot": "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z"}[
        shape
    ]
    kind, title = ("", "") if mark is None else (f'class="{mark.kind}" ', f"<title>{xml(mark.tooltip)}</title>")
    return f'<path {kind}d="M{x:.2f} {y:.2f}{path}" fill="{fill}" stroke="{_INK}" stroke-width="0.7">{title}</path>'


def _svg_symbol(key: Key, x: float, y: float) -> str:
    """What stands before the name in the legend."""
    if key.shape in _MARKERS:
        return _svg_mark(key.shape, key.fill, x + 7, y)
    if key.shape.endswith("line"):
        dashes = ' stroke-dasharray="6 4"' if key.shape.startswith("dashed") else ""
        return f'<path d="M{x:.2f} {y:.2f}h15" stroke="{key.fill}" stroke-width="1.5"{dashes}/>'
    paint = _svg_paint(key.shape, key.fill, 14)
    return f'<rect x="{x:.2f}" y="{y - 6:.2f}" width="14" height="12" {paint}/>'


def _stripes(fill: str) -> str:
    """An SVG pattern in that colour."""
    return (
        f'<pattern id="stripes{fill[1:]}" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="6" height="6" fill="#fff"/>'
        f'<rect width="2.5" height="6" fill="{fill}"/></pattern>'
    )


def _fill(box: Box) -> str:
    return box.fill or (GREY if box.group is None else colour_of(box.group)[0])


def _ink(box: Box) -> str:
    return "#000" if box.fill or box.group is None else colour_of(box.group)[1]


def _heading(chart: Chart, layout: Layout) -> str:
    """As much of it as there is room for in bold type."""
    return shorten(chart.heading, pixels=0.9 * layout.width * FONT / HEADING)


# Pages


def _page(picture: Picture) -> str:
    """The chart, the lines, the table; a click on a box or a row leaves only that group in colour."""
    heading = xml(picture.chart.heading)
    notes = "".join(f"<li>{xml(note)}</li>" for note in picture.notes)
    head = "".join(f"<th>{xml(column)}</th>" for column in picture.columns)
    rows = []
    for row in picture.rows:
        data = "" if row.group is None else f' data-group="{row.group}"'
        late = ' class="late"' if row.late else ""
        rows.append(f"<tr{data}{late}>" + "".join(f"<td>{xml(str(cell))}</td>" for cell in row.cells) + "</tr>")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table>" if rows else ""
    return _PAGE.format(title=heading, svg=picture.svg, notes=f"<ul>{notes}</ul>" if notes else "", table=table)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 14px/1.5 sans-serif; color: #222; margin: 1.5rem; }}
.chart {{ overflow-x: auto; }}
[data-group] {{ cursor: pointer; }}
.chosen svg [data-group]:not(.on) {{ opacity: .15; }}
table {{ border-collapse: collapse; margin-top: 1rem; }}
th, td {{ padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }}
th:first-child, td:first-child {{ text-align: left; }}
tr.on {{ background: #eef4fb; }}
tr.late td:last-child {{ color: #b00020; font-weight: bold; }}
</style></head><body>
<div class="chart">{svg}</div>
{notes}
{table}
<script>
let chosen = null;
document.addEventListener("click", event => {{
  const hit = event.target.closest("[data-group]");
  chosen = hit && hit.dataset.group !== chosen ? hit.dataset.group : null;
  document.body.classList.toggle("chosen", chosen !== null);
  for (const element of document.querySelectorAll("[data-group]"))
    element.classList.toggle("on", element.dataset.group === chosen);
}});
</script></body></html>
"""


# matplotlib


def _inches(layout: Layout) -> tuple[float, float]:
    width, height = layout.size
    return width / 96, height / 96


def _panel_axes(figure: Figure, layout: Layout) -> list[Axes]:
    """One for each panel, where `_svg` has it."""
    width, height = layout.size
    axes, top = [], layout.top
    for tall in layout.heights:
        place = (layout.left / width, 1 - (top + tall) / height, layout.width / width, tall / height)
        axes.append(figure.add_axes(place))
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
        ax.set_yticks(*zip(*layout.y_ticks[i], strict=True), parse_math=False, fontsize=FONT * _POINTS)
        ax.set_ylabel(clean(panel.label), fontsize=FONT * _POINTS)
        ticks = layout.x_ticks[i]
        ax.set_xticks([x for x, _ in ticks], [text for _, text in ticks], fontsize=FONT * _POINTS)
        above = layout.tall and i == 0
        ax.tick_params(labelbottom=_ends_axis(chart, i), labeltop=above, top=above)
        _plot_boxes(ax, panel, layout.width / (chart.span[1] - chart.span[0]), height, many)
        _plot_marks(ax, chart, layout, panel, height)
    style: dict[str, Any] = {"loc": "left", "fontsize": HEADING * _POINTS, "fontweight": "bold"}
    axes[0].set_title(_heading(chart, layout), pad=16 * _POINTS, parse_math=False, **style)
    axes[-1].set_xlabel(chart.x_label, fontsize=FONT * _POINTS)
    if not layout.keys:
        return
    legend = axes[-1].legend(
        [_handle(key) for key in layout.keys],
        [""] * len(layout.keys),  # set below: matplotlib would drop names with _ first, and read $ as mathematics
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
        paint = _paint(box.style, _fill(box), wide)
        if many:  # a patch takes a third of a millisecond
            corners = ((start, low), (end, low), (end, high), (start, high))
            merged.setdefault(box.style, []).append((corners, paint))
        else:
            ax.add_artist(Rectangle((start, low), end - start, high - low, **paint))
        direction = label_direction(box.label, wide, tall)
        if direction:
            ax.text(
                (start + end) / 2,
                (low + high) / 2,
                clean(box.label),
                ha="center",
                va="center",
                color=_ink(box),
                fontsize=SMALL * _POINTS,
                rotation=90 if direction == "up" else 0,
                clip_on=True,
                parse_math=False,
            )
    for shapes in merged.values():
        every: dict[str, Any] = dict(shapes[0][1])
        for name in ("facecolor", "edgecolor", "linewidth"):
            every[name] = [paint[name] for _, paint in shapes]
        ax.add_collection(PolyCollection([corners for corners, _ in shapes], **every), autolim=False)


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
    right = (chart.span[1] - chart.span[0]) / layout.width  # units per pixel
    down = (panel.y_range[0] - panel.y_range[1]) / height
    for shape, fill in dict.fromkeys((mark.shape, mark.fill) for mark in panel.marks):
        mine = [mark for mark in panel.marks if (mark.shape, mark.fill) == (shape, fill)]
        ax.scatter(
            [mark.x + mark.right * right for mark in mine],
            [mark.y + mark.down * down for mark in mine],
            s=14 if shape == "dot" else 36,
            marker=_MARKERS[shape],
            color=fill,
            edgecolor=_INK,
            linewidth=0.5,
            clip_on=False,
            zorder=3,
        )


def _paint(style: str, fill: str, wide: float) -> dict[str, Any]:
    """The properties of a patch, as `_svg_paint` has them."""
    if style == "hatched":
        return {"facecolor": "white", "edgecolor": fill, "linewidth": 0.5, "hatch": "////"}
    if style == "dashed":
        return {"facecolor": fill, "edgecolor": _INK, "linewidth": 0.5, "linestyle": "--", "alpha": 0.65}
    edge = _INK if style == "outlined" else "white"
    return {"facecolor": fill, "edgecolor": edge, "linewidth": 0.5 if wide >= 3 else 0}


def _handle(key: Key) -> Any:
    """What stands before the name in the legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if key.shape in _MARKERS:
        return Line2D([], [], linestyle="", marker=_MARKERS[key.shape], color=key.fill, markeredgecolor=_INK)
    if key.shape.endswith("line"):
        return Line2D([], [], color=key.fill, linestyle="--" if key.shape.startswith("dashed") else "-")
    return Patch(**_paint(key.shape, key.fill, 14))
