"""Plain functions: one program in, one plan out, on the host."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from jaxsched.core.arrays import put
from jaxsched.core.callables import as_key
from jaxsched.core.environment import Policy
from jaxsched.core.padding import pad_to
from jaxsched.core.result import Result
from jaxsched.core.rollout import rollout
from jaxsched.envs.memory.mapping import backup as mending
from jaxsched.envs.memory.mapping import exact
from jaxsched.envs.memory.mapping.env import MemoryMap
from jaxsched.envs.memory.mapping.heuristics import HEURISTICS
from jaxsched.envs.memory.mapping.instances import Scale, to_instance
from jaxsched.envs.memory.mapping.plan import Plan, Step
from jaxsched.envs.memory.mapping.play import (
    RULES,
    Mapped,
    all_slow,
    follow,
    lower_bound,
    play,
    replayed,
)
from jaxsched.envs.memory.mapping.program import Program
from jaxsched.envs.memory.mapping.relaxation import Relaxed, relax
from jaxsched.envs.memory.mapping.replay import Problem, Replay, problem_of, problem_of_instance
from jaxsched.envs.memory.mapping.search import search
from jaxsched.envs.memory.mapping.types import Instance, State
from jaxsched.host.cpsat import Solver
from jaxsched.host.deadline import Deadline
from jaxsched.host.errors import UnknownNameError

START_RULES = ("greedy", "belady", "msa")  # searches start from their plans with drop-backup
# What compilation takes, in `deadline.probe`s: the evolution, one level of the exact search, an
# episode of a policy.
EVOLUTION_WEIGHT, SWEEP_WEIGHT, POLICY_WEIGHT = 60, 40, 30
NUM_SAMPLES = 64  # episodes of a policy from which the search starts
MAP_METHODS = (*HEURISTICS, "search", "exact", "policy", "policy+drop_backup")


class Stalls(NamedTuple):
    """What a plan costs when copies really take the time of the instructions they overlap."""

    latency: int  # ticks, waiting included
    waits: list[int]  # ticks that each instruction waits for copies before it starts
    late: list[tuple[int, int]]  # (access, ticks) of the copies that were waited for


def map_program(
    program: Program | Mapping[str, Any],
    method: str = "search",
    *,
    time_limit: float = 60.0,
    seed: int = 0,
    policy: Policy | None = None,
) -> Plan:
    """An action per access, COPY, NOCOPY or DROP, so that the program runs as fast as the method
    finds.

    Methods:

    * `all_drop`, `greedy`, `greedy_copy`, `greedy_keep`, `belady`, `msa` (`mapping/heuristics.py`):
      alone they may end at a dead end, and the plan is not `feasible` then; with `+drop_backup`
      they never do.
    * `search`: evolution of whole mappings until `time_limit` seconds are over, a first generation
      apart, or the bound is met; never worse than the heuristics from which it starts
      (`mapping/search.py`). Where OR-Tools is installed it starts from the plan of the relaxation
      too, and with a `policy` that draws its actions from 64 episodes of that.
    * `exact`: exhaustive search; `plan.proved` where it got through within half of `time_limit`
      seconds and its memory.
    * `policy`, `policy+drop_backup`: one episode of `policy(key, state, observation) -> action`.

    `time_limit` covers the whole call, compilation included: what it leaves no time for is left
    out, and `Plan.note` says so. The bound of `search`, and of `exact` where it is not proved, is
    that of CP-SAT where OR-Tools is installed (`mapping/relaxation.py`), which gets a fifth of the
    time and half of it.

    `Plan.method` names what found the plan: of `search` and `exact` the heuristic whose plan they
    start from, where they neither find a better one nor prove it optimal; `Plan.note` says so.

    `seed` is for the policy, the search and the solver. Raises `InstanceError` for malformed
    programs and those beyond int32 after scaling, `UnknownNameError` for another method.
    """
    if method not in MAP_METHODS:
        raise UnknownNameError("method", method, MAP_METHODS)
    plays = method.startswith("policy")
    if (plays and policy is None) or (policy is not None and not plays and method != "search"):
        raise ValueError(
            "method 'policy' needs policy=, a function (key, state, observation) -> action; 'search' may have one, no "
            "other does"
        )
    deadline = Deadline(time_limit)
    policy = None if policy is None else as_key(policy)
    program = program if isinstance(program, Program) else Program.from_dict(program)
    instance, scale = padded_instance(program)
    problem = problem_of_instance(instance)
    lower, note = lower_bound(problem), ""
    if method in HEURISTICS:
        name, _, backup = method.partition("+")
        found = play(problem, RULES[name](problem), backup=bool(backup), deadline=deadline)
    elif policy is not None and method != "search":
        found = _played(problem, instance, policy, method != "policy", seed, deadline)
    else:
        maker, found, lower, note = _searched(problem, instance, method, seed, policy, deadline)
        if lower < found.latency and maker != method:
            method, note = maker, note or f"{method} found no better plan in its time"
    if found is None:
        found, note = all_slow(problem), f"{method} did not end within its time limit"
        method = "all_drop"
    return Plan(
        tuple(found.actions),
        found.latency * scale.time,
        Replay(problem).baseline * scale.time,
        min(lower, found.latency) * scale.time,
        not found.is_dead,
        method,
        deadline.spent(),
        note,
    )


def solve_exact(
    instance: Instance,
    time_limit: float = 60.0,
    hint: Plan | None = None,
    *,
    num_workers: int | None = None,
    seed: int = 0,
) -> Result:
    """The best plan of an instance that exhaustive search finds, in its ticks, with the bound of
    CP-SAT.

    `hint`: a plan from which it starts and than which the result is never worse. The limit covers
    the whole call. `Result.method` is `exhaustive`, or where that found nothing better and proved
    nothing the heuristic that it started from, or `hint`. `num_workers`: threads of CP-SAT, by
    default all cores. Raises `ValueError` for numbers that make no sense.
    """
    deadline = Deadline(time_limit)
    if find_spec("ortools"):
        Solver("the bound", deadline, num_workers, seed)  # refuses bad numbers before the work
    problem = problem_of_instance(instance)
    given = replayed(problem, hint.actions) if hint is not None and hint.feasible else None
    maker, found, lower, note = _searched(
        problem, instance, "exact", seed, None, deadline, given, num_workers
    )
    lower, baseline = min(lower, found.latency), Replay(problem).baseline
    method = "exhaustive" if maker == "exact" else maker
    seconds = deadline.spent()
    plan = Plan(tuple(found.actions), found.latency, baseline, lower, True, method, seconds, note)
    return Result(plan, found.latency, lower, plan.proved, method, seconds)


def replay_program(program: Program | Mapping[str, Any], actions: Iterable[int]) -> list[Step]:
    """One `Step` per action, in the program's own units: what was legal, the ticks saved, where the
    value is.

    Fewer actions than accesses are fine. Raises `ValueError` at the first action that is not legal,
    with the reason.
    """
    program = program if isinstance(program, Program) else Program.from_dict(program)
    replay, steps = Replay(problem_of(program)), []
    for action in actions:
        access, legal = replay.position, replay.legal()
        reward, effect = replay.take(action)
        steps.append(Step(access, legal, int(action), reward, effect.offset))
    return steps


def stalls(program: Program | Mapping[str, Any], actions: Iterable[int]) -> Stalls:
    """Run the plan with one copy engine and the instructions as short as the plan makes them.

    The rules give copies the time that instructions take with everything slow; with values in fast
    memory they take less, and a copy may be late. A copy may start with the first instruction that
    it takes supply from; its use, or for a write-back the instruction from which its address is
    given up, waits until it is done. The engine does the copy with the earliest deadline of those
    that may start, and changes over at once. Raises `ValueError` as `replay_program` does; actions
    left out are DROP as far as the latency goes.
    """
    program = program if isinstance(program, Program) else Program.from_dict(program)
    replay = Replay(problem_of(program))
    for action in actions:
        replay.take(action)
    # by the first instruction that they may start with
    waiting = sorted(replay.copies, key=lambda copy: copy[1])
    open_: list[list[int]] = []  # [deadline, access, ticks left]
    clock, waits, late = 0, [], []

    def work(ticks: int) -> None:
        while ticks > 0 and open_:
            done = min(ticks, open_[0][2])
            open_[0][2] -= done
            ticks -= done
            if open_[0][2] == 0:
                open_.pop(0)

    for at, elapsed in enumerate(map(max, replay.problem.compute, replay.memory)):
        wait = 0
        while open_ and open_[0][0] <= at:
            _, access, left = open_[0]
            late.append((access, left))
            wait += left
            work(left)
        while waiting and waiting[0][1] == at:
            access, _, deadline, demand = waiting.pop(0)
            open_.append([deadline, access, demand])
        open_.sort()
        work(elapsed)
        waits.append(wait)
        clock += wait + elapsed
    return Stalls(clock, waits, late)


def padded_instance(program: Program) -> tuple[Instance, Scale]:
    """The instance, padded so that programs of about one size share their compiled programs."""
    instance, scale = to_instance(program)
    size = max(16, instance.num_accesses, instance.num_values, instance.num_instructions)
    size = 1 << (size - 1).bit_length() if size <= 256 else -(-size // 128) * 128
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((size,) * np.ndim(leaf), leaf.dtype), instance
    )
    return pad_to(instance, shapes), scale


def search_starts(problem: Problem, deadline: Deadline) -> dict[str, Mapped]:
    """Finished mappings from which searches start, by method: everything slow, and some heuristics.

    Those that the deadline leaves time for.
    """
    found = {"all_drop": all_slow(problem)}
    for name in START_RULES:
        mapped = play(problem, RULES[name](problem), backup=True, deadline=deadline)
        if mapped is not None:
            found[f"{name}+drop_backup"] = mapped
    return found


def _searched(
    problem: Problem,
    instance: Instance,
    method: str,
    seed: int,
    policy: Policy | None,
    deadline: Deadline,
    hint: Mapped | None = None,
    num_workers: int | None = None,
) -> tuple[str, Mapped, int, str]:
    """The best mapping of `search` or `exact`, which method found it, a bound, and what was left
    out.
    """
    lower, note, drawn = lower_bound(problem), "", None
    found = ({} if hint is None else {"hint": hint}) | search_starts(problem, deadline)
    maker = min(found, key=lambda name: found[name].latency)

    def relaxed(share: float) -> Relaxed:
        """By CP-SAT within a share of the whole time."""
        if not find_spec("ortools") or deadline.is_over():
            return Relaxed(0, None)
        return relax(problem, deadline=deadline.part(share), num_workers=num_workers, seed=seed)

    if lower == found[maker].latency:
        return maker, found[maker], lower, note
    shape = instance.num_accesses, instance.num_instructions
    if method == "exact":
        if deadline.has_room_to_compile(("sweep", shape), SWEEP_WEIGHT):
            best, lower = exact.search(instance, found[maker], deadline=deadline.part(0.5))
            if best is not found[maker]:
                found[method], maker = best, method
        else:
            note = "exact did not run: no time was left to compile it"
        if lower < found[maker].latency:
            lower = max(lower, relaxed(0.5).bound)
        return maker, found[maker], lower, note

    bound, actions = relaxed(0.2)
    lower = max(lower, bound)
    if actions is not None:
        mapped = play(problem, follow(actions), backup=True, deadline=deadline)
        if mapped is not None:
            found[method] = mapped
    weight = EVOLUTION_WEIGHT + (policy is not None) * POLICY_WEIGHT
    if deadline.has_room_to_compile(("evolution", shape, policy), weight):
        given = [mapped.actions for mapped in found.values()]
        if policy is not None:
            drawn = np.asarray(policy_samples(policy, instance, seed))
        actions = search(instance, given, drawn, seed=seed, deadline=deadline, target=lower)
        found[f"{method} by evolution"] = replayed(problem, actions[: len(problem.uses)])
    else:
        note = "the evolution did not run: no time was left to compile it"
    maker = min(found, key=lambda name: found[name].latency)  # ties to what was first
    return method if maker.startswith(method) else maker, found[maker], lower, note


def _played(
    problem: Problem,
    instance: Instance,
    policy: Policy,
    backup: bool,
    seed: int,
    deadline: Deadline,
) -> Mapped | None:
    """One episode of a policy; None where no time is left to compile it."""
    shape = instance.num_accesses, instance.num_instructions
    if not deadline.has_room_to_compile(("policy", shape, policy, backup), POLICY_WEIGHT):
        return None
    state = jax.device_get(_episode(policy, backup, instance, seed))
    actions = state.action[: int(state.position)].tolist()
    if state.dead:
        return Mapped(actions, int(state.baseline), is_dead=True)
    return replayed(problem, actions)


@functools.partial(jax.jit, static_argnums=0)
def policy_samples(policy: Policy, instance: Instance, seed: int) -> jax.Array:
    """i32[64, A]: the actions of as many episodes, dead ends included, from which a
    search starts.
    """
    keys = random.split(random.key(seed), NUM_SAMPLES)
    return jax.vmap(lambda key: rollout(MemoryMap(), key, instance, policy).state.action)(keys)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _episode(policy: Policy, backup: bool, instance: Instance, seed: int) -> State:
    env = MemoryMap()

    def scores(state: State) -> jax.Array:
        action = policy(random.fold_in(random.key(seed), state.position), state, env.observe(state))
        return put(jnp.zeros((3,), jnp.int32), 1, action)

    return mending.play(instance, scores, backup)[0]
