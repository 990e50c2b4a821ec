"""Buckets of shapes, padding and stacking."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsched.core import bucket, pad_stack, pad_to, unstack


def tree(rows: int, columns: int) -> dict:
    table = np.arange(1, rows * columns + 1, dtype=np.int32).reshape(rows, columns)
    return {"table": table, "mask": np.ones(rows, bool), "scalar": np.int32(rows)}


@given(st.integers(1, 10**6), st.sampled_from([1, 2, 8, 16]))
def test_a_bucket_holds_the_size_with_at_most_a_quarter_of_padding(size, base):
    found = bucket(size, base)
    assert found >= max(size, base)
    assert found == base or found < 1.25 * size
    assert bucket(found, base) == found
    assert bucket(size + 1, base) >= found


def test_buckets_are_quarters_of_powers_of_two():
    assert sorted({bucket(size) for size in range(1, 65)}) == [
        8,
        10,
        12,
        14,
        16,
        20,
        24,
        28,
        32,
        40,
        48,
        56,
        64,
    ]


def test_pad_to_fills_with_zeros_and_false():
    small, shapes = tree(2, 3), jax.eval_shape(lambda: tree(4, 5))
    padded = pad_to(small, shapes)
    np.testing.assert_array_equal(padded["table"], np.pad(small["table"], ((0, 2), (0, 2))))
    np.testing.assert_array_equal(padded["mask"], [True, True, False, False])
    assert padded["scalar"] == 2
    assert all(
        a.dtype == b.dtype
        for a, b in zip(jax.tree.leaves(padded), jax.tree.leaves(small), strict=True)
    )


def test_pad_to_keeps_random_keys():
    key = jax.random.key(3)
    assert pad_to({"noise_key": key}, {"noise_key": key})["noise_key"] == key


@pytest.mark.parametrize("shape", [(4, 2), (1, 3), (2,), (2, 3, 1)])
def test_pad_to_refuses_what_does_not_fit(shape):
    with pytest.raises(ValueError, match="cannot pad shape"):
        pad_to(np.zeros((2, 3), np.int32), jax.ShapeDtypeStruct(shape, jnp.int32))


def test_pad_stack_takes_the_largest_of_every_axis():
    parts = [tree(2, 5), tree(4, 3)]
    stack = pad_stack(parts)
    assert stack["table"].shape == (2, 4, 5)
    for part, entry in zip(parts, unstack(stack), strict=True):
        rows, columns = part["table"].shape
        np.testing.assert_array_equal(entry["table"][:rows, :columns], part["table"])
        assert entry["table"].sum() == part["table"].sum()
        assert entry["mask"].sum() == rows
        assert entry["scalar"] == part["scalar"]


def test_pad_stack_with_buckets():
    assert pad_stack([tree(2, 9), tree(4, 3)], buckets=True)["table"].shape == (2, 8, 10)


def test_pad_stack_needs_an_instance():
    with pytest.raises(ValueError, match="at least one"):
        pad_stack([])
