"""Platforms, job profiles and static task graphs on the host: plain data, and the checks all of them pass."""

from __future__ import annotations

import dataclasses
import functools
import operator
import os
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxsched.core.errors import InstanceError

INT32_MAX = 2**31 - 1
MAX_PES = 1024  # the bandwidth matrix is their square
MAX_TASKS = 4096  # of one job
MAX_CELLS = 2**20  # task names times PEs
MAX_NAME = 200  # characters
EDGE = ("src", "dst", "volume")

Data = str | os.PathLike[str] | Mapping[str, Any]
Times = tuple[int | None, ...]


class Fault(InstanceError):
    """What a check of the values found, and the `path` of keys and indices to the value at fault."""

    def __init__(self, reason: str, *path: str | int):
        self.path = path
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
        self.told = f"{where}: {reason}" if where else reason
        super().__init__(self.told)


@dataclasses.dataclass(frozen=True, eq=False)
class Platform:
    """Q processing elements (PEs) and how fast they compute and exchange data. Time in us, data in units of the source.

    Arrays are int32 and read-only. Raises `InstanceError` naming the field and the value it refuses.
    """

    name: str
    pes: tuple[str, ...]  # Q names
    exec_time: Mapping[str, Times]  # task name -> us on each PE at its top operating point, None: cannot run there
    bandwidth: np.ndarray  # i32[Q, Q]  units per us from PE to PE, > 0; the diagonal from a PE to itself
    to_memory: np.ndarray | None = None  # i32[Q]  units per us from the PE to the memory node, > 0; None: no memory
    from_memory: np.ndarray | None = None  # i32[Q]  units per us from the memory node to the PE
    # Task name -> what one us of it costs on each PE at the top operating point; None: the source states none there.
    # DS3 states W, so that power times us is uJ: dynamic and static power of its cluster with this one PE busy.
    # SoCRATES states a number without unit. Either is taken as given: no idle power and no frequency scaling.
    power: Mapping[str, tuple[float | None, ...]] | None = None

    def __post_init__(self):
        check_name(self.name, "name")
        num_pes = len(self.pes)
        if not 0 < num_pes <= MAX_PES:
            raise Fault(f"{num_pes} PEs, expected 1 to {MAX_PES}", "pes")
        check_unique(self.pes, "pes")
        if len(self.exec_time) * num_pes > MAX_CELLS:
            raise Fault(f"{len(self.exec_time)} tasks on {num_pes} PEs: more than {MAX_CELLS} times", "exec_time")
        times = {}
        for task, row in self.exec_time.items():
            check_name(task, "exec_time")
            if len(row) != num_pes:
                raise Fault(f"{len(row)} times for {num_pes} PEs", "exec_time", task)
            times[task] = tuple(None if t is None else integer(t, 0, "exec_time", task, q) for q, t in enumerate(row))
        set_ = functools.partial(object.__setattr__, self)
        set_("pes", tuple(self.pes))
        set_("exec_time", times)
        set_("bandwidth", _bandwidth(self.bandwidth, (num_pes, num_pes), "bandwidth"))
        if (self.to_memory is None) != (self.from_memory is None):
            raise Fault("is given for one direction only", "from_memory" if self.from_memory is None else "to_memory")
        for field in ("to_memory", "from_memory"):
            if getattr(self, field) is not None:
                set_(field, _bandwidth(getattr(self, field), (num_pes,), field))
        if self.power is not None:
            power = {}
            for task, row in self.power.items():
                if len(row) != num_pes:
                    raise Fault(f"{len(row)} numbers for {num_pes} PEs", "power", task)
                power[task] = tuple(None if w is None else number(w, "power", task, q) for q, w in enumerate(row))
            set_("power", power)

    # Equal by content: sources of streams on equal platforms are the same static argument of a compiled program.

    def _content(self) -> tuple[Any, ...]:
        arrays = (self.bandwidth, self.to_memory, self.from_memory)
        tables = (self.exec_time, self.power or {})
        return (
            self.name,
            self.pes,
            *(tuple(sorted(table.items())) for table in tables),
            *(None if array is None else array.tobytes() for array in arrays),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Platform) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(self._content())

    @property
    def num_pes(self) -> int:
        """Q."""
        return len(self.pes)

    def energy(self, task: str, pe: int, us: int) -> float | None:
        """What running `task` on `pe` for `us` costs (DS3: uJ); None where the source states no power for it."""
        row = None if self.power is None else self.power.get(task)
        power = None if row is None else row[pe]
        return None if power is None else power * us


