"""Time limits of whole calls: starts, models and compilation count as the search does."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched.host.plain import plain_number

clock = time.perf_counter
_compiled: set[Hashable] = set()  # programs that this process has compiled, or is about to


class Deadline:
    """The end of a call that began when this was made and may take `time_limit` seconds.

    Whoever may take long asks `is_over` now and then, and returns the best it has; or calls
    `check` and lets its caller do so. Raises `ValueError` for a limit that is negative or no
    number.
    """

    def __init__(self, time_limit: Any = math.inf):
        seconds = plain_number(time_limit)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
            raise ValueError(f"time_limit is in seconds and not negative, got {time_limit!r}")
        self.began = clock()
        self.limit = float(seconds)

    def left(self) -> float:
        """Seconds that are left, not negative."""
        return max(self.began + self.limit - clock(), 0.0)

    def is_over(self) -> bool:
        """Whether no time is left."""
        return self.left() == 0

    def check(self) -> None:
        """Raise `TimeoutError` where no time is left."""
        if self.is_over():
            raise TimeoutError(f"the time limit of {self.limit:g} s is over")

    def spent(self) -> float:
        """Seconds since the call began."""
        return clock() - self.began

    def part(self, share: float) -> Deadline:
        """The end of a step that begins now: this share of the limit, at most what is left."""
        return Deadline(min(share * self.limit, self.left()))

    def at_least(self, seconds: float) -> Deadline:
        """The end of a step that may take what is left, but these seconds at least."""
        return Deadline(max(self.left(), seconds))

    def has_room_to_compile(self, program: Hashable, weight: int) -> bool:
        """Whether a program may be compiled: it takes about `weight` times as long as `probe`.

        `program` names it with its shapes. One that was compiled before takes no time.
        """
        if not self.is_over() and (program in _compiled or weight * probe() < self.left()):
            _compiled.add(program)
            return True
        return False


NO_LIMIT = Deadline()


@functools.cache
def probe() -> float:
    """Seconds in which this machine, as busy as it is, compiles a small loop; usual are 0.1 to
    0.5.
    """

    def step(i, values):
        values = jnp.cumsum(jnp.sort(values)) + values[i]
        return values.at[i].add(jnp.argmax(values))

    jnp.zeros(()).block_until_ready()  # the first array starts the backend, which is no compilation
    began = time.perf_counter()
    loop = jax.jit(lambda values: jax.lax.fori_loop(0, 8, step, values))
    loop.lower(np.zeros(64, np.int32)).compile()
    return time.perf_counter() - began
