"""Generated instances of static allocation: their distribution and what is known of them."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jaxsched.envs import memory

CUT = memory.cut_lives(12, memory=32)
DROPPED = memory.cut_lives(12, 4, memory=32, time_percent=30)


@pytest.fixture(scope="module")
def drawn():
    """200 instances of each."""
    keys = jax.random.split(jax.random.key(0), 200)
    return {source: jax.device_get(jax.jit(jax.vmap(source))(keys)) for source in (CUT, DROPPED)}


def load_of(instance) -> np.ndarray:
    """What is live in every tick, [horizon]."""
    load = np.zeros(CUT.horizon + DROPPED.horizon, np.int64)
    for start, duration, size in zip(instance.start, instance.duration, instance.size, strict=True):
        load[start : start + duration] += size
    return load


def test_pieces_fill_the_memory_and_none_is_empty(drawn):
    for i in range(200):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], drawn[CUT])
        assert (one.size > 0).all()
        assert (one.duration > 0).all()
        assert (np.diff(one.start) >= 0).all()
        load = load_of(one)
        assert (load[: CUT.horizon] == CUT.memory).all()
        assert not load[CUT.horizon :].any()
        some = jax.tree.map(lambda leaf, i=i: leaf[i], drawn[DROPPED])
        assert load_of(some).max() <= DROPPED.memory
    assert len(np.unique(drawn[CUT].size)) > 20


def test_the_memory_that_was_cut_is_the_optimum(drawn):
    for i in range(6):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], drawn[CUT])
        plan = memory.allocate(memory.allocation.to_buffers(one), method="exact", time_limit=20)
        assert (plan.peak, plan.proved) == (CUT.memory, True)


def test_as_many_pieces_as_cells():
    one = memory.cut_lives(12, memory=4, horizon=3)(jax.random.key(0))
    assert one.size.tolist() == one.duration.tolist() == [1] * 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_buffers": 0}, "at least one buffer"),
        ({"num_buffers": 2, "num_dropped": -1}, "no negative number of dropped ones"),
        ({"num_buffers": 9, "memory": 2, "horizon": 4}, "must hold 9 pieces"),
        ({"num_buffers": 9, "memory": 2**20, "horizon": 2**10}, "within int32"),
        ({"num_buffers": 9, "time_percent": 101}, r"in \[0, 100\]"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        memory.cut_lives(**settings)
