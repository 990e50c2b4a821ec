"""Heuristics of memory mapping and drop-backup against plain Python."""

from __future__ import annotations

import random

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched.envs import memory
from jaxsched.envs.memory.mapping import heuristics, plain, rules
from jaxsched.envs.memory.mapping.backup import play
from jaxsched.envs.memory.mapping.heuristics import HEURISTICS, SCORES
from jaxsched.envs.memory.mapping.play import RULES, lower_bound, msa_plan
from jaxsched.envs.memory.mapping.play import play as host_play
from jaxsched.envs.memory.mapping.replay import problem_of_instance
from jaxsched.envs.memory.mapping.settings import Settings
from jaxsched.host.deadline import Deadline
from tests.envs.memory.map_cases import instance_of, random_program, stacked
from tests.reference import mapping as reference

BATCH = 256
NAMES = [name for name in SCORES if name != "random"]


@jax.jit
def play_all(instances: memory.mapping.Instance) -> tuple[jax.Array, ...]:
    """Actions, position, whether dead and latency of every heuristic with drop-backup and
    without: [2, rule, batch].
    """

    def one(rule, instance):
        def scores(state):
            return jnp.stack([SCORES[name](state) for name in NAMES])[rule]

        return [play(instance, scores, backup)[0] for backup in (False, True)]

    states = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(jnp.arange(len(NAMES)), instances)
    return tuple(
        jnp.stack(leaves)
        for leaves in zip(*((s.action, s.position, s.dead, s.latency) for s in states), strict=True)
    )


def test_heuristics_equal_plain_python():
    rng, dead_ends = random.Random(7), 0
    programs = [random_program(rng) for _ in range(BATCH)]
    actions, position, dead, _ = map(np.asarray, play_all(stacked(programs)))
    for b, backup in enumerate((False, True)):
        for r, name in enumerate(NAMES):
            for i, program in enumerate(programs):
                sim = reference.run(program, reference.RULES[name], backup)
                found = actions[b, r, i, : position[b, r, i]].tolist()
                assert found == sim.actions, (name, backup, program)
                assert dead[b, r, i] == (not sim.over())
                dead_ends += not sim.over()
                problem = problem_of_instance(instance_of(program))
                host = host_play(problem, RULES[name](problem), backup=backup, deadline=Deadline())
                assert host is not None
                assert (host.actions, host.is_dead) == (sim.actions, not sim.over())
    assert dead_ends > 50
    assert not dead[1].any()
    assert not dead[:, NAMES.index("all_drop")].any()


def test_the_bound_of_the_host_is_that_of_the_rules():
    rng = random.Random(11)
    programs = [random_program(rng) for _ in range(BATCH)]
    bounds = jax.jit(jax.vmap(lambda one: rules.lower_bound(one, Settings())))(
        stacked(programs)
    ).tolist()
    problems = [problem_of_instance(instance_of(program)) for program in programs]
    assert [lower_bound(problem) for problem in problems] == bounds


def test_the_plan_of_msa_is_that_of_the_rules():
    """On programs large enough that roundings of float32 would show."""
    for seed in range(12):
        instance, _ = plain.padded_instance(memory.draw_mapping(seed, 120))
        wanted = np.asarray(in_jit(instance)).tolist()
        found = msa_plan(problem_of_instance(instance))
        assert found == wanted[: len(found)]


in_jit = jax.jit(heuristics.msa_plan)


def test_every_heuristic_is_a_method_twice():
    assert {name.partition("+")[0] for name in HEURISTICS} == set(NAMES) == set(reference.RULES)
    assert set(HEURISTICS) < set(memory.MAP_METHODS)
