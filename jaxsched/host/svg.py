"""Charts as SVG text without dependencies; pointing at a box shows what it is."""

from __future__ import annotations

from xml.sax.saxutils import escape

from jaxsched.host.chart import (
    AXIS,
    FONT,
    GAP,
    HEADING,
    INK,
    LINE,
    MANY,
    SMALL,
    Box,
    Chart,
    Key,
    Layout,
    Mark,
    arrange,
    clean,
    fit_label,
    fold,
)

_SHADE = "#f3f3f3"
_SHAPES = {
    "up": "m-5 4.5l5 -9l5 9z",
    "down": "m-5 -4.5l5 9l5 -9z",
    "dot": "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z",
}


def xml(text: str) -> str:
    """`text` as XML character data on one line; characters that XML forbids become spaces."""
    return escape(clean(text))


def render_svg(chart: Chart) -> str:
    """The chart on a picture of its own size."""
    chart = fold(chart)
    layout = arrange(chart)
    left, width = layout.left, layout.width
    wide, tall = (round(length) for length in layout.size)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" width="{wide}" '
        f'height="{tall}" role="img" font-family="sans-serif" font-size="{FONT}" fill="{INK}">'
        f"<title>{xml(chart.heading)}</title>",
        f'<rect width="{wide}" height="{tall}" fill="#fff"/>',
        f'<text x="{left:.0f}" y="24" font-size="{HEADING}" font-weight="bold">{xml(layout.heading)}</text>',
    ]
    boxes = [box for panel in chart.panels for box in panel.boxes]
    hatched = {box.colours[0] for box in boxes if box.style == "hatched"}
    hatched |= {key.fill for key in layout.keys if key.shape == "hatched"}
    if hatched:
        parts.append("<defs>" + "".join(_stripes(fill) for fill in sorted(hatched)) + "</defs>")
    top, many = layout.top, chart.num_boxes > MANY
    for i, (panel, height) in enumerate(zip(chart.panels, layout.heights, strict=True)):
        parts += _panel(chart, layout, i, top, many)
        edges = [top - 10] if i == 0 and layout.tall else []
        if chart.ends_axis(i):
            edges.append(top + height + 18)
        for x, text in layout.x_ticks[i]:
            at = left + (x - panel.shift - chart.span[0]) * width / chart.length
            for y in edges:
                parts.append(_text(at, y, text, "middle"))
        top += height + GAP
    bottom = layout.bottom
    parts.append(_text(left + width / 2, bottom + 36, chart.x_label, "middle"))
    y = bottom + AXIS + LINE / 2
    if layout.title:
        parts.append(_text(left, y + 4, layout.title, "start"))
        y += LINE
    lines = -(-len(layout.keys) // layout.columns)
    for i, key in enumerate(layout.keys):
        x, at = left + i // lines * layout.key_width, y + i % lines * LINE
        parts.append(_symbol(key, x, at))
        parts.append(_text(x + 20, at + 4, key.name, "start", "key"))
    return "\n".join([*parts, "</svg>"])


def _panel(chart: Chart, layout: Layout, number: int, top: float, many: bool) -> list[str]:
    panel, height = chart.panels[number], layout.heights[number]
    left, width = layout.left, layout.width
    start_of_axis, (lower, upper) = chart.span[0] + panel.shift, panel.y_range
    across = width / chart.length  # pixels per unit
    up = height / (upper - lower)  # < 0 on rows

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (x - start_of_axis) * across, top + (upper - y) * up

    parts = [_rect(left, top, width, height, f'fill="{_SHADE}"')]
    for row in range(1, len(panel.rows), 2):
        y = place(0, row - 0.5)[1]
        parts.append(_rect(left, y, width, abs(up), 'fill="#fff"'))
    for x, _ in layout.x_ticks[number]:
        parts.append(f'<path d="M{place(x, 0)[0]:.2f} {top:.2f}v{height + 5}" stroke="#ccc"/>')
    for at, text in layout.y_ticks[number]:
        y = place(0, at)[1]
        if not panel.rows:
            parts.append(f'<path d="M{left - 5:.2f} {y:.2f}h{width + 5}" stroke="#ccc"/>')
        full = panel.rows[int(at)] if panel.rows else text
        hover = f"<title>{xml(full)}</title>" if full != text else ""
        parts.append(_text(left - 8, y + 4, text, "end", "row", hover))
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
        paint = _paint(box.style, box.colours[0], wide)
        label = _label(box, x, y, wide, tall)
        if many and box.style != "clear":
            shape = f"M{x:.1f} {y:.1f}h{wide:.1f}v{tall:.1f}h-{wide:.1f}z"
            merged.setdefault((data, paint), []).append(shape)
            labels.append(label)
            continue
        rect = _rect(x, y, wide, tall, paint)
        parts.append(f"<g {data}><title>{xml(box.tooltip)}</title>{rect}{label}</g>")
    for (data, paint), shapes in merged.items():
        group = data.rpartition('data-group="')[2][:-1]
        name = chart.groups[int(group)] if chart.groups and group.isdigit() else ""
        title = f"<title>{xml(name)}</title>"
        parts.append(f'<path {data} {paint} d="{"".join(shapes)}">{title}</path>')
    parts += filter(None, labels)

    for line in panel.lines:
        points = " ".join("{:.2f},{:.2f}".format(*place(*point)) for point in line.points)
        dashes = ' stroke-dasharray="6 4"' if line.dashed else ""
        stroke = f'fill="none" stroke="{line.colour}" stroke-width="1.2"{dashes}'
        parts.append(f'<polyline points="{points}" {stroke}/>')
    for mark in panel.marks:
        x, y = place(mark.x, mark.y)
        parts.append(_mark(mark.shape, mark.fill, x + mark.right, y + mark.down, mark))
    return parts


def _rect(x: float, y: float, wide: float, tall: float, paint: str) -> str:
    return f'<rect x="{x:.2f}" y="{y:.2f}" width="{wide:.2f}" height="{tall:.2f}" {paint}/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "axis", more: str = "") -> str:
    """A text on its base line."""
    place = f'class="{kind}" x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}"'
    return f"<text {place}>{xml(text)}{more}</text>"


def _paint(style: str, fill: str, wide: float) -> str:
    """The attributes of a box; an edge would hide one that is hardly wider."""
    if style == "clear":
        return 'fill-opacity="0"'
    if style == "hatched":
        fill = f"url(#stripes{fill[1:]})"
    edge = INK if style in ("outlined", "dashed") else "#fff"
    dashes = ' stroke-dasharray="4 3" fill-opacity="0.65"' if style == "dashed" else ""
    return f'fill="{fill}"' + (f' stroke="{edge}" stroke-width="0.7"{dashes}' if wide >= 3 else "")


def _label(box: Box, x: float, y: float, wide: float, tall: float) -> str:
    label, upwards = fit_label(box.label, wide, tall)
    if not label:
        return ""
    middle = f"{x + wide / 2:.2f} {y + tall / 2:.2f}"
    turn = " rotate(-90)" if upwards else ""
    return (
        f'<text transform="translate({middle}){turn}" text-anchor="middle" dy=".35em" '
        f'font-size="{SMALL}" fill="{box.colours[1]}">{xml(label)}</text>'
    )


def _mark(shape: str, fill: str, x: float, y: float, mark: Mark | None = None) -> str:
    about = ""
    if mark is not None:
        about = f' class="{mark.kind}"><title>{xml(mark.tooltip)}</title></path'
    paint = f'fill="{fill}" stroke="{INK}" stroke-width="0.7"'
    return f'<path d="M{x:.2f} {y:.2f}{_SHAPES[shape]}" {paint}{about or "/"}>'


def _symbol(key: Key, x: float, y: float) -> str:
    """What stands before the name in the legend."""
    if key.shape in _SHAPES:
        return _mark(key.shape, key.fill, x + 7, y)
    if key.shape.endswith("line"):
        dashes = ' stroke-dasharray="6 4"' if key.shape.startswith("dashed") else ""
        return f'<path d="M{x:.2f} {y:.2f}h15" stroke="{key.fill}" stroke-width="1.5"{dashes}/>'
    return _rect(x, y - 6, 14, 12, _paint(key.shape, key.fill, 14))


def _stripes(fill: str) -> str:
    """An SVG pattern in that colour."""
    return (
        f'<pattern id="stripes{fill[1:]}" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="6" height="6" fill="#fff"/>'
        f'<rect width="2.5" height="6" fill="{fill}"/></pattern>'
    )
