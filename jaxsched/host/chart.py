"""What a chart shows and where it stands: boxes, marks and lines in panels, one below the other,
over one axis of time.

A chart is data in the units of its axes. `arrange` finds its sizes by what is in it: so much width
and height that most boxes hold their label, rows that hold their name, within bounds. Lengths on
paper are pixels of 1/96 inch. `picture` renders the same chart as SVG, as a page and with
matplotlib.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

FONT, SMALL, HEADING = 12, 11, 15  # heights of text: axes and legend, inside a box, heading
AXIS, LINE, GAP = 48, 18, 26  # below the lowest panel; a line of the legend; between two panels
MANY = 10_000  # with more boxes than this, those of one group become one shape
INK, GREY = "#222", "#8c8c8c"

_WIDTH, _HEIGHT = (840, 2200), (360, 1200)  # least and most, of a panel
_ROWS_HEIGHT = 6000  # at most, of all rows together: more than 300 become thinner
_TALL = 700  # a higher panel has a time axis above, too
_LONGEST_LABEL = 80  # a longer label does not make the chart wider
_SHORTEST_LABEL = 6  # characters, of a label that is cut
_LONGEST_NAME, _LONGEST_KEY = 24, 40  # characters, of a row's name and of an entry of the legend
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 1440, 2880, 10080)  # steps of an axis of dates

# Okabe & Ito (2008), safe for the colour-blind, without black; then the same lighter and darker.
_HUES = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
)
_SHADES = (0.0, 0.5, -0.35)  # share of white, or of black where negative
COLOURS = len(_HUES) * len(_SHADES)  # with more groups the colours repeat


class Box(NamedTuple):
    """A rectangle: a span of the time axis, and of addresses or of rows (from row `low` to row
    `high`, from 0).
    """

    start: float
    end: float
    low: float
    high: float
    group: int | None = None  # what it belongs to: its colour, and its entry in the legend
    label: str = ""  # where there is room for it
    tooltip: str = ""
    kind: str = "box"  # the class of its SVG element
    # "solid", "hatched", "dashed", "outlined", "thin" (along the lower edge of a row) or "clear"
    # (only its tooltip).
    style: str = "solid"
    fill: str = ""  # instead of the colour of the group

    @property
    def colours(self) -> tuple[str, str]:
        """Of the box, and of text in it."""
        if self.fill or self.group is None:
            return self.fill or GREY, "#000"
        return colour_of(self.group)


class Mark(NamedTuple):
    """A small shape at a point, moved by some pixels."""

    x: float
    y: float
    shape: str  # "up" or "down", triangles, or "dot"
    fill: str
    tooltip: str = ""
    kind: str = "mark"
    right: float = 0.0  # pixels
    down: float = 0.0


class Line(NamedTuple):
    """A line through points."""

    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


class Key(NamedTuple):
    """An entry of the legend: a style of boxes, a shape of marks, "line" or "dashed line"."""

    name: str
    fill: str
    shape: str = "solid"


class Panel(NamedTuple):
    """Boxes on named rows, from above, or over an axis from 0 to `top`, from below."""

    boxes: Sequence[Box]
    rows: Sequence[str] = ()  # their names; empty: an axis
    top: float = 1
    label: str = ""  # of the axis
    marks: Sequence[Mark] = ()
    lines: Sequence[Line] = ()
    height: int | None = None  # pixels; None: by the content
    shift: float = 0  # where its time axis starts after that of the chart

    @property
    def y_range(self) -> tuple[float, float]:
        """Where the lower and the upper edge are; row `i` is from `i - 0.5` to `i + 0.5`."""
        return (len(self.rows) - 0.5, -0.5) if self.rows else (0, self.top)

    def outline(self, box: Box, across: float, up: float) -> tuple[float, float, float, float]:
        """(start, end, low, high) as drawn with so many pixels per unit: rows keep apart, and
        nothing vanishes.

        A box of length 0 shows below one that begins at the same time.
        """
        end = max(box.end, box.start + 2 / across)
        if not self.rows:
            return box.start, end, box.low, max(box.high, box.low + 0.5 / up)
        half = 0.5 - min(3 / up, 0.12)
        low = box.low + (half / 2 if box.style == "thin" else -half)
        return box.start, end, low, box.high + (half if box.end > box.start else 0.5)


@dataclasses.dataclass(frozen=True)
class Chart:
    """Panels over the same axis of time."""

    heading: str
    panels: Sequence[Panel]
    span: tuple[float, float]  # of the time axis
    x_label: str
    ticks: Sequence[tuple[float, str]] | None = None  # None: round numbers, or dates
    origin: datetime.datetime | None = None  # the date at time 0; a unit is a minute
    groups: Sequence[str] = ()  # names for the legend; empty: groups are named otherwise
    things: str = "jobs"  # what groups are, in the plural
    keys: Sequence[Key] = ()  # of the legend, beside the groups

    @property
    def length(self) -> float:
        """Of the time axis."""
        return self.span[1] - self.span[0]

    def ends_axis(self, number: int) -> bool:
        """Whether the panel below has another time axis, or there is none."""
        below = self.panels[number + 1 : number + 2]
        return not below or below[0].shift != self.panels[number].shift

    @property
    def num_boxes(self) -> int:
        """All but the clear ones."""
        return sum(box.style != "clear" for panel in self.panels for box in panel.boxes)


class Layout(NamedTuple):
    """Sizes of a chart in pixels, and what follows from them."""

    left: float  # beside the panels
    right: float
    top: float  # above them
    width: float
    heights: list[float]
    x_ticks: list[list[tuple[float, str]]]  # of each panel
    y_ticks: list[list[tuple[float, str]]]
    heading: str  # as long as it may be
    title: str  # of the legend, likewise
    keys: list[Key]
    key_width: float

    @property
    def columns(self) -> int:
        """Of the legend."""
        return max(1, min(int(self.width / self.key_width), len(self.keys)))

    @property
    def legend_height(self) -> float:
        """Of its title and its lines."""
        return LINE * (bool(self.title) + -(-len(self.keys) // self.columns))

    @property
    def bottom(self) -> float:
        """Of the lowest panel."""
        return self.top + sum(self.heights) + GAP * (len(self.heights) - 1)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of all."""
        return self.left + self.width + self.right, self.bottom + AXIS + self.legend_height + 8

    @property
    def tall(self) -> bool:
        """Whether the axis is worth repeating above."""
        return max(self.heights) > _TALL


