"""Pictures of mappings: time to the right, above what is where in fast memory, below the supply
that copies take.

Every instruction is equally wide. Plans are drawn as far as their actions are legal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jaxsched.envs.memory.mapping.plan import Plan
from jaxsched.envs.memory.mapping.program import Program
from jaxsched.envs.memory.mapping.replay import Problem, Replay, named_problem
from jaxsched.envs.memory.mapping.types import COPY, DROP, Instance
from jaxsched.host.chart import Box, Chart, Key, Mark, Panel
from jaxsched.host.picture import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COPIED = Key("being copied, or written back", "#cccccc", "dashed")
_HIT = Key("access to fast memory", "#ffffff", "dot")
_SUPPLY, _TAKEN = Key("supply", "#cccccc"), Key("taken by copies", "#d55e00")


class _Held(NamedTuple):
    """Fast memory held by a value, in instructions `[begin, end)` and bytes `[low, high)`."""

    value: int
    begin: int
    end: int
    low: int
    high: int
    why: str


def mapping_svg(program: Program | Instance, plan: Plan, *, title: str | None = None) -> Picture:
    """The plan of a program, or of an instance in its units, as a picture.

    It shows blocks of fast memory, dashed while they are copied, and the supply taken.

    Pointing at a block shows value, instructions, addresses and why it is held. A dot is an access
    that finds its value in fast memory. Bars below are the ticks that each instruction supplies,
    the filled part what copies take. Raises `ValueError` where an action is not legal.
    """
    problem, value_ids, instruction_ids = named_problem(program)
    held, hits, supply, taken = _play(problem, plan)
    saved = 100 * (1 - plan.latency / plan.baseline) if plan.baseline else 0
    text = f"latency {plan.latency:,}, baseline {plan.baseline:,}, {saved:.1f} % saved"
    blocks = []
    for value, begin, end, low, high, why in held:
        name = str(value_ids[value])
        tooltip = f"{name}: {why}, instructions [{begin}, {end}), addresses [{low:,}, {high:,})"
        style = "solid" if why == "stays" else "dashed"
        blocks.append(Box(begin, end, low, high, value, name, tooltip, "block", style))
    bars, most = [], max([*supply, 1])
    for at, (whole, part) in enumerate(zip(supply, taken, strict=True)):
        tooltip = f"{instruction_ids[at]}: copies take {part:,} of {whole:,} ticks"
        for amount, key in ((whole, _SUPPLY), (part, _TAKEN)):
            box = Box(at, at + 0.95, 0, amount, tooltip=tooltip, kind="amount", fill=key.fill)
            bars.append(box)
        bars.append(Box(at, at + 1, 0, most, tooltip=tooltip, kind="supply", style="clear"))
    dots = []
    for time, address in hits:
        dots.append(Mark(time + 0.5, address, "dot", _HIT.fill, _HIT.name, "hit"))
    chart = Chart(
        f"{title}: {text}" if title else text[0].upper() + text[1:],
        [
            Panel(blocks, top=max(problem.capacity, 1), label="address", marks=dots),
            Panel(bars, top=most, label="ticks", height=130),
        ],
        (0, max(len(problem.compute), 1)),
        "instruction",
        things="values",
        groups=[str(id) for id in value_ids],
        keys=[_COPIED, _HIT, _SUPPLY, _TAKEN],
    )
    return Picture(chart)


def mapping_chart(
    program: Program | Instance,
    plan: Plan,
    axes: tuple[Axes, Axes] | None = None,
) -> tuple[Axes, Axes]:
    """The same with matplotlib, on two axes or on a new figure of fitting size; returns them.

    Raises `ValueError` where an action is not legal.
    """
    above, below = mapping_svg(program, plan).plot(axes)
    return above, below


def _play(
    problem: Problem, plan: Plan
) -> tuple[list[_Held], list[tuple[int, float]], list[int], list[int]]:
    """Blocks, (instruction, address) of fast accesses, supply and what is taken of it per
    instruction.
    """
    replay = Replay(problem)
    supply, held, hits = list(replay.supply), [], []
    for action in plan.actions:
        use = problem.uses[replay.position]
        _, effect = replay.take(action)
        block = effect.block
        if block is not None:
            # A copy holds memory before the value can be used.
            copied = use.time if action == COPY else block.first
            if copied > block.first:
                held.append(
                    _Held(use.value, block.first, copied, block.low, block.high, "copied in")
                )
            why = "written back" if action == DROP else "stays"
            held.append(_Held(use.value, copied, block.last + 1, block.low, block.high, why))
        if effect.offset is not None:
            hits.append((use.time, effect.offset + use.width / 5))  # below the label
    return (
        held,
        hits,
        supply,
        [whole - left for whole, left in zip(supply, replay.supply, strict=True)],
    )
