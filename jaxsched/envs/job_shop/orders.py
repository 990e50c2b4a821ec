"""A shop's orders as a table, `orders.csv`: one row per operation, jobs and machines by name.

    job,step,machine,minutes,release,due,weight
    A-17,10,lathe,35,2026-11-23T08:00,2026-11-24,2
    A-17,20,mill,50,,,

The header names the columns, in any order; `release`, `due` and `weight` may be left out. Rows come in any order:
`step`, an integer, orders the operations of a job and may have gaps. A release date, due date or weight is of the whole
job: given in at least one of its rows, the same in all that give it.

Dates are all numbers of minutes from 0, or all local ISO dates (`2026-11-23`, which is its midnight, or
`2026-11-23T08:00`, also with a space) in whole minutes. Then time 0 is the `origin`: the earliest release date, or
where there is none the earliest due date; a job without release date is released at time 0.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import os
import re

from jaxsched.core.table import Row, Table, short
from jaxsched.core.text import read_bytes
from jaxsched.envs.job_shop.lists import MAX_MACHINES, Fault, Lists, check, to_instance
from jaxsched.envs.job_shop.types import Instance

_REQUIRED, _OPTIONAL = ("job", "step", "machine", "minutes"), ("release", "due", "weight")
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?P<seconds>:[0-9.,]*)?(?P<zone>Z|[+-].*)?)?"
)
_MINUTE = datetime.timedelta(minutes=1)
Value = int | datetime.datetime


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no truth value
class Orders:
    """An instance and what its numbers stand for: `jobs[j]`, `machines[m]` and `steps[j][k]` in the file.

    `origin` is the date of time 0, without time zone, one tick is a minute; None where the file has no dates.
    """

    instance: Instance
    jobs: tuple[str, ...]
    machines: tuple[str, ...]
    origin: datetime.datetime | None
    steps: tuple[tuple[int, ...], ...]


def read_orders(path: str | os.PathLike[str]) -> Orders:
    """The orders in a CSV file, see the head of this module. Jobs and machines are in order of first appearance.

    Raises `InstanceError` with file, line, column and reason for a malformed one.
    """
    lists, jobs, machines, origin, steps = parse_orders(read_bytes(path), os.fspath(path))
    return Orders(to_instance(lists), jobs, machines, origin, steps)


def parse_orders(
    content: bytes, file: str
) -> tuple[Lists, tuple[str, ...], tuple[str, ...], datetime.datetime | None, tuple[tuple[int, ...], ...]]:
    """The fields of `Orders` from the bytes of a file, its instance as lists; `file` is for messages."""
    table = Table(content, file, _REQUIRED, _OPTIONAL)
    jobs: dict[str, int] = {}
    machines: dict[str, int] = {}
    operations: list[tuple[int, int, int, int, int]] = []  # job, step, line, machine, minutes
    given: dict[str, dict[int, tuple[Value, int]]] = {column: {} for column in _OPTIONAL}  # job -> value, line
    dated: tuple[bool, str, int] | None = None  # whether the first date is a number, its column and line
    for row in table.rows():
        job = jobs.setdefault(row.name("job"), len(jobs))
        machine = machines.setdefault(row.name("machine"), len(machines))
        if machine >= MAX_MACHINES:
            raise row.fail(f"more than {MAX_MACHINES} machines", "machine")
        operations.append((job, row.number("step"), row.line, machine, row.number("minutes")))
        for column in _OPTIONAL:
            if not row.cell(column):
                continue
            value = row.number(column) if column == "weight" else _date(row, column)
            if column != "weight":
                dated = dated or (isinstance(value, int), column, row.line)
                if dated[0] != isinstance(value, int):
                    other = f"{table.row(dated[2]).quote(dated[1])} in line {dated[2] + 1}"
                    raise row.fail(f"{row.quote(column)}: dates and minutes are mixed, see {other}", column)
            first, line = given[column].setdefault(job, (value, row.line))
            if first != value:
                other = f"{short(table.row(line).cell(column))} in line {line + 1}"
                raise row.fail(f"job {short(row.cell('job'))}: {row.quote(column)} differs from {other}", column)
    if not operations:
        raise table.text.fail("no rows below the header", len(table.text.lines) - 1, 2**31)

    operations.sort()
    for one, other in itertools.pairwise(operations):
        if one[:2] == other[:2]:
            row = table.row(other[2])
            reason = f"job {short(row.cell('job'))} has step {one[1]} twice, the first in line {one[2] + 1}"
            raise row.fail(reason, "step")
    rows = [list(group) for _, group in itertools.groupby(operations, lambda operation: operation[0])]
    lists, origin = _numbered(table, rows, given, len(machines))
    return lists, tuple(jobs), tuple(machines), origin, tuple(tuple(step for _, step, *_ in row) for row in rows)


def _numbered(
    table: Table,
    rows: list[list[tuple[int, int, int, int, int]]],
    given: dict[str, dict[int, tuple[Value, int]]],
    num_machines: int,
) -> tuple[Lists, datetime.datetime | None]:
    """The checked lists, dates as minutes from the origin."""
    dates = [
        [v for v, _ in given[column].values() if isinstance(v, datetime.datetime)] for column in ("release", "due")
    ]
    origin = min(dates[0] or dates[1], default=None)

    def ticks(column: str, job: int) -> int | None:
        value, _ = given[column].get(job, (None, 0))
        return (value - (origin or value)) // _MINUTE if isinstance(value, datetime.datetime) else value

    release, due, weight = ([ticks(column, job) for job in range(len(rows))] for column in _OPTIONAL)
    for job, (begin, end) in enumerate(zip(release, due, strict=True)):
        if end is not None and end < (begin or 0):
            row = table.row(given["due"][job][1])
            if job in given["release"]:
                released = table.row(given["release"][job][1]).cell("release")
            else:
                released = f"{isoformat(origin) if origin else 0}, the earliest date"
            reason = f"job {short(row.cell('job'))} is due at {row.cell('due')}, before its release at {released}"
            raise row.fail(reason, "due")
    try:
        lists = check(
            [[operation[3:] for operation in row] for row in rows],
            release=[date or 0 for date in release],
            due=due,
            weight=[1 if value is None else value for value in weight],
            num_machines=num_machines,
        )
    except Fault as fault:
        if fault.job is None:
            raise table.text.fail(fault.reason) from None
        if fault.op is None:  # its reason begins with the column
            column = fault.reason.split()[0]
            row = table.row(given[column][fault.job][1])
        else:
            column, row = "minutes", table.row(rows[fault.job][fault.op][2])
        raise row.fail(f"job {short(row.cell('job'))}: {fault.reason}", column) from None
    return lists, origin


def _date(row: Row, column: str) -> Value:
    cell = row.cell(column)
    match = _DATE.fullmatch(cell)
    if not match:
        if not re.fullmatch(r"-?[0-9]+", cell):
            raise row.fail(f"{row.quote(column)} is neither minutes nor a date such as 2026-11-23T08:00", column)
        return row.number(column)
    if match["zone"]:
        raise row.fail(f"{row.quote(column)} has a time zone: give local times without one", column)
    if match["seconds"] and match["seconds"] != ":00":
        raise row.fail(f"{row.quote(column)} is not a whole minute", column)
    try:
        return datetime.datetime.fromisoformat(cell)
    except ValueError:
        raise row.fail(f"{row.quote(column)} is not in the calendar", column) from None


def isoformat(date: datetime.datetime) -> str:
    """Such as 2026-11-23T08:00."""
    return date.isoformat(timespec="minutes")
