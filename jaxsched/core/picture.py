"""Drawings without dependencies: SVG text that notebooks show by themselves."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito (2008), safe for the colour-blind, without black; then the same lighter and darker. With more things the
# colours repeat: names in them and tooltips tell them apart.
_HUES = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0), (240, 228, 66))
_SHADES = (0.0, 0.5, -0.35)  # share of white, or of black where negative
GREY = "#8c8c8c"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A drawing as SVG text, or a page around it; notebooks show it by themselves."""

    svg: str = dataclasses.field(repr=False)  # a notebook stores the repr beside the picture
    page: str = dataclasses.field(repr=False, default="")

    def _repr_html_(self) -> str:
        return f'<div style="max-width:100%;overflow-x:auto">{self.svg}</div>'

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the page where there is one, else the SVG; `FileExistsError` where the file is in the way."""
        try:
            with open(path, "w" if overwrite else "x", encoding="utf-8", newline="\n") as file:
                file.write(self.page or self.svg)
        except FileExistsError:
            raise FileExistsError(f"{os.fspath(path)} exists; pass overwrite=True to replace it") from None


class Bar(NamedTuple):
    """A span of time on a row, in the colour of its group."""

    row: int
    start: int
    end: int
    group: int
    label: str  # where there is room for it
    tooltip: str = ""
    style: str = "solid"  # "hatched": stripes of that colour; "grey": of no group, drawn half as high


class Mark(NamedTuple):
    """A moment, marked above the rows in the colour of its group."""

    time: int
    group: int
    tooltip: str


def bar_chart(
    heading: str,
    rows: Sequence[str],
    bars: Sequence[Bar],
    axis: Sequence[tuple[int, str]],
    unit: str,
    *,
    span: int,
    kind: str = "bar",
    marks: Sequence[Mark] = (),
) -> Picture:
    """Bars on named rows over an axis of time from 0 to `span`; bars of length 0 are a hairline.

    `axis`: where it has a line and what stands there. Bars are groups `<g class="kind" data-job="group">`, those of
    another style than solid have it as their class.
    """
    row = 34 if len(rows) <= 10 else 26
    busiest = max((sum(bar.row == index for bar in bars) for index in range(len(rows))), default=0)
    width, left, top = min(max(16 * busiest, 840), 1760), 26 + 8 * max(map(len, rows), default=0), 40
    height = row * len(rows)
    scale = width / max(span, 1)
    total_width, total_height = left + width + 48, top + height + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_width} {total_height}" width="{total_width}" '
        f'height="{total_height}" role="img" font-family="sans-serif" '
        f'font-size="12" fill="#222"><title>{xml(heading)}</title>',
        f'<rect width="{total_width}" height="{total_height}" fill="#fff"/>',
        f'<text x="{left}" y="24" font-size="15" font-weight="bold">{xml(heading)}</text>',
    ]
    hatched = sorted({bar.group for bar in bars if bar.style == "hatched"})
    if hatched:
        parts.append("<defs>" + "".join(_stripes(group) for group in hatched) + "</defs>")
    for index, name in enumerate(rows):
        y = top + index * row
        shade = "#f3f3f3" if index % 2 == 0 else "#fff"
        parts.append(f'<rect x="{left}" y="{y}" width="{width}" height="{row}" fill="{shade}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + row / 2}" text-anchor="end" dy=".35em">{xml(name)}</text>')
    for tick, text in axis:
        x = f"{left + tick * scale:.2f}"
        parts.append(f'<path d="M{x} {top}V{top + height + 5}" stroke="#ccc" stroke-width="1"/>')
        parts.append(f'<text x="{x}" y="{top + height + 18}" text-anchor="middle">{text}</text>')
    parts.append(f'<text x="{left + width / 2}" y="{top + height + 36}" text-anchor="middle">{unit}</text>')
    for mark in marks:
        x = left + mark.time * scale
        parts.append(
            f'<path class="mark" d="M{x - 4:.2f} {top - 8}h8l-4 7z" fill="{colour_of(mark.group)[0]}">'
            f"<title>{xml(mark.tooltip)}</title></path>"
        )
    for bar in bars:
        x, wide, y = left + bar.start * scale, max((bar.end - bar.start) * scale, 1.5), top + bar.row * row + 3
        colour, ink = colour_of(bar.group)
        tall, shown = row - 6, kind if bar.style == "solid" else bar.style
        if bar.style == "hatched":
            colour = f"url(#stripes{bar.group})"
        elif bar.style == "grey":
            colour, y, tall = GREY, y + tall / 4, tall / 2
        label = ""
        if wide >= 8 * len(bar.label) + 4:
            label = (
                f'<text x="{x + wide / 2:.2f}" y="{y + row / 2 - 3}" text-anchor="middle" '
                f'dy=".35em" fill="{ink}">{xml(bar.label)}</text>'
            )
        parts.append(
            f'<g class="{shown}" data-job="{bar.group}"><title>{xml(bar.tooltip)}</title><rect x="{x:.2f}" y="{y}" '
            f'width="{wide:.2f}" height="{tall}" fill="{colour}" stroke="#fff" stroke-width="0.7"/>{label}</g>'
        )
    parts.append("</svg>")
    return Picture("\n".join(parts))


def draw_bars(
    heading: str, rows: Sequence[str], bars: Sequence[Bar], unit: str, *, span: int, ax: Axes | None = None
) -> Axes:
    """The same with matplotlib on `ax`, or on a new figure of fitting size; returns the axes."""
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(11, 1.2 + 0.32 * len(rows)), layout="constrained")
    assert ax is not None
    ax.set_xlim(0, max(span, 1))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    points_per_tick = ax.get_window_extent().width * 72 / ax.figure.dpi / max(span, 1)
    widths = [max(bar.end - bar.start, span / 1000) for bar in bars]  # a hairline for length 0
    colours = [colour_of(bar.group)[0] for bar in bars]
    lefts = [bar.start for bar in bars]
    for style in dict.fromkeys(bar.style for bar in bars):
        chosen = [i for i, bar in enumerate(bars) if bar.style == style]
        rows_, left, wide = ([values[i] for i in chosen] for values in ([bar.row for bar in bars], lefts, widths))
        own = [colours[i] for i in chosen]
        if style == "hatched":
            ax.barh(rows_, wide, left=left, height=0.82, color="white", edgecolor=own, linewidth=0.5, hatch="////")
        else:
            fill, tall = (GREY, 0.41) if style == "grey" else (own, 0.82)
            ax.barh(rows_, wide, left=left, height=tall, color=fill, edgecolor="white", linewidth=0.5)
    for bar, wide in zip(bars, widths, strict=True):
        if wide * points_per_tick >= 5 * len(bar.label) + 3:
            at, ink = (bar.start + wide / 2, bar.row), colour_of(bar.group)[1]
            ax.text(*at, bar.label, ha="center", va="center", color=ink, fontsize=8, clip_on=True)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xlabel(unit)
    ax.set_title(heading, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _stripes(group: int) -> str:
    """An SVG pattern `stripes<group>` in the colour of the group."""
    return (
        f'<pattern id="stripes{group}" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="6" height="6" fill="#fff"/>'
        f'<rect width="2.5" height="6" fill="{colour_of(group)[0]}"/></pattern>'
    )


def xml(text: str) -> str:
    """`text` as XML character data; characters that XML forbids become spaces."""
    return escape(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", text))


def colour_of(index: int) -> tuple[str, str]:
    """The colour of a thing by its number and the colour of the text on it that contrasts most."""
    share = _SHADES[index // len(_HUES) % len(_SHADES)]
    target = 255 if share > 0 else 0
    rgb = [round(channel + (target - channel) * abs(share)) for channel in _HUES[index % len(_HUES)]]
    linear = [(c / 255) ** 2.2 for c in rgb]  # WCAG 2 relative luminance, with the plain gamma
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#{:02x}{:02x}{:02x}".format(*rgb), "#000" if luminance > 0.18 else "#fff"


def round_ticks(span: int) -> range:
    """About ten round numbers from 0 to `span`: steps of 1, 2 or 5 times a power of ten."""
    step = 1
    while span / step > 12:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return range(0, span + 1, step)
