"""Host types that the environments of the family share.

A *buffer* needs `size` contiguous units of memory while it is live; two buffers that are live at
the same time must not overlap in address. Times and sizes are integers in the user's units;
intervals are half-open.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import reprlib
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from jaxsched.host.errors import InstanceError, PortableError

INT32_MAX = 2**31 - 1
_LIMIT = 2**62  # of times and sizes: their differences and sums of a few stay within int64
_FIELDS = ("id", "start", "end", "size", "alignment", "offset", "gaps")


class Fault(PortableError, ValueError):
    """What is wrong with a list of buffers: `reason`, the buffer's position and the field at
    fault.
    """

    def __init__(self, reason: str, index: int | None = None, field: str = "id"):
        self.reason, self.index, self.field = reason, index, field
        super().__init__(reason)


@dataclasses.dataclass(frozen=True, eq=False, init=False)  # arrays have no truth value
class Buffers:
    """N buffers in the order given. `Buffers([{"id", "start", "end", "size"}, ...])` takes dicts,
    objects or buffers.

    A dict may also have `alignment` (the offset is a multiple of it, default 1), `offset` (the
    buffer is pinned there) and `gaps` (`[(start, end), ...]` within its life, when it is not live).
    Raises `InstanceError`, naming buffer and field, for unknown or missing fields, what is not an
    integer, lives that end before they start, sizes below 1, duplicate ids, gaps outside the life
    or that leave nothing of it, pinned buffers that overlap, and sizes beyond int32 in units of the
    greatest common divisor of sizes, alignments and pinned offsets.
    """

    ids: tuple[Hashable, ...]
    start: np.ndarray  # i64[N]  ticks
    end: np.ndarray  # i64[N]  ticks, exclusive
    size: np.ndarray  # i64[N]
    alignment: np.ndarray  # i64[N]
    offset: np.ndarray  # i64[N]  where pinned, else 0
    pinned: np.ndarray  # bool[N]
    gaps: tuple[tuple[tuple[int, int], ...], ...]  # per buffer, disjoint and ascending
    notes: tuple[str, ...] = ()  # of how a file was read, such as columns that were ignored

    def __init__(self, buffers: Iterable[Mapping[str, Any]]):
        if isinstance(buffers, str | bytes | Mapping) or not isinstance(buffers, Iterable):
            raise InstanceError(f"buffers must be a list of dicts, got {reprlib.repr(buffers)}")
        rows = list(buffers)
        try:
            fields = check(rows)
        except Fault as fault:
            where = "" if fault.index is None else f"buffer {_name(rows[fault.index], fault.index)}: "
            raise InstanceError(f"{where}{fault.reason}") from None
        self._set(**fields)

    @classmethod
    def _from_fields(cls, **fields: Any) -> Buffers:
        """From checked fields."""
        buffers = object.__new__(cls)
        buffers._set(**fields)
        return buffers

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The buffers as dicts, fields that hold their default left out."""
        for i, id in enumerate(self.ids):
            row: dict[str, Any] = {"id": id, "start": int(self.start[i]), "end": int(self.end[i])}
            row["size"] = int(self.size[i])
            if self.alignment[i] != 1:
                row["alignment"] = int(self.alignment[i])
            if self.pinned[i]:
                row["offset"] = int(self.offset[i])
            if self.gaps[i]:
                row["gaps"] = list(self.gaps[i])
            yield row

    def __repr__(self) -> str:
        return f"Buffers({len(self)} buffers, max live {lower_bound(self)})"

    @property
    def unit(self) -> int:
        """Greatest common divisor of sizes, pinned offsets and alignments above 1.

        Some optimal plan has all its offsets a multiple of it: they are sums of sizes, rounded up
        to alignments.
        """
        aligned = self.alignment[self.alignment > 1]
        return math.gcd(*map(int, {*self.size.tolist(), *self.offset.tolist(), *aligned.tolist()})) or 1

    def aligned(self, alignment: int) -> Buffers:
        """Every size rounded up to a multiple of `alignment`, and every offset held to one.

        Raises `InstanceError` where a buffer is pinned elsewhere, `ValueError` for an alignment
        below 1.
        """
        alignment = operator.index(alignment)
        if alignment < 1:
            raise ValueError(f"alignment must be at least 1, got {alignment}")
        if alignment == 1:
            return self
        return Buffers(
            row
            | {"size": -(-row["size"] // alignment) * alignment}
            | {"alignment": math.lcm(row.get("alignment", 1), alignment)}
            for row in self
        )

    def segments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Maximal live intervals as (buffer, start, end), i64[M] each; one per buffer without
        gaps.
        """
        if not any(self.gaps):
            return np.arange(len(self), dtype=np.int64), self.start, self.end
        found = []
        for i, gaps in enumerate(self.gaps):
            at = int(self.start[i])
            for begin, end in gaps:
                found.append((i, at, begin))
                at = end
            found.append((i, at, int(self.end[i])))
        buffer, start, end = np.array([row for row in found if row[1] < row[2]], np.int64).reshape(-1, 3).T
        return buffer, start, end

    def starts(self) -> np.ndarray:
        """The first tick that each buffer is live, i64[N]."""
        buffer, start, _ = self.segments()
        return start[np.searchsorted(buffer, np.arange(len(self)))]


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Where each buffer goes. `lower_bound <= optimum <= peak`; `proved`: they meet, no plan has a
    smaller peak.

    `method` is what found these offsets. Where that is not the method that was asked for, `note`
    says why.
    """

    offsets: np.ndarray  # i64[N]  in the order of the buffers
    peak: int  # largest end of a buffer in address
    lower_bound: int
    proved: bool
    alignment: int = 1  # sizes were rounded up to it
    method: str = ""
    seconds: float = 0.0
    note: str = ""

    @property
    def gap(self) -> float:
        """Per cent that the peak is above the lower bound."""
        return 100 * (self.peak / self.lower_bound - 1) if self.lower_bound else 0.0

    def __str__(self) -> str:
        return (
            f"peak {self.peak}, lower bound {self.lower_bound}, gap {self.gap:.2f} %"
            f"{' (optimal)' if self.proved else ''}, {self.method} in {self.seconds:.2f} s"
            f"{f'; {self.note}' if self.note else ''}"
        )


def live_sizes(buffers: Buffers) -> tuple[np.ndarray, np.ndarray]:
    """Times i64[T] at which the live size may change, ascending, and the size live from each on,
    i64[T].
    """
    buffer, start, end = buffers.segments()
    times, position = np.unique(np.concatenate([start, end]), return_inverse=True)
    change = np.zeros(len(times), np.int64)
    size = buffers.size[buffer]
    np.add.at(change, position, np.concatenate([size, -size]))
    return times, np.cumsum(change)


def lower_bound(buffers: Buffers) -> int:
    """The largest size live at one time, or the highest end of a pinned buffer: no plan has a
    smaller peak.
    """
    pinned = (buffers.offset + buffers.size)[buffers.pinned]
    return max(int(live_sizes(buffers)[1].max(initial=0)), int(pinned.max(initial=0)))


def check(rows: list[Any]) -> dict[str, Any]:
    """The fields of `Buffers` from rows of dicts; raises `Fault` at the first thing wrong."""
    table: dict[str, list[Any]] = {name: [] for name in _FIELDS}
    seen: set[Hashable] = set()
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise Fault(f"expected a dict with {', '.join(_FIELDS[:4])}, got {reprlib.repr(row)}", i)
        for name in row:
            if name not in _FIELDS:
                raise Fault(f"unknown field {reprlib.repr(name)}; known: {', '.join(_FIELDS)}", i)
        for name in _FIELDS[:4]:
            if name not in row:
                raise Fault(f"no field {name!r}", i, name)
        id = row["id"]
        if not isinstance(id, Hashable):
            raise Fault(f"the id {reprlib.repr(id)} is not hashable", i)
        if id in seen:
            raise Fault("another buffer has the same id", i)
        seen.add(id)
        start, end, size, alignment = (
            _integer(row.get(name, 1), i, name) for name in ("start", "end", "size", "alignment")
        )
        if end < start:
            raise Fault(f"it ends at {end}, before it starts at {start}", i, "end")
        if end == start:
            raise Fault(f"it ends at {end} as it starts, so it is never live", i, "end")
        if size < 1:
            raise Fault(f"size must be at least 1, got {size}", i, "size")
        if not 1 <= alignment <= INT32_MAX:
            raise Fault(f"alignment must be in [1, 2**31), got {alignment}", i, "alignment")
        offset = row.get("offset")
        if offset is not None:
            offset = _integer(offset, i, "offset")
            if offset < 0 or offset % alignment:
                raise Fault(f"offset {offset} is not a multiple of {alignment} from 0 on", i, "offset")
        values = (
            id,
            start,
            end,
            size,
            alignment,
            offset,
            _gaps(row.get("gaps") or (), i, start, end),
        )
        for name, value in zip(_FIELDS, values, strict=True):
            table[name].append(value)
    pinned = np.array([offset is not None for offset in table["offset"]], np.bool_)
    fields = {name: np.array(table[name], np.int64) for name in ("start", "end", "size", "alignment")}
    offset = np.array([offset or 0 for offset in table["offset"]], np.int64)
    fields |= {
        "ids": tuple(table["id"]),
        "offset": offset,
        "pinned": pinned,
        "gaps": tuple(table["gaps"]),
    }
    buffers = Buffers._from_fields(**fields)
    over = np.flatnonzero((offset + fields["size"]) // buffers.unit > INT32_MAX)
    if over.size:
        field = "offset" if pinned[over[0]] else "size"
        raise Fault(
            f"{field} exceeds int32 in units of the greatest common divisor, {buffers.unit}",
            over[0],
            field,
        )
    _check_pinned(buffers)
    return fields


def _integer(value: Any, index: int, field: str) -> int:
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise Fault(f"{field} {reprlib.repr(value)} is not an integer", index, field) from None
    if abs(number) >= _LIMIT:
        raise Fault(f"{field} is beyond 2**62", index, field)
    return number


def _gaps(gaps: Any, index: int, start: int, end: int) -> tuple[tuple[int, int], ...]:
    try:
        pairs = [(_integer(begin, index, "gaps"), _integer(over, index, "gaps")) for begin, over in gaps]
    except (TypeError, ValueError) as error:
        if isinstance(error, Fault):
            raise
        raise Fault("gaps must be pairs (start, end)", index, "gaps") from None
    last = start
    for begin, over in pairs:
        if not last <= begin < over <= end:
            raise Fault(
                f"the gap {begin} to {over} is not within its life, or not after the gap before",
                index,
                "gaps",
            )
        last = over
    if sum(over - begin for begin, over in pairs) == end - start:
        raise Fault("its gaps leave nothing of its life", index, "gaps")
    return tuple(pairs)


def _check_pinned(buffers: Buffers) -> None:
    """Pinned buffers that are live at the same time must not overlap in address."""
    buffer, start, end = buffers.segments()
    fixed = buffers.pinned[buffer]
    buffer, start, end = buffer[fixed], start[fixed], end[fixed]
    low, high = buffers.offset[buffer], buffers.offset[buffer] + buffers.size[buffer]
    for k in range(len(buffer)):
        clash = (start[:k] < end[k]) & (start[k] < end[:k]) & (low[:k] < high[k]) & (low[k] < high[:k])
        if clash.any():
            other = buffer[int(np.argmax(clash))]
            name = reprlib.repr(buffers.ids[other])
            reason = f"its offset {low[k]} makes it overlap buffer {name}, pinned at {buffers.offset[other]}"
            raise Fault(reason, int(buffer[k]), "offset")


def _name(row: Any, index: int) -> str:
    return reprlib.repr(row["id"]) if isinstance(row, Mapping) and "id" in row else f"number {index}"