def arrange(
    chart: Chart,
    width: float | None = None,
    heights: Sequence[float] | None = None,
) -> Layout:
    """The sizes of a chart, or what follows from given ones."""
    if width is None:
        width = float(round(min(max(_wanted_width(chart), _WIDTH[0]), _WIDTH[1])))
    if heights is None:
        heights = [_height(panel) for panel in chart.panels]
    y_ticks = list(map(_y_ticks, chart.panels, heights))
    x_ticks = [_x_ticks(chart, panel.shift, width) for panel in chart.panels]
    left = 24 + max(text_width(text) for ticks in y_ticks for _, text in ticks)
    if any(panel.label for panel in chart.panels):
        left += 16
    overhang = 4 + max((text_width(text) / 2 for ticks in x_ticks for _, text in ticks), default=0)
    left, right = max(left, overhang), max(24, overhang)
    heading = shorten_to(chart.heading, 0.9 * width, HEADING)  # bold is wider
    keys = [*_group_keys(chart), *chart.keys]
    key_width = 40 + max((text_width(key.name) for key in keys), default=0)
    top = 58 if max(heights) > _TALL else 40
    title = shorten_to(_title(chart, width, heights), width)
    return Layout(
        left, right, top, width, list(heights), x_ticks, y_ticks, heading, title, keys, key_width
    )


