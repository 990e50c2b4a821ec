"""Follow the best episode and sample its rest anew, round after round.

After Pirnay & Grimm, "Take a Step and Reconsider" (ECAI 2024), with ends that are drawn
independently. Early decisions are settled by what follows from them, and every round searches where
the best episode is. A policy's label maker and its search at test time are this one function.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, lax, random

from jaxsched.core.environment import Environment, State
from jaxsched.core.rollout import (
    best_episode,
    dress,
    outcome,
    replay_steps,
    strip,
    unroll_steps,
    vary_alike,
)


@dataclasses.dataclass(frozen=True)
class ResampleConfig:
    """Settings of the search: (num_rounds + 1) / 2 * num_ends whole episodes of work."""

    num_ends: int = 16  # in every round
    num_rounds: int = 4  # 1: the best of `num_ends` episodes

    def __post_init__(self):
        if self.num_ends < 1 or self.num_rounds < 1:
            raise ValueError(
                f"num_ends and num_rounds must be at least 1, got {self.num_ends} and "
                f"{self.num_rounds}"
            )


class Ends(struct.PyTreeNode):
    """How episodes ended."""

    outcome: Array  # i32[...]  see `core.rollout.outcome`
    objective: Array  # i32[...]
    truncated: Array  # bool[...]  not terminated


class Followed(struct.PyTreeNode):
    """The best episode of all rounds. T = `num_steps`, rounded up to a multiple of the rounds."""

    action: Array  # i32[T]
    end: Ends  # []
    first: Ends  # [num_ends]  the first round, whole episodes


def follow_the_best(
    env: Environment,
    key: Array,
    state: State,
    act: Callable[[Array, State], Array],
    num_steps: int,
    config: ResampleConfig,
) -> Followed:
    """From one unbatched `state`; vmap it over states. `act(key, state)` draws an action, i32[].

    Round r keeps the first r / num_rounds of the best episode's steps and draws `num_ends` new ends
    to them. All episodes meet one world, the one that `replay` with the same key and T actions
    meets.
    """
    instance, num_rounds = state.instance, config.num_rounds
    length = -(-num_steps // num_rounds)
    keys = random.split(key, num_rounds * length).reshape(num_rounds, length)

    def draw_part(lane: Array, number: Array | int, bare: State) -> tuple[State, Array]:
        """Draw the steps of part `number` of an episode."""

        def draw(key, state):
            return act(random.fold_in(key, lane), state), ()

        full = dress(bare, instance)
        final, (drawn, _, _) = unroll_steps(env, keys[number], full, draw, lambda timestep: ())
        return strip(final), drawn

    def ends_of(bare: State) -> Ends:
        final = dress(bare, instance)
        return Ends(outcome(env, final), env.objective(final), ~env.terminated(final))

    if num_rounds == 1:  # half of the program, for what most callers ask for
        lanes = jnp.arange(config.num_ends, dtype=jnp.int32)
        bare, actions = jax.vmap(draw_part, (0, None, None))(lanes, 0, strip(state))
        ends = jax.vmap(ends_of)(bare)
        which = best_episode(ends.outcome, ends.objective)
        return Followed(actions[which], jax.tree.map(lambda leaf: leaf[which], ends), ends)

    def rest(lane: Array, number: Array, bare: State, actions: Array) -> tuple[Array, Ends]:
        """Draw the steps of the parts `number`, `number + 1`, ... of an episode."""

        def part(carry):
            at, bare, actions = carry
            bare, drawn = draw_part(lane, at, bare)
            return at + 1, bare, actions.at[at].set(drawn)

        start = vary_alike((number, bare, actions), instance, key)
        _, bare, actions = lax.while_loop(lambda carry: carry[0] < num_rounds, part, start)
        return actions, ends_of(bare)

    def one_round(carry, number):
        bare, best, best_end = carry
        lanes = number * config.num_ends + jnp.arange(config.num_ends, dtype=jnp.int32)
        actions, ends = jax.vmap(rest, (0, None, None, None))(lanes, number, bare, best)
        # The best so far stands first, so that a new one must be better.
        all_actions, all_ends = jax.tree.map(
            lambda one, more: jnp.concatenate([one[None], more]), (best, best_end), (actions, ends)
        )
        which = best_episode(all_ends.outcome, all_ends.objective)
        best, best_end = jax.tree.map(lambda leaf: leaf[which], (all_actions, all_ends))
        after, _ = replay_steps(env, keys[number], dress(bare, instance), best[number])
        return (strip(after), best, best_end), ends

    largest = jnp.asarray(jnp.iinfo(jnp.int32).max, jnp.int32)
    nothing = Ends(largest, largest, jnp.asarray(True))
    first = strip(state), jnp.zeros((num_rounds, length), jnp.int32), nothing
    (_, best, end), ends = lax.scan(
        one_round, vary_alike(first, instance, key), jnp.arange(num_rounds, dtype=jnp.int32)
    )
    return Followed(best.ravel(), end, jax.tree.map(lambda leaf: leaf[0], ends))
