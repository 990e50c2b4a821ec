"""Score policies, rules and exact solvers on named instances.

Every number passes through the family's `validate` first: an invalid solution is an error that names its instance,
never a row. Knows no family: bounds and exact solvers are reached through `registry.offer`.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random

from jaxsched.core.callables import Uncached, as_key
from jaxsched.core.environment import Environment, Instance, Policy
from jaxsched.core.errors import InstanceError, UnknownNameError
from jaxsched.core.identity import instance_hash, instance_size
from jaxsched.core.padding import pad_stack, unstack
from jaxsched.core.result import Bounds
from jaxsched.core.rollout import (
    CUT_OFF,
    FAILED,
    best_episode,
    greedy,
    outcome,
    randomised,
    rollout,
)
from jaxsched.core.settings import plain
from jaxsched.envs.registry import offer

MakePolicy = Callable[[Any], Policy]  # params -> policy

FEW = 4  # instances of one shape that do not deserve a program of their own
MAX_LANES, MAX_LANES_CPU = 4096, 64  # episodes played at once; on a CPU more is no faster
MAX_BYTES = 2**28  # of activations, estimated from the size of an observation
ACTIVATIONS = 64  # bytes of activations per byte of observation, for the default network


class InvalidSolutionError(RuntimeError):
    """A policy or solver returned what is not a solution: a fault of the program, never reported as a result."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One instance solved by one method. `gap` is measured against `upper_bound`, the best known objective.

    Where the episode is `truncated`, by a horizon or a wrapper, `objective` is what was reached until then: it leaves
    out what was left undone, so it has no gap. `solution` is None where an episode that was cut off is none.
    """

    instance: str
    instance_hash: str
    size: str
    policy: str
    objective: int
    lower_bound: int  # best known, or the environment's certificate
    upper_bound: int | None  # best known; None where nobody has published one
    samples: int
    seed: int
    seconds: float  # wall time without compilation; its share where instances are solved side by side
    solution: Any = dataclasses.field(repr=False, compare=False)
    truncated: bool = False

    @property
    def gap(self) -> float | None:
        """Per cent above the best known upper bound; None where there is none, or the episode is truncated."""
        if self.truncated or not self.upper_bound:
            return None
        return 100 * (self.objective / self.upper_bound - 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; without the solution."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del data["solution"]
        gap = None if self.gap is None else round(self.gap, 4)
        return data | {"gap": gap, "seconds": round(self.seconds, 6)}


@dataclasses.dataclass(frozen=True)
class Report:
    """One method on a set of instances."""

    label: str
    environment: Environment
    rows: tuple[Row, ...]
    compile_seconds: float = 0.0

    def __getitem__(self, instance: str) -> Row:
        """The row of an instance, by name."""
        for row in self.rows:
            if row.instance == instance:
                return row
        raise UnknownNameError("instance of this report", instance, [row.instance for row in self.rows])

    @property
    def seconds(self) -> float:
        """Wall time without compilation."""
        return sum(row.seconds for row in self.rows)

    @property
    def mean_objective(self) -> float:
        """Mean objective over all instances."""
        return sum(row.objective for row in self.rows) / len(self.rows)

    @property
    def mean_gap(self) -> float | None:
        """Mean gap in per cent; None where an instance has no published bound."""
        return mean_gap(self.rows)

    def by_size(self) -> dict[str, float | None]:
        """Mean gap in per cent of the instances of each size, in order of appearance."""
        return {
            size: mean_gap([row for row in self.rows if row.size == size])
            for size in dict.fromkeys(row.size for row in self.rows)
        }


def mean_gap(rows: Iterable[Row]) -> float | None:
    """Mean gap in per cent; None where a row has none, or there are no rows."""
    gaps = [row.gap for row in rows]
    known = [gap for gap in gaps if gap is not None]
    return sum(known) / len(known) if known and len(known) == len(gaps) else None


# ----------------------------------------------------------------------------------------------------- policies


@functools.lru_cache(maxsize=256)
def rule_policy(env: Environment, rule: str) -> Policy:
    """The policy of a priority rule by name; `random` plays at random, every other rule takes its best action.

    The same object for equal arguments, so that `evaluate` compiles it once. Raises `UnknownNameError`.
    """
    return randomised(_scores(env, rule), 1.0) if rule == "random" else greedy(_scores(env, rule))


@functools.lru_cache(maxsize=256)
def randomised_rule(env: Environment, rule: str) -> MakePolicy:
    """`temperature -> policy` of a randomised priority rule, for `evaluate(..., params=temperature)`."""
    return functools.partial(randomised, _scores(env, rule))


def _scores(env: Environment, rule: str):
    if rule not in env.heuristics:
        raise UnknownNameError("rule", rule, env.heuristics)
    return env.heuristics[rule]


@dataclasses.dataclass(frozen=True)
class _Fixed:
    """A policy without parameters as a `MakePolicy`, equal where the policy is."""

    policy: Policy

    def __call__(self, params: None) -> Policy:
        return self.policy


# ---------------------------------------------------------------------------------------------------- evaluation


def evaluate(
    env: Environment,
    instances: Mapping[str, Instance],
    policy: str | Policy | MakePolicy,
    *,
    params: Any = None,
    samples: int = 1,
    seed: int = 0,
    label: str | None = None,
) -> Report:
    """Play `policy` on every instance and report the best of `samples` episodes, validated.

    The best is one that terminated; where every one was cut off, the row is marked `truncated`.

    `policy` is the name of a rule, a `Policy`, or with `params` a function `params -> Policy`; weights given that way
    are data, and evaluating others with the same function object compiles nothing; an object that holds its weights
    itself is compiled in every call. Sample i of an instance draws from
    `seed`, the instance and i alone, whatever its padding and its company. Instances of equal shapes share a program.

    Raises `UnknownNameError` for an unknown rule, `InvalidSolutionError` naming the instance where `validate` objects.
    """
    samples, seed = plain(samples, "samples", int), plain(seed, "seed", int)
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if not instances:
        raise ValueError("there are no instances to evaluate on")
    label = label or (policy if isinstance(policy, str) else "policy")
    if isinstance(policy, str):
        policy = rule_policy(env, policy)
    key: Any = as_key(policy)
    make: MakePolicy = _Fixed(key) if params is None else key
    compile_program = functools.lru_cache(_compile.__wrapped__) if isinstance(key, Uncached) else _compile
    params = jax.tree.map(jnp.asarray, jax.device_get(params))  # from any number of devices to the default one

    rows: dict[str, Row] = {}
    compile_seconds = 0.0
    for names in _groups(instances):
        hashes = [instance_hash(instances[name]) for name in names]
        ids = np.array([int(digits[:8], 16) for digits in hashes], np.uint32)
        stacked = pad_stack([instances[name] for name in names])
        padded = unstack(jax.device_get(stacked))
        num_lanes = _num_lanes(env, padded[0])
        sample_chunk = _even_chunk(samples, num_lanes)
        name_chunk = _even_chunk(len(names), max(num_lanes // sample_chunk, 1))
        for chunk in _chunks(len(names), name_chunk):
            best: list[tuple[int, int, Any]] = [(FAILED, 0, None)] * len(chunk)  # outcome, objective, state
            lower = np.zeros(len(chunk), np.int32)
            seconds = 0.0
            for sample_ids in _chunks(samples, sample_chunk):
                args = params, random.key(seed), stacked, ids, chunk, sample_ids
                began = time.perf_counter()
                program = compile_program(env, make, *_signature(args))
                compiled = time.perf_counter()
                ends, objectives, lower, state = jax.device_get(program(*args))
                seconds += time.perf_counter() - compiled
                compile_seconds += compiled - began
                for i, (end, least, _) in enumerate(best):
                    if ends[i] < FAILED and (ends[i], objectives[i]) < (end, least):
                        best[i] = int(ends[i]), int(objectives[i]), jax.tree.map(lambda leaf, i=i: leaf[i], state)
            num_real = len(set(chunk.tolist()))
            for i, index in enumerate(chunk[:num_real]):
                name, (end, objective, state) = names[index], best[i]
                if state is None:
                    raise InvalidSolutionError(f"{label} on {name}: no feasible end in {samples} episodes")
                state = state.replace(instance=padded[index])
                rows[name] = _validated(
                    env,
                    name,
                    instances[name],
                    env.solution(state) if env.feasible(state) else None,
                    instance_hash=hashes[index],
                    truncated=end == CUT_OFF,
                    objective=objective,
                    lower_bound=int(lower[i]),
                    policy=label,
                    samples=samples,
                    seed=seed,
                    seconds=seconds / num_real,
                )
    return Report(label, env, tuple(rows[name] for name in instances), compile_seconds)


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

    Raises `InstanceError` where the family has none and `ImportError` where its solver is not installed.
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
        row = _validated(
            env,
            name,
            instance,
            result.solution,
            instance_hash=instance_hash(instance),
            objective=result.objective,
            lower_bound=result.bound,
            policy=label,
            samples=1,
            seed=seed,
            seconds=result.seconds,
        )
        rows.append(row)
    return Report(label, env, tuple(rows))


def _validated(
    env: Environment,
    name: str,
    instance: Instance,
    solution: Any,
    *,
    objective: int,
    lower_bound: int,
    policy: str,
    truncated: bool = False,
    **fields: Any,
) -> Row:
    """The row of a solution that passes `validate` and beats no proved bound; an error otherwise.

    A truncated episode may be below the bound, and may have no solution (None) to validate.
    """
    known = best_known(env, instance)
    upper_bound = None
    if known is not None:
        lower_bound, upper_bound = max(lower_bound, known.lower), known.upper
    has_solution = solution is not None or not truncated
    faults = list(env.validate(instance, solution)) if has_solution else []
    if has_solution and not faults and objective != (measured := env.measure(instance, solution)):
        faults.append(f"the objective is given as {objective}, but measured {measured}")
    if objective < lower_bound and not truncated:
        faults.append(f"the objective {objective} is below the lower bound {lower_bound}")
    if faults:
        raise InvalidSolutionError(
            f"{policy} on {name}: {faults[0]}" + f" (and {len(faults) - 1} more)" * bool(faults[1:])
        )
    return Row(
        instance=name,
        size=instance_size(instance),
        policy=policy,
        objective=objective,
        lower_bound=lower_bound,
        upper_bound=upper_bound,
        solution=solution,
        truncated=truncated,
        **fields,
    )


def best_known(env: Environment, instance: Instance) -> Bounds | None:
    """Best known bounds of exactly this instance under these settings; None where none are published."""
    bounds = offer(env).bounds
    return bounds(env, instance) if bounds is not None else None


# ----------------------------------------------------------------------------------------------------- instances


def _groups(instances: Mapping[str, Instance]) -> Iterator[list[str]]:
    """Names of instances of equal shapes, smallest first; the few of a rare shape join the next larger one.

    A program takes seconds to compile, and padding changes no result.
    """
    shapes: dict[Any, list[str]] = {}
    for name, instance in instances.items():
        shapes.setdefault(_signature(instance), []).append(name)
    group: list[str] = []
    for signature in sorted(shapes, key=lambda signature: sum(leaf.size for leaf in signature[1])):
        group += shapes[signature]
        if len(group) >= FEW:
            yield group
            group = []
    if group:
        yield group


# ------------------------------------------------------------------------------------------------------ programs


def _signature(tree: Any) -> tuple[Any, tuple[jax.ShapeDtypeStruct, ...]]:
    """Structure and hashable types of a tree of arrays."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)