@dataclasses.dataclass(frozen=True)
class Job:
    """A job profile: a directed acyclic graph of tasks. Any number of heads and tails; done when all tasks are.

    Raises `InstanceError` naming the field and the value it refuses.
    """

    name: str
    tasks: tuple[str, ...]  # names, which the platform's `exec_time` is looked up by; ids are positions
    edges: tuple[tuple[int, int, int], ...]  # (src, dst, volume), volume in data units; 0 is still a precedence

    def __post_init__(self):
        check_name(self.name, "name")
        if not 0 < len(self.tasks) <= MAX_TASKS:
            raise Fault(f"{len(self.tasks)} tasks, expected 1 to {MAX_TASKS}", "tasks")
        check_unique(self.tasks, "tasks", "name")
        object.__setattr__(self, "tasks", tuple(self.tasks))
        object.__setattr__(self, "edges", check_edges(self.edges, len(self.tasks)))

    @property
    def num_tasks(self) -> int:
        """Number of tasks."""
        return len(self.tasks)


@dataclasses.dataclass(frozen=True, eq=False)
class StaticGraph:
    """One task graph with its own times and links, as the papers on static scheduling print them; Q PEs."""

    name: str
    exec_time: tuple[Times, ...]  # [task][pe], None: cannot run there
    edges: tuple[tuple[int, int, int], ...]  # (src, dst, volume)
    bandwidth: np.ndarray  # i32[Q, Q]  units per time; the diagonal is not used: nothing is sent to the same PE

    def __post_init__(self):
        check_name(self.name, "name")
        if not 0 < len(self.exec_time) <= MAX_TASKS:
            raise Fault(f"{len(self.exec_time)} tasks, expected 1 to {MAX_TASKS}", "exec_time")
        num_pes = len(self.exec_time[0])
        if not 0 < num_pes <= MAX_PES or num_pes * len(self.exec_time) > MAX_CELLS:
            raise Fault(f"{num_pes} PEs, expected 1 to {MAX_PES}, times tasks at most {MAX_CELLS}", "exec_time", 0)
        rows = []
        for k, row in enumerate(self.exec_time):
            if len(row) != num_pes:
                raise Fault(f"{len(row)} times for {num_pes} PEs", "exec_time", k)
            rows.append(tuple(None if t is None else integer(t, 0, "exec_time", k, q) for q, t in enumerate(row)))
            if all(t is None for t in rows[-1]):
                raise Fault("no PE can run this task", "exec_time", k)
        object.__setattr__(self, "exec_time", tuple(rows))
        object.__setattr__(self, "edges", check_edges(self.edges, len(rows)))
        matrix = _bandwidth(self.bandwidth, (num_pes, num_pes), "bandwidth", diagonal=False)
        object.__setattr__(self, "bandwidth", matrix)


