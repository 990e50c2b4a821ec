"""Drop-backup: how a mapping goes on from a dead end, as pure functions for the host and for jit.

The access that failed either disagrees with its alias group or reads a value whose only copy is in
fast memory and can neither stay nor be written back. So DROP is forced at the first access of the
group, or, where it was forced already or there is none before, at the first access of the value,
and the old actions are replayed; where one is no longer legal, DROP, NOCOPY, COPY in this order.
Every dead end forces another access, so there are at most as many backups as accesses. After an
idea told of mallocGame (Wang et al. 2023); these rules are ours.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from jaxsched.core.arrays import put, take
from jaxsched.core.environment import Scores
from jaxsched.core.rollout import masked_argmax
from jaxsched.envs.memory.mapping import rules
from jaxsched.envs.memory.mapping.settings import Settings
from jaxsched.envs.memory.mapping.types import DROP, Instance, State


def drop_backup(state: State, forced: Array) -> tuple[State, Array]:
    """The state at the same access, but alive, and the forced accesses bool[A], those of before
    included.

    Nothing changes where the state is not dead.
    """
    old, target = state.action, state.position

    def is_dead(carry):
        return carry[0].dead

    def back(carry):
        state, forced = carry
        instance, position = state.instance, state.position
        leader = take(instance.leader, position)
        index = jnp.arange(instance.num_accesses, dtype=jnp.int32)
        same = instance.access_mask & (instance.value == take(instance.value, position))
        first = jnp.where(same, index, position).min()
        to_value = (leader == position) | take(forced, leader)
        access = jnp.where(to_value, first, leader)
        forced = put(forced, True, access)
        return _replay(rules.rewind(state, access), old, forced, target), forced

    return lax.while_loop(is_dead, back, (state, forced))


def step(state: State, scores: Array, forced: Array) -> State:
    """Take the legal action with the best of `scores` i32[3] or f32[3], or DROP where it is forced.

    A forced DROP that is not legal is a dead end.
    """
    is_drop = jnp.arange(3, dtype=jnp.int32) == DROP
    mask = state.choices.legal & (is_drop | ~take(forced, state.position))
    alive = mask.any()
    after = rules.apply(state, Settings(), masked_argmax(scores, mask), alive)
    return after.replace(dead=after.dead | ~alive)


def _replay(state: State, old: Array, forced: Array, target: Array) -> State:
    """The old actions from here as far as they go, to access `target` or to a dead end
    before it.
    """

    def goes_on(state):
        return ~state.dead & (state.position < target)

    def again(state):
        preference = jnp.asarray([1, 2, 3], jnp.int32)  # COPY, NOCOPY, DROP
        return step(state, put(preference, 4, take(old, state.position)), forced)

    return lax.while_loop(goes_on, again, state)


def play(instance: Instance, scores: Scores, backup: bool) -> tuple[State, Array]:
    """One episode that takes the best legal score at every access, with drop-backup or without; jit
    and vmap it.

    Returns the final state and the number of forced accesses.
    """

    def goes_on(carry):
        return ~carry[0].done

    def decide(carry):
        state, forced = carry
        after = step(state, scores(state), forced)
        return drop_backup(after, forced) if backup else (after, forced)

    start = rules.init(instance, Settings()), jnp.zeros((instance.num_accesses,), jnp.bool_)
    state, forced = lax.while_loop(goes_on, decide, start)
    return state, forced.sum(dtype=jnp.int32)
