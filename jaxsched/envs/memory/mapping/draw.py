"""Pictures of mappings: time to the right, above what is where in fast memory, below the supply that copies take.

Every instruction is equally wide. Plans are drawn as far as their actions are legal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from jaxsched.core.picture import Picture, colour_of, round_ticks, xml
from jaxsched.envs.memory.mapping.types import COPY, DROP, MapPlan, Program
from jaxsched.envs.memory.mapping.validate import Replay, problem_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT, _SUPPLY, _LEFT, _TOP, _GAP = 960, 380, 130, 110, 44, 34
_SLOW, _TAKEN = "#cccccc", "#d55e00"


class _Held(NamedTuple):
    """Fast memory held by a value, in instructions `[begin, end)` and bytes `[low, high)`."""

    value: int
    begin: int
    end: int
    low: int
    high: int
    why: str


def mapping_svg(program: Program, plan: MapPlan, *, title: str | None = None) -> Picture:
    """The plan as a self-contained SVG: blocks of fast memory, dashed while they are copied, and the supply taken.

    Pointing at a block shows value, instructions, addresses and why it is held. A dot is an access that finds its
    value in fast memory. Bars below are the ticks that each instruction supplies, the filled part what copies take.
    Raises `ValueError` where an action is not legal.
    """
    held, hits, supply, taken = _play(program, plan)
    num = max(len(program.compute), 1)
    wide, high, tall = _WIDTH / num, _HEIGHT / max(program.capacity, 1), _SUPPLY / max([*supply, 1])
    bottom = _TOP + _HEIGHT + _GAP + _SUPPLY
    saved = 100 * (1 - plan.latency / plan.baseline) if plan.baseline else 0
    text = f"latency {plan.latency:,}, baseline {plan.baseline:,}, {saved:.1f} % saved"
    heading = xml(f"{title}: {text}" if title else text[0].upper() + text[1:])
    total_width, total_height = _LEFT + _WIDTH + 48, bottom + 48
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_width} {total_height}" width="{total_width}" '
        f'height="{total_height}" role="img" font-family="sans-serif" font-size="12" fill="#222">'
        f"<title>{heading}</title>",
        f'<rect width="{total_width}" height="{total_height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="24" font-size="15" font-weight="bold">{heading}</text>',
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="#f3f3f3"/>',
    ]
    for address in round_ticks(program.capacity):
        y = _TOP + _HEIGHT - address * high
        parts.append(f'<path d="M{_LEFT - 5} {y:.2f}H{_LEFT + _WIDTH}" stroke="#ccc"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y:.2f}" text-anchor="end" dy=".35em">{address:,}</text>')
    for block in held:
        name = str(program.value_ids[block.value])
        x, y = _LEFT + block.begin * wide, _TOP + _HEIGHT - block.high * high
        across, up = (block.end - block.begin) * wide, (block.high - block.low) * high
        fill, ink = colour_of(block.value)
        tooltip = xml(
            f"{name}: {block.why}, instructions [{block.begin}, {block.end}), addresses [{block.low:,}, {block.high:,})"
        )
        label = ""
        if across >= 7 * len(name) + 4 and up >= 14:
            label = (
                f'<text x="{x + across / 2:.2f}" y="{y + up / 2:.2f}" text-anchor="middle" dy=".35em" '
                f'fill="{ink}">{xml(name)}</text>'
            )
        dashes = ' stroke-dasharray="4 3" fill-opacity="0.65"' if block.why != "stays" else ""
        stroke = "#222" if dashes else "#fff"
        parts.append(
            f'<g class="block"><title>{tooltip}</title><rect x="{x:.2f}" y="{y:.2f}" width="{across:.2f}" '
            f'height="{max(up, 0.5):.2f}" fill="{fill}" stroke="{stroke}" stroke-width="0.7"{dashes}/>{label}</g>'
        )
    for time, middle in hits:
        x, y = _LEFT + (time + 0.5) * wide, _TOP + _HEIGHT - middle * high
        parts.append(f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{min(3, wide / 3):.2f}" fill="#fff" stroke="#222"/>')
    for at, (whole, part) in enumerate(zip(supply, taken, strict=True)):
        for amount, fill in ((whole, _SLOW), (part, _TAKEN)):
            parts.append(
                f'<rect x="{_LEFT + at * wide:.2f}" y="{bottom - amount * tall:.2f}" width="{0.95 * wide:.2f}" '
                f'height="{amount * tall:.2f}" fill="{fill}"/>'
            )
        id = xml(str(program.instruction_ids[at]))
        parts.append(
            f'<rect class="supply" x="{_LEFT + at * wide:.2f}" y="{bottom - _SUPPLY}" width="{wide:.2f}" '
            f'height="{_SUPPLY}" fill-opacity="0"><title>{id}: copies take {part:,} of {whole:,} ticks</title></rect>'
        )
    for at in round_ticks(num):
        x = _LEFT + at * wide
        parts.append(f'<text x="{x:.2f}" y="{bottom + 16}" text-anchor="middle">{at}</text>')
    for y, label in ((_TOP + _HEIGHT / 2, "address"), (bottom - _SUPPLY / 2, "supply")):
        parts.append(f'<text transform="translate(16 {y:.0f}) rotate(-90)" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="{_LEFT + _WIDTH / 2}" y="{bottom + 36}" text-anchor="middle">instruction</text></svg>')
    return Picture("\n".join(parts))


def mapping_chart(program: Program, plan: MapPlan, axes: tuple[Axes, Axes] | None = None) -> tuple[Axes, Axes]:
    """The same with matplotlib, on two axes or on a new figure; returns them.

    Raises `ValueError` where an action is not legal.
    """
    if axes is None:
        import matplotlib.pyplot as plt

        _, made = plt.subplots(
            2, figsize=(11, 6), sharex=True, layout="constrained", gridspec_kw={"height_ratios": [3, 1]}
        )
        axes = made[0], made[1]
    above, below = axes
    held, hits, supply, taken = _play(program, plan)
    for block in held:
        style: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.5}
        if block.why != "stays":
            style = {"edgecolor": "#222", "linewidth": 0.7, "linestyle": "--", "alpha": 0.65}
        across, up = block.end - block.begin, block.high - block.low
        above.bar(block.begin, up, across, block.low, align="edge", color=colour_of(block.value)[0], **style)
    if hits:
        times, middles = zip(*hits, strict=True)
        above.scatter([time + 0.5 for time in times], middles, s=14, color="white", edgecolor="#222", zorder=3)
    above.set_ylim(0, max(program.capacity, 1))
    above.set_ylabel("address")
    above.set_title(f"Latency {plan.latency:,}, baseline {plan.baseline:,}", loc="left")
    positions = range(len(supply))
    below.bar(positions, supply, 0.95, align="edge", color=_SLOW, label="supply")
    below.bar(positions, taken, 0.95, align="edge", color=_TAKEN, label="taken by copies")
    below.set_xlim(0, max(len(supply), 1))
    below.set_xlabel("instruction")
    below.set_ylabel("ticks")
    below.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return above, below


def _play(program: Program, plan: MapPlan) -> tuple[list[_Held], list[tuple[int, float]], list[int], list[int]]:
    """Blocks, (instruction, address) of fast accesses, supply and what is taken of it per instruction."""
    problem = problem_of(program)
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
                held.append(_Held(use.value, block.first, copied, block.low, block.high, "copied in"))
            why = "written back" if action == DROP else "stays"
            held.append(_Held(use.value, copied, block.last + 1, block.low, block.high, why))
        if effect.offset is not None:
            hits.append((use.time, effect.offset + use.width / 5))  # below the label
    return held, hits, supply, [whole - left for whole, left in zip(supply, replay.supply, strict=True)]
