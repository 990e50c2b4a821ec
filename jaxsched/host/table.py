"""Tables of users as spreadsheets write them: a header, then one line per row.

Cells are separated by commas, semicolons, tabs or `|`, told by the header, and stand in double
quotes where they need them. Readers of cells take what has one meaning only, in the notation of any
country, and name what has two.
"""

from __future__ import annotations

import dataclasses
import datetime
import fractions
import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from jaxsched.host.errors import InstanceError, did_you_mean
from jaxsched.host.text import MAX_DIGITS, Text, number_fault

MAX_COLUMNS = 1_000

_SEPARATORS = ",;\t|"
_SPACE = r"[^\S\t]"  # white space of a cell: a tab may separate cells
_FIELDS = {
    separator: re.compile(
        rf'{_SPACE}*+(?:"(?P<quoted>(?:[^"]|"")*+)"{_SPACE}*+|'
        rf'(?P<plain>[^{re.escape(separator)}"]*+))(?={re.escape(separator)}|$)'
    )
    for separator in _SEPARATORS
}
# Digits with a dot or a comma between groups of three, and the other one before decimals.
_NOTATIONS = [
    re.compile(rf"(-?(?:[0-9]+|[1-9][0-9]{{0,2}}(?:\{group}[0-9]{{3}})+))(?:\{point}([0-9]+))?")
    for group, point in (",.", ".,")
]
_SPACED = re.compile(r"(?<=[0-9])[ '’\u00a0\u202f](?=[0-9]{3}(?![0-9]))")  # thousands apart
_DATE = re.compile(
    r"([0-9]{1,4})([-/.])([0-9]{1,2})\2([0-9]{1,4})"
    r"(?:(?:T|,?\s+)(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})"
    r"(?::(?P<seconds>[0-9]{2}(?:[.,][0-9]{1,9})?))?(?:\s?(?P<half>[AaPp])\.?[Mm]\.?)?"
    r"(?P<zone>\s?(?:[A-Z]{1,5}|[+-][0-9:]+))?)?"
)


