"""Finished schedules as files, CSV or JSON by the file's ending, and back.

Both hold one row or object `job, step, machine, start, end` per operation, in the order of the jobs
and their routes. Jobs, steps and machines are numbers from 0 and times are ticks; with the `Orders`
an instance was read with, they are the names, steps and dates of that file. JSON is `{"makespan":
ticks, "operations": [...]}`. Tables are read as spreadsheets write them (`host/table.py`).
"""

from __future__ import annotations

import datetime
import json
import os
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from jaxsched.envs.job_shop.labels import Labels
from jaxsched.envs.job_shop.lists import to_jobs
from jaxsched.envs.job_shop.orders import Orders, isoformat
from jaxsched.envs.job_shop.types import Instance, Schedule
from jaxsched.envs.job_shop.validate import validate
from jaxsched.host.checks import Fault, integer
from jaxsched.host.errors import InstanceError
from jaxsched.host.table import Table, csv_cell
from jaxsched.host.text import Json, Text, read_bytes, write_text

_COLUMNS = ("job", "step", "machine", "start", "end")

Value = int | str | datetime.datetime
Entry = dict[str, Value]
Fail = Callable[[str, str], InstanceError]  # reason, column


def write_schedule(
    instance: Instance,
    schedule: Schedule,
    path: str | os.PathLike[str],
    *,
    orders: Orders | None = None,
    overwrite: bool = False,
) -> None:
    """Write a schedule of `instance` as `*.csv` or `*.json`, see the head of this module.

    With `orders`, names take the place of numbers, and dates that of ticks where `orders.origin` is
    set. Raises `FileExistsError` where the file exists and `overwrite` is False, `ValueError` for
    another ending, a schedule that is not valid, or orders of another instance.
    """
    faults = validate(instance, schedule)
    if faults:
        raise ValueError(f"not a schedule of this instance: {faults[0]}")
    labels = Labels(instance, orders)
    operations = []
    for (job, op), (machine, duration) in labels.operations():
        start = schedule.start[job][op]
        times = labels.time(start), labels.time(start + duration)
        operations.append((labels.job(job), labels.step(job, op), labels.machine(machine), *times))
    if _ending(path) == ".csv":
        write_table(operations, path, overwrite=overwrite)
    else:
        rows = ",\n".join(
            "  " + json.dumps(dict(zip(_COLUMNS, row, strict=True))) for row in operations
        )
        text = f'{{"makespan": {int(schedule.makespan)},\n"operations": [\n{rows}\n]}}\n'
        write_text(path, [text], overwrite)


def write_table(
    operations: Iterable[Sequence[int | str]],
    path: str | os.PathLike[str],
    *,
    columns: Sequence[str] = _COLUMNS,
    overwrite: bool = False,
) -> None:
    """Write one row per operation as CSV; raises `FileExistsError` where the file exists and
    `overwrite` is False.
    """
    lines = [",".join(map(csv_cell, row)) + "\n" for row in (columns, *operations)]
    write_text(path, lines, overwrite)


def read_schedule(
    path: str | os.PathLike[str], instance: Instance, *, orders: Orders | None = None
) -> Schedule:
    """The schedule of `instance` in a file of `write_schedule`, rows in any order; `orders` as it
    was written with.

    Raises `InstanceError` with file, line, column and reason where the file is malformed or its
    operations, machines, durations or makespan are not those of the instance. Whether machines and
    jobs overlap is for `validate` to say.
    """
    labels = Labels(instance, orders)
    ids: dict[tuple[Value, Value], tuple[int, int]] = {
        (labels.job(job), labels.step(job, op)): (job, op) for (job, op), _ in labels.operations()
    }
    jobs = to_jobs(instance)
    starts: list[list[int | None]] = [[None] * len(row) for row in jobs]
    file = os.fspath(path)
    text, makespan = None, None
    if _ending(path) == ".csv":
        entries = _csv_entries(read_bytes(path), file, labels)
    else:
        text = Json(Text(read_bytes(path), file), "a schedule")
        text.known(["makespan", "operations"])
        if "makespan" not in text.entry or "operations" not in text.entry:
            raise text.fail("needs `makespan` and `operations`")
        try:
            makespan = integer(text.entry["makespan"], field="makespan")
        except Fault as fault:
            raise text.fail(fault.reason, fault.field) from None
        entries = _json_entries(text)
    end = 0
    for entry, fail in entries:
        shown = {column: reprlib.repr(_plain(value)) for column, value in entry.items()}
        found = ids.get((entry["job"], entry["step"]))
        if found is None:
            raise fail(f"the instance has no step {shown['step']} of a job {shown['job']}", "job")
        (job, op), (machine, duration) = found, jobs[found[0]][found[1]]
        if entry["machine"] != labels.machine(machine):
            raise fail(
                f"machine {shown['machine']}, but the instance has {labels.machine(machine)!r}",
                "machine",
            )
        if starts[job][op] is not None:
            raise fail(f"step {shown['step']} of job {shown['job']} is given twice", "step")
        start, stop = (labels.ticks(entry[column]) for column in ("start", "end"))
        if start is None or start < 0:
            raise fail(f"start {shown['start']} is not a time of this instance", "start")
        if stop is None or stop != start + duration:
            raise fail(f"end {shown['end']} is not {duration} ticks after the start", "end")
        starts[job][op], end = start, max(end, stop)
    for job, row in enumerate(starts):
        for op, start in enumerate(row):
            if start is None:
                reason = f"no start for step {labels.step(job, op)!r} of job {labels.job(job)!r}"
                raise InstanceError(reason, file=file)
    if text is not None and makespan != end:
        raise text.fail(
            f"the makespan is given as {makespan}, but the latest end is {end}", "makespan"
        )
    return Schedule([[start for start in row if start is not None] for row in starts], end)


def _csv_entries(content: bytes, file: str, labels: Labels) -> Iterator[tuple[Entry, Fail]]:
    text = {"job", "machine"} if labels.orders else set()
    times = {"start", "end"} if labels.origin else set()
    for row in Table(content, file, _COLUMNS, dates=("start", "end"), others=True).rows():
        entry: Entry = {}
        for column in _COLUMNS:
            if column in times:
                entry[column] = row.date(column) or row.name(column)
            else:
                entry[column] = row.name(column) if column in text else row.number(column)
        yield entry, row.fail


def _json_entries(source: Json) -> Iterator[tuple[Entry, Fail]]:
    operations = source.entry["operations"]
    if not isinstance(operations, list):
        raise source.fail(
            f"operations: expected a list, got {reprlib.repr(operations)}", "operations"
        )
    for i, entry in enumerate(operations):
        if not isinstance(entry, dict) or set(entry) != set(_COLUMNS):
            raise source.fail(
                f"operation {i}: expected an object of {', '.join(_COLUMNS)}", "operations", i
            )
        for column, value in entry.items():
            if type(value) not in (int, str):
                reason = f"{column} {reprlib.repr(value)} is neither a number nor a text"
                raise source.fail(reason, "operations", i, column)
        yield entry, lambda reason, column, i=i: source.fail(reason, "operations", i, column)


def _plain(value: Value) -> int | str:
    """A date as it is written, anything else as it is; for messages."""
    return isoformat(value) if isinstance(value, datetime.datetime) else value


def _ending(path: str | os.PathLike[str]) -> str:
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in (".csv", ".json"):
        raise ValueError(f"a schedule is a file *.csv or *.json, got {os.fspath(path)!r}")
    return ending
