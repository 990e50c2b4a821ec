"""Packed trees come back bit by bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched.core.packing import pack

BITS = np.array([0x7F800000, 0x7FC00001, 0x80000000, 0x00000001], np.uint32)  # inf, nan, -0, tiny
TREES = {
    "all forms": {
        "float": jnp.float32(-1.5),
        "int": jnp.int32(jnp.iinfo(jnp.int32).min),
        "bool": jnp.bool_(True),
        "bits": jnp.asarray(BITS.view(np.float32)),
        "row": (jnp.arange(3, dtype=jnp.int32), jnp.array([True, False])),
        "empty": jnp.zeros((0,), jnp.float32),
        "matrix": jnp.ones((2, 3), jnp.float32),
        "narrow": jnp.array([1, 2], jnp.int8),
        "none": None,
    },
    "nothing": None,
    "nothing small": [jnp.ones((2, 2), jnp.bool_)],
}


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_what_is_packed_comes_back(tree):
    assert_same(pack(tree).unpack(), tree)


def test_a_packed_tree_gains_axes_in_a_scan_and_a_batch():
    tree = TREES["all forms"]

    @jax.jit
    @jax.vmap
    def run(factor):
        def body(carry, step):
            met = jax.tree.map(lambda leaf: leaf * step.astype(leaf.dtype), tree)
            return carry, pack({"met": met, "factor": factor})

        return jax.lax.scan(body, None, jnp.ones((4,), jnp.int32))[1].unpack()

    found = run(jnp.arange(2, dtype=jnp.int32))
    np.testing.assert_array_equal(found["factor"], [[0] * 4, [1] * 4])
    batched = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (2, 4, *leaf.shape)), tree)
    finite = {name: batched[name] for name in ("float", "int", "bool", "row", "matrix", "narrow")}
    assert_same({name: found["met"][name] for name in finite}, finite)


def test_small_leaves_are_one_array():
    packed = pack(TREES["all forms"])
    assert packed.bits.shape == (1 + 1 + 1 + 4 + 3 + 2,)
    assert [leaf.shape for leaf in packed.others] == [(2, 3), (2,)]
