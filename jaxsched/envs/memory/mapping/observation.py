"""The observation of memory mapping: values still needed, and the instructions around the current
one.

Nodes are the V values, then a window of W instructions ("slots"), whatever the size of the program.
A value is joined with the slots of its last block of fast memory and of its next access, each slot
with the next. Ticks are in units of the mean time of an instruction with everything slow (`unit`),
widths in units of the capacity, distances in units of 16 instructions and relative to the current
one (`now`).
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from jaxsched.core import graph
from jaxsched.core.arrays import lookup, take
from jaxsched.core.graph import Actions, GraphObservation, Nodes
from jaxsched.envs.memory.mapping.heuristics import next_use, pushed_out, residents
from jaxsched.envs.memory.mapping.types import ACTIONS, COPY, DROP, NEVER, State

RELATIONS = ("holds", "uses", "next")
HOLDS, USES, NEXT = 1, 2, 3
ACTION_KINDS = tuple(name.lower() for name in ACTIONS)
PAST, AHEAD = 24, 8  # slots before and after the current instruction
NUM_SLOTS = PAST + 1 + AHEAD
DISTANCE = np.float32(1 / 16)


class Scene(struct.PyTreeNode):
    """The clock, what features are measured in, and what accesses show to several of them."""

    position: Array  # i32[]  the current access; 0 at the end
    now: Array  # i32[]  its instruction
    unit: Array  # f32[]  1 / mean time of an instruction with everything slow, per tick
    share: Array  # f32[]  1 / capacity
    # i32[T, 4]  of instructions: ticks of accesses, of computing, of supply left; is real
    times: Array
    is_open: Array  # bool[A]  accesses to come
    saved: Array  # i32[A]  ticks that the access takes less from fast memory
    gain: Array  # i32[A]  ticks that the program gains if it alone becomes fast
    stays: Array  # bool[A]  of decided accesses, see `residents`
    out: Array  # bool[A]  of these, whose place the current value would take
    slots: Array  # i32[W]  the instructions in the window, some beyond the ends of the program

    def units(self, ticks: Array) -> Array:
        """f32[...]: ticks i32[...] in units of the mean time of an instruction."""
        return ticks.astype(jnp.float32) * self.unit

    def shares(self, widths: Array) -> Array:
        """f32[...]: widths i32[...] in units of the capacity."""
        return widths.astype(jnp.float32) * self.share


class Lives(struct.PyTreeNode):
    """The values by their next access, and by the last one before that."""

    left: Array  # bool[V, A]  their accesses to come
    upcoming: Array  # i32[V]  the next of these
    shown: Array  # bool[V]  those that exist or are due soon
    is_begun: Array  # bool[V]  they have a last access, decided
    ahead: dict[str, Array]  # i32[V] by name, of the next access
    behind: dict[str, Array]  # i32[V] by name, of the last access


def observe(state: State) -> GraphObservation:
    """N = V + W nodes, A = 3 actions."""
    scene = _scene(state)
    lives = _lives(state, scene)
    values = graph.nodes("value", lives.shown, _value_features(state, scene, lives))
    slots = _slot_nodes(state, scene)
    actions = _actions(state, scene)
    relation = _relations(scene, lives, (values, slots))
    return GraphObservation((values, slots), relation, (actions,), state.choices.legal, RELATIONS)


def _scene(state: State) -> Scene:
    instance = state.instance
    index = jnp.arange(instance.num_accesses, dtype=jnp.int32)
    position = jnp.where(state.done, 0, state.position)
    now = take(instance.time, position)
    num = jnp.maximum(instance.instruction_mask.sum(dtype=jnp.int32), 1).astype(jnp.float32)
    is_real = instance.instruction_mask.astype(jnp.int32)
    times = jnp.stack([state.memory, instance.compute, state.supply, is_real], -1)
    memory, compute, _, _ = lookup(times, instance.time).T
    saved = instance.slow - instance.fast
    stays = residents(state)
    return Scene(
        position=position,
        now=now,
        unit=num / jnp.maximum(state.baseline, 1).astype(jnp.float32),
        share=1.0 / jnp.maximum(instance.capacity, 1).astype(jnp.float32),
        times=times,
        is_open=(index >= state.position) & instance.access_mask,
        saved=saved,
        gain=jnp.maximum(compute, memory) - jnp.maximum(compute, memory - saved),
        stays=stays,
        out=pushed_out(state, stays),
        slots=now + jnp.arange(-PAST, AHEAD + 1, dtype=jnp.int32),
    )


def _lives(state: State, scene: Scene) -> Lives:
    instance = state.instance
    index = jnp.arange(instance.num_accesses, dtype=jnp.int32)
    values = jnp.arange(instance.num_values, dtype=jnp.int32)
    is_first = scene.is_open & ((instance.previous == index) | (instance.previous < state.position))
    of = instance.value[None] == values[:, None]  # [V, A]
    upcoming = jnp.where(of & is_first[None], index, 0).sum(-1, dtype=jnp.int32)
    ahead = _lookup_columns(
        {
            "last": instance.previous,
            "leader": instance.leader,
            "time": instance.time,
            "width": instance.width,
            "saved": scene.saved,
            "demand": instance.demand,
            "gain": scene.gain,
            "is_output": instance.is_output,
            "is_write": instance.is_write,
        },
        upcoming,
    )
    behind = _lookup_columns(
        {
            "begin": state.begin,
            "end": state.end,
            "ready": state.ready,
            "stays": scene.stays,
            "out": scene.out,
        },
        ahead["last"],
    )
    is_begun = ahead["last"] != upcoming
    is_due = ahead["time"] - scene.now <= AHEAD
    has_next = (of & is_first[None]).any(-1)
    shown = instance.value_mask & has_next & (is_begun | is_due) & ~state.done
    return Lives(of & scene.is_open[None], upcoming, shown, is_begun, ahead, behind)


def _lookup_columns(columns: dict[str, Array], ids: Array) -> dict[str, Array]:
    """i32[J] by name: each of `columns` [M] at `ids` i32[J], by one lookup for all."""
    table = jnp.stack([column.astype(jnp.int32) for column in columns.values()], -1)
    return dict(zip(columns, lookup(table, ids).T, strict=True))


def _value_features(state: State, scene: Scene, lives: Lives) -> dict[str, Array]:
    """Of every value by name: its next access, those after it, and where it is now."""
    units, ahead, behind = scene.units, lives.ahead, lives.behind
    is_begun, end, leader = lives.is_begun, behind["end"], ahead["leader"]
    was_fast = is_begun & (end > 0)
    since = jnp.where(was_fast, scene.now + 1 - end, 0)
    is_bound = (leader != lives.upcoming) & (leader < state.position)
    bound_slow = lookup(state.action, leader) == DROP
    num_left = lives.left.sum(-1, dtype=jnp.int32)
    gains_left = jnp.where(lives.left, scene.gain[None], 0).sum(-1, dtype=jnp.int32)
    return {
        "width / capacity": scene.shares(ahead["width"]),
        "saved by its next access / unit": units(ahead["saved"]),
        "demand / unit": units(ahead["demand"]),
        "(next access - now) / 16": _distances(ahead["time"] - scene.now),
        "gain of its next access / unit": units(ahead["gain"]),
        "accesses left / 16": _distances(num_left),
        "gains of accesses left / unit": units(gains_left),
        "could stay": is_begun & (behind["stays"] > 0),
        "only copy is in fast memory": is_begun & (behind["ready"] == NEVER),
        "was in fast memory": was_fast,
        "(now - last in fast memory) / 16": _distances(since),
        "is current": lives.upcoming == state.position,
        "is input": state.instance.is_input,
        "is output": ahead["is_output"],
        "group bound to slow memory": is_bound & bound_slow,
        "group bound to an offset": is_bound & ~bound_slow,
        "would be covered": is_begun & (behind["out"] > 0),
        "next access is a write": ahead["is_write"],
    }


def _distances(instructions: Array) -> Array:
    """f32[...]: numbers of instructions, or of accesses, i32[...] in units of 16."""
    return instructions.astype(jnp.float32) * DISTANCE


def _slot_nodes(state: State, scene: Scene) -> Nodes:
    """The instructions in the window: their times, what blocks hold there, and what residents
    would hold until their next use ("wanted").
    """
    instance, slots, units = state.instance, scene.slots, scene.units
    inside = (slots >= 0) & (slots < instance.num_instructions)
    ids = jnp.where(inside, slots, instance.num_instructions)
    memory, compute, supply, is_real = lookup(scene.times, ids).T
    begin, end, until = state.begin[:, None], state.end[:, None], next_use(state)[:, None]
    holds = (begin <= slots[None]) & (slots[None] < end)  # [A, W], as below
    wants = scene.stays[:, None] & (end <= slots[None]) & (slots[None] <= until)
    comes = scene.is_open[:, None] & (instance.time[:, None] == slots[None])

    def total(where: Array, values: Array) -> Array:
        return jnp.where(where, values[:, None], 0).sum(0, dtype=jnp.int32)

    features = {
        "supply left / unit": units(supply),
        "time / unit": units(jnp.maximum(compute, memory)),
        "(time of accesses - compute) / unit": units(memory - compute),
        "savings to come / unit": units(total(comes, scene.saved)),
        "held / capacity": scene.shares(total(holds, instance.width)),
        "wanted / capacity": scene.shares(total(wants, instance.width)),
        "accesses to come / 16": _distances(comes.sum(0, dtype=jnp.int32)),
        "(instruction - now) / 16": _distances(slots - scene.now),
        "is current": slots == scene.now,
    }
    return graph.nodes("slot", (is_real > 0) & ~state.done, features)


def _actions(state: State, scene: Scene) -> Actions:
    """The three actions, about the current value; each uses the slot from which it would hold a
    block.
    """
    legal, begin = state.choices.legal, state.choices.begin
    start = jnp.clip(begin[COPY] - scene.now + PAST, 0, PAST)
    copies = legal & (jnp.arange(3, dtype=jnp.int32) == COPY)
    return graph.actions(
        "value",
        uses="slot",
        node=jnp.broadcast_to(take(state.instance.value, scene.position), (3,)),
        resource=jnp.where(copies, start, PAST).astype(jnp.int32),
        kinds=ACTION_KINDS,
        mask=legal,
        features=_action_features(state, scene),
    )


def _action_features(state: State, scene: Scene) -> dict[str, Array]:
    """Of the three actions by name; those that bring the value in may push others out."""
    instance, choices, position, units = state.instance, state.choices, scene.position, scene.units
    taken, none = choices.taken.sum(dtype=jnp.int32), jnp.zeros((), jnp.int32)
    is_write = take(instance.is_write, position).astype(jnp.int32)
    is_fast = jnp.array([1, 1, 0], jnp.int32)
    comes_in = jnp.stack([none + 1, is_write, none])
    costs = jnp.stack(
        [
            instance.width,
            jnp.where(state.ready == NEVER, instance.width, 0),
            lookup(scene.gain, instance.following),
        ]
    )
    covered, only_copies, lost = jnp.where(scene.out[None], costs, 0).sum(-1, dtype=jnp.int32)
    supply = jnp.stack([taken, none, choices.writes_back.astype(jnp.int32) * taken])
    return {
        "gain / unit": units(is_fast * choices.gain),
        "saved / unit": units(is_fast * take(scene.saved, position)),
        "supply taken / unit": units(supply),
        "length of the block / 16": _distances(choices.end - choices.begin),
        "width covered / capacity": scene.shares(comes_in * covered),
        "width of only copies covered / capacity": scene.shares(comes_in * only_copies),
        "gains lost by covering / unit": units(comes_in * lost),
        "value has another access": take(instance.following, position) != position,
    }


def _relations(scene: Scene, lives: Lives, nodes: tuple[Nodes, ...]) -> Array:
    """Values with slots and slots with the next, each both ways; holding shows before using."""
    slots = scene.slots[None]
    begin, end = lives.behind["begin"][:, None], lives.behind["end"][:, None]
    holds = lives.is_begun[:, None] & (begin <= slots) & (slots < end)
    uses = lives.ahead["time"][:, None] == slots
    block = jnp.where(holds, HOLDS, jnp.where(uses, USES, 0))
    chain = np.eye(NUM_SLOTS, k=1, dtype=np.int8) + np.eye(NUM_SLOTS, k=-1, dtype=np.int8)
    blocks = {
        ("value", "slot"): block,
        ("slot", "value"): block.T,
        ("slot", "slot"): NEXT * chain,
    }
    return graph.relations(nodes, blocks)