class Table:
    """A table with a header, see the head of this module.

    `notes` says in sentences what a user may want to know of how the file was read: its encoding,
    the columns that were ignored, whether dates have the day or the month first.
    """

    def __init__(
        self,
        content: bytes,
        file: str,
        required: Sequence[str],
        optional: Sequence[str] = (),
        aliases: Mapping[str, str] | None = None,
        *,
        dates: Sequence[str] = (),
        others: bool = False,
    ):
        """`aliases`: other names of a column; `given` says which one the header has.

        `dates`: columns of dates. Columns of other names are ignored where `others` is set, unless
        they resemble one that is missing.
        """
        self.text = Text(content, file)
        self.dates = dates
        self.notes: list[str] = []
        if self.text.encoding == "cp1252":
            self.notes.append("read as Windows-1252, since it is not UTF-8")
        self.separator = ","
        aliases = aliases or {}
        known = {_plain(name): name for name in (*required, *optional, *aliases)}
        self.header = self._find_header(known)
        if self.header is None:
            wanted = ",".join(required)
            raise self.text.fail(f"no header `{wanted}`: the file is empty")
        self.given: dict[str, str] = {}
        self.columns: dict[str, int] = {}
        self.nameless: list[int] = []
        strangers: list[tuple[str, int]] = []
        names = list(itertools.islice(self.cells(self.header), MAX_COLUMNS + 1))
        self.width = len(names)
        if self.width > MAX_COLUMNS:
            raise self.text.fail_at(f"more than {MAX_COLUMNS} columns", self.header, names[-1][1])
        for i, (cell, start) in enumerate(names):
            name = known.get(_plain(cell))
            if not cell:
                self.nameless.append(i)
            elif name is None:
                strangers.append((cell, start))
            else:
                column = aliases.get(name, name)
                if column in self.columns:
                    other = self.given[column]
                    twice = name if other == name else f"{name}, also called {other},"
                    raise self.text.fail_at(f"column {twice} is given twice", self.header, start)
                self.columns[column], self.given[column] = i, name
        missing = [name for name in known.values() if aliases.get(name, name) not in self.columns]
        for cell, start in strangers:
            if fault := _misnamed(cell, missing, None if others else list(known.values())):
                reason = f"unknown column {short(cell)}; {fault}"
                raise self.text.fail_at(reason, self.header, start)
        ignored = ", ".join(short(cell) for cell, _ in strangers)
        if lacking := [name for name in required if name not in self.columns]:
            hint = f"; it has {ignored[:200]}" if ignored else ""
            reason = f"no column {', '.join(lacking)} in the header{hint}"
            raise self.text.fail(reason, self.header, 2**31)
        if ignored:
            self.notes.append(f"columns ignored: {ignored}")

    def rows(self) -> Iterator[Row]:
        """The rows below the header that are not blank."""
        first = 0 if self.header is None else self.header + 1
        for line in range(first, len(self.text.lines)):
            if self.text.lines[line].strip(self._blank):
                yield self.row(line)

    def row(self, line: int) -> Row:
        """The row in a line, counted from 0."""
        content, expected = self.text.lines[line], self.width
        rest = ""
        if '"' in content:
            found = [*itertools.islice(self.cells(line), expected + 1)]
            values = [cell for cell, _ in found]
            rest = content[found[-1][1] :] if len(found) > expected else ""
        else:
            values = [cell.strip() for cell in content.split(self.separator, expected)]
            rest = values[-1] if len(values) > expected else ""
        # Empty cells beyond the header are none, unless a decimal comma may have made them.
        parted = self.separator == "," and re.search(r"[0-9],[0-9]", content) is not None
        if rest.strip(self._blank) or (parted and len(values) > expected):
            _, column = next(itertools.islice(self.cells(line), expected, None))
            reason = f"more cells than the {expected} of the header"
            if parted:
                reason += ": a decimal comma needs quotes around its cell, or semicolons between"
            raise self.text.fail_at(reason, line, column)
        if len(values) < expected:
            reason = f"{len(values)} cells, but the header has {expected}"
            raise self.text.fail_at(reason, line, len(content.rstrip()))
        for i in self.nameless:
            if values[i]:
                _, column = next(itertools.islice(self.cells(line), i, None))
                reason = f"{short(values[i])} stands in a column that has no name in the header"
                raise self.text.fail_at(reason, line, column)
        return Row(self, line, values)

    def cells(self, line: int) -> Iterator[tuple[str, int]]:
        """The cells of a line, stripped, and where each begins."""
        content, at, field = self.text.lines[line], 0, _FIELDS[self.separator]
        while True:
            match = field.match(content, at)
            if not match:
                begin = at + len(content[at:]) - len(content[at:].lstrip())
                reason = "a cell in quotes does not end: quote whole cells, on one line"
                raise self.text.fail_at(reason, line, begin)
            quoted = match["quoted"] is not None
            cell = match["quoted"].replace('""', '"') if quoted else match["plain"]
            start = match.start("quoted") - 1 if quoted else match.start("plain")
            yield cell.strip(), start
            at = match.end() + 1
            if match.end() == len(content):
                return

    @functools.cached_property
    def order(self) -> str:
        """Whether dates with slashes or hyphens have the day or the month first: `dmy`, `mdy` or
        `?`.

        One program has written all dates of a table, so that one with a number above 12 settles it
        for all.
        """
        first: tuple[str, Row, str] | None = None
        for row in self.rows():
            for column in self.dates:
                order = order_of_date(row.cell(column))
                if order not in ("dmy", "mdy") or re.match(r"[0-9]+\.", row.cell(column)):
                    continue
                if first is None:
                    first = order, row, column
                elif order != first[0]:
                    other = f"{first[1].quote(first[2])} in line {first[1].line + 1}"
                    one, two = ("day", "month") if order == "dmy" else ("month", "day")
                    reason = f"{row.quote(column)} has the {one} first, but {other} the {two}"
                    raise row.fail(reason, column)
        if first is None:
            return "?"
        what = "day/month/year" if first[0] == "dmy" else "month/day/year"
        self.notes.append(f"dates are read as {what}, because of {first[1].quote(first[2])}")
        return first[0]

    @functools.cached_property
    def _blank(self) -> str:
        """What a row without content consists of."""
        return self.separator + ' \t\r\f\v\u00a0"'

    def _find_header(self, known: Mapping[str, str]) -> int | None:
        """The line of the header, and the separator that gives it the most known names."""
        lines = (n for n, line in enumerate(self.text.lines) if line.strip())
        header = next(lines, None)
        if header is None:
            return None
        told = re.fullmatch(rf"sep=([{_SEPARATORS}])", self.text.lines[header].strip(" "))
        if told:  # spreadsheets write it, and hide it
            self.separator = told[1]
            return next(lines, None)

        def matches(separator: str) -> int:
            cells = self.text.lines[header][:10_000].split(separator)
            return sum(_plain(cell.strip(' \t"')) in known for cell in cells)

        self.separator = max(_SEPARATORS, key=matches)
        return header


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A line of a table; the methods take the name of a column."""

    table: Table
    line: int  # counted from 0
    values: list[str]

    def cell(self, column: str) -> str:
        """The text of a cell, empty where there is no such column."""
        position = self.table.columns.get(column)
        return "" if position is None else self.values[position]

    def name(self, column: str) -> str:
        """A cell that must not be empty."""
        return self.cell(column) or self._missing(column)

    def number(self, column: str, *, signed: bool = False) -> int:
        """A cell that must be an integer, also as `35.0` or `1 200`; >= 0 unless `signed`."""
        cell = self.name(column)
        if len(cell) <= 9 and cell.isascii() and cell.isdigit():
            return int(cell)
        try:
            return whole_number(cell, signed=signed)
        except ValueError as fault:
            raise self.fail(f"{column} {fault}", column) from None

    def date(self, column: str) -> datetime.datetime | None:
        """A cell that must not be empty as a local date and time, None where it is no date."""
        cell = self.name(column)
        order = order_of_date(cell)
        if order is None:
            return None
        if order == "?":
            order = self.table.order
        try:
            return read_date(cell, order)
        except ValueError as fault:
            raise self.fail(f"{self.quote(column)} {fault}", column) from None

    def fail(self, reason: str, column: str) -> InstanceError:
        """An error at a cell."""
        cells = self.table.cells(self.line)
        _, begin = next(itertools.islice(cells, self.table.columns[column], None))
        return self.table.text.fail_at(reason, self.line, begin)

    def quote(self, column: str) -> str:
        """The column and its cell, for messages."""
        return f"{column} {short(self.cell(column))}"

    def _missing(self, column: str) -> str:
        raise self.fail(f"{column} is empty", column)


def read_number(text: str) -> fractions.Fraction | None:
    """A number with a decimal point or comma and thousands apart; None for what is none.

    Raises `ValueError` where it may be two numbers: `1.234` or `1,234`.
    """
    if len(text) > 30:
        return None
    bare, found = _SPACED.sub("", text), set()
    for notation, group in zip(_NOTATIONS, ",.", strict=True):
        if match := notation.fullmatch(bare):
            found.add(fractions.Fraction(f"{match[1].replace(group, '')}.{match[2] or 0}"))
    if len(found) > 1:
        small, large = sorted(found, key=abs)
        ways = f"{large} or {float(small):g}"
        raise ValueError(f"{short(text)} may be {ways}: leave out the separator of thousands")
    return found.pop() if found else None


def whole_number(text: str, *, signed: bool = False) -> int:
    """An integer of at most ten digits, as `read_number`; raises `ValueError` with the fault."""
    fault = number_fault(text)
    if fault is None:
        return int(text)
    value = read_number(text)
    if value is None or value.denominator != 1:
        raise ValueError(fault)
    if abs(value) >= 10**MAX_DIGITS:
        raise ValueError(f"{short(text)} has more than {MAX_DIGITS} digits")
    if value < 0 and not signed:
        raise ValueError(f"{short(text)} is negative")
    return int(value)


def order_of_date(text: str) -> str | None:
    """The order of a date's numbers: `ymd`, `dmy`, `mdy`, or `?` for one of the last two.

    None for what is no date. With dots the day comes first everywhere.
    """
    match = _DATE.fullmatch(text)
    if not match:
        return None
    if len(match[1]) == 4:
        return "ymd"
    first, second = int(match[1]), int(match[3])
    if match[2] == "." or first > 12:
        return "dmy"
    return "mdy" if second > 12 else "?"


def read_date(text: str, order: str | None = None) -> datetime.datetime | None:
    """A local date, with a time of whole minutes or without; None for what has not the form of one.

    Such as `2026-11-23`, which is its midnight, `2026-11-23T08:00:00.000`, `23.11.2026 8:00` or
    `11/23/2026, 8:00 AM`. `order`: of the numbers, by default that of `order_of_date`. Raises
    `ValueError` with what is wrong.
    """
    match = _DATE.fullmatch(text)
    order = order or order_of_date(text)
    if not match or not order:
        return None
    if match["zone"]:
        raise ValueError("has a time zone: give local times without one")
    if max(len(match[1]), len(match[4])) < 4:
        raise ValueError("has no year of four digits")
    if order == "?" and match[1].zfill(2) == match[3].zfill(2):
        order = "dmy"
    if order == "?":
        one, other = match[1].zfill(2), match[3].zfill(2)
        ways = f"{match[4]}-{other}-{one} or {match[4]}-{one}-{other}"
        how = "write it like these, the order of day and month is not clear"
        raise ValueError(f"may be {ways}: {how}")
    numbers = dict(zip(order, map(int, match.group(1, 3, 4)), strict=True))
    if match["seconds"] and re.search("[1-9]", match["seconds"]):
        raise ValueError("is not a whole minute")
    hour = int(match["hour"] or 0)
    if match["half"]:
        hour = hour % 12 + 12 * (match["half"] in "pP") if 1 <= hour <= 12 else 24
    try:
        minute = int(match["minute"] or 0)
        return datetime.datetime(numbers["y"], numbers["m"], numbers["d"], hour, minute)
    except ValueError:
        how = {"dmy": " as day, month, year", "mdy": " as month, day, year"}.get(order, "")
        raise ValueError(f"is not in the calendar{how}") from None


def csv_cell(value: object) -> str:
    """A value as a cell, in quotes where needed."""
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",]', text) else text


def short(cell: str) -> str:
    """`cell` in quotes, cut to a length that fits a message."""
    return repr(cell if len(cell) <= 40 else cell[:40] + "...")


def _plain(name: str) -> str:
    """The name of a column without what spreadsheets change: capitals, and how words are joined."""
    return re.sub(r"[\s_-]+", " ", name.strip()).lower()


def _misnamed(cell: str, missing: Sequence[str], known: Sequence[str] | None) -> str | None:
    """What to say of an unknown column: which missing one it may be, else the `known` if given."""
    cutoff = 0.6 if known else 0.8  # where any name may be meant, only a slip is a slip
    words = [(word, 1.0) for word in _plain(cell).split()]
    for text, least in ((_plain(cell), cutoff), *words):
        if hint := did_you_mean(text, missing, "", cutoff=least):
            return hint
    return f"known: {', '.join(known)}" if known else None