@functools.lru_cache(maxsize=128)
def _compile(env: Environment, make: MakePolicy, structure: Any, types: tuple[jax.ShapeDtypeStruct, ...]) -> Any:
    """`_best` compiled ahead, so that compilation is timed apart from the run."""
    program = jax.jit(functools.partial(_best, env, make)).lower(*jax.tree.unflatten(structure, types))
    # Half the compile time for runs that are no slower.
    options: Any = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    return program.compile(compiler_options=options)


def _best(
    env: Environment,
    make: MakePolicy,
    params: Any,
    key: Array,
    instances: Instance,
    ids: Array,
    chosen: Array,
    sample_ids: Array,
) -> tuple[Array, Array, Array, Any]:
    """The best of S episodes on each of C instances, `chosen` from all: outcome, objective, lower bound, final state.

    i32[C] three times, and states [C, ...] without their instance.
    """
    policy = make(params)

    def episode(instance, instance_id, sample_id):
        sample_key = random.fold_in(random.fold_in(key, instance_id), sample_id)
        played = rollout(env, sample_key, instance, policy)
        return outcome(env, played.state), played.objective, played.state.replace(instance=None)

    def best(index):
        instance, instance_id = jax.tree.map(lambda leaf: leaf[index], (instances, ids))
        ends, objectives, states = jax.vmap(episode, (None, None, 0))(instance, instance_id, sample_ids)
        end, objective, state = jax.tree.map(
            lambda leaf: leaf[best_episode(ends, objectives)], (ends, objectives, states)
        )
        return end, objective, env.lower_bound(instance), state

    return jax.vmap(best)(chosen)


def _num_lanes(env: Environment, instance: Instance) -> int:
    """Episodes to play at once, so that the activations of a network fit the memory set aside for them."""
    _, timestep = jax.eval_shape(env.reset, random.key(0), instance)
    leaves = jax.tree.leaves(timestep.observation)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    most = MAX_LANES_CPU if jax.default_backend() == "cpu" else MAX_LANES
    return max(1, min(most, MAX_BYTES // (ACTIVATIONS * size)))


def _even_chunk(total: int, most: int) -> int:
    """The smallest chunk that splits `total` into as few parts of at most `most` as possible."""
    return -(-total // -(-total // most))


def _chunks(total: int, size: int) -> Iterator[np.ndarray]:
    """0, 1, ..., total - 1 in chunks of exactly `size`; the last repeats the last one, which changes no minimum."""
    for first in range(0, total, size):
        yield np.minimum(np.arange(first, first + size, dtype=np.uint32), np.uint32(total - 1))
