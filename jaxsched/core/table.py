"""CSV tables of users: a header, commas, double quotes around cells that need them, one line per row."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from jaxsched.core.errors import InstanceError
from jaxsched.core.text import Text, number_fault

_FIELD = re.compile(r'\s*+(?:"(?P<quoted>(?:[^"]|"")*+)"\s*+|(?P<plain>[^,"]*+))(?=,|$)')


class Table:
    """A CSV file with a header: commas, double quotes around cells that need them, one line per row."""

    def __init__(
        self,
        content: bytes,
        file: str,
        required: Sequence[str],
        optional: Sequence[str] = (),
        aliases: Mapping[str, str] | None = None,
    ):
        """`aliases`: other names of a column; `given` says which one the header has."""
        self.text = Text(content, file)
        self.header = next((n for n, line in enumerate(self.text.lines) if line.strip()), None)
        wanted = ",".join(required)
        if self.header is None:
            raise self.text.fail(f"no header `{wanted}`: the file is empty")
        aliases = aliases or {}
        known = [*required, *optional, *aliases]
        self.given: dict[str, str] = {}
        self.columns: dict[str, int] = {}
        for i, (cell, start) in enumerate(cells(self.text, self.header)):
            name = cell.lower()
            if name not in known:
                close = difflib.get_close_matches(name[:50], known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
                raise self.text.fail_at(f"unknown column {short(cell)}; {hint}", self.header, start)
            column = aliases.get(name, name)
            if column in self.columns:
                twice = name if self.given[column] == name else f"{name}, also called {self.given[column]},"
                raise self.text.fail_at(f"column {twice} is given twice", self.header, start)
            self.columns[column], self.given[column] = i, name
        missing = [name for name in required if name not in self.columns]
        if missing:
            raise self.text.fail(f"no column {', '.join(missing)} in the header", self.header, 2**31)

    def rows(self) -> Iterator[Row]:
        """The rows below the header that are not blank."""
        first = 0 if self.header is None else self.header + 1
        for line in range(first, len(self.text.lines)):
            if self.text.lines[line] and not self.text.lines[line].isspace():
                yield self.row(line)

    def row(self, line: int) -> Row:
        """The row in a line, counted from 0."""
        content, expected = self.text.lines[line], len(self.columns)
        if '"' in content:
            values = [cell for cell, _ in itertools.islice(cells(self.text, line), expected + 1)]
        else:
            values = [cell.strip() for cell in content.split(",", expected)]
        if len(values) > expected:
            _, column = next(itertools.islice(cells(self.text, line), expected, None))
            raise self.text.fail_at(f"more cells than the {expected} of the header", line, column)
        if len(values) < expected:
            reason = f"{len(values)} cells, but the header has {expected}"
            raise self.text.fail_at(reason, line, len(content.rstrip()))
        return Row(self, line, values)


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

    def number(self, column: str) -> int:
        """A cell that must be an integer >= 0."""
        cell = self.name(column)
        if len(cell) <= 9 and cell.isascii() and cell.isdigit():
            return int(cell)
        fault = number_fault(cell)
        if fault:
            raise self.fail(f"{column} {fault}", column)
        return int(cell)

    def fail(self, reason: str, column: str) -> InstanceError:
        """An error at a cell."""
        _, begin = next(itertools.islice(cells(self.table.text, self.line), self.table.columns[column], None))
        return self.table.text.fail_at(reason, self.line, begin)

    def quote(self, column: str) -> str:
        """The column and its cell, for messages."""
        return f"{column} {short(self.cell(column))}"

    def _missing(self, column: str) -> str:
        raise self.fail(f"{column} is empty", column)


def cells(text: Text, line: int) -> Iterator[tuple[str, int]]:
    """The cells of a line, stripped, and where each begins."""
    content, at = text.lines[line], 0
    while True:
        match = _FIELD.match(content, at)
        if not match:
            begin = at + len(content[at:]) - len(content[at:].lstrip())
            raise text.fail_at("a cell in quotes does not end: quote whole cells, on one line", line, begin)
        quoted = match["quoted"] is not None
        cell = match["quoted"].replace('""', '"') if quoted else match["plain"]
        start = match.start("quoted") - 1 if quoted else match.start("plain")
        yield cell.strip(), start
        at = match.end() + 1
        if match.end() == len(content):
            return


def csv_cell(value: object) -> str:
    """A value as a cell, in quotes where needed."""
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",]', text) else text


def short(cell: str) -> str:
    """`cell` in quotes, cut to a length that fits a message."""
    return repr(cell if len(cell) <= 40 else cell[:40] + "...")