def fold(chart: Chart) -> Chart:
    """A chart of rows which goes on below, where one line would be too long for its labels, until
    it is square.
    """
    (panel, *others), (start, end) = chart.panels, chart.span
    if others or not panel.rows:
        return chart
    num = min(-(-_wanted_width(chart) // _WIDTH[1]), _WIDTH[1] // (_height(panel) + GAP))
    if num < 2:
        return chart
    length = -int(-(end - start) // num)
    panels = []
    for shift in range(0, int(end - start), length):
        low, high = start + shift, start + shift + length
        past = high if high < end else math.inf  # what is at the end of all is on the last line
        boxes = []
        for box in panel.boxes:
            if low <= box.start < past or box.start < low < box.end:
                first, last = max(box.start, low), min(box.end, high)
                kind = box.kind if box.start >= low else "continued"
                boxes.append(box._replace(start=first, end=last, kind=kind))
        marks = [mark for mark in panel.marks if low <= mark.x < past]
        panels.append(panel._replace(boxes=boxes, marks=marks, shift=shift))
    label = f"{chart.x_label}, which goes on from line to line"
    return dataclasses.replace(chart, panels=panels, span=(start, start + length), x_label=label)


def fit_label(label: str, wide: float, tall: float) -> tuple[str, bool]:
    """As much of a label as a box of that size has room for, if anything, and whether upwards."""
    if wide < 8:  # most bars of a large chart: there is no letter as narrow as that
        return "", False
    high = SMALL + 2
    across, up = (wide if tall >= high else 0), (tall if wide >= high else 0)
    upwards = up > across and text_width(label, SMALL) + 4 > across
    text = shorten_to(label, (up if upwards else across) - 4, SMALL)
    return (text if text == clean(label) or len(text) >= _SHORTEST_LABEL else ""), upwards


def time_span(times: Iterable[float]) -> tuple[float, float]:
    """The time axis for what happens at `times`: from 0, or from the first where little of the
    axis would be used.
    """
    times = list(times) or [0]
    first, last = min(times), max(times)
    start = first if first < 0 or 2 * first > last else 0
    return start, max(last, start + 1)


def round_ticks(start: float, end: float, most: int) -> range:
    """At most so many round numbers from start to end: steps of 1, 2 or 5 times a power of ten."""
    step = 1
    while (end - start) / step > max(most - 1, 1):
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return range(-int(-start // step) * step, int(end) + 1, step)


def clean(text: str) -> str:
    """`text` on one line, with spaces for the characters that XML forbids."""
    return re.sub("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", text)


def text_width(text: str, size: float = FONT) -> float:
    """About as wide as in DejaVu Sans, which is wider than most fonts."""
    return size * sum(map(_advance, text))


def shorten(text: str, characters: int) -> str:
    """`text` on one line, with an ellipsis in the middle where it is too long.

    Names often differ at their end.
    """
    text = clean(text)
    if len(text) <= characters:
        return text
    tail = max(characters - 1, 0) // 2
    return text[: max(characters - 1, 0) - tail] + _ELLIPSIS + text[len(text) - tail :]


def shorten_to(text: str, pixels: float, size: float = FONT) -> str:
    """The same by its width."""
    text = short = clean(text)
    while short and text_width(short, size) > pixels:
        characters = int(len(short) * pixels / text_width(short, size))
        short = shorten(text, min(characters, len(short) - 1)) if characters > 1 else ""
    return short


def colour_of(index: int) -> tuple[str, str]:
    """The colour of a group by its number and the colour of the text on it that contrasts most."""
    share = _SHADES[index // len(_HUES) % len(_SHADES)]
    target = 255 if share > 0 else 0
    hue = _HUES[index % len(_HUES)]
    rgb = [round(channel + (target - channel) * abs(share)) for channel in hue]
    linear = [(c / 255) ** 2.2 for c in rgb]  # WCAG 2 relative luminance, with the plain gamma
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#{:02x}{:02x}{:02x}".format(*rgb), "#000" if luminance > 0.18 else "#fff"


def _advance(character: str) -> float:
    """The width of a character as a share of the height of the font."""
    if character in " .,:;'|!()[]ijlftrI-/":
        return 0.41
    if character in "mwMW@%" or unicodedata.east_asian_width(character) in "WF":
        return 1.0
    return 0.72 if character.isupper() else 0.64


def _enough(needs: Iterable[float]) -> float:
    """So much that three in four have what they need."""
    ordered = sorted(needs)
    return ordered[len(ordered) * 3 // 4] if ordered else 0.0


def _wanted_width(chart: Chart) -> float:
    """Pixels with which three in four labels fit."""
    return _enough(
        min(text_width(box.label, SMALL) + 5, _LONGEST_LABEL) * chart.length / (box.end - box.start)
        for panel in chart.panels
        for box in panel.boxes
        if box.label and box.end > box.start
    )


def _height(panel: Panel) -> float:
    if panel.height is not None:
        return panel.height
    if panel.rows:
        rows = len(panel.rows)
        return min(rows * (34 if rows <= 10 else 26 if rows <= 40 else LINE), _ROWS_HEIGHT)
    sizes = [box.high - box.low for box in panel.boxes if box.label and box.high > box.low]
    wanted = _enough((SMALL + 3) * panel.top / size for size in sizes)
    return float(round(min(max(wanted, _HEIGHT[0]), _HEIGHT[1])))


def _x_ticks(chart: Chart, shift: float, width: float) -> list[tuple[float, str]]:
    """Where the time axis has a line and what stands there."""
    if chart.ticks is not None:
        return list(chart.ticks)
    start, end = chart.span[0] + shift, chart.span[1] + shift
    if chart.origin is None:
        widest = max(text_width(f"{round(time):,}") for time in (start, end))
        ticks = round_ticks(start, end, min(int(width / (widest + 20)), 13))
        return [(tick, f"{tick:,}") for tick in ticks]
    most = max(min(int(width / 100), 9), 2)
    weeks = 1 + int(end - start) // (most * _MINUTES[-1])
    step = next((step for step in _MINUTES if (end - start) / step < most), weeks * _MINUTES[-1])
    midnight = chart.origin.hour * 60 + chart.origin.minute  # minutes since
    first = int(start) + -(midnight + int(start)) % min(step, 1440)
    style = "%Y-%m-%d" if step >= 1440 else "%m-%d %H:%M"
    ticks = []
    for tick in range(first, int(end) + 1, step):
        date = chart.origin + datetime.timedelta(minutes=tick)
        ticks.append((tick, date.strftime(style)))
    return ticks


def _y_ticks(panel: Panel, height: float) -> list[tuple[float, str]]:
    """Rows and their names, as many as there is room for, or round numbers."""
    if not panel.rows:
        ticks = round_ticks(0, panel.top, max(int(height / 30), 2))
        return [(tick, f"{tick:,}") for tick in ticks]
    step = max(-(-(FONT + 2) * len(panel.rows) // int(height)), 1)
    rows = range(0, len(panel.rows), step)
    return [(row, shorten(panel.rows[row], _LONGEST_NAME)) for row in rows]


def _used_groups(chart: Chart) -> list[int]:
    groups = {box.group for panel in chart.panels for box in panel.boxes}
    return sorted(group for group in groups if group is not None)


def _group_keys(chart: Chart) -> list[Key]:
    """One entry for each colour: the groups that share it, as many as there is room for."""
    shared: dict[int, list[str]] = {}
    for group in _used_groups(chart) if chart.groups else []:
        shared.setdefault(group % COLOURS, []).append(chart.groups[group])
    keys = []
    for colour, groups in sorted(shared.items()):
        text = shorten(groups[0], _LONGEST_NAME)
        for group in groups[1:]:
            longer = f"{text}, {shorten(group, _LONGEST_NAME)}"
            if len(longer) > _LONGEST_KEY:
                text += f", {_ELLIPSIS}"
                break
            text = longer
        keys.append(Key(text, colour_of(colour)[0]))
    return keys


def _title(chart: Chart, width: float, heights: Sequence[float]) -> str:
    """What colours stand for, and what the picture cannot show."""
    num = len(_used_groups(chart))
    if not chart.groups or not num:
        return ""
    title = f"{num:,} {chart.things if num != 1 else chart.things[:-1]}"
    if num > COLOURS:
        title += f" in {COLOURS} colours"
    across = width / chart.length
    labelled = unnamed = 0
    for panel, height in zip(chart.panels, heights, strict=True):
        up = height / abs(panel.y_range[1] - panel.y_range[0])
        for box in panel.boxes:
            start, end, low, high = panel.outline(box, across, up)
            text, _ = fit_label(box.label, (end - start) * across, (high - low) * up)
            if box.label and box.kind != "continued":
                labelled += 1
                unnamed += not text
    if chart.num_boxes > MANY:
        title += f"; in SVG and HTML, pointing at one of {chart.num_boxes:,} boxes tells its "
        title += chart.things[:-1]
    elif unnamed:
        title += f"; {unnamed:,} of {labelled:,} boxes are too small for a name: "
        title += "in SVG and HTML, point at them"
    return title
