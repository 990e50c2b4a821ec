"""What `StaticAllocation-v0` offers beside its rules."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxsched.core.environment import Environment
from jaxsched.core.identity import instance_hash
from jaxsched.core.offer import Comparison, Loaded, Offer, Summary
from jaxsched.core.result import Bounds, Result
from jaxsched.envs.memory.allocation.plain import solve_exact
from jaxsched.envs.memory.allocation.preset import PRESETS
from jaxsched.envs.memory.allocation.sources import cut_lives
from jaxsched.envs.memory.allocation.types import Instance, to_buffers, to_instance
from jaxsched.envs.memory.draw import memory_map_svg
from jaxsched.envs.memory.io import read_amount, read_kind, write_csv
from jaxsched.envs.memory.types import Buffers, Plan, live_sizes, lower_bound
from jaxsched.envs.memory.writers import plan_writer, problem_writer
from jaxsched.host.checks import INT32_MAX
from jaxsched.host.errors import Infeasible, InstanceError
from jaxsched.host.picture import Picture

LOAD_OPTIONS = {
    "capacity": "memory there is, in the units of the file, or such as 1MiB",
    "alignment": "round sizes and offsets up to multiples of it",
}
# The challenging instances of MiniMalloc (Moffitt, ASPLOS 2023), all of them solved by it within 1
# MiB: the hash without a capacity, and the bounds in their units of 1 KiB. The lower one is the
# largest live size.
MINIMALLOC = {
    "A": ("5f814a51eaa0a72f", 1024, 1024),
    "B": ("d0d0ca28c21159cf", 1024, 1024),
    "C": ("b8260feb686118e0", 1015, 1015),
    "D": ("8f3456a9d1a08cbc", 963, 1024),
    "E": ("367490932f850d7a", 1024, 1024),
    "F": ("ba5a330d8549703e", 1024, 1024),
    "G": ("a6df47c6bcbf8f0c", 1024, 1024),
    "H": ("43ec5ddad3e3f87f", 1024, 1024),
    "I": ("44398309f1f907e6", 1024, 1024),
    "J": ("11141cb54ce4ab84", 966, 1024),
    "K": ("cef5c1d679a9ef42", 1024, 1024),
}


def in_own_units(instance: Instance, plan: Plan, names: Buffers | None) -> tuple[Buffers, Plan]:
    """The buffers as they were read and the plan in their units; those of the instance without
    `names`.
    """
    buffers = to_buffers(instance) if names is None else names
    unit = 1 if names is None else names.unit
    offsets = buffers.offset.copy()
    offsets[~buffers.pinned] = np.asarray(plan.offsets, np.int64) * unit
    scaled = {"peak": plan.peak * unit, "lower_bound": plan.lower_bound * unit}
    return buffers, dataclasses.replace(plan, offsets=offsets, **scaled)


def load_buffers(env: Environment, name: str, options: Mapping[str, str], /) -> Loaded:
    """The buffers in a file, or a challenging instance of MiniMalloc by name; `names` are the
    `Buffers`.
    """
    alignment = read_amount(options.get("alignment", "1"), "alignment")
    capacity = read_amount(options["capacity"]) if "capacity" in options else None
    buffers = read_kind(_path(name), Buffers, env.id).aligned(alignment)
    return Loaded(to_instance(buffers, capacity), buffers, buffers.unit)


def _path(name: str) -> str:
    """The file of an instance of MiniMalloc, any other name as it is. Raises `InstanceError`
    without the folder.
    """
    letter = name.removeprefix("minimalloc-")
    if letter not in MINIMALLOC or name == letter:
        return name
    data = os.environ.get("JAXSCHED_DATA")
    path = Path(data or "", "memory", "minimalloc", "challenging", f"{letter}.1048576.csv")
    if data is None or not path.exists():
        folder = "the folder with memory/minimalloc/challenging"
        raise InstanceError(f"{name}: set JAXSCHED_DATA to {folder}")
    return str(path)


def expand_names(env: Environment, spec: str) -> list[str]:
    """The names and paths in a list; `minimalloc` stands for all challenging instances."""
    found: list[str] = []
    for name in filter(None, map(str.strip, spec.split(","))):
        if name == "minimalloc":
            found += [f"minimalloc-{letter}" for letter in MINIMALLOC]
        else:
            found.append(name)
    return found


def named_sets(env: Environment) -> Mapping[str, str]:
    """The named instances."""
    return {"minimalloc": "minimalloc-A to -K, 154 to 454 buffers, from $JAXSCHED_DATA"}


def published_bounds(env: Environment, instance: Instance) -> Bounds | None:
    """Bounds on the peak of a challenging instance of MiniMalloc, whatever its capacity."""
    found = instance_hash(instance.replace(capacity=np.asarray(INT32_MAX, np.int32)))[:16]
    for digits, lower, upper in MINIMALLOC.values():
        if digits == found:
            return Bounds(lower, upper, "MiniMalloc (ASPLOS 2023), commit 9f5cf81", "2023", "peak")
    return None


def compare_rules(env: Environment) -> Comparison:
    """The rules on random lives; with the folder of published instances on some of
    MiniMalloc too.
    """
    groups = ["generated:16"]
    if os.environ.get("JAXSCHED_DATA"):
        groups.append("minimalloc-A,minimalloc-B,minimalloc-C")
    return Comparison(
        groups=tuple(groups),
        track={"64 of a full memory": cut_lives(64), "64 random": env.default_source},
        draw="generated-0",
        rules=("size", "duration", "area", "start", "lowest", "least_waste"),
        randomised_rule="area",
        rule_settings={},
    )


def solve_allocation(
    env: Environment,
    instance: Instance,
    /,
    *,
    time_limit: float,
    hint: Plan | None = None,
    num_workers: int | None = None,
    seed: int = 0,
) -> Result:
    """`solve_exact`. With the goal `fit` it raises `Infeasible` where no plan was found within the
    capacity.
    """
    result = solve_exact(instance, time_limit, hint, num_workers=num_workers, seed=seed)
    capacity = int(instance.capacity)
    missing = result.objective - capacity
    if env.settings["goal"] == "fit" and missing > 0:
        proved = result.bound > capacity
        what = "no plan fits" if proved else "no plan was found that fits"
        reason = f"{what} the capacity of {capacity}: the best one found needs {missing} more"
        raise Infeasible(reason, missing=missing, plan=result.plan, proved=proved)
    return result


def allocation_picture(
    env: Environment,
    instance: Instance,
    solution: Plan,
    /,
    *,
    names: Buffers | None = None,
    title: str = "",
) -> Picture:
    """The memory map of a plan."""
    return memory_map_svg(*in_own_units(instance, solution, names), title=title)


def explain_allocation(
    env: Environment, instance: Instance, solution: Plan, /, *, names: Buffers | None = None
) -> list[str]:
    """What holds the peak up: when most is live, and which buffers that is."""
    buffers, plan = in_own_units(instance, solution, names)
    ends = plan.offsets + buffers.size
    lines = [f"peak {plan.peak:,} of {len(buffers)} buffers"]
    if len(buffers):
        lines += [
            _most_live(buffers),
            f"the highest end is that of buffer {buffers.ids[int(np.argmax(ends))]}",
        ]
    if plan.peak == lower_bound(buffers):
        lines.append("so much is live at one time, or pinned so high: no plan has a smaller peak")
    else:
        above = plan.peak - lower_bound(buffers)
        lines.append(f"at most {above:,} of it may be saved: what is lost between buffers")
    return lines


def _most_live(buffers: Buffers) -> str:
    """When the most is live, and what the largest buffers of that time are."""
    times, live = live_sizes(buffers)
    at = int(np.argmax(live))
    segment, start, end = buffers.segments()
    there = segment[(start <= times[at]) & (times[at] < end)]
    largest = sorted(there.tolist(), key=lambda i: (-int(buffers.size[i]), i))
    shown = ", ".join(f"{buffers.ids[i]} ({int(buffers.size[i]):,})" for i in largest[:5])
    more = f" and {len(largest) - 5} more" if len(largest) > 5 else ""
    return f"most is live in [{times[at]}, {times[at + 1]}), {int(live[at]):,}: {shown}{more}"


def summarise_allocation(env: Environment, instance: Instance, names: Buffers | None) -> Summary:
    """What is in a list of buffers, and whether it can fit the capacity."""
    buffers = to_buffers(instance) if names is None else names
    unit = 1 if names is None else names.unit
    lower, lines = (
        lower_bound(buffers),
        [f"{len(buffers)} buffers, {sum(buffers.size.tolist()):,} in all"],
    )
    lines += buffers.notes
    if len(buffers):
        lines.append(_most_live(buffers))
    special = {"pinned": int(buffers.pinned.sum()), "aligned": int((buffers.alignment > 1).sum())}
    special["with gaps"] = sum(map(bool, buffers.gaps))
    if any(special.values()):
        lines.append(", ".join(f"{number} {what}" for what, number in special.items() if number))
    capacity = int(instance.capacity)
    if capacity == INT32_MAX:
        return Summary(lines)
    lines.append(f"capacity {capacity * unit:,}")
    fault = f"the capacity of {capacity * unit:,}: {lower:,} are live at once, or pinned so high"
    return Summary(lines, [fault] if lower > capacity * unit else [])


OFFER = Offer(
    presets=PRESETS,
    comparison=compare_rules,
    load=load_buffers,
    load_options=LOAD_OPTIONS,
    expand=expand_names,
    sets=named_sets,
    summary=summarise_allocation,
    bounds=published_bounds,
    exact=solve_allocation,
    picture=allocation_picture,
    explain=explain_allocation,
    write=plan_writer(in_own_units),
    write_instance=problem_writer(to_buffers, write_csv),
)
