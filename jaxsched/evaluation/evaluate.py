"""Score policies, rules and exact solvers on named instances.

Every number passes through the problem's `validate` first: an invalid solution is an error that
names its instance, never a row. Knows no family: bounds and exact solvers are reached through
`registry.offer`.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax import random

from jaxsched.core.callables import Uncached, as_key
from jaxsched.core.environment import Environment, Instance, Policy
from jaxsched.core.identity import instance_hash
from jaxsched.core.padding import pad_stack, unstack
from jaxsched.core.rollout import CUT_OFF, FAILED
from jaxsched.envs.registry import offer
from jaxsched.evaluation import batches
from jaxsched.evaluation.results import Report, Row, validated_row
from jaxsched.evaluation.rules import MakePolicy, rule_policy
from jaxsched.host.errors import Infeasible, InstanceError
from jaxsched.host.plain import plain


@dataclasses.dataclass(frozen=True)
class _Fixed:
    """A policy without parameters as a `MakePolicy`, equal where the policy is."""

    policy: Policy

    def __call__(self, params: None) -> Policy:
        return self.policy


def evaluate(
    env: Environment,
    instances: Mapping[str, Instance],
    policy: str | Policy | MakePolicy,
    *,
    params: Any = None,
    samples: int = 1,
    rounds: int = 1,
    seed: int = 0,
    label: str | None = None,
) -> Report:
    """Play `policy` on every instance and report the best of `samples` episodes, validated.

    The best is one that terminated; where every one was cut off, the row is marked `truncated`.

    `policy` is the name of a rule, a `Policy`, or with `params` a function `params -> Policy`;
    weights given that way are data, and evaluating others with the same function object compiles
    nothing; an object that holds its weights itself is compiled in every call. Sample i of an
    instance draws from `seed`, the instance and i alone, whatever its padding and its company.
    Instances of equal shapes share a program.

    `rounds` > 1 spends the work of `samples` episodes on rounds that keep more and more of the best
    episode and sample its rest anew (`search.follow_the_best`); episodes that are played together
    follow the same one, up to 64 on a CPU, so that other devices may find others.

    Raises `UnknownNameError` for an unknown rule, `Infeasible` where no episode has a feasible end,
    `InvalidSolutionError` naming the instance where `validate` objects.
    """
    samples, seed = plain(samples, "samples", int), plain(seed, "seed", int)
    num_ends = _ends_of_a_round(samples, plain(rounds, "rounds", int))
    if not instances:
        raise ValueError("there are no instances to evaluate on")
    label = label or (policy if isinstance(policy, str) else "policy")
    if isinstance(policy, str):
        policy = rule_policy(env, policy)
    key: Any = as_key(policy)
    make: MakePolicy = _Fixed(key) if params is None else key
    compile_best: Any = batches.compile_best
    if isinstance(key, Uncached):
        compile_best = functools.lru_cache(compile_best.__wrapped__)
    # from any number of devices to the default one
    params = jax.device_put(jax.device_get(params))

    rows: dict[str, Row] = {}
    compile_seconds = 0.0
    for names in batches.groups(instances):
        hashes = [instance_hash(instances[name]) for name in names]
        ids = np.array([int(digits[:8], 16) for digits in hashes], np.uint32)
        stacked = pad_stack([instances[name] for name in names])
        padded = unstack(jax.device_get(stacked))
        num_lanes = batches.num_lanes(env, padded[0])
        sample_chunk = batches.even_chunk(num_ends, num_lanes)
        name_chunk = batches.even_chunk(len(names), max(num_lanes // sample_chunk, 1))
        for chunk in batches.chunks(len(names), name_chunk):
            args = params, random.key(seed), stacked, ids, chunk
            best, lower, compiling, seconds = _best_episodes(
                functools.partial(compile_best, env, make, rounds),
                args,
                batches.chunks(num_ends, sample_chunk),
            )
            compile_seconds += compiling
            num_real = len(set(chunk.tolist()))
            for i, index in enumerate(chunk[:num_real]):
                name, (end, objective, state) = names[index], best[i]
                if state is None:
                    raise Infeasible(f"{label} on {name}: no feasible end in {samples} episodes")
                state = state.replace(instance=padded[index])
                rows[name] = validated_row(
                    env,
                    name,
                    instances[name],
                    env.solution(state) if env.feasible(state) else None,
                    instance_hash=hashes[index],
                    truncated=end == CUT_OFF,
                    objective=objective,
                    lower_bound=int(lower[i]),
                    policy=label,
                    method=label,
                    samples=samples,
                    seed=seed,
                    seconds=seconds / num_real,
                )
    return Report(label, env, tuple(rows[name] for name in instances), compile_seconds)


def _ends_of_a_round(samples: int, rounds: int) -> int:
    """How many episodes each of `rounds` ends anew, for the work of `samples` whole ones."""
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    if rounds > 1 and samples == 1:
        raise ValueError(f"{rounds} rounds need several samples, got 1")
    return max(1, round(2 * samples / (rounds + 1)))


def _best_episodes(
    compile_program: Callable[..., Any], args: tuple, sample_chunks: Iterable[np.ndarray]
) -> tuple[list[tuple[int, int, Any]], np.ndarray, float, float]:
    """Outcome, objective and final state of the best episode of each instance, the last None where
    none ended well; lower bounds; seconds of compiling and of playing.
    """
    chunk = args[-1]
    best: list[tuple[int, int, Any]] = [(FAILED, 0, None)] * len(chunk)
    lower = np.zeros(len(chunk), np.int32)
    compiling = playing = 0.0
    for sample_ids in sample_chunks:
        began = time.perf_counter()
        program = compile_program(*batches.tree_signature((*args, sample_ids)))
        compiled = time.perf_counter()
        ends, objectives, lower, state = jax.device_get(program(*args, sample_ids))
        playing += time.perf_counter() - compiled
        compiling += compiled - began
        for i, (end, least, _) in enumerate(best):
            if ends[i] < FAILED and (ends[i], objectives[i]) < (end, least):
                final = jax.tree.map(lambda leaf, i=i: leaf[i], state)
                best[i] = int(ends[i]), int(objectives[i]), final
    return best, lower, compiling, playing


def evaluate_exact(
    env: Environment,
    instances: Mapping[str, Instance],
    *,
    time_limit: float,
    num_workers: int | None = None,
    seed: int = 0,
    hints: Mapping[str, Any] | None = None,
    label: str = "exact",
) -> Report:
    """The family's exact solver on every instance, one after the other, `time_limit` seconds each.

    `hints` are solutions to start from, by the name of the instance: the result is never worse.
    The `method` of a row is who found its solution, as the solver says: itself, `hint`, or the
    rule of a start that it did not improve.

    Raises `InstanceError` where the family has none and `ImportError` where its solver is not
    installed.
    """
    seed, time_limit = plain(seed, "seed", int), plain(time_limit, "time_limit", float)
    solve = offer(env).exact
    if solve is None:
        raise InstanceError(f"{env.id} offers no exact solver")
    hints = hints or {}
    rows = []
    for name, instance in instances.items():
        limits = {"time_limit": time_limit, "num_workers": num_workers, "seed": seed}
        result = solve(env, instance, hint=hints.get(name), **limits)
        row = validated_row(
            env,
            name,
            instance,
            result.solution,
            instance_hash=instance_hash(instance),
            objective=result.objective,
            lower_bound=result.bound,
            policy=label,
            method=result.method,
            samples=1,
            seed=seed,
            seconds=result.seconds,
        )
        rows.append(row)
    return Report(label, env, tuple(rows))
