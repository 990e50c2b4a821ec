"""Platforms, job profiles and static task graphs on the host: plain data, and the checks all of
them pass.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxsched.envs.soc.precedence import successors, topological
from jaxsched.host.checks import (
    INT32_MAX,
    Fault,
    array,
    check_name,
    check_unique,
    integer,
    mapping,
    number,
)
from jaxsched.host.errors import InstanceError

MAX_PES = 1024  # the bandwidth matrix is their square
MAX_TASKS = 4096  # of one job
MAX_CELLS = 2**20  # task names times PEs
EDGE = ("src", "dst", "volume")

Data = str | os.PathLike[str] | Mapping[str, Any]
Times = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Platform:
    """Q processing elements (PEs) and how fast they compute and exchange data. Time in us, data in
    units of the source.

    Arrays are int32 and read-only. Raises `InstanceError` naming the field and the value it
    refuses.
    """

    name: str
    pes: tuple[str, ...]  # Q names
    # task name -> us on each PE at its top operating point, None: cannot run there
    exec_time: Mapping[str, Times]
    # i32[Q, Q]  units per us from PE to PE, > 0; the diagonal from a PE to itself
    bandwidth: np.ndarray
    # i32[Q]  units per us from the PE to the memory node, > 0; None: no memory
    to_memory: np.ndarray | None = None
    from_memory: np.ndarray | None = None  # i32[Q]  units per us from the memory node to the PE
    # Task name -> what one us of it costs on each PE at the top operating point; None: the source
    # states none there. DS3 states W, so that power times us is uJ: dynamic and static power of its
    # cluster with this one PE busy. SoCRATES states a number without unit. Either is taken as
    # given: no idle power and no frequency scaling.
    power: Mapping[str, tuple[float | None, ...]] | None = None

    def __post_init__(self):
        check_name(self.name, "name")
        pes = tuple(array(self.pes, "pes"))
        num_pes = len(pes)
        if not 0 < num_pes <= MAX_PES:
            raise Fault(f"{num_pes} PEs, expected 1 to {MAX_PES}", "pes")
        check_unique(pes, "pes")
        if len(mapping(self.exec_time, "exec_time")) * num_pes > MAX_CELLS:
            raise Fault(
                f"{len(self.exec_time)} tasks on {num_pes} PEs: more than {MAX_CELLS} times",
                "exec_time",
            )
        times = {}
        for task, row in self.exec_time.items():
            times[check_name(task, "exec_time")] = _times(row, num_pes, "exec_time", task)
        set_ = functools.partial(object.__setattr__, self)
        set_("pes", pes)
        set_("exec_time", times)
        set_("bandwidth", _bandwidth(self.bandwidth, num_pes))
        if (self.to_memory is None) != (self.from_memory is None):
            raise Fault(
                "is given for one direction only",
                "from_memory" if self.from_memory is None else "to_memory",
            )
        for field in ("to_memory", "from_memory"):
            if getattr(self, field) is not None:
                set_(field, _read_only(_speeds(getattr(self, field), num_pes, field)))
        if self.power is not None:
            power = {}
            for task, values in mapping(self.power, "power").items():
                row = array(values, "power", task)
                if len(row) != num_pes:
                    raise Fault(f"{len(row)} numbers for {num_pes} PEs", "power", task)
                power[task] = tuple(
                    None if w is None else number(w, "power", task, q) for q, w in enumerate(row)
                )
            set_("power", power)

    # Equal by content: sources of streams on equal platforms are the same static argument of a
    # compiled program.

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
        """What running `task` on `pe` for `us` costs (DS3: uJ); None where the source states no
        power for it.
        """
        row = None if self.power is None else self.power.get(task)
        power = None if row is None else row[pe]
        return None if power is None else power * us


@dataclasses.dataclass(frozen=True)
class Job:
    """A job profile: a directed acyclic graph of tasks. Any number of heads and tails; done when
    all tasks are.

    Raises `InstanceError` naming the field and the value it refuses.
    """

    name: str
    # names, which the platform's `exec_time` is looked up by; ids are positions
    tasks: tuple[str, ...]
    # (src, dst, volume), volume in data units; 0 is still a precedence
    edges: tuple[tuple[int, int, int], ...]

    def __post_init__(self):
        check_name(self.name, "name")
        tasks = tuple(array(self.tasks, "tasks"))
        if not 0 < len(tasks) <= MAX_TASKS:
            raise Fault(f"{len(tasks)} tasks, expected 1 to {MAX_TASKS}", "tasks")
        check_unique(tasks, "tasks", "name")
        object.__setattr__(self, "tasks", tasks)
        object.__setattr__(self, "edges", check_edges(self.edges, len(tasks)))

    @property
    def num_tasks(self) -> int:
        """Number of tasks."""
        return len(self.tasks)


@dataclasses.dataclass(frozen=True, eq=False)
class StaticGraph:
    """One task graph with its own times and links, as the papers on static scheduling print
    them; Q PEs.
    """

    name: str
    exec_time: tuple[Times, ...]  # [task][pe], None: cannot run there
    edges: tuple[tuple[int, int, int], ...]  # (src, dst, volume)
    # i32[Q, Q]  units per time; the diagonal is not used: nothing is sent to the same PE
    bandwidth: np.ndarray

    def __post_init__(self):
        check_name(self.name, "name")
        given = array(self.exec_time, "exec_time")
        times = [array(row, "exec_time", k) for k, row in enumerate(given)]
        num_tasks = len(times)
        if not 0 < num_tasks <= MAX_TASKS:
            raise Fault(f"{num_tasks} tasks, expected 1 to {MAX_TASKS}", "exec_time")
        num_pes = len(times[0])
        if not 0 < num_pes <= MAX_PES or num_pes * num_tasks > MAX_CELLS:
            raise Fault(
                f"{num_pes} PEs, expected 1 to {MAX_PES}, times tasks at most {MAX_CELLS}",
                "exec_time",
                0,
            )
        rows = []
        for k, row in enumerate(times):
            rows.append(_times(row, num_pes, "exec_time", k))
            if all(time is None for time in rows[-1]):
                raise Fault("no PE can run this task", "exec_time", k)
        object.__setattr__(self, "exec_time", tuple(rows))
        object.__setattr__(self, "edges", check_edges(self.edges, num_tasks))
        object.__setattr__(self, "bandwidth", _bandwidth(self.bandwidth, num_pes, diagonal=False))


def check(platform: Platform, jobs: Iterable[Job]) -> None:
    """Raise `InstanceError` where `platform` cannot run a task of `jobs`, or two different jobs
    share a name.

    Also where all tasks and transfers of one job in a row exceed int32, so that no time within a
    job overflows.
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
        # to the memory and from it
        total += sum(2 * (volume // int(min(slowest))) for _, _, volume in job.edges)
        if total > INT32_MAX:
            raise InstanceError(
                f"job {job.name!r}: its tasks and transfers in a row may take {total} us on platform "
                f"{platform.name!r}, which exceeds int32: use a coarser unit of time"
            )


# --------------------------------------------------------------------------------- checks of values


def check_edges(
    edges: Sequence[tuple[int, int, int]],
    num_tasks: int,
) -> tuple[tuple[int, int, int], ...]:
    """The edges as Python integers; raises `Fault` at a dangling one, a loop, a second one, or a
    cycle.
    """
    checked, seen = [], set()
    for i, edge in enumerate(array(edges, "edges")):
        values = array(edge, "edges", i)
        if len(values) != 3:
            raise Fault(f"expected (src, dst, volume), got {len(values)} values", "edges", i)
        named = zip(values, EDGE, strict=True)
        src, dst, volume = (integer(value, "edges", i, key) for value, key in named)
        for key, task in (("src", src), ("dst", dst)):
            if task >= num_tasks:
                raise Fault(
                    f"{task} is no task, there are {num_tasks}, counted from 0", "edges", i, key
                )
        if src == dst:
            raise Fault(f"task {src} cannot precede itself", "edges", i)
        if (src, dst) in seen:
            raise Fault(f"a second edge from task {src} to task {dst}", "edges", i)
        seen.add((src, dst))
        checked.append((src, dst, volume))
    ordered = set(topological(successors(num_tasks, checked)))
    if len(ordered) < num_tasks:  # walk backwards among the others until one comes again
        walk = [next(k for k in range(num_tasks) if k not in ordered)]
        while walk[-1] not in walk[:-1]:
            before = (src for src, dst, _ in checked if dst == walk[-1])
            walk.append(next(src for src in before if src not in ordered))
        cycle = walk[walk.index(walk[-1]) :][::-1]
        shown = " -> ".join(map(str, cycle if len(cycle) <= 8 else [*cycle[:7], "..."]))
        raise Fault(f"the tasks {shown} are a cycle", "edges")
    return tuple(checked)


def _times(values: Any, num_pes: int, *path: str | int) -> Times:
    """The times of one task on each PE, None where it cannot run; raises `Fault`."""
    row = array(values, *path)
    if len(row) != num_pes:
        raise Fault(f"{len(row)} times for {num_pes} PEs", *path)
    return tuple(None if us is None else integer(us, *path, q) for q, us in enumerate(row))


def _speeds(values: Any, num_pes: int, *path: str | int, unused: int | None = None) -> list[int]:
    """One bandwidth per PE, > 0 but for the `unused` one; raises `Fault`."""
    row = array(values, *path)
    if len(row) != num_pes:
        raise Fault(f"{len(row)} numbers for {num_pes} PEs", *path)
    return [integer(speed, *path, q, least=int(q != unused)) for q, speed in enumerate(row)]


def _bandwidth(values: Any, num_pes: int, diagonal: bool = True) -> np.ndarray:
    """i32[Q, Q], read-only; the diagonal counts unless it is said not to."""
    rows = array(values, "bandwidth")
    if len(rows) != num_pes:
        raise Fault(f"{len(rows)} rows for {num_pes} PEs", "bandwidth")
    checked = []
    for p, row in enumerate(rows):
        checked.append(_speeds(row, num_pes, "bandwidth", p, unused=None if diagonal else p))
    return _read_only(checked)


def _read_only(values: Sequence[Any]) -> np.ndarray:
    array = np.array(values, np.int32)
    array.flags.writeable = False
    return array
