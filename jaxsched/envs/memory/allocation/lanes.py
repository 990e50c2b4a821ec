"""Depth-first searches over orders of buffers, side by side in one compiled program.

The search space and the inference are those of MiniMalloc (Moffitt, "MiniMalloc: A Lightweight
Memory Allocator for Hardware-Accelerated Machine Learning", ASPLOS 2023), for a given capacity:

* Buffers are placed in ascending order of offset, each at its lowest offset above its placed
  neighbours.
* A section of time with `left` still to place above its floor, the lowest offset that any of its
  buffers can still get, needs `floor + left`; beyond the capacity the search turns back.
* A buffer is not placed where another one that waits would fit below it entirely.
* Where no waiting buffer spans two sections, what is on both sides is independent: it is searched
  one after the other, and a part without a solution undoes everything back to where it came apart.

Ours: a lane is one such search with a preference order and a capacity of its own. The lanes advance
in lockstep, one buffer tried or taken back per step, the way back being a row of a stack.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax

from jaxsched.envs.memory.allocation import rules
from jaxsched.envs.memory.allocation.settings import Settings
from jaxsched.envs.memory.allocation.types import Instance

NEVER = np.int32(2**30)  # the lowest offset of a buffer that is placed, or of none
RUNNING, FOUND, EXHAUSTED = 0, 1, 2
# Fields of `Lanes` that a row of the stack begins with.
SAVED = ("lowest", "crowd", "left", "bridges", "born", "last", "last_rank", "last_crowd")


class Problem(struct.PyTreeNode):
    """What all lanes share. N buffers, S sections."""

    instance: Instance
    bridge: Array  # bool[N, S]  live, gaps included, in the section and the next
    first: Array  # i32[N]  its first section
    scale: Array  # f32[]  the largest size live at one time


class Lanes(struct.PyTreeNode):
    """L searches. Parts are maximal runs of sections that waiting buffers hold together."""

    capacity: Array  # i32[L]
    rank: Array  # i32[L, N]  preference among buffers of equal offset and crowd, ascending
    weight: Array  # f32[L, N]  what the crowd counts, 0 in lanes that go by rank alone
    status: Array  # i32[L]
    depth: Array  # i32[L]  buffers placed
    lowest: Array  # i32[L, N]  the lowest offset of a waiting buffer, NEVER where placed
    left: Array  # i32[L, S]  summed size of the waiting buffers
    bridges: Array  # i32[L, S]  waiting buffers that span the section and the next
    born: Array  # i32[L, S]  depth at which the section's part came apart from others
    last: Array  # i32[L, S]  offset of the part's last placement, 0 before the first
    last_rank: Array  # i32[L, S]  and its rank, -1 before the first
    last_crowd: Array  # i32[L, S]  and its crowd, NEVER before the first
    # i32[L, N]  largest left of its sections when its part came apart, times the weight
    crowd: Array
    tried: Array  # i32[L]  offset of the last buffer tried here, -1 before the first
    tried_rank: Array  # i32[L]
    tried_crowd: Array  # i32[L]
    offset: Array  # i32[L, N]  where placed
    stack: Array  # i32[L, N + 1, 2 N + 6 S + 3]  everything above before each placement


def problem(instance: Instance) -> Problem:
    """On the host."""
    live = np.asarray(instance.live)
    section = np.arange(live.shape[1])
    first, last = live.argmax(1), live.shape[1] - 1 - live[:, ::-1].argmax(1)
    bridge = (first[:, None] <= section) & (section < last[:, None])
    scale = np.float32((live * np.asarray(instance.size)[:, None]).sum(0).max(initial=1))
    fields: Any = instance, bridge, first.astype(np.int32), scale
    return jax.tree.map(jnp.asarray, Problem(*fields))


def start(given: Problem, rank: np.ndarray, weight: np.ndarray, capacity: np.ndarray) -> Lanes:
    """Lanes with the preferences i32[L, N], their weights f32[L, N], and capacities i32[L]; without
    a stack.
    """
    num_lanes, num_buffers = rank.shape
    instance, num_sections = given.instance, given.instance.num_sections
    live, size = np.asarray(instance.live), np.asarray(instance.size)
    zeros = np.zeros((num_lanes, num_sections), np.int32)
    left = zeros + (live * size[:, None]).sum(0, dtype=np.int32)
    lowest = jax.jit(lambda instance: rules.offsets(rules.init(instance, Settings())))(instance)
    lowest = np.where(instance.buffer_mask, lowest, NEVER).astype(np.int32)
    fields: dict[str, Any] = {
        "capacity": capacity,
        "rank": rank,
        "weight": weight,
        "status": np.zeros(num_lanes, np.int32),
        "depth": np.zeros(num_lanes, np.int32),
        "lowest": np.tile(lowest, (num_lanes, 1)),
        "left": left,
        "bridges": zeros + np.asarray(given.bridge).sum(0, dtype=np.int32),
        "born": zeros,
        "last": zeros,
        "last_rank": zeros - 1,
        "last_crowd": zeros + np.int32(NEVER),
        "crowd": np.asarray(_crowd(given, left, weight)),
        "tried": np.full(num_lanes, -1, np.int32),
        "tried_rank": np.full(num_lanes, -1, np.int32),
        "tried_crowd": np.zeros(num_lanes, np.int32),
        "offset": np.zeros((num_lanes, num_buffers), np.int32),
        "stack": None,
    }
    # copies: nothing may share memory with what is donated
    return jax.tree.map(jnp.array, Lanes(**fields))


def _crowd(given: Problem, left: Any, weight: Any) -> Array:
    """i32[L, N]: the largest left of each buffer's sections, as a share of all lanes' largest in
    steps of 2**-20.
    """
    most = jnp.where(given.instance.live, left[:, None], 0).max(-1)
    return (weight * most.astype(jnp.float32) * (2.0**20 / given.scale)).astype(jnp.int32)


@jax.jit
def restart(lanes: Lanes, fresh: Lanes, which: Array) -> Lanes:
    """`lanes`, those of `which` bool[L] replaced by `fresh` ones; both without a stack.

    The stack can stay as it is: what lies above the depth is written before it is read.
    """

    def choose(old, new):
        return jnp.where(which.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    return jax.tree.map(choose, lanes, fresh)


@functools.partial(jax.jit, static_argnums=3, donate_argnums=1)
def advance(given: Problem, lanes: Lanes, num_steps: Array, plain: bool) -> tuple[Lanes, Array]:
    """Up to `num_steps` steps, fewer once a lane has found a plan or tried everything. Also returns
    their number.

    `plain`: all alignments are 1 and nothing is pinned, which is quicker.
    """

    def going(carry):
        lanes, step = carry
        return (step < num_steps) & (lanes.status == RUNNING).all()

    return lax.while_loop(
        going,
        lambda carry: (_step(given, carry[0], plain), carry[1] + 1),
        (lanes, jnp.zeros((), jnp.int32)),
    )


class _Part(NamedTuple):
    """The part at work in each lane, the leftmost with something left. The last four as in
    `Lanes`.
    """

    done: Array  # bool[L]  nothing is left
    here: Array  # bool[L, S]  its sections
    born: Array  # i32[L]
    last: Array  # i32[L]
    last_rank: Array  # i32[L]
    last_crowd: Array  # i32[L]


def _part_at_work(lanes: Lanes) -> _Part:
    each = jnp.arange(lanes.rank.shape[0], dtype=jnp.int32)
    open_ = lanes.left > 0
    section = jnp.argmax(open_, 1).astype(jnp.int32)
    cuts = (lanes.bridges == 0).astype(jnp.int32)
    part = jnp.cumsum(cuts, 1, dtype=jnp.int32) - cuts
    here = part == part[each, section][:, None]
    own = (lanes.born, lanes.last, lanes.last_rank, lanes.last_crowd)
    return _Part(~open_.any(1), here, *(leaf[each, section] for leaf in own))


class _Candidate(NamedTuple):
    """The buffer that each lane tries next, where one `exists`."""

    exists: Array  # bool[L]
    buffer: Array  # i32[L]
    offset: Array  # i32[L]
    rank: Array  # i32[L]
    crowd: Array  # i32[L]


def _candidate(given: Problem, lanes: Lanes, part: _Part) -> _Candidate:
    """The lowest offset, most crowded, lowest rank; after the last placement and the last one
    tried.
    """
    lowest, rank, crowd = lanes.lowest, lanes.rank, lanes.crowd
    waiting = (lowest < NEVER) & part.here[:, given.first]
    height = lowest + given.instance.size
    ceiling = jnp.where(waiting, height, NEVER).min(1, keepdims=True)
    # a floor above it is too high somewhere
    most_left = jnp.where(part.here, lanes.left, 0).max(1, keepdims=True)
    room = lanes.capacity[:, None] - most_left

    def after(offset, crowd_, rank_):
        level = lowest == offset[:, None]
        equal = crowd == crowd_[:, None]
        return (lowest > offset[:, None]) | (
            level & ((crowd < crowd_[:, None]) | (equal & (rank > rank_[:, None])))
        )

    eligible = waiting & (lowest < ceiling) & (lowest <= room)
    eligible &= after(part.last, part.last_crowd, part.last_rank) & after(
        lanes.tried, lanes.tried_crowd, lanes.tried_rank
    )
    offset = jnp.where(eligible, lowest, NEVER).min(1)
    eligible &= lowest == offset[:, None]
    most = jnp.where(eligible, crowd, -1).max(1)
    best = jnp.where(eligible & (crowd == most[:, None]), rank, NEVER).min(1)
    buffer = jnp.argmax(rank == best[:, None], 1).astype(jnp.int32)
    return _Candidate(offset < NEVER, buffer, offset, best, most)


class _Placement(NamedTuple):
    """What the placement of a candidate leaves. The last three as in `Lanes`."""

    fits: Array  # bool[L]  every section keeps within the capacity
    splits: Array  # bool[L]  its part comes apart
    lowest: Array  # i32[L, N]
    left: Array  # i32[L, S]
    bridges: Array  # i32[L, S]


def _place(
    given: Problem, lanes: Lanes, part: _Part, candidate: _Candidate, plain: bool
) -> _Placement:
    """Its neighbours go above it."""
    instance, buffer, offset = given.instance, candidate.buffer, candidate.offset
    each = jnp.arange(buffer.shape[0], dtype=jnp.int32)
    lowest, capacity, size = lanes.lowest, lanes.capacity[:, None], instance.size
    live, height = instance.live[buffer], offset + size[buffer]
    pushed = jnp.maximum(lowest, jnp.where(instance.beside[buffer], height[:, None], 0))
    if not plain:
        clear = jax.vmap(rules.clear, (None, 0, 0, 0, 0))
        lifted = jax.vmap(
            lambda floor: clear(instance, floor, size, instance.alignment, instance.live)
        )(pushed)
        pushed = jnp.where(lowest < NEVER, lifted, lowest)
    pushed = pushed.at[each, buffer].set(NEVER)
    left = lanes.left - jnp.where(live, size[buffer][:, None], 0)
    floor = jnp.where(instance.live, pushed[:, :, None], NEVER).min(1)
    need = jnp.where(part.here, jnp.maximum(floor, offset[:, None]), 0) + left
    fits = ((need <= capacity) | (left == 0)).all(1) & (
        (pushed + size <= capacity) | (pushed >= NEVER)
    ).all(1)
    bridges = lanes.bridges - given.bridge[buffer]
    splits = (part.here & (lanes.bridges > 0) & (bridges == 0)).any(1)
    return _Placement(fits, splits, pushed, left, bridges)


def _step(given: Problem, lanes: Lanes, plain: bool) -> Lanes:
    """Every lane tries one more buffer, or takes the last one back."""
    num_lanes, num_buffers = lanes.rank.shape
    each = jnp.arange(num_lanes, dtype=jnp.int32)
    part = _part_at_work(lanes)
    candidate = _candidate(given, lanes, part)
    placement = _place(given, lanes, part, candidate, plain)

    running = lanes.status == RUNNING
    goes_on = running & ~part.done
    tries, turn = goes_on & candidate.exists, goes_on & ~candidate.exists
    push, rejected = tries & placement.fits, tries & ~placement.fits
    # a part without placements: to where it came apart
    target = jnp.where(part.last_rank < 0, part.born, lanes.depth) - 1
    pop, exhausted = turn & (target >= 0), turn & (target < 0)

    # Written first and read afterwards, so that XLA does not copy the stack.
    stack = _saved(lanes, candidate, push)
    before, tried, tried_rank, tried_crowd = _restored(lanes, stack, target)
    behind = _behind(given, lanes, part, candidate, placement, push)

    def moved(now, back, turned_down, placed):
        return jnp.where(push, placed, jnp.where(pop, back, jnp.where(rejected, turned_down, now)))

    placed = jnp.where(push, candidate.buffer, num_buffers)
    return lanes.replace(
        status=jnp.where(running & part.done, FOUND, jnp.where(exhausted, EXHAUSTED, lanes.status)),
        depth=jnp.where(push, lanes.depth + 1, jnp.where(pop, target, lanes.depth)),
        tried=moved(lanes.tried, tried, candidate.offset, -1),
        tried_rank=moved(lanes.tried_rank, tried_rank, candidate.rank, -1),
        tried_crowd=moved(lanes.tried_crowd, tried_crowd, candidate.crowd, 0),
        offset=lanes.offset.at[each, placed].set(candidate.offset, mode="drop"),
        stack=stack,
        **{
            name: jnp.where(
                push[:, None],
                behind[name],
                jnp.where(pop[:, None], before[name], getattr(lanes, name)),
            )
            for name in SAVED
        },
    )


def _saved(lanes: Lanes, candidate: _Candidate, push: Array) -> Array:
    """The stack with the rows of the lanes that place their candidate."""
    num_lanes, num_buffers = lanes.rank.shape
    tried = (candidate.offset, candidate.rank, candidate.crowd)
    row = [*(getattr(lanes, name) for name in SAVED), *(leaf[:, None] for leaf in tried)]
    # out of range: nothing is written
    at = jnp.where(push, lanes.depth, num_buffers + 1)
    each = jnp.arange(num_lanes, dtype=jnp.int32)
    return lanes.stack.at[each, at].set(jnp.concatenate(row, 1), mode="drop")


def _restored(
    lanes: Lanes, stack: Array, depth: Array
) -> tuple[dict[str, Array], Array, Array, Array]:
    """The fields `SAVED` before the placement at `depth` i32[L], and offset, rank and crowd of
    what was placed.
    """
    each = jnp.arange(stack.shape[0], dtype=jnp.int32)
    row = stack[each, jnp.maximum(depth, 0)]
    ends = np.cumsum([getattr(lanes, name).shape[1] for name in SAVED])
    *fields, tried = jnp.split(row, ends, 1)
    return dict(zip(SAVED, fields, strict=True)), tried[:, 0], tried[:, 1], tried[:, 2]


def _behind(
    given: Problem,
    lanes: Lanes,
    part: _Part,
    candidate: _Candidate,
    placement: _Placement,
    push: Array,
) -> dict[str, Array]:
    """The fields `SAVED` after the placement of the candidates."""
    here, splits = part.here, placement.splits
    apart = here & splits[:, None]
    # Whoever comes apart from others is ordered anew, by what is left of its sections now.
    anew = lax.cond(
        (push & splits).any(),
        lambda: _crowd(given, placement.left, lanes.weight),
        lambda: lanes.crowd,
    )

    def of_part(first: int | np.int32, value: Array, old: Array) -> Array:
        return jnp.where(here, jnp.where(splits, first, value)[:, None], old)

    return {
        "lowest": placement.lowest,
        "crowd": jnp.where(apart[:, given.first], anew, lanes.crowd),
        "left": placement.left,
        "bridges": placement.bridges,
        "born": jnp.where(apart, (lanes.depth + 1)[:, None], lanes.born),
        "last": of_part(0, candidate.offset, lanes.last),
        "last_rank": of_part(-1, candidate.rank, lanes.last_rank),
        "last_crowd": of_part(NEVER, candidate.crowd, lanes.last_crowd),
    }
