"""Pictures of plans of `replace`: steps to the right; what is in fast memory, below what is moved
before each step.

With `placement="address"` the height is the address, with `"bytes"` every tensor has a row, and a
panel shows how much is resident. Every step is equally wide. Plans are drawn as they are, valid or
not.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.envs.memory.replacement.types import Plan
from jaxsched.host.chart import Box, Chart, Key, Line, Mark, Panel
from jaxsched.host.picture import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KEYS = {  # of moves; in their panel a first load is grey, since white would not show
    "first load": Key("first load", "#ffffff", "up"),
    "retrieve": Key("retrieve", "#222222", "up"),
    "spill": Key("spill", "#b00020", "down"),
}
_LOADED = "#cccccc"
_RESIDENT, _CAPACITY = Key("resident bytes", "#56b4e9"), Key("capacity", "#b00020", "dashed line")


class _Stay(NamedTuple):
    """A tensor in fast memory in steps `[begin, end)`; `low` is its address, or its row."""

    tensor: int
    begin: int
    end: int
    low: int
    why: str


class _Move(NamedTuple):
    """A copy before a step: a key of `_KEYS`. `low` as above."""

    tensor: int
    step: int
    low: int
    kind: str


class _Shown(NamedTuple):
    stays: list[_Stay]
    moves: list[_Move]
    rows: list[int]  # the tensors from above; empty with addresses
    resident: list[int]  # bytes in each step


def replacement_svg(
    graph: Graph | Mapping[str, Any],
    plan: Plan,
    *,
    title: str | None = None,
) -> Picture:
    """The plan as a picture: stays in fast memory, triangles for copies in (up) and out (down).

    A white triangle is the first load of a backed tensor, which is not charged. Pointing at a stay
    shows tensor, size, steps and addresses, at a step what its operator moves. Raises `ValueError`
    where the plan names operators or tensors that the graph does not have, or lacks an address.
    """
    graph = graph if isinstance(graph, Graph) else Graph.from_dict(graph)
    shown, num = _play(graph, plan), max(len(plan.steps), 1)
    boxes = []
    for tensor, begin, end, low, why in shown.stays:
        name, size = str(graph.tensor_ids[tensor]), graph.size[tensor]
        tooltip = f"{name}: {why}, {size:,} bytes, steps [{begin}, {end})"
        if shown.rows:
            boxes.append(Box(begin, end, low, low, tensor, "", tooltip, "tensor"))
        else:
            tooltip += f", addresses [{low:,}, {low + size:,})"
            boxes.append(Box(begin, end, low, low + size, tensor, name, tooltip, "tensor"))
    marks = []
    for tensor, step, low, kind in shown.moves:
        height = low if shown.rows else low + graph.size[tensor] / 5  # below the label
        tooltip = f"{kind} of {graph.tensor_ids[tensor]} before step {step}"
        side = -6 if kind == "spill" else 6
        key = _KEYS[kind]
        marks.append(Mark(step, height, key.shape, key.fill, tooltip, "move", right=side))
    hovers = [_step_text(graph, plan, t) for t in range(len(plan.steps))]
    panels = [
        Panel(
            boxes,
            rows=[str(graph.tensor_ids[tensor]) for tensor in shown.rows],
            top=max(plan.capacity, 1),
            label="" if shown.rows else "address",
            marks=marks,
        ),
        _columns("moved", _moved(graph, shown, num), hovers),
    ]
    if plan.placement != "address":
        least = max(plan.capacity, 1)
        resident = _columns("resident", [(_RESIDENT.fill, shown.resident)], hovers, least)
        limit = Line([(0, plan.capacity), (num, plan.capacity)], _CAPACITY.fill, dashed=True)
        panels.insert(1, resident._replace(lines=[limit]))
    text = _summary(plan)
    chart = Chart(
        f"{title}: {text}" if title else text.capitalize(),
        panels,
        (0, num),
        "step",
        things="tensors",
        groups=() if shown.rows else [str(id) for id in graph.tensor_ids],
        keys=[*_KEYS.values(), *([_RESIDENT, _CAPACITY] if len(panels) == 3 else [])],
    )
    return Picture(chart)


def replacement_chart(
    graph: Graph | Mapping[str, Any], plan: Plan, axes: tuple[Axes, Axes] | None = None
) -> tuple[Axes, Axes]:
    """The stays and what is moved with matplotlib, on two axes or on a new figure; returns them.
    Raises the same.
    """
    made = replacement_svg(graph, plan).plot(axes)
    return made[0], made[-1]


def _columns(
    label: str,
    stacks: list[tuple[str, list[int]]],
    hovers: Sequence[str],
    least: int = 1,
) -> Panel:
    """A panel of amounts per step, one upon the other in their colours, and what to say of each
    step.
    """
    boxes, base = [], [0] * len(stacks[0][1])
    for fill, amounts in stacks:
        for t, amount in enumerate(amounts):
            if amount:
                box = Box(
                    t,
                    t + 0.95,
                    base[t],
                    base[t] + amount,
                    tooltip=hovers[t],
                    kind="amount",
                    fill=fill,
                )
                boxes.append(box)
                base[t] += amount
    top = max([*base, least])
    for t, text in enumerate(hovers):
        boxes.append(Box(t, t + 1, 0, top, tooltip=text, kind="step", style="clear"))
    return Panel(boxes, top=top, label=label, height=90)


def _play(graph: Graph, plan: Plan) -> _Shown:
    """What there is to be drawn."""
    tensors = {id: a for a, id in enumerate(graph.tensor_ids)}
    ops = {id: op for op, id in enumerate(graph.op_ids)}

    def index(names: Mapping[Hashable, int], id: Hashable, what: str, t: int) -> int:
        if id not in names:
            raise ValueError(f"step {t}: the graph has no {what} {id!r}")
        return names[id]

    rows: dict[int, int] = {}  # tensor -> its row
    stays: list[_Stay] = []
    moves: list[_Move] = []
    resident: list[int] = []
    held: dict[int, tuple[int, int, str]] = {}  # tensor -> (first step, address, why)
    loaded: set[int] = set()
    for t, step in enumerate(plan.steps):
        op = index(ops, step["op"], "operator", t)
        keep, fetched, spilled = (
            {index(tensors, id, "tensor", t): None for id in step[name]}
            for name in ("keep", "retrieve", "spill")
        )
        now = {**keep, **fetched, **dict.fromkeys(graph.outputs[op])}
        address = {}
        if plan.placement == "address":
            given = {
                index(tensors, id, "tensor", t): low for id, low in (step["address"] or {}).items()
            }
            for a in now:
                if a not in given:
                    raise ValueError(
                        f"step {t}: {graph.tensor_ids[a]!r} is resident, but has no address"
                    )
                address[a] = int(given[a])
        else:
            address = {a: rows.setdefault(a, len(rows)) for a in now}
        moves += [_Move(a, t, held[a][1], "spill") for a in spilled if a in held]
        for a in list(held):
            if a not in keep or address[a] != held[a][1]:
                begin, low, why = held.pop(a)
                stays.append(
                    _Stay(a, begin, t, low, why + (", then spilled" if a in spilled else ""))
                )
        for a in now:
            if a in fetched:
                first = graph.backed[a] and a not in loaded
                moves.append(_Move(a, t, address[a], "first load" if first else "retrieve"))
                loaded.add(a)
            if a not in held:
                why = (
                    "first load" if a in fetched and moves[-1].kind == "first load" else "retrieved"
                )
                held[a] = t, address[a], why if a in fetched else "kept" if a in keep else "made"
        resident.append(sum(graph.size[a] for a in now))
    stays += [_Stay(a, begin, len(plan.steps), low, why) for a, (begin, low, why) in held.items()]
    return _Shown(stays, moves, list(rows), resident)


def _moved(graph: Graph, shown: _Shown, num: int) -> list[tuple[str, list[int]]]:
    """Bytes per step of every kind of move, with its colour."""
    amounts = {kind: [0] * num for kind in _KEYS}
    for move in shown.moves:
        amounts[move.kind][move.step] += graph.size[move.tensor]
    fills = {kind: key.fill for kind, key in _KEYS.items()} | {"first load": _LOADED}
    return [(fills[kind], values) for kind, values in amounts.items()]


def _summary(plan: Plan) -> str:
    proof = ", optimal" if plan.proved else ""
    return f"{plan.traffic:,} bytes moved{proof}, {plan.compulsory:,} of first loads, capacity {plan.capacity:,}"


def _step_text(graph: Graph, plan: Plan, t: int) -> str:
    step = plan.steps[t]
    name = graph.op_names[graph.op_ids.index(step["op"])]
    text = f"step {t}: {step['op']}" + (f" ({name})" if name != str(step["op"]) else "")
    for what in ("spill", "retrieve"):
        if step[what]:
            text += f"; {what} {', '.join(map(str, step[what]))}"
    return text
