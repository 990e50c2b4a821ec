"""Both forms of the indexed reads and writes, against NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched.core import arrays

TABLE = np.array([[3, 1, 4, 1], [5, 9, 2, 6], [5, 3, 5, 8]], np.int32)
LINE = np.array([7, -2, 0, 9], np.int32)
OUT_OF_RANGE = (3, 0), (0, 4), (3, 4), (2**31 - 1, 0), (0, 2**31 - 1)


@pytest.fixture(params=["cpu", "default"], autouse=True)
def form(request, monkeypatch):
    """Every test runs with the form of the CPU and with the masked form."""
    monkeypatch.setattr(
        arrays.lax, "platform_dependent", lambda *args, **forms: forms[request.param](*args)
    )


def inside(shape):
    return list(np.ndindex(shape))


@pytest.mark.parametrize(
    "table", [TABLE, TABLE > 3, TABLE.astype(np.uint32)], ids=["int32", "bool", "uint32"]
)
def test_take(table):
    for index in inside(table.shape):
        value = arrays.take(jnp.asarray(table), *index)
        assert value == table[index]
        assert value.dtype == table.dtype
    for index in OUT_OF_RANGE:
        assert arrays.take(jnp.asarray(table), *index) == 0


def test_take_of_a_line():
    assert [int(arrays.take(jnp.asarray(LINE), i)) for i in range(6)] == [*LINE.tolist(), 0, 0]


@pytest.mark.parametrize("table", [TABLE, TABLE > 3], ids=["int32", "bool"])
def test_put(table):
    for index in inside(table.shape):
        expected = table.copy()
        expected[index] = 1
        after = arrays.put(jnp.asarray(table), 1, *index)
        np.testing.assert_array_equal(after, expected)
        assert after.dtype == table.dtype
    for index in OUT_OF_RANGE:
        np.testing.assert_array_equal(arrays.put(jnp.asarray(table), 1, *index), table)


def test_put_add():
    for index in inside(TABLE.shape):
        expected = TABLE.copy()
        expected[index] += -7
        after = arrays.put_add(jnp.asarray(TABLE), -7, *index)
        np.testing.assert_array_equal(after, expected)
        assert after.dtype == jnp.int32
    for index in OUT_OF_RANGE:
        np.testing.assert_array_equal(arrays.put_add(jnp.asarray(TABLE), -7, *index), TABLE)


def test_lookup():
    ids = np.array([0, 3, 1, 1, 4, 2**31 - 1], np.int32)
    found = arrays.lookup(jnp.asarray(LINE), jnp.asarray(ids))
    np.testing.assert_array_equal(found, [*LINE[ids[:4]], 0, 0])
    assert found.dtype == jnp.int32


def test_lookup_of_rows():
    found = arrays.lookup(jnp.asarray(TABLE), jnp.array([2, 5, 0], jnp.int32))
    np.testing.assert_array_equal(found, [TABLE[2], [0] * 4, TABLE[0]])


def test_at_max_is_the_largest_tuple():
    """With ties in the first parts, negative numbers, and the smallest of all alone."""
    parts = np.random.default_rng(0).integers(-2, 3, (3, 40, 5), np.int32)
    parts[:, 0] = np.iinfo(np.int32).min
    for axis in (0, 1):
        found = arrays.at_max(*jnp.asarray(parts), axis=axis)
        lines = np.moveaxis(parts, 1 + axis, 1)
        expected = [max(map(tuple, lines[:, :, i].T.tolist())) for i in range(lines.shape[2])]
        np.testing.assert_array_equal(np.stack(found, -1), expected)


def test_cumulate():
    found = arrays.cumulate(jnp.asarray(LINE))
    np.testing.assert_array_equal(found, [7, 5, 5, 14])
    assert found.dtype == jnp.int32


@pytest.mark.parametrize("columns", [[0, 3, 1], [3, 4, 2], [2**31 - 1, 0, 5]])
def test_take_column(columns):
    expected = [row[c] if c < 4 else 0 for row, c in zip(TABLE, columns, strict=True)]
    found = arrays.take_column(jnp.asarray(TABLE), jnp.asarray(columns, jnp.int32))
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == jnp.int32


def test_batches():
    """Under vmap, over tables and over indices."""
    tables, index = jnp.stack([TABLE, TABLE + 10]), jnp.array([[0, 3], [9, 1]], jnp.int32)
    found = jax.vmap(lambda table, i: arrays.take(table, i[0], i[1]))(tables, index)
    np.testing.assert_array_equal(found, [TABLE[0, 3], 0])
    after = jax.vmap(lambda i: arrays.put(jnp.asarray(LINE), 5, i))(jnp.arange(5, dtype=jnp.int32))
    expected = np.where(np.eye(5, 4, dtype=bool), 5, LINE)
    np.testing.assert_array_equal(after, expected)


def test_segment_sum():
    found = arrays.segment_sum(jnp.asarray(LINE), jnp.array([2, 0, 1, 2], jnp.int32), 4)
    np.testing.assert_array_equal(found, [-2, 0, 16, 0])
    assert found.dtype == jnp.int32


def test_reductions_in_one_pass_are_the_separate_ones():
    rng = np.random.default_rng(4)
    ints, floats = (
        rng.integers(-9, 9, (5, 40), np.int32),
        rng.integers(-9, 9, (5, 40)).astype(np.float32),
    )
    for axis in (0, 1):
        parts = [(arrays.SUM, ints), (arrays.MAX, floats), (arrays.MIN, ints), (arrays.SUM, floats)]
        parts = [(kind, jnp.asarray(values)) for kind, values in parts]
        wanted = [ints.sum(axis), floats.max(axis), ints.min(axis), floats.sum(axis)]
        kinds, values = zip(*parts, strict=True)
        for got in (
            arrays.reduce_together(parts, axis),
            arrays.reduce_together(parts, axis, cpu_only=True),
            arrays._reduce_apart(kinds, axis, *values),  # what other devices do then
        ):
            for one, other in zip(got, wanted, strict=True):
                np.testing.assert_array_equal(one, other)
                assert one.dtype in (np.int32, np.float32)
