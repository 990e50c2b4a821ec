"""Indexed reads and writes of the hot path, in the form that is fast where the program runs.

On a CPU gather and scatter win; on GPU and TPU the masked form compiles to fewer fused kernels and
no copies. `jax.lax.platform_dependent` picks the form when a program is lowered, so nothing is
decided by a global and an ahead-of-time compilation for another device gets that device's form.
Both give equal results.

An index out of range reads 0 and writes nothing, which is how illegal actions become no-ops.
Negative indices are the caller's error: JAX wraps them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

INT32 = np.iinfo(np.int32)


def integer_scalar(value: Any, what: str) -> Array:
    """`value` as i32[], the same within `jit` and outside; `what` it is comes first in an error.

    Raises `TypeError` unless it is a scalar of an integer dtype: a float is not cut, a bool is no
    number, and an array stands for a batch, which takes `vmap`. Raises `OverflowError` where a
    number of Python or NumPy is beyond int32. An array of a wider dtype, whose value `jit` does not
    know, is -1 instead: no index, so an illegal action.
    """
    is_numpy_scalar = isinstance(value, np.generic | np.ndarray) and value.ndim == 0
    number = value.item() if is_numpy_scalar else value
    if isinstance(number, int) and not INT32.min <= number <= INT32.max:
        raise OverflowError(f"{what} must fit int32, got {number}")
    expected = f"{what} must be one integer, i32[], got"
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(f"{expected} a {type(value).__name__}") from None
    if array.shape or not jnp.issubdtype(array.dtype, jnp.integer):
        batch = "; a batch takes jax.vmap" if array.shape else ""
        raise TypeError(f"{expected} {array.dtype}{list(array.shape)}{batch}")
    if np.can_cast(array.dtype, np.int32):
        return array.astype(jnp.int32)
    fits = (array >= 0) & (array <= int(INT32.max))
    return jnp.where(fits, array.astype(jnp.int32), -1)


def _hit(array: Array, index: tuple) -> Array:
    """bool like array: true at `index`."""
    return jnp.stack(
        [lax.broadcasted_iota(jnp.int32, array.shape, axis) == i for axis, i in enumerate(index)]
    ).all(0)


def _masked_take(array: Array, index: tuple) -> Array:
    return jnp.where(_hit(array, index), array, jnp.zeros((), array.dtype)).sum(dtype=array.dtype)


def take(array: Array, *index) -> Array:
    """`array[index]` for scalar indices, one per axis; 0 when out of range. Integers and
    booleans only.
    """
    if array.dtype == jnp.bool_:
        return take(array.astype(jnp.int32), *index) > 0
    return lax.platform_dependent(
        array,
        index,
        cpu=lambda a, i: jnp.asarray(a).at[i].get(mode="fill", fill_value=0),
        default=_masked_take,
    )


def put(array: Array, value, *index) -> Array:
    """A copy of `array` with `array[index] = value` for scalar indices; unchanged when out of
    range.
    """
    value = jnp.asarray(value, array.dtype)
    return lax.platform_dependent(
        array,
        index,
        value,
        cpu=lambda a, i, v: jnp.asarray(a).at[i].set(v, mode="drop"),
        default=lambda a, i, v: jnp.where(_hit(a, i), v, a),
    )


def put_add(array: Array, value, *index) -> Array:
    """A copy of `array` with `array[index] += value` for scalar indices; unchanged when out of
    range.
    """
    value = jnp.asarray(value, array.dtype)
    return lax.platform_dependent(
        array,
        index,
        value,
        cpu=lambda a, i, v: jnp.asarray(a).at[i].add(v, mode="drop"),
        default=lambda a, i, v: jnp.where(_hit(a, i), a + v, a),
    )


def _masked_lookup(table: Array, ids: Array) -> Array:
    hit = ids[:, None] == jnp.arange(table.shape[0], dtype=ids.dtype)[None]
    hit = hit.reshape(*hit.shape, *[1] * (table.ndim - 1))
    return jnp.where(hit, table, jnp.zeros((), table.dtype)).sum(1, dtype=table.dtype)


def lookup(table: Array, ids: Array) -> Array:
    """`table[ids]` for a table [M, ...] and ids i32[J]; 0 where out of range."""
    return lax.platform_dependent(
        table,
        ids,
        cpu=lambda t, i: jnp.asarray(t).at[i].get(mode="fill", fill_value=0),
        default=_masked_lookup,
    )


def _masked_column(table: Array, column: Array) -> Array:
    hit = column[:, None] == jnp.arange(table.shape[1], dtype=column.dtype)[None]
    return jnp.where(hit, table, jnp.zeros((), table.dtype)).sum(-1, dtype=table.dtype)


def take_column(table: Array, column: Array) -> Array:
    """`table[j, column[j]]` for every row j of a table [J, K]; 0 where out of range. Returns
    [J].
    """
    return lax.platform_dependent(
        table,
        column,
        cpu=lambda t, c: (
            jnp.asarray(t)
            .at[jnp.arange(t.shape[0], dtype=c.dtype), c]
            .get(mode="fill", fill_value=0)
        ),
        default=_masked_column,
    )


def take_row(table: Array, row: Array) -> Array:
    """`table[row]` of a table [M, N] for a scalar row; zeros when out of range. Returns [N].

    Integers and booleans only.
    """
    if table.dtype == jnp.bool_:
        return take_row(table.astype(jnp.int8), row) > 0
    return lax.platform_dependent(
        table,
        row,
        cpu=lambda t, i: jnp.asarray(t).at[i].get(mode="fill", fill_value=0),
        default=lambda t, i: jnp.where(_hit_row(t, i), t, jnp.zeros((), t.dtype)).sum(
            0, dtype=t.dtype
        ),
    )


def put_row(table: Array, values: Array, row: Array) -> Array:
    """A copy of `table` [M, N] with `table[row] = values` for a scalar row; unchanged when out
    of range.
    """
    return lax.platform_dependent(
        table,
        row,
        values,
        cpu=lambda t, i, v: jnp.asarray(t).at[i].set(v, mode="drop"),
        default=lambda t, i, v: jnp.where(_hit_row(t, i), v, t),
    )


def _hit_row(table: Array, row: Array) -> Array:
    """bool[M, 1]: true at `row`."""
    return jnp.arange(table.shape[0], dtype=jnp.int32)[:, None] == row


def cumulate(values: Array) -> Array:
    """Running sums of `values` i32[N], each entry included; pairwise in one kernel where that is
    faster.
    """
    return lax.platform_dependent(
        values,
        cpu=lambda v: jnp.cumsum(v, dtype=v.dtype),
        default=_pairwise_cumulate,
    )


def _pairwise_cumulate(values: Array) -> Array:
    index = jnp.arange(values.shape[0], dtype=jnp.int32)
    return jnp.where(index[None] <= index[:, None], values, 0).sum(-1, dtype=values.dtype)


def segment_sum(values: Array, ids: Array, num: int) -> Array:
    """Sums of `values` per id: [num]; dtype kept. A scatter on every backend (used at reset
    only).
    """
    return jax.ops.segment_sum(values, ids, num_segments=num)


SUM, MAX, MIN = "sum", "max", "min"
_COMBINE = {SUM: jnp.add, MAX: jnp.maximum, MIN: jnp.minimum}
_REDUCE = {
    SUM: lambda x, axis: x.sum(axis, dtype=x.dtype),
    MAX: lambda x, axis: x.max(axis),
    MIN: lambda x, axis: x.min(axis),
}


def reduce_together(
    parts: Sequence[tuple[str, Array]], axis: int, cpu_only: bool = False
) -> list[Array]:
    """`[array.sum(axis), other.max(axis), ...]` for pairs of `SUM`, `MAX` or `MIN` and arrays of
    one shape, in a pass.

    One by one, XLA writes every array to memory before it reduces it (on a CPU from 32 entries on),
    and starts a kernel for each. Dtypes are kept: bool must become int32 before. `cpu_only`: one by
    one elsewhere, which is better where a GPU can join them with other work in one kernel.
    """
    kinds, arrays = zip(*parts, strict=True)
    together, apart = (
        functools.partial(reduce, kinds, axis) for reduce in (_reduce_together, _reduce_apart)
    )
    if cpu_only:
        return lax.platform_dependent(*arrays, cpu=together, default=apart)
    return together(*arrays)


def _reduce_together(kinds: Sequence[str], axis: int, *arrays: Array) -> list[Array]:
    def combine(one: tuple[Array, ...], other: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(_COMBINE[kind](a, b) for kind, a, b in zip(kinds, one, other, strict=True))

    initial = tuple(_identity(kind, x.dtype) for kind, x in zip(kinds, arrays, strict=True))
    return list(lax.reduce(arrays, initial, combine, (axis,)))


def _reduce_apart(kinds: Sequence[str], axis: int, *arrays: Array) -> list[Array]:
    return [_REDUCE[kind](x, axis) for kind, x in zip(kinds, arrays, strict=True)]


def _identity(kind: str, dtype: jnp.dtype) -> Array:
    limits = jnp.iinfo(dtype) if jnp.issubdtype(dtype, jnp.integer) else jnp.finfo(dtype)
    return jnp.asarray({SUM: 0, MAX: limits.min, MIN: limits.max}[kind], dtype)


def at_max(*parts: Array, axis: int) -> tuple[Array, ...]:
    """The lexicographically largest entry of `parts`, i32 arrays of one shape, along an axis: what
    the others hold where the first is largest. In a pass, like `reduce_together`.
    """

    def larger(one: tuple[Array, ...], other: tuple[Array, ...]) -> tuple[Array, ...]:
        first = one[-1] >= other[-1]
        for a, b in zip(reversed(one[:-1]), reversed(other[:-1]), strict=True):
            first = (a > b) | ((a == b) & first)
        return tuple(jnp.where(first, a, b) for a, b in zip(one, other, strict=True))

    lowest = tuple(jnp.asarray(INT32.min, jnp.int32) for _ in parts)
    return tuple(lax.reduce(parts, lowest, larger, (axis,)))
