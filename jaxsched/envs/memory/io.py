"""Buffers as CSV, in the format of MiniMalloc (github.com/google/minimalloc) with all its columns.

    id,lower,upper,size
    b1,0,3,4

| column | other names | |
|---|---|---|
| `id` | `buffer`, `buffer_id` | |
| `lower` | `start`, `begin` | first tick of the life |
| `upper` | | half-open: the first tick after it |
| `end` | | inclusive: the last tick of it, instead of `upper`; the ends of gaps are inclusive too, then |
| `size` | | |
| `alignment` | | optional; the offset is a multiple of it |
| `gaps` | | optional; `5-7 9-12`: not live then. A gap with a window (`5-7@0:4`) is refused |
| `hint` | | optional; ignored |
| `offset` | | optional; the buffer is pinned there, unless the cell is empty |

Columns and rows come in any order. Nothing in a file is run, opened or looked up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from jaxsched.core.errors import InstanceError
from jaxsched.core.table import Row, Table, csv_cell
from jaxsched.core.text import read_bytes, write_text
from jaxsched.envs.memory.types import Buffers, Fault, Plan, check

_ALIASES = {"buffer": "id", "buffer_id": "id", "start": "lower", "begin": "lower", "end": "upper"}
_COLUMNS = ("id", "lower", "upper", "size")
_OPTIONAL = ("alignment", "gaps", "hint", "offset")
_GAP = re.compile(r"([0-9]{1,10})-([0-9]{1,10})")


def read_csv(path: str | os.PathLike[str]) -> Buffers:
    """The buffers in a CSV file, see the head of this module; ids are texts.

    Raises `InstanceError` with file, line, column and reason for a malformed one. Limits: 4 MiB, 10 digits.
    """
    return parse(read_bytes(path), os.fspath(path))


def parse(content: bytes, file: str) -> Buffers:
    """The buffers in the bytes of a file; `file` is for messages."""
    table = Table(content, file, _COLUMNS, _OPTIONAL, _ALIASES)
    inclusive = int(table.given["upper"] == "end")
    lines, rows = [], []
    for row in table.rows():
        lines.append(row.line)
        rows.append(_buffer(row, inclusive))
    if not rows:
        raise table.text.fail("no rows below the header", len(table.text.lines) - 1, 2**31)
    try:
        return Buffers._of(**check(rows))
    except Fault as fault:
        row = table.row(lines[fault.index or 0])
        raise row.fail(fault.reason, {"start": "lower", "end": "upper"}.get(fault.field, fault.field)) from None


def _buffer(row: Row, inclusive: int) -> dict[str, Any]:
    buffer: dict[str, Any] = {"id": row.name("id"), "start": row.number("lower"), "size": row.number("size")}
    buffer["end"] = row.number("upper") + inclusive
    for column in ("alignment", "offset"):
        if row.cell(column):
            buffer[column] = row.number(column)
    gaps = []
    for gap in row.cell("gaps").split():
        match = _GAP.fullmatch(gap)
        if not match:
            why = "has a window, which is not supported" if "@" in gap else "is not of the form 5-7"
            raise row.fail(f"gap {gap[:40]!r} {why}", "gaps")
        gaps.append((int(match[1]), int(match[2]) + inclusive))
    return buffer | ({"gaps": gaps} if gaps else {})


def write_csv(
    buffers: Buffers, path: str | os.PathLike[str], plan: Plan | None = None, overwrite: bool = False
) -> None:
    """Write the buffers with half-open lives, and with a plan its offsets, as MiniMalloc does.

    `alignment`, `gaps` and `offset` are left out where no buffer has them. Raises `FileExistsError` where the file
    exists and `overwrite` is False, `InstanceError` for an id that a cell cannot hold or a negative time.
    """
    write_text(path, (",".join(row) + "\n" for row in list(_rows(buffers, plan))), overwrite)


def _rows(buffers: Buffers, plan: Plan | None) -> Iterator[Sequence[str]]:
    offsets = buffers.offset if plan is None else plan.offsets
    extra = {
        "alignment": (buffers.alignment != 1).any(),
        "gaps": any(buffers.gaps),
        "offset": plan is not None or buffers.pinned.any(),
    }
    yield [*_COLUMNS, *(name for name, given in extra.items() if given)]
    for i, id in enumerate(buffers.ids):
        text = str(id)
        if not text or text != text.strip() or re.search(r"[\r\n\0]", text):
            raise InstanceError(f"the id {text[:40]!r} does not fit a cell")
        if buffers.start[i] < 0:
            raise InstanceError(f"buffer {text[:40]!r} starts at {buffers.start[i]}; the format has no negative times")
        cells = {
            "alignment": str(buffers.alignment[i]),
            "gaps": " ".join(f"{begin}-{end}" for begin, end in buffers.gaps[i]),
            "offset": str(offsets[i]) if plan is not None or buffers.pinned[i] else "",
        }
        life = str(buffers.start[i]), str(buffers.end[i]), str(buffers.size[i])
        yield [csv_cell(text), *life, *(cells[name] for name, given in extra.items() if given)]
