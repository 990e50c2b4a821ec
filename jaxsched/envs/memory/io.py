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

Columns and rows come in any order, as spreadsheets write them: separated by commas, semicolons or
tabs, numbers as `35`, `35.0`, `35,0` or `1 200`, in any usual encoding; columns of other names are
ignored (`host/table.py`). Nothing in a file is run, opened or looked up.

Programs and graphs are JSON, what `Program.to_dict` and `Graph.to_dict` give; plans of theirs are
written as CSV.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from jaxsched.envs.memory.hlo.plain import read_hlo
from jaxsched.envs.memory.mapping.plan import Plan as MapPlan
from jaxsched.envs.memory.mapping.program import Program
from jaxsched.envs.memory.mapping.replay import Replay, named_problem
from jaxsched.envs.memory.mapping.types import ACTIONS, Instance
from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.envs.memory.replacement.types import Plan as ReplacementPlan
from jaxsched.envs.memory.types import Buffers, Plan, check
from jaxsched.host.checks import Fault
from jaxsched.host.errors import InstanceError, UnknownNameError
from jaxsched.host.table import Row, Table, csv_cell, order_of_date
from jaxsched.host.text import Json, Text, read_bytes, write_text

_ALIASES = {"buffer": "id", "buffer_id": "id", "start": "lower", "begin": "lower", "end": "upper"}
_COLUMNS = ("id", "lower", "upper", "size")
_OPTIONAL = ("alignment", "gaps", "hint", "offset")
# What a problem is called, as a part of a compiled program too: its type, and the environment that
# solves it.
KINDS: dict[str, tuple[type, str]] = {
    "program": (Program, "MemoryMap-v0"),
    "buffers": (Buffers, "StaticAllocation-v0"),
    "graph": (Graph, "TensorReplacement-v0"),
}
Kind = TypeVar("Kind", Buffers, Program, Graph)
_GAP = re.compile(r"([0-9]{1,10})-([0-9]{1,10})")


def read_csv(path: str | os.PathLike[str]) -> Buffers:
    """The buffers in a CSV file, see the head of this module; ids are texts.

    Raises `InstanceError` with file, line, column and reason for a malformed one. Limits: 4 MiB, 10
    digits.
    """
    return parse(read_bytes(path), os.fspath(path))


def parse(content: bytes, file: str) -> Buffers:
    """The buffers in the bytes of a file; `file` is for messages."""
    table = Table(content, file, _COLUMNS, _OPTIONAL, _ALIASES, others=True)
    inclusive = int(table.given["upper"] == "end")
    lines, rows = [], []
    for row in table.rows():
        lines.append(row.line)
        rows.append(_buffer(row, inclusive))
    if not rows:
        raise table.text.fail("no rows below the header", len(table.text.lines) - 1, 2**31)
    try:
        return Buffers._from_fields(**check(rows), notes=tuple(table.notes))
    except Fault as fault:
        row = table.row(lines[fault.keys[0]])
        raise row.fail(fault.what, _ALIASES.get(fault.field, fault.field or "id")) from None


def _buffer(row: Row, inclusive: int) -> dict[str, Any]:
    buffer: dict[str, Any] = {
        "id": row.name("id"),
        "start": row.number("lower"),
        "size": row.number("size"),
    }
    buffer["end"] = row.number("upper") + inclusive
    for column in ("alignment", "offset"):
        if row.cell(column):
            buffer[column] = row.number(column)
    gaps = []
    for gap in row.cell("gaps").split():
        match = _GAP.fullmatch(gap)
        if not match:
            why = "has a window, which is not supported" if "@" in gap else "is not of the form 5-7"
            if order_of_date(gap) or re.search(r"[^\W\d_]", row.cell("gaps")):
                why += "; if a spreadsheet made a date of it, format the column as text"
            raise row.fail(f"gap {gap[:40]!r} {why}", "gaps")
        gaps.append((int(match[1]), int(match[2]) + inclusive))
    return buffer | ({"gaps": gaps} if gaps else {})


