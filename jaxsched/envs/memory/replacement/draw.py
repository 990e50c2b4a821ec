"""Pictures of plans of `replace`: steps to the right; what is in fast memory, below what is moved before each step.

With `placement="address"` the height is the address, with `"bytes"` every tensor has a row, and a panel shows how much
is resident. Every step is equally wide. Plans are drawn as they are, valid or not.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxsched.core.picture import Picture, colour_of, round_ticks, xml
from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.envs.memory.replacement.types import ReplacementPlan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT, _PANEL, _LEFT, _TOP, _GAP = 960, 380, 90, 110, 66, 26
_MOVES = {"first load": "#ffffff", "retrieve": "#222222", "spill": "#b00020"}  # fill of the marks and bars
_MARKS = {"first load": "^", "retrieve": "^", "spill": "v"}
_RESIDENT, _LOADED = "#56b4e9", "#cccccc"  # a white bar would not show


class _Stay(NamedTuple):
    """A tensor in fast memory in steps `[begin, end)`; `low` is its address, or its row."""

    tensor: int
    begin: int
    end: int
    low: int
    why: str


class _Move(NamedTuple):
    """A copy before a step: a key of `_MOVES`. `low` as above."""

    tensor: int
    step: int
    low: int
    kind: str


class _Shown(NamedTuple):
    stays: list[_Stay]
    moves: list[_Move]
    rows: list[int]  # the tensors from bottom to top; empty with addresses
    resident: list[int]  # bytes in each step


def replacement_svg(graph: Graph | Mapping[str, Any], plan: ReplacementPlan, *, title: str | None = None) -> Picture:
    """The plan as a self-contained SVG: stays in fast memory, triangles for copies in (up) and out (down).

    A white triangle is the first load of a backed tensor, which is not charged. Pointing at a stay shows tensor, size,
    steps and addresses, at a step what its operator moves. Raises `ValueError` where the plan names operators or
    tensors that the graph does not have, or lacks an address.
    """
    graph = graph if isinstance(graph, Graph) else Graph.from_dict(graph)
    shown = _play(graph, plan)
    num, tall = max(len(plan.steps), 1), len(shown.rows) or max(plan.capacity, 1)
    wide, high = _WIDTH / num, _HEIGHT / tall
    heading = xml(f"{title}: {_summary(plan)}" if title else _summary(plan).capitalize())
    panels = ["moved"] if plan.placement == "address" else ["resident", "moved"]
    total_width = _LEFT + _WIDTH + 48
    total_height = _TOP + _HEIGHT + len(panels) * (_GAP + _PANEL) + 48
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_width} {total_height}" width="{total_width}" '
        f'height="{total_height}" role="img" font-family="sans-serif" font-size="12" fill="#222">'
        f"<title>{heading}</title>",
        f'<rect width="{total_width}" height="{total_height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="24" font-size="15" font-weight="bold">{heading}</text>',
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="#f3f3f3"/>',
    ]
    for i, kind in enumerate(_MOVES):
        parts.append(_triangle(_LEFT + 6 + 110 * i, 45, kind, kind))
        parts.append(f'<text x="{_LEFT + 18 + 110 * i}" y="45" dy=".35em">{kind}</text>')
    if shown.rows:
        ticks = [(row + 0.5, str(graph.tensor_ids[a])) for row, a in enumerate(shown.rows) if high >= 9]
    else:
        ticks = [(address, f"{address:,}") for address in round_ticks(tall)]
        parts += [_line(_TOP + _HEIGHT - at * high) for at, _ in ticks]
    for at, label in ticks:
        y = _TOP + _HEIGHT - at * high
        size = min(12, high) if shown.rows else 12
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y:.2f}" text-anchor="end" dy=".35em" font-size="{size:.1f}">'
            f"{xml(label[:14])}</text>"
        )
    for stay in shown.stays:
        name, size = str(graph.tensor_ids[stay.tensor]), graph.size[stay.tensor]
        up = 1 if shown.rows else size
        x, y = _LEFT + stay.begin * wide, _TOP + _HEIGHT - (stay.low + up) * high
        across, up = (stay.end - stay.begin) * wide, max(up * high, 0.5)
        fill, ink = colour_of(stay.tensor)
        where = "" if shown.rows else f", addresses [{stay.low:,}, {stay.low + size:,})"
        tooltip = xml(f"{name}: {stay.why}, {size:,} bytes, steps [{stay.begin}, {stay.end}){where}")
        label = ""
        if across >= 7 * len(name) + 18 and up >= 14 and not shown.rows:
            label = (
                f'<text x="{x + across / 2:.2f}" y="{y + up / 2:.2f}" text-anchor="middle" dy=".35em" '
                f'fill="{ink}">{xml(name)}</text>'
            )
        parts.append(
            f'<g class="tensor"><title>{tooltip}</title><rect x="{x:.2f}" y="{y:.2f}" width="{across:.2f}" '
            f'height="{up:.2f}" fill="{fill}" stroke="#fff" stroke-width="0.7"/>{label}</g>'
        )
    for move in shown.moves:
        middle = move.low + (1 if shown.rows else graph.size[move.tensor]) / 2
        x = _LEFT + move.step * wide + (-1 if move.kind == "spill" else 1) * min(6, wide / 2)
        tooltip = f"{move.kind} of {graph.tensor_ids[move.tensor]} before step {move.step}"
        parts.append(_triangle(x, _TOP + _HEIGHT - middle * high, move.kind, tooltip))
    labels = [(_TOP + _HEIGHT / 2, "tensor" if shown.rows else "address")]
    bottom = _TOP + _HEIGHT
    for panel in panels:
        bottom += _GAP + _PANEL
        labels.append((bottom - _PANEL / 2, panel))
        stacks = _moved(graph, shown, num) if panel == "moved" else [(_RESIDENT, shown.resident)]
        totals = [sum(amounts) for amounts in zip(*(amounts for _, amounts in stacks), strict=True)]
        top = max([*totals, plan.capacity if panel == "resident" else 1])
        for y, amount in ((bottom, 0), (bottom - _PANEL, top)):
            parts.append(f'<text x="{_LEFT - 8}" y="{y:.2f}" text-anchor="end" dy=".35em">{amount:,}</text>')
            parts.append(_line(y))
        base = [0.0] * num
        for fill, amounts in stacks:
            for t, amount in enumerate(amounts):
                if amount:
                    base[t] += amount * _PANEL / top
                    parts.append(
                        f'<rect x="{_LEFT + t * wide:.2f}" y="{bottom - base[t]:.2f}" width="{0.95 * wide:.2f}" '
                        f'height="{amount * _PANEL / top:.2f}" fill="{fill}"/>'
                    )
        if panel == "resident":
            y = bottom - plan.capacity * _PANEL / top
            parts.append(f'<path d="M{_LEFT} {y:.2f}H{_LEFT + _WIDTH}" stroke="#b00020" stroke-dasharray="6 4"/>')
    for t in range(len(plan.steps)):
        parts.append(
            f'<rect class="step" x="{_LEFT + t * wide:.2f}" y="{_TOP + _HEIGHT}" width="{wide:.2f}" '
            f'height="{bottom - _TOP - _HEIGHT}" fill-opacity="0"><title>{xml(_told(graph, plan, t))}</title></rect>'
        )
    for t in round_ticks(num):
        parts.append(f'<text x="{_LEFT + t * wide:.2f}" y="{bottom + 16}" text-anchor="middle">{t}</text>')
    for y, label in labels:
        parts.append(f'<text transform="translate(16 {y:.0f}) rotate(-90)" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="{_LEFT + _WIDTH / 2}" y="{bottom + 36}" text-anchor="middle">step</text></svg>')
    return Picture("\n".join(parts))


def replacement_chart(
    graph: Graph | Mapping[str, Any], plan: ReplacementPlan, axes: tuple[Axes, Axes] | None = None
) -> tuple[Axes, Axes]:
    """The stays and what is moved with matplotlib, on two axes or on a new figure; returns them. Raises the same."""
    if axes is None:
        import matplotlib.pyplot as plt

        _, made = plt.subplots(
            2, figsize=(11, 6), sharex=True, layout="constrained", gridspec_kw={"height_ratios": [4, 1]}
        )
        axes = made[0], made[1]
    above, below = axes
    graph = graph if isinstance(graph, Graph) else Graph.from_dict(graph)
    shown, num = _play(graph, plan), max(len(plan.steps), 1)
    for stay in shown.stays:
        up = 1 if shown.rows else graph.size[stay.tensor]
        above.bar(
            stay.begin,
            up,
            stay.end - stay.begin,
            stay.low,
            align="edge",
            color=colour_of(stay.tensor)[0],
            edgecolor="white",
            linewidth=0.5,
        )
    for kind, fill in _MOVES.items():
        mine = [move for move in shown.moves if move.kind == kind]
        side = -0.25 if kind == "spill" else 0.25
        at = [move.step + side for move in mine]
        middle = [move.low + (1 if shown.rows else graph.size[move.tensor]) / 2 for move in mine]
        style = {"marker": _MARKS[kind], "color": fill, "edgecolor": "#222", "linewidth": 0.7, "zorder": 3}
        above.scatter(at, middle, s=24, label=kind, **style)
    above.set_ylim(0, len(shown.rows) or max(plan.capacity, 1))
    above.set_ylabel("tensor" if shown.rows else "address")
    if shown.rows and len(shown.rows) <= 40:
        names = [str(graph.tensor_ids[a])[:14] for a in shown.rows]
        above.set_yticks([row + 0.5 for row in range(len(names))], names, fontsize=7)
    elif shown.rows:
        above.set_yticks([])
    above.set_title(_summary(plan).capitalize(), loc="left")
    above.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)
    base = [0] * num
    for fill, amounts in _moved(graph, shown, num):
        below.bar(range(num), amounts, 0.95, base, align="edge", color=fill)
        base = [a + b for a, b in zip(base, amounts, strict=True)]
    below.set_xlim(0, num)
    below.set_xlabel("step")
    below.set_ylabel("bytes moved")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return above, below


def _play(graph: Graph, plan: ReplacementPlan) -> _Shown:
    """What there is to be drawn."""
    tensors = {id: a for a, id in enumerate(graph.tensor_ids)}
    ops = {id: op for op, id in enumerate(graph.op_ids)}

    def index(names: Mapping[Hashable, int], id: Hashable, what: str, t: int) -> int:
        if id not in names:
            raise ValueError(f"step {t}: the graph has no {what} {id!r}")
        return names[id]

    rows: list[int] = []
    stays: list[_Stay] = []
    moves: list[_Move] = []
    resident: list[int] = []
    held: dict[int, tuple[int, int, str]] = {}  # tensor -> (first step, address, why)
    loaded: set[int] = set()
    for t, step in enumerate(plan.steps):
        op = index(ops, step["op"], "operator", t)
        keep, fetched, spilled = (
            {index(tensors, id, "tensor", t): None for id in step[name]} for name in ("keep", "retrieve", "spill")
        )
        now = {**keep, **fetched, **dict.fromkeys(graph.outputs[op])}
        address = {}
        if plan.placement == "address":
            given = {index(tensors, id, "tensor", t): low for id, low in (step["address"] or {}).items()}
            for a in now:
                if a not in given:
                    raise ValueError(f"step {t}: {graph.tensor_ids[a]!r} is resident, but has no address")
                address[a] = int(given[a])
        else:
            rows += [a for a in now if a not in rows]
            address = {a: rows.index(a) for a in now}
        moves += [_Move(a, t, held[a][1], "spill") for a in spilled if a in held]
        for a in list(held):
            if a not in keep or address[a] != held[a][1]:
                begin, low, why = held.pop(a)
                stays.append(_Stay(a, begin, t, low, why + (", then spilled" if a in spilled else "")))
        for a in now:
            if a in fetched:
                first = graph.backed[a] and a not in loaded
                moves.append(_Move(a, t, address[a], "first load" if first else "retrieve"))
                loaded.add(a)
            if a not in held:
                why = "first load" if a in fetched and moves[-1].kind == "first load" else "retrieved"
                held[a] = t, address[a], why if a in fetched else "kept" if a in keep else "made"
        resident.append(sum(graph.size[a] for a in now))
    stays += [_Stay(a, begin, len(plan.steps), low, why) for a, (begin, low, why) in held.items()]
    # The first to arrive is at the top.
    last = len(rows) - 1
    if rows:
        stays = [stay._replace(low=last - stay.low) for stay in stays]
        moves = [move._replace(low=last - move.low) for move in moves]
    return _Shown(stays, moves, rows[::-1], resident)


def _moved(graph: Graph, shown: _Shown, num: int) -> list[tuple[str, list[int]]]:
    """Bytes per step of every kind of move, with its colour."""
    amounts = {kind: [0] * num for kind in _MOVES}
    for move in shown.moves:
        amounts[move.kind][move.step] += graph.size[move.tensor]
    return [(_LOADED if kind == "first load" else _MOVES[kind], values) for kind, values in amounts.items()]


def _summary(plan: ReplacementPlan) -> str:
    proof = ", optimal" if plan.proved else ""
    return f"{plan.traffic:,} bytes moved{proof}, {plan.compulsory:,} of first loads, capacity {plan.capacity:,}"


def _told(graph: Graph, plan: ReplacementPlan, t: int) -> str:
    step = plan.steps[t]
    name = graph.op_names[graph.op_ids.index(step["op"])]
    text = f"step {t}: {step['op']}" + (f" ({name})" if name != str(step["op"]) else "")
    for what in ("spill", "retrieve"):
        if step[what]:
            text += f"; {what} {', '.join(map(str, step[what]))}"
    return text


def _triangle(x: float, y: float, kind: str, tooltip: str) -> str:
    point = "l5 -9l5 9z" if _MARKS[kind] == "^" else "l5 9l5 -9z"
    base = y + (4.5 if _MARKS[kind] == "^" else -4.5)
    return (
        f'<path class="move" d="M{x - 5:.2f} {base:.2f}{point}" fill="{_MOVES[kind]}" stroke="#222" '
        f'stroke-width="0.7"><title>{xml(tooltip)}</title></path>'
    )


def _line(y: float) -> str:
    return f'<path d="M{_LEFT - 5} {y:.2f}H{_LEFT + _WIDTH}" stroke="#ccc"/>'
