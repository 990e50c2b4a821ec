"""Anytime search over orders: many depth-first searches (`lanes.py`) side by side, on any device.

The lanes prefer long, crowded and large buffers in three orders, some with noise, and start again
with other noise and more patience. Most aim at the lower bound, the others between it and the best
plan so far, so that the plan improves early. A lane that has tried everything proves that its
capacity is too small. Apart from the moment when time is up, the result depends on the seed only.
Ours.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched.core.padding import bucket, pad_to
from jaxsched.envs.memory.allocation import rules
from jaxsched.envs.memory.allocation.lanes import (
    EXHAUSTED,
    FOUND,
    RUNNING,
    Lanes,
    Problem,
    advance,
    problem,
    restart,
    start,
)
from jaxsched.envs.memory.allocation.settings import Settings
from jaxsched.envs.memory.allocation.types import Instance
from jaxsched.host.deadline import Deadline

MAX_LANES, MAX_STACK = 16, 2**25  # lanes, and numbers that their stacks may hold together
WORK = 2**31  # comparisons between two looks at the clock, a second or so
# Lanes 0 to 2 have the three orders without noise and stay at the lower bound. The next eight work
# in rounds, together at one capacity, the lower bound in every other round; the rest, from the best
# plan down, improve it early.
PURE, ROUNDS = 3, 8
LADDER = (1 / 4, 1 / 2, 3 / 4, 7 / 8, 1)  # capacity between the lower bound and the best peak
# Steps of a round and of a lane on the ladder, and the growth of both.
PATIENCE, GROWTH = 8_000, 1.15
NOISE = (0.05, 0.1, 0.2)  # deviation of the logarithms of the keys, by lane


def preferences(
    instance: Instance, rng: np.random.Generator, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks i32[L, N] and weights f32[L, N] for lanes with so much noise, f64[L].

    In turn by width, area and crowd; by crowd, area and width; by crowd, width and area.
    """
    live, size = np.asarray(instance.live), np.asarray(instance.size, np.float64)
    width = live.sum(1).astype(np.float64)
    keys = {"W": width, "A": width * size}
    rank = np.empty((len(noise), len(size)), np.int32)
    weight = np.zeros((len(noise), len(size)), np.float32)
    for lane, deviation in enumerate(noise):
        names = ("WA", "AW", "WA")[lane % 3]
        columns = [keys[name] * np.exp(deviation * rng.normal(size=len(size))) for name in names]
        rank[lane, np.lexsort([-column for column in reversed(columns)])] = np.arange(len(size))
        if lane % 3:
            weight[lane] = np.exp(deviation * rng.normal(size=len(size)))
    return rank, weight


