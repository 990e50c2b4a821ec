"""Evolution of whole episodes: a population of action sequences, crossed and mutated, played by the
true simulator.

For environments whose t-th decision means about the same in every episode, such as the t-th access
of a program. No network is asked, so it plays as fast as the rules. A generation is one compiled
program; the host may look at the clock between two.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, random

from jaxsched.core.environment import Environment, Instance, Scores
from jaxsched.core.rollout import (
    CUT_OFF,
    FAILED,
    dress,
    masked_argmax,
    outcome,
    strip,
    vary_alike,
)

UNUSABLE = jnp.iinfo(jnp.int32).max


@dataclasses.dataclass(frozen=True)
class EvolutionConfig:
    """Settings of the search."""

    size: int = 256  # episodes kept, and played per generation
    num_generations: int = 10  # per call of `evolve`
    crossed: float = 0.5  # share of children with a stretch of a second parent
    # mean number of actions drawn anew, one of these per child
    mutations: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)

    def __post_init__(self):
        if self.size < 2 or self.num_generations < 1:
            raise ValueError("size must be at least 2 and num_generations at least 1")


class Population(struct.PyTreeNode):
    """P different episodes, the best first. T steps."""

    action: Array  # i32[P, T]
    cost: Array  # i32[P]  objective; the largest i32 where the episode failed, or is a repetition
    truncated: Array  # bool[P]  it was cut off: behind all that terminated
    length: Array  # i32[P]  steps with a decision


def play(
    env: Environment, repair: Scores, key: Array, instance: Instance, wish: Array
) -> Population:
    """One episode that takes `wish` i32[T] where legal, else the best of `repair`, as an
    unbatched population.
    """
    first = env.init(key, instance)

    def step(bare, inputs):
        key, wanted = inputs
        state = dress(bare, instance)
        mask = env.action_mask(state)
        is_legal = (jnp.arange(mask.shape[-1], dtype=jnp.int32) == wanted) & mask
        action = jnp.where(is_legal.any(), wanted, masked_argmax(repair(state), mask))
        return strip(env.apply(key, state, action, mask.any())), (
            action,
            mask.any(),
        )

    start = vary_alike(strip(first), key, instance, wish)
    final, (action, decided) = jax.lax.scan(step, start, (random.split(key, wish.shape[0]), wish))
    final = dress(final, instance)
    end = outcome(env, final)
    cost = jnp.where(end == FAILED, UNUSABLE, env.objective(final))
    return Population(action, cost, end == CUT_OFF, decided.sum(dtype=jnp.int32))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def begin(
    env: Environment,
    repair: Scores,
    config: EvolutionConfig,
    world: Array,
    instance: Instance,
    seeds: Array,
) -> Population:
    """A population from `seeds` i32[S, T], S <= size: episodes to start from, -1 for decisions
    left to `repair`.
    """
    wish = (
        jnp.full((config.size, seeds.shape[1]), -1, jnp.int32)
        .at[: seeds.shape[0]]
        .set(seeds[: config.size])
    )
    played = jax.vmap(functools.partial(play, env, repair, world, instance))(wish)
    return _select(random.fold_in(world, 1), played, config.size)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def evolve(
    env: Environment,
    repair: Scores,
    config: EvolutionConfig,
    world: Array,
    instance: Instance,
    key: Array,
    population: Population,
) -> Population:
    """`num_generations` later; the best is never worse. `world` is the key of `begin`."""
    num_steps = population.action.shape[1]
    num_actions = jax.eval_shape(lambda: env.action_mask(env.init(world, instance))).shape[-1]

    def child(key, population):
        one, two, rate, cross, cut, flip, new = random.split(key, 7)
        pick = lambda key: random.randint(key, (2,), 0, config.size).min()  # noqa: E731  sorted: the better of two
        first = pick(one)
        mother, father, length = (
            population.action[first],
            population.action[pick(two)],
            population.length[first],
        )
        low, high = jnp.sort(random.randint(cut, (2,), 0, num_steps + 1))
        index = jnp.arange(num_steps, dtype=jnp.int32)
        taken = (low <= index) & (index < high) & (random.uniform(cross) < config.crossed)
        mean = random.choice(rate, jnp.asarray(config.mutations, jnp.float32))
        drawn = random.uniform(flip, (num_steps,)) < mean / jnp.maximum(length, 1)
        return jnp.where(
            drawn,
            random.randint(new, (num_steps,), 0, num_actions),
            jnp.where(taken, father, mother),
        )

    def generation(population, key):
        child_key, select_key = random.split(key)
        wish = jax.vmap(child, (0, None))(random.split(child_key, config.size), population)
        played = jax.vmap(functools.partial(play, env, repair, world, instance))(wish)
        both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), population, played)
        return _select(select_key, both, config.size), None

    return jax.lax.scan(generation, population, random.split(key, config.num_generations))[0]


def _select(key: Array, population: Population, size: int) -> Population:
    """The `size` best, each once."""
    weight = random.randint(key, (population.action.shape[1],), 0, 2**20, jnp.int32)
    mark = population.action @ weight  # equal for equal episodes
    order = jnp.lexsort((mark, population.cost, population.truncated))
    population, mark = jax.tree.map(lambda leaf: leaf[order], (population, mark))
    same = (population.cost[1:] == population.cost[:-1]) & (mark[1:] == mark[:-1])
    cost = jnp.where(jnp.concatenate([jnp.zeros((1,), jnp.bool_), same]), UNUSABLE, population.cost)
    truncated = population.truncated & (cost < UNUSABLE)
    order = jnp.lexsort((cost, truncated, cost == UNUSABLE))[:size]
    return jax.tree.map(
        lambda leaf: leaf[order], population.replace(cost=cost, truncated=truncated)
    )