def write_csv(
    buffers: Buffers,
    path: str | os.PathLike[str],
    plan: Plan | None = None,
    overwrite: bool = False,
) -> None:
    """Write the buffers with half-open lives, and with a plan its offsets, as MiniMalloc does.

    `alignment`, `gaps` and `offset` are left out where no buffer has them. Raises `FileExistsError`
    where the file exists and `overwrite` is False, `InstanceError` for an id that a cell cannot
    hold or a negative time.
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
            raise InstanceError(
                f"buffer {text[:40]!r} starts at {buffers.start[i]}; the format has no negative times"
            )
        cells = {
            "alignment": str(buffers.alignment[i]),
            "gaps": " ".join(f"{begin}-{end}" for begin, end in buffers.gaps[i]),
            "offset": str(offsets[i]) if plan is not None or buffers.pinned[i] else "",
        }
        life = str(buffers.start[i]), str(buffers.end[i]), str(buffers.size[i])
        yield [csv_cell(text), *life, *(cells[name] for name, given in extra.items() if given)]


def read_problem(
    path: str | os.PathLike[str], part: str | None = None
) -> Buffers | Program | Graph:
    """The problem in a file, told by its content whatever its name: CSV, JSON or a compiled JAX
    program.

    `part` of a compiled JAX program: `program`, the default, `buffers` or `graph`, see `read_hlo`.
    Raises `InstanceError` as `read_csv`, `read_json` and `read_hlo` do, `UnknownNameError` for
    another part, `ValueError` where a part is asked of a file that is one problem.
    """
    if part is not None and part not in KINDS:
        raise UnknownNameError("part", part, KINDS)
    if is_compiled_program(path):
        return getattr(read_hlo(path), part or "program")
    if part is not None:
        why = f"{os.fspath(path)} is one problem, leave it out"
        raise ValueError(f"--part is of a compiled JAX program; {why}")
    return read_json(path) if _head(path)[:1] in (b"{", b"[") else read_csv(path)


def is_compiled_program(path: str | os.PathLike[str]) -> bool:
    """Whether a file is the text of a compiled JAX program."""
    return re.search(rb"^\s*HloModule ", _head(path), re.MULTILINE) is not None


def _head(path: str | os.PathLike[str]) -> bytes:
    """What a file begins with, without what says nothing of its kind.

    That is what editors put first, and the zeros of UTF-16.
    """
    with open(path, "rb") as file:
        head = file.read(4096)
    return re.sub(rb"^(\xef\xbb\xbf|\xff\xfe|\xfe\xff)", b"", head).replace(b"\0", b"").lstrip()


def read_kind(path: str | os.PathLike[str], kind: type[Kind], env_id: str) -> Kind:
    """The problem in a file, which must be of the kind that an environment solves.

    Of a compiled JAX program it is the part of that kind. Raises as `read_problem` does, and
    `InstanceError` for a problem of another kind, `FileNotFoundError` where there is no file.
    """
    part = next(name for name, (each, _) in KINDS.items() if each is kind)
    problem = read_problem(path, part if is_compiled_program(path) else None)
    if not isinstance(problem, kind):
        kinds = KINDS.items()
        found, other = next((name, id) for name, (each, id) in kinds if isinstance(problem, each))
        reason = f"{found} for {other}, not what {env_id} solves: choose --env {other}"
        raise InstanceError(reason, file=os.fspath(path))
    return problem


# ----------------------------------------------------------------------------- programs and graphs


def read_json(path: str | os.PathLike[str]) -> Program | Graph:
    """The program or graph in a JSON file, told by its keys `instructions` or `ops`; ids are texts
    or numbers.

    Raises `InstanceError` with file and reason for what is neither, and for what `from_dict`
    refuses. Limit: 4 MiB.
    """
    text = Text(read_bytes(path), os.fspath(path))
    file = Json(text, "a program (with instructions) or a graph (with ops)")
    kinds = {"instructions": Program, "ops": Graph}
    found = [kind for key, kind in kinds.items() if key in file.entry]
    if len(found) != 1:
        raise text.fail("neither a program (with instructions) nor a graph (with ops), one of them")
    try:
        return found[0].from_dict(file.entry)
    except InstanceError as error:
        raise text.fail(str(error)) from None


def read_amount(text: str, what: str = "capacity") -> int:
    """An amount of memory: `1048576`, `512KiB`, `1MiB`, `2GiB`. Raises `ValueError` with `what` it
    is of.
    """
    number, factor = text.strip(), 1
    for power, unit in enumerate(("KiB", "MiB", "GiB"), 1):
        if number.lower().endswith(unit.lower()):
            number, factor = number[: -len(unit)].strip(), 1024**power
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise ValueError(f"{what} {text!r} is not an amount such as 1048576, 512KiB or 1MiB")
    return int(number) * factor


def write_json(
    problem: Program | Graph, path: str | os.PathLike[str], overwrite: bool = False
) -> None:
    """Write a program or graph so that `read_json` reads it, a row of it a line.

    Raises `FileExistsError` where the file exists and `overwrite` is False, `InstanceError` for ids
    that JSON does not keep.
    """
    parts = []
    for name, value in problem.to_dict().items():
        for id in [row["id"] for row in value] if isinstance(value, list) else ():
            if type(id) not in (str, int):
                raise InstanceError(
                    f"the id {str(id)[:40]!r} is neither a text nor an integer, JSON would change it"
                )
        rows = (
            ",\n".join(f"  {json.dumps(row)}" for row in value) if isinstance(value, list) else None
        )
        parts.append(
            f" {json.dumps(name)}: " + (json.dumps(value) if rows is None else f"[\n{rows}\n ]")
        )
    write_text(path, ["{\n" + ",\n".join(parts) + "\n}\n"], overwrite)


def write_plan(
    problem: Buffers | Program | Instance | Graph,
    plan: Any,
    path: str | os.PathLike[str],
    overwrite: bool = False,
) -> None:
    """Write the plan of a problem as CSV; `FileExistsError` where the file exists and `overwrite`
    is False.

    Of buffers these with their offsets (`write_csv`). Of a program, or an instance of one, a row
    per access: `access,instruction,value,kind,action,offset,saved`, the offset only where the value
    is found in fast memory, the ticks saved by this action. Of a graph a row per tensor and step:
    `step,operator,tensor,what,address` with `spill`, `retrieve`, `keep` or `make`, addresses where
    the plan has them; spills come before the step, and have none.
    """
    if isinstance(problem, Buffers):
        write_csv(problem, path, plan, overwrite)
        return
    rows = _steps(problem, plan) if isinstance(problem, Graph) else _actions(problem, plan)
    write_text(path, [",".join(map(_cell, row)) + "\n" for row in rows], overwrite)


def _cell(value: object) -> str:
    if re.search(r"[\r\n\0]", str(value)):
        raise InstanceError(f"the id {str(value)[:40]!r} does not fit a cell")
    return csv_cell(value)


def _actions(program: Program | Instance, plan: MapPlan) -> Iterator[Sequence[object]]:
    yield "access", "instruction", "value", "kind", "action", "offset", "saved"
    problem, value_ids, instruction_ids = named_problem(program)
    replay = Replay(problem)
    for i, (use, action) in enumerate(zip(problem.uses, plan.actions, strict=False)):
        reward, effect = replay.take(action)
        kind, offset = (
            "write" if use.is_write else "read",
            "" if effect.offset is None else effect.offset,
        )
        yield (
            i,
            instruction_ids[use.time],
            value_ids[use.value],
            kind,
            ACTIONS[action],
            offset,
            reward,
        )


def _steps(graph: Graph, plan: ReplacementPlan) -> Iterator[Sequence[object]]:
    yield "step", "operator", "tensor", "what", "address"
    outputs = {}
    for op, made in zip(graph.op_ids, graph.outputs, strict=True):
        outputs[op] = [graph.tensor_ids[a] for a in made]
    for t, step in enumerate(plan.steps):
        address = step["address"] or {}
        for what, tensors in (
            ("spill", step["spill"]),
            ("retrieve", step["retrieve"]),
            ("keep", step["keep"]),
            ("make", outputs[step["op"]]),
        ):
            for id in tensors:
                yield t, step["op"], id, what, "" if what == "spill" else address.get(id, "")
