"""Host types that the environments of the family share.

A *buffer* needs `size` contiguous units of memory while it is live; two buffers that are live at
the same time must not overlap in address. Times and sizes are integers in the user's units;
intervals are half-open.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxsched.host.checks import INT32_MAX, Fault, Part, array, integer, mapping, shorten

LIMIT = 2**62 - 1  # of times and sizes: their differences and sums of a few stay within int64
_time = functools.partial(integer, least=-LIMIT, most=LIMIT)
_FIELDS = ("id", "start", "end", "size", "alignment", "offset", "gaps")


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
        self._set(**check(array(buffers, "buffers")))

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
        return (
            math.gcd(*map(int, {*self.size.tolist(), *self.offset.tolist(), *aligned.tolist()}))
            or 1
        )

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
        buffer, start, end = (
            np.array([row for row in found if row[1] < row[2]], np.int64).reshape(-1, 3).T
        )
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


def check(rows: Sequence[Any]) -> dict[str, Any]:
    """The fields of `Buffers` from rows of dicts; raises `Fault` at the first thing wrong.

    The first key of its path is the position of the row.
    """
    table: dict[str, list[Any]] = {name: [] for name in _FIELDS}
    index: dict[Hashable, int] = {}
    for i, row in enumerate(rows):
        named = isinstance(row, Mapping) and "id" in row
        at = ("", i), ("buffer", row["id"]) if named else ("buffer number", i)
        mapping(row, *at, known=_FIELDS[4:], required=_FIELDS[:4])
        new_id(row["id"], index, *at)
        start, end = (_time(row[name], *at, field=name) for name in ("start", "end"))
        if end < start:
            raise Fault(f"it ends at {end}, before it starts at {start}", *at, field="end")
        if end == start:
            raise Fault(f"it ends at {end} as it starts, so it is never live", *at, field="end")
        size = integer(row["size"], *at, least=1, most=LIMIT, field="size")
        alignment = integer(row.get("alignment", 1), *at, least=1, field="alignment")
        offset = row.get("offset")
        if offset is not None:
            offset = integer(offset, *at, most=LIMIT, field="offset")
            if offset % alignment:
                reason = f"offset {offset} is not a multiple of {alignment}"
                raise Fault(reason, *at, field="offset")
        gaps = _gaps(row.get("gaps"), start, end, *at)
        values = row["id"], start, end, size, alignment, offset, gaps
        for name, value in zip(_FIELDS, values, strict=True):
            table[name].append(value)
    pinned = np.array([offset is not None for offset in table["offset"]], np.bool_)
    fields = {
        name: np.array(table[name], np.int64) for name in ("start", "end", "size", "alignment")
    }
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
        i = int(over[0])
        field = "offset" if pinned[i] else "size"
        reason = f"{field} exceeds int32 in units of the greatest common divisor, {buffers.unit}"
        raise Fault(reason, ("", i), ("buffer", buffers.ids[i]), field=field)
    _check_pinned(buffers)
    return fields


def new_id(id: Any, index: dict[Hashable, int], *path: Part) -> None:
    """Give `id` the next position in `index`; raises `Fault` where it cannot have one, or has."""
    try:
        known = id in index
    except TypeError:
        raise Fault(f"the id {shorten(id)} is not hashable", *path) from None
    if known:
        raise Fault("another one has the same id", *path)
    index[id] = len(index)


def position_of(id: Any, index: Mapping[Hashable, int]) -> int | None:
    """The position of `id` in `index`, None for what is no id."""
    try:
        return index.get(id)
    except TypeError:  # not hashable
        return None


def _gaps(gaps: Any, start: int, end: int, *path: Part) -> tuple[tuple[int, int], ...]:
    pairs = []
    for pair in array(() if gaps is None else gaps, *path, "gaps"):
        values = array(pair, *path, "gaps")
        if len(values) != 2:
            raise Fault("gaps must be pairs (start, end)", *path, field="gaps")
        begin, over = (_time(value, *path, field="gaps") for value in values)
        if not (pairs[-1][1] if pairs else start) <= begin < over <= end:
            reason = "is not within its life, or not after the gap before"
            raise Fault(f"the gap {begin} to {over} {reason}", *path, field="gaps")
        pairs.append((begin, over))
    if sum(over - begin for begin, over in pairs) == end - start:
        raise Fault("its gaps leave nothing of its life", *path, field="gaps")
    return tuple(pairs)


def _check_pinned(buffers: Buffers) -> None:
    """Pinned buffers that are live at the same time must not overlap in address."""
    buffer, start, end = buffers.segments()
    fixed = buffers.pinned[buffer]
    buffer, start, end = buffer[fixed], start[fixed], end[fixed]
    low, high = buffers.offset[buffer], buffers.offset[buffer] + buffers.size[buffer]
    for k in range(len(buffer)):
        clash = (
            (start[:k] < end[k]) & (start[k] < end[:k]) & (low[:k] < high[k]) & (low[k] < high[:k])
        )
        if clash.any():
            other = buffer[int(np.argmax(clash))]
            name = shorten(buffers.ids[other])
            reason = f"its offset {low[k]} makes it overlap buffer {name}, pinned at {buffers.offset[other]}"
            i = int(buffer[k])
            raise Fault(reason, ("", i), ("buffer", buffers.ids[i]), field="offset")
