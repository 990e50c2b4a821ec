"""A shop's orders as a table, `orders.csv`: one row per operation, jobs and machines by name.

    job,step,machine,minutes,release,due,weight
    A-17,10,lathe,35,2026-11-23T08:00,2026-11-24,2
    A-17,20,mill,50,,,

The header names the columns, in any order; `release`, `due` and `weight` may be left out, columns
of other names are ignored. Rows come in any order: `step`, an integer, orders the operations of a
job and may have gaps. A release date, due date or weight is of the whole job: given in at least one
of its rows, the same in all that give it. Separators, encodings and notations are those of
spreadsheets (`host/table.py`).

Dates are all local dates in whole minutes (`2026-11-23`, which is its midnight, `2026-11-23T08:00`,
`23.11.2026 8:00`, ...). Then time 0 is the *start of planning*, the `origin`: the one that is
given; else the earliest release date; where there is none, the beginning of the day on which the
most urgent job must begin to be in time. Or dates are all numbers of minutes from the start of
planning. A job without release date, or with an earlier one, is available from the start. A due
date may lie before it: the job is late by its completion minus its due date.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import os
import re
from typing import NamedTuple

from jaxsched.envs.job_shop.lists import MAX_MACHINES, Lists, check, place, to_instance
from jaxsched.envs.job_shop.types import Instance
from jaxsched.host.checks import Fault
from jaxsched.host.table import Row, Table, read_date, read_number, short
from jaxsched.host.text import Text, read_bytes

_REQUIRED, _OPTIONAL = ("job", "step", "machine", "minutes"), ("release", "due", "weight")
_ALIASES = {"release date": "release", "due date": "due"}
_SPAN = re.compile(r"(?P<number>.*?)\s*(?:(?P<minutes>mins?|minutes?)|h|hrs?|hours?)\.?", re.I)
_CLOCK = re.compile(r"([0-9]{1,4}):([0-5][0-9])(?::([0-5][0-9])(?:[.,]0+)?)?")
_ROW = re.compile(r"^ *+[0-9]++(?: ++[0-9]++)++ *+$", re.M)  # of numbers, in all other formats
_MINUTE = datetime.timedelta(minutes=1)
Value = int | datetime.datetime
Start = str | datetime.date | datetime.datetime | None


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no truth value
class Orders:
    """An instance and what its numbers stand for: `jobs[j]`, `machines[m]` and `steps[j][k]` in the
    file.

    `origin` is the start of planning, the date of time 0, without time zone; one tick is a minute.
    It is None where the file has no dates and none was given. `notes` says in sentences how the
    file was read: where planning starts and why, which columns were ignored, in which order days
    and months come.
    """

    instance: Instance
    jobs: tuple[str, ...]
    machines: tuple[str, ...]
    origin: datetime.datetime | None
    steps: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...] = ()


class OrderLists(NamedTuple):
    """The fields of `Orders`, its instance as lists."""

    lists: Lists
    jobs: tuple[str, ...]
    machines: tuple[str, ...]
    origin: datetime.datetime | None
    steps: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Operation:
    """A row of the file; operations sort by job and step."""

    job: int
    step: int
    line: int
    machine: int
    minutes: int


# Of each optional column the value of each job that gives one, and the line it is in.
Given = dict[str, dict[int, tuple[Value, int]]]


def read_orders(path: str | os.PathLike[str], *, start: Start = None) -> Orders:
    """The orders in a table, see the head of this module.

    Jobs and machines are in order of first appearance. `start`: the start of planning, a local date
    such as `2026-11-23T08:00` or a `datetime`. Raises `InstanceError` with file, line, column and
    reason for a malformed file, `ValueError` for a `start` that is no date in whole minutes.
    """
    parsed = parse_orders(read_bytes(path), os.fspath(path), start=start)
    return Orders(to_instance(parsed.lists), *parsed[1:])


def is_orders(content: bytes, file: str) -> bool:
    """Whether the bytes of a file are a table of orders: its header has two of the columns.

    Of files that are nothing else either, those called `*.csv` and `*.tsv` are.
    """
    text = Text(content, file)
    first = next((line.strip() for line in text.lines if line.strip()), "")
    if first[:1] in ("#", "{", "["):
        return False
    if first.lower().startswith("sep="):
        return True
    names = {name.strip(' \t"').lower() for name in re.split(r"[,;\t|]", first[:2000])}
    if len(names & {*_REQUIRED, *_OPTIONAL}) >= 2:
        return True
    return file.lower().endswith((".csv", ".tsv")) and not _ROW.search(text.text)


def parse_orders(content: bytes, file: str, *, start: Start = None) -> OrderLists:
    """The orders in the bytes of a file; `file` is for messages, `start` as in `read_orders`."""
    begin = _start_date(start)
    dates = "release", "due"
    table = Table(content, file, _REQUIRED, _OPTIONAL, _ALIASES, dates=dates, others=True)
    jobs: dict[str, int] = {}
    machines: dict[str, int] = {}
    operations: list[_Operation] = []
    given: Given = {column: {} for column in _OPTIONAL}
    dated: tuple[Value, Row, str] | None = None  # the first date, and where it stands
    for row in table.rows():
        job = jobs.setdefault(row.name("job"), len(jobs))
        machine = machines.setdefault(row.name("machine"), len(machines))
        if machine >= MAX_MACHINES:
            raise row.fail(f"more than {MAX_MACHINES} machines", "machine")
        step = row.number("step")
        operations.append(_Operation(job, step, row.line, machine, _minutes(row)))
        for column in _OPTIONAL:
            if not row.cell(column):
                continue
            value = row.number(column) if column == "weight" else _date(row, column)
            if column != "weight":
                dated = dated or (value, row, column)
                _check_kind(row, column, value, dated, begin)
            first, line = given[column].setdefault(job, (value, row.line))
            if first != value:
                other = f"{short(table.row(line).cell(column))} in line {line + 1}"
                reason = f"{row.quote(column)} differs from {other}"
                raise row.fail(f"job {short(row.cell('job'))}: {reason}", column)
    if not operations:
        raise table.text.fail("no rows below the header", len(table.text.lines) - 1, 2**31)

    operations.sort(key=lambda operation: (operation.job, operation.step, operation.line))
    for one, other in itertools.pairwise(operations):
        if (one.job, one.step) == (other.job, other.step):
            row = table.row(other.line)
            name = short(row.cell("job"))
            reason = f"job {name} has step {one.step} twice, the first in line {one.line + 1}"
            raise row.fail(reason, "step")
    rows = [list(group) for _, group in itertools.groupby(operations, lambda o: o.job)]
    origin, notes = _origin(rows, given, begin)
    lists = _checked(table, rows, given, origin, len(machines))
    steps = tuple(tuple(operation.step for operation in row) for row in rows)
    return OrderLists(lists, tuple(jobs), tuple(machines), origin, steps, (*notes, *table.notes))


def _origin(
    rows: list[list[_Operation]], given: Given, start: datetime.datetime | None
) -> tuple[datetime.datetime | None, list[str]]:
    """The start of planning, and a sentence that says what it is."""
    release, due = given["release"], given["due"]
    if start is not None:
        return start, [f"planning starts {isoformat(start)}, as given"]
    dates = [date for date, _ in release.values() if isinstance(date, datetime.datetime)]
    why = "the earliest release date"
    if not dates:
        why = "the day on which the most urgent job must begin"
        for job, (date, _) in due.items():
            if isinstance(date, datetime.datetime):
                work = sum(operation.minutes for operation in rows[job])
                dates.append(_day_before(date, work))
    if not dates:
        return None, []
    origin = min(dates)
    return origin, [f"planning starts {isoformat(origin)}, {why} (`start` sets another)"]


def _day_before(date: datetime.datetime, minutes: int) -> datetime.datetime:
    """The beginning of the day so many minutes before a date."""
    try:
        return datetime.datetime.combine(date - minutes * _MINUTE, datetime.time())
    except OverflowError:  # before the calendar: the durations are refused soon
        return datetime.datetime.min


def _checked(
    table: Table,
    rows: list[list[_Operation]],
    given: Given,
    origin: datetime.datetime | None,
    num_machines: int,
) -> Lists:
    """The checked lists, dates as minutes from the origin."""

    def ticks(column: str, job: int) -> int | None:
        value, _ = given[column].get(job, (None, 0))
        if isinstance(value, datetime.datetime):
            return (value - (origin or value)) // _MINUTE
        return value

    release, due, weight = (
        [ticks(column, job) for job in range(len(rows))] for column in _OPTIONAL
    )
    try:
        return check(
            [[(operation.machine, operation.minutes) for operation in row] for row in rows],
            release=[max(date or 0, 0) for date in release],
            due=due,
            weight=[1 if value is None else value for value in weight],
            num_machines=num_machines,
        )
    except Fault as fault:
        where = place(fault)
        if not where:
            raise table.text.fail(fault.reason) from None
        job, *op = where
        column = _ALIASES.get(fault.field, fault.field)
        row = table.row(rows[job][op[0]].line if op else given[column][job][1])
        column = "minutes" if op else column
        raise row.fail(f"job {short(row.cell('job'))}: {fault.what}", column) from None


def _minutes(row: Row) -> int:
    """A duration: whole minutes, also as `35 min`, `1.5 h` or `1:30:00`."""
    cell = row.name("minutes")
    if clock := _CLOCK.fullmatch(cell):
        hours, minutes, seconds = clock.groups()
        if seconds is None:
            both = "may be hours and minutes or minutes and seconds"
            raise row.fail(f"{row.quote('minutes')} {both}: give minutes", "minutes")
        if int(seconds):
            raise row.fail(f"{row.quote('minutes')} is not a whole number of minutes", "minutes")
        return 60 * int(hours) + int(minutes)
    span = _SPAN.fullmatch(cell) if len(cell) < 40 else None
    number, factor = (span["number"], 1 if span["minutes"] else 60) if span else (cell, 1)
    try:
        value = read_number(number)
    except ValueError as fault:
        raise row.fail(f"minutes {fault}", "minutes") from None
    if value is None or value < 0 or (not span and value.denominator == 1):
        return row.number("minutes")  # it says what is wrong with it, if anything
    if (factor * value).denominator != 1:
        raise row.fail(f"{row.quote('minutes')} is not a whole number of minutes", "minutes")
    return int(factor * value)


def _date(row: Row, column: str) -> Value:
    """A date, or a number of minutes, negative before the start of planning."""
    date = row.date(column)
    if date is not None:
        return date
    if re.fullmatch(r"[0-9]{1,2}:[0-9]{2}.*", row.cell(column)):
        raise row.fail(f"{row.quote(column)} is a time without its date", column)
    if not re.fullmatch(r"-?[0-9][0-9.,'’\s]*", row.cell(column)):
        what = "is neither minutes nor a date such as 2026-11-23T08:00"
        raise row.fail(f"{row.quote(column)} {what}", column)
    return row.number(column, signed=True)


def _check_kind(
    row: Row,
    column: str,
    value: Value,
    first: tuple[Value, Row, str],
    start: datetime.datetime | None,
) -> None:
    """Refuse numbers and dates in one table, and numbers where planning starts at a date."""
    if isinstance(value, int) and start is not None:
        why = "counts minutes from the start of planning: with `start`, give dates"
        raise row.fail(f"{row.quote(column)} {why}", column)
    if isinstance(value, int) != isinstance(first[0], int):
        other = f"{first[1].quote(first[2])} in line {first[1].line + 1}"
        reason = f"{row.quote(column)}: dates and minutes are mixed, see {other}"
        at, name = (row, column) if isinstance(value, int) else first[1:]
        places = at.table.columns
        if at.table.separator == "," and places[name] == places["minutes"] + 1:
            parted = short(f"{at.cell('minutes')},{at.cell(name)}")
            reason += f" (minutes {parted}? a decimal comma needs quotes around its cell)"
        raise row.fail(reason, column)


def _start_date(start: Start) -> datetime.datetime | None:
    """The start of planning as a date; raises `ValueError` with what is wrong with it."""
    date: datetime.datetime | None = None
    if isinstance(start, datetime.datetime):
        date = start
    elif isinstance(start, datetime.date):
        date = datetime.datetime.combine(start, datetime.time())
    elif start is not None:
        try:
            date = read_date(start.strip())
        except ValueError as fault:
            raise ValueError(f"start {short(start)} {fault}") from None
        if date is None:
            raise ValueError(f"start {short(start)} is not a date such as 2026-11-23T08:00")
    if date is not None and (date.tzinfo is not None or date.second or date.microsecond):
        what = "has a time zone: give a local time" if date.tzinfo else "is not a whole minute"
        raise ValueError(f"start {date.isoformat()} {what}")
    return date


def isoformat(date: datetime.datetime) -> str:
    """Such as 2026-11-23T08:00."""
    return date.isoformat(timespec="minutes")