def check(platform: Platform, jobs: Iterable[Job]) -> None:
    """Raise `InstanceError` where `platform` cannot run a task of `jobs`, or two different jobs share a name.

    Also where all tasks and transfers of one job in a row exceed int32, so that no time within a job overflows.
    """
    known: dict[str, Job] = {}
    slowest = [platform.bandwidth.min()]
    slowest += [x.min() for x in (platform.to_memory, platform.from_memory) if x is not None]
    for job in jobs:
        if known.setdefault(job.name, job) is not job:
            if known[job.name] != job:
                raise InstanceError(f"two different jobs have the name {job.name!r}")
            continue
        total = 0
        for k, task in enumerate(job.tasks):
            row = [time for time in platform.exec_time.get(task, ()) if time is not None]
            if not row:
                raise InstanceError(
                    f"job {job.name!r}: tasks[{k}].name {task!r}: no PE of platform {platform.name!r} can run it"
                )
            total += max(row)
        total += sum(2 * (volume // int(min(slowest))) for _, _, volume in job.edges)  # to the memory and from it
        if total > INT32_MAX:
            raise InstanceError(
                f"job {job.name!r}: its tasks and transfers in a row may take {total} us on platform "
                f"{platform.name!r}, which exceeds int32: use a coarser unit of time"
            )


# ------------------------------------------------------------------------------------------------ checks of values


def check_edges(edges: Iterable[tuple[int, int, int]], num_tasks: int) -> tuple[tuple[int, int, int], ...]:
    """The edges as Python integers; raises `Fault` at a dangling one, a loop, a second one, or a cycle."""
    checked, successors, waits = [], [[] for _ in range(num_tasks)], [0] * num_tasks
    seen = set()
    for i, edge in enumerate(edges):
        if len(edge) != 3:
            raise Fault(f"expected (src, dst, volume), got {len(edge)} values", "edges", i)
        src, dst, volume = (integer(value, 0, "edges", i, key) for value, key in zip(edge, EDGE, strict=True))
        for key, task in (("src", src), ("dst", dst)):
            if task >= num_tasks:
                raise Fault(f"{task} is no task, there are {num_tasks}, counted from 0", "edges", i, key)
        if src == dst:
            raise Fault(f"task {src} cannot precede itself", "edges", i)
        if (src, dst) in seen:
            raise Fault(f"a second edge from task {src} to task {dst}", "edges", i)
        seen.add((src, dst))
        successors[src].append(dst)
        waits[dst] += 1
        checked.append((src, dst, volume))
    ready = [k for k in range(num_tasks) if not waits[k]]
    for k in ready:  # grows
        for s in successors[k]:
            waits[s] -= 1
            if not waits[s]:
                ready.append(s)
    if len(ready) < num_tasks:  # walk backwards among those never ready until one comes again
        walk = [next(k for k in range(num_tasks) if waits[k])]
        while walk[-1] not in walk[:-1]:
            walk.append(next(src for src, dst, _ in checked if dst == walk[-1] and waits[src]))
        cycle = walk[walk.index(walk[-1]) :][::-1]
        shown = " -> ".join(map(str, cycle if len(cycle) <= 8 else [*cycle[:7], "..."]))
        raise Fault(f"the tasks {shown} are a cycle", "edges")
    return tuple(checked)


def integer(value: Any, least: int, *path: str | int) -> int:
    """`value` as an integer from `least` to the largest int32; raises `Fault`."""
    try:  # operator.index refuses floats and texts, but takes booleans
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise Fault(f"{reprlib.repr(value)} is not an integer", *path)
    if abs(number) > INT32_MAX:
        raise Fault(f"{reprlib.repr(number)} does not fit int32", *path)
    if number < least:
        raise Fault(f"{number} is negative" if number < 0 else f"{number}, expected at least {least}", *path)
    return number


def number(value: Any, *path: str | int) -> float:
    """`value` as a float from 0 to 1e30; raises `Fault`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        raise Fault(f"{reprlib.repr(value)} is not a number", *path)
    if not 0 <= value < 1e30:  # also refuses NaN
        raise Fault(f"{reprlib.repr(value)} is not a number from 0 to 1e30", *path)
    return float(value)


def _bandwidth(values: Any, shape: tuple[int, ...], field: str, diagonal: bool = True) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:  # ragged
        array = np.empty(0)
    if array.shape != shape:
        raise Fault(f"expected {' x '.join(map(str, shape))} numbers, got shape {array.shape}", field)
    for index, value in np.ndenumerate(array):
        value = value.item() if isinstance(value, np.generic) else value
        integer(value, int(diagonal or index[0] != index[1]), field, *index)
    array = np.array(array, np.int32)
    array.flags.writeable = False
    return array


def check_name(value: Any, *path: str | int) -> str:
    """`value`, a name of 1 to `MAX_NAME` printable characters; raises `Fault`."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise Fault(f"{reprlib.repr(value)} is not a name: 1 to {MAX_NAME} printable characters", *path)
    return value


def check_unique(names: Iterable[str], field: str, key: str | None = None) -> None:
    """Raise `Fault` at the second of two equal names, `field[i]` or with `key` `field[i].key`."""
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        path = (field, i) if key is None else (field, i, key)
        if seen.setdefault(check_name(name, *path), i) != i:
            raise Fault(f"{name!r} is also the name of {field}[{seen[name]}]", *path)
