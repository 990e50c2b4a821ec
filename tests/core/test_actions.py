"""What `step` takes for an action: one integer, the same within `jit` and outside (issue 16, row
4).
"""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from jaxsched.core import AutoReset, Pool, TimeLimit, rollout
from jaxsched.envs import job_shop
from tests import shapes

JOBS = [[(0, 3), (1, 2)], [(1, 4)], [(0, 1), (1, 5)]]
KEY = jax.random.key(0)
ENV = jaxsched.make("JobShop-v0")
STATE, _ = ENV.reset(KEY, shapes.instance_of(JOBS))


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (
            jnp.arange(6),
            TypeError,
            r"action must be one integer, i32\[\], got int32\[6\]; a batch takes jax.vmap",
        ),
        (np.zeros((1,), np.int32), TypeError, r"got int32\[1\]"),
        (jnp.zeros((0,), jnp.int32), TypeError, r"got int32\[0\]"),
        (2.7, TypeError, r"action must be one integer, i32\[\], got float32\[\]"),
        (2.0, TypeError, r"got float32\[\]"),
        (jnp.float32(2), TypeError, r"got float32\[\]"),
        (jnp.bfloat16(2), TypeError, r"got bfloat16\[\]"),
        (1j, TypeError, r"got complex64\[\]"),
        (True, TypeError, r"got bool\[\]"),
        (jnp.array([True, False]), TypeError, r"got bool\[2\]"),
        (2**40 + 2, OverflowError, "1099511627778"),
        (2**70, OverflowError, "1180591620717411303424"),
        (-(2**31) - 1, OverflowError, "-2147483649"),
    ],
    ids=repr,
)
def test_what_is_not_one_integer_is_refused(action, error, message, jitted):
    """Issue 16, row 4: six operations were placed at once; 2.7 and 2**40 + 2 were taken for 2."""
    step = jax.jit(ENV.step) if jitted else ENV.step
    with pytest.raises(error, match=message) as caught:
        step(KEY, STATE, action)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("action", [None, "2", [1, 2], {"job": 2}], ids=repr)
def test_what_is_no_number_is_refused(action):
    with pytest.raises(TypeError, match=r"action must be one integer, i32\[\], got"):
        ENV.step(KEY, STATE, action)


@pytest.mark.parametrize(
    "action", [np.int64(2**40 + 2), np.array(2**40 + 2), np.uint32(2**32 - 1)], ids=repr
)
def test_a_number_of_numpy_does_not_wrap(action):
    """A wider integer wraps as silently as one of Python (issue 16, row 4: a sibling)."""
    with pytest.raises(OverflowError, match="action must fit int32, got"):
        ENV.step(KEY, STATE, action)


def same(one, other):
    return all(
        np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True)
    )


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"])
def test_every_integer_is_taken_for_what_it_is(dtype, jitted):
    step = jax.jit(ENV.step) if jitted else ENV.step
    after, timestep = step(KEY, STATE, np.dtype(dtype).type(2))
    assert not timestep.metrics["illegal"]
    for action in (2, np.array(2), jnp.int32(2)):
        assert same(after, step(KEY, STATE, action)[0])
    assert same(after, ENV.step(KEY, STATE, jnp.int32(2))[0])


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
def test_an_array_that_is_too_wide_is_illegal(jitted):
    """Its value is not known within `jit`, so it cannot be refused; it must not be another
    action either.
    """
    step = jax.jit(ENV.step) if jitted else ENV.step
    after, timestep = step(KEY, STATE, jnp.uint32(2**32 - 1))
    assert timestep.metrics["illegal"]
    assert same(after, STATE)


def test_an_array_of_64_bits_does_not_wrap():
    program = """
import jax, jax.numpy as jnp, numpy as np, jaxsched
from jaxsched.envs import job_shop
env = jaxsched.make("JobShop-v0")
key = jax.random.key(0)
state, _ = env.reset(key, job_shop.from_jobs([[(0, 3), (1, 2)], [(1, 4)], [(0, 1), (1, 5)]]))
for step in (env.step, jax.jit(env.step)):
    assert not step(key, state, jnp.int64(2))[1].metrics["illegal"]
    for wide in (2**40 + 2, 2**32 + 2, -(2**32) + 2):
        after, timestep = step(key, state, jnp.asarray(wide, jnp.int64))
        assert timestep.metrics["illegal"], wide
        assert (after.job_ready == state.job_ready).all()
"""
    given = [
        sys.executable,
        "-c",
        "import jax; jax.config.update('jax_enable_x64', True)\n" + program,
    ]
    subprocess.run(given, check=True, timeout=120)


def test_policies_and_streams_are_held_to_it():
    """Whoever plays calls `step`; and the index of an `AutoReset` is no action, but cut the same
    way (siblings).
    """
    with pytest.raises(TypeError, match=r"action must be one integer, i32\[\], got float32\[\]"):
        rollout(ENV, KEY, STATE.instance, lambda key, state, observation: jnp.float32(1))
    with pytest.raises(TypeError, match=r"got bool\[3\]"):
        TimeLimit(ENV, 3).step(
            KEY, TimeLimit(ENV, 3).reset(KEY, STATE.instance)[0], np.ones(3, np.bool_)
        )
    stream = AutoReset(ENV, Pool([job_shop.from_jobs(JOBS), job_shop.from_jobs(JOBS)]))
    for index in (0.7, True, np.arange(2)):
        with pytest.raises(
            TypeError, match=r"index into the pool must be one integer, i32\[\], got"
        ):
            stream.reset(KEY, index)
    with pytest.raises(OverflowError, match="index into the pool must fit int32"):
        stream.reset(KEY, 2**32)