def search(
    instance: Instance,
    peak: int,
    *,
    target: int | None = None,
    deadline: Deadline,
    seed: int = 0,
    improved: Callable[[np.ndarray], None] | None = None,
    better: Callable[[], int] | None = None,
) -> tuple[np.ndarray | None, int]:
    """Look for plans with a peak below `peak` until one reaches `target` or the lower bound, or
    `deadline` is over.

    Everything is in units of the instance, which has no padding. Returns the offsets i32[N] of the
    best plan found, None where there is none, and a lower bound, which is the peak where nothing
    lower exists. `improved(offsets)` is called with every better plan; `better()` is asked for the
    peak of the best plan that somebody else has found meanwhile.
    """
    if instance.num_buffers == 0:
        return None, peak
    total = instance.num_buffers
    instance = _padded(instance)
    num_buffers, num_sections = instance.num_buffers, instance.num_sections
    lower = int(jax.jit(rules.lower_bound, static_argnums=1)(instance, Settings()))
    width = 2 * num_buffers + 6 * num_sections + 3
    num_lanes = min(MAX_STACK // (num_buffers * width), MAX_LANES)
    if num_lanes == 0:
        return None, lower
    plain = instance.pinned_size.shape[0] == 0 and bool(
        (np.asarray(instance.alignment)[:total] == 1).all()
    )
    given, found = problem(instance), None
    starts = _Starts(given, num_lanes, target, np.random.default_rng(seed))
    steps = int(np.clip(WORK // (num_lanes * num_buffers * num_sections), 64, 4096))
    used = np.zeros(num_lanes, np.int64)
    patience = np.where(np.arange(num_lanes) < PURE, np.inf, PATIENCE)
    lanes = starts(lower, peak).replace(
        stack=jnp.zeros((num_lanes, num_buffers + 1, width), jnp.int32)
    )
    while peak > max(lower, target or 0) and not deadline.is_over():
        lanes, taken = advance(given, lanes, steps, plain)
        used += int(taken)
        status, capacity = np.asarray(lanes.status), np.asarray(lanes.capacity)
        for lane in np.flatnonzero(status == FOUND):
            offsets = np.asarray(lanes.offset[lane])[:total]
            reached = int(
                max((offsets + np.asarray(instance.size)[:total]).max(), _pinned(instance))
            )
            if reached < peak:
                peak, found = reached, offsets
                if improved:
                    improved(found)
        if better and (other := better()) < peak:
            peak, found = other, None
        for lane in np.flatnonzero(status == EXHAUSTED):
            lower = max(lower, int(capacity[lane]) + 1)
        late = used >= patience
        stale = (status != RUNNING) | (capacity >= peak) | (capacity < lower) | late
        if stale.any() and peak > lower:
            starts.turn += int((late & starts.rounds).any())
            stale |= starts.rounds & (stale & starts.rounds).any()
            patience = np.where(late, patience * GROWTH, patience)
            used = np.where(stale, 0, used)
            stack = lanes.stack
            lanes = restart(lanes.replace(stack=None), starts(lower, peak), jnp.asarray(stale))
            lanes = lanes.replace(stack=stack)
    return found, min(lower, peak)


class _Starts:
    """Lanes that begin, each with the capacity and the preferences of its kind (see `PURE`)."""

    def __init__(
        self, given: Problem, num_lanes: int, target: int | None, rng: np.random.Generator
    ):
        self.given, self.target, self.rng = given, target, rng
        self.lane = np.arange(num_lanes)
        self.rounds = (self.lane >= PURE) & (self.lane < PURE + ROUNDS)
        self.ladder = np.array(
            [LADDER[lane % len(LADDER)] if lane >= PURE + ROUNDS else 0.0 for lane in self.lane]
        )
        self.turn = 0  # of the lanes that work in rounds

    def __call__(self, lower: int, peak: int) -> Lanes:
        """Without a stack. `lower` is the bound, `peak` that of the best plan."""
        aim = lower if self.target is None else max(lower, min(self.target, peak - 1))
        # from the lower bound half-way to the peak, then closer and closer to it
        away = self.turn % 2 and self.target is None
        share = np.where(
            self.rounds, 1 - 0.5 ** (self.turn // 2 % 4 + 1) if away else 0.0, self.ladder
        )
        capacity = aim + (share * (peak - 1 - aim)).astype(np.int64)
        pure = (self.lane < PURE) | (self.rounds & (self.lane < 2 * PURE) & bool(away))
        noise = np.where(pure, 0.0, np.array(NOISE)[self.lane // 3 % len(NOISE)])
        preferred = preferences(self.given.instance, self.rng, noise)
        return start(self.given, *preferred, np.minimum(capacity, peak - 1).astype(np.int32))


def _padded(instance: Instance) -> Instance:
    """Padded to a bucket of shapes, so that instances of similar size share a program."""
    num, sections, pinned = (
        bucket(size) for size in (*instance.live.shape, instance.pinned_size.shape[0])
    )
    if not instance.pinned_size.shape[0]:
        pinned = 0  # programs without pinned buffers are quicker
    sizes: dict[str, tuple[int, ...]] = {
        "live": (num, sections),
        "beside": (num, num),
        "section_mask": (sections,),
        "capacity": (),
    }
    sizes |= {
        "pinned_offset": (pinned,),
        "pinned_size": (pinned,),
        "pinned_live": (pinned, sections),
    }
    shapes = instance.replace(
        **{
            name: jax.ShapeDtypeStruct(sizes.get(name, (num,)), getattr(instance, name).dtype)
            for name in instance.__dataclass_fields__
        }
    )
    return pad_to(instance, shapes)


def _pinned(instance: Instance) -> int:
    return int(
        (np.asarray(instance.pinned_offset) + np.asarray(instance.pinned_size)).max(initial=0)
    )
