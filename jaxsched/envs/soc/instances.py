"""From platforms and job profiles on the host to instances on the device, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from jaxsched.envs.soc.platforms import Job, Platform, check
from jaxsched.envs.soc.precedence import descendants, successors, topological
from jaxsched.envs.soc.settings import PLANS
from jaxsched.envs.soc.static import plan, upward_ranks
from jaxsched.envs.soc.types import Instance, Noise, System
from jaxsched.host.checks import INT32_MAX, Fault, integer, integers, number
from jaxsched.host.errors import InstanceError

# Tables of `System` by profile: of its tasks and their relations, and what looks ahead.
OF_TASKS = (
    *("exec_time", "exec_mask", "power", "task_mask", "head", "head_mask"),
    *("predecessor", "volume", "predecessor_mask", "successor", "successor_mask"),
)
AHEAD = ("rank", "optimistic", "out_transfer", "num_descendants", "successor_bits")


def make_system(
    platform: Platform,
    profiles: Sequence[Job],
    *,
    communication: str = "pe_to_pe",
    min_tasks: int = 1,
    min_predecessors: int = 1,
    min_successors: int = 1,
    min_pes: int = 1,
) -> System:
    """The tables of a platform and its job profiles, NumPy. Sizes are the largest that occur, at
    least `min_*`.

    `communication` is what the plans of HEFT and PEFT count with. Raises `InstanceError` where the
    platform cannot run a task, or has no shared memory where it is asked for.
    """
    if not profiles:
        raise InstanceError("a system needs at least one job profile")
    check(platform, profiles)
    if communication == "shared_memory" and (
        platform.to_memory is None or platform.from_memory is None
    ):
        raise InstanceError(
            f"platform {platform.name!r} has no memory node, which communication='shared_memory' needs"
        )
    relations = [_relations(job) for job in profiles]
    before = [row for related in relations for row in related.before]
    after = [row for related in relations for row in (*related.after, related.heads)]
    tables = _empty_tables(
        num_profiles=len(profiles),
        num_tasks=max(min_tasks, *(job.num_tasks for job in profiles)),
        num_before=max(min_predecessors, *map(len, before)),
        num_after=max(min_successors, *map(len, after)),
        num_pes=max(platform.num_pes, min_pes),
    )
    _fill_platform(platform, tables)
    for p, (job, related) in enumerate(zip(profiles, relations, strict=True)):
        tables["num_tasks_of"][p], tables["profile_mask"][p] = job.num_tasks, True
        _fill_tasks(platform, job, related, {name: tables[name][p] for name in OF_TASKS})
        _fill_look_ahead(platform, job, related.after, {name: tables[name][p] for name in AHEAD})
        for i, method in enumerate(PLANS):
            pe, previous = plan(platform, job, method, communication)
            tables["plan_pe"][i, p, : job.num_tasks] = pe
            tables["plan_mask"][i, p, : job.num_tasks] = [k is not None for k in previous]
            tables["plan_predecessor"][i, p, : job.num_tasks] = [k or 0 for k in previous]
    return System(**tables, **_scales(tables["exec_time"], tables["exec_mask"]))  # pyright: ignore[reportArgumentType]


class _Relations(NamedTuple):
    """Precedence of a job's tasks, by their positions."""

    before: list[list[tuple[int, int]]]  # predecessors of each task, with volumes
    after: list[list[int]]  # successors of each task
    heads: list[int]  # tasks without predecessors


def _relations(job: Job) -> _Relations:
    before: list[list[tuple[int, int]]] = [[] for _ in job.tasks]
    for src, dst, volume in sorted(job.edges):
        before[dst].append((src, volume))
    heads = [k for k, row in enumerate(before) if not row]
    return _Relations(before, successors(job.num_tasks, job.edges), heads)


def _empty_tables(
    num_profiles: int, num_tasks: int, num_before: int, num_after: int, num_pes: int
) -> dict[str, np.ndarray]:
    """The fields of `System` but its scales, all zero."""
    tasks = num_profiles, num_tasks

    def zeros(*shape: int, dtype: type = np.int32) -> np.ndarray:
        return np.zeros(shape, dtype)

    return {
        "exec_time": zeros(*tasks, num_pes),
        "exec_mask": zeros(*tasks, num_pes, dtype=np.bool_),
        "power": zeros(*tasks, num_pes, dtype=np.float32),
        "task_mask": zeros(*tasks, dtype=np.bool_),
        "num_tasks_of": zeros(num_profiles),
        "predecessor": zeros(*tasks, num_before),
        "volume": zeros(*tasks, num_before),
        "predecessor_mask": zeros(*tasks, num_before, dtype=np.bool_),
        "successor": zeros(*tasks, num_after),
        "successor_mask": zeros(*tasks, num_after, dtype=np.bool_),
        "head": zeros(num_profiles, num_after),
        "head_mask": zeros(num_profiles, num_after, dtype=np.bool_),
        "rank": zeros(*tasks, dtype=np.float32),
        "optimistic": zeros(*tasks, num_pes, dtype=np.float32),
        "out_transfer": zeros(*tasks, dtype=np.float32),
        "num_descendants": zeros(*tasks),
        "successor_bits": zeros(*tasks, -(-num_tasks // 32), dtype=np.uint32),
        "plan_pe": zeros(len(PLANS), *tasks),
        "plan_predecessor": zeros(len(PLANS), *tasks),
        "plan_mask": zeros(len(PLANS), *tasks, dtype=np.bool_),
        "profile_mask": zeros(num_profiles, dtype=np.bool_),
        "pe_mask": zeros(num_pes, dtype=np.bool_),
        "bandwidth": zeros(num_pes, num_pes),
        "to_memory": zeros(num_pes),
        "from_memory": zeros(num_pes),
    }


def _fill_platform(platform: Platform, into: dict[str, np.ndarray]) -> None:
    real = platform.num_pes
    into["pe_mask"][:real] = True
    into["bandwidth"][:real, :real] = platform.bandwidth
    if platform.to_memory is not None and platform.from_memory is not None:
        into["to_memory"][:real] = platform.to_memory
        into["from_memory"][:real] = platform.from_memory


def _fill_tasks(
    platform: Platform, job: Job, related: _Relations, into: dict[str, np.ndarray]
) -> None:
    """Write the tables `OF_TASKS` of one profile."""
    for k, name in enumerate(job.tasks):
        times = platform.exec_time[name]
        for q in (q for q, time in enumerate(times) if time is not None):
            into["exec_time"][k, q], into["exec_mask"][k, q] = times[q], True
            into["power"][k, q] = platform.energy(name, q, 1) or 0
        into["task_mask"][k] = True
        for d, (src, volume) in enumerate(related.before[k]):
            into["predecessor"][k, d], into["volume"][k, d] = src, volume
            into["predecessor_mask"][k, d] = True
        _fill(into["successor"][k], into["successor_mask"][k], related.after[k])
    _fill(into["head"], into["head_mask"], related.heads)


def _scales(exec_time: np.ndarray, exec_mask: np.ndarray) -> dict[str, Any]:
    """`speed`, the mean of a PE's times relative to those of other PEs, and `unit`, the mean time."""
    times, able = exec_time.astype(np.float64), exec_mask
    mean = times.sum(-1) / np.maximum(able.sum(-1), 1)
    relative = np.divide(times, mean[..., None], out=np.ones_like(times), where=mean[..., None] > 0)
    speed = np.where(able, relative, 0).sum((0, 1)) / np.maximum(able.sum((0, 1)), 1)
    unit = max(times.sum() / max(able.sum(), 1), 1e-3)
    return {"speed": speed.astype(np.float32), "unit": np.float32(unit)}


def _fill(ids: np.ndarray, mask: np.ndarray, values: Sequence[int]) -> None:
    ids[: len(values)], mask[: len(values)] = values, True


def _fill_look_ahead(
    platform: Platform,
    job: Job,
    after: list[list[int]],
    into: dict[str, np.ndarray],
) -> None:
    """Write the tables `AHEAD` of one profile.

    Upward ranks: Topcuoglu, Hariri & Wu 2002, section 4.1. Optimistic cost table: Arabnejad &
    Barbosa 2014, section 4.
    """
    others = ~np.eye(platform.num_pes, dtype=bool)
    slowness = 1 / float(platform.bandwidth[others].mean()) if others.any() else 0.0
    transfer = {(src, dst): volume * slowness for src, dst, volume in job.edges}
    order, mean_time = topological(after), []
    for name in job.tasks:
        times = [time for time in platform.exec_time[name] if time is not None]
        mean_time.append(sum(times) / len(times))
    ranks = upward_ranks(order, after, mean_time, transfer, lambda us: float(np.float32(us)))
    into["rank"][: job.num_tasks] = ranks
    into["num_descendants"][: job.num_tasks] = [len(tasks) for tasks in descendants(after)]
    for k in reversed(order):
        for s in after[k]:
            into["out_transfer"][k] += transfer[k, s]
            into["successor_bits"][k, s // 32] |= np.uint32(1 << (s % 32))
            there = np.array(
                [np.inf if time is None else time for time in platform.exec_time[job.tasks[s]]]
            )
            # [Q] where the successor runs
            ahead = there + into["optimistic"][s, : platform.num_pes]
            least = (ahead + transfer[k, s] * others).min(1)  # [Q] where the task runs
            mine = into["optimistic"][k, : platform.num_pes]
            np.maximum(mine, least, out=mine)


def width(job: Job) -> int:
    """The largest number of tasks none of which needs another: as many can be ready, queued or
    running at once.

    Dilworth's theorem: tasks less a maximum matching of the bipartite graph of all ancestors and
    descendants.
    """
    reach = descendants(successors(job.num_tasks, job.edges))
    matched: dict[int, int] = {}  # descendant -> ancestor

    def augments(first: int) -> bool:
        # Depth first with an explicit stack: a chain of tasks would exceed the recursion limit.
        seen: set[int] = set()
        stack = [(first, iter(sorted(reach[first])))]
        path: list[int] = []
        while stack:
            _, choices = stack[-1]
            s = next((s for s in choices if s not in seen), None)
            if s is None:
                stack.pop()
                if path:
                    path.pop()
                continue
            seen.add(s)
            path.append(s)
            if s not in matched:
                for (k, _), chosen in zip(stack, path, strict=True):
                    matched[chosen] = k
                return True
            stack.append((matched[s], iter(sorted(reach[matched[s]]))))
        return False

    return job.num_tasks - sum(augments(k) for k in range(job.num_tasks))


def make_instance(
    system: System,
    profile: Sequence[int] | np.ndarray,
    gap: Sequence[int] | np.ndarray,
    *,
    cap: int,
    width: int,
    redraw: Sequence[int] | np.ndarray | None = None,
    horizon: int | None = None,
    warm_up: int = 0,
    noise_std: float | None = None,
    noise_key: Array | None = None,
) -> Instance:
    """One stream of jobs, NumPy: `profile` and `gap` i32[N] by ordinal, `cap` places for jobs with
    `width` tasks each.

    `redraw` is for `socrates` only. `noise_std` None: execution times are the means, and nothing is
    drawn.
    """
    profiles, gaps = integers(profile, "profile"), integers(gap, "gap")
    redraws = [0] * len(gaps) if redraw is None else integers(redraw, "redraw")
    if not len(profiles) == len(gaps) == len(redraws) > 0:
        counts = f"{len(profiles)} profiles, {len(gaps)} gaps and {len(redraws)} redraws"
        raise InstanceError(f"{counts}: one each per job")
    num_profiles = int(np.asarray(system.profile_mask).sum())
    for i, each in enumerate(profiles):
        if each >= num_profiles:
            reason = f"{each} is no profile, there are {num_profiles}, counted from 0"
            raise Fault(reason, "profile", i)
    cap = integer(cap, "cap", least=1)
    horizon = INT32_MAX if horizon is None else integer(horizon, "horizon", least=1)
    slowest = int(_serial(system)[profiles].sum()) + sum(gaps)
    if slowest > INT32_MAX:
        raise InstanceError(
            f"the stream may take {slowest} us, which exceeds int32: use a coarser unit of time"
        )
    noise = None
    if noise_std is not None:
        std = np.float32(number(noise_std, "noise_std", below=100))
        if noise_key is None:
            raise InstanceError("noise_std needs a noise_key")
        noise = Noise(noise_key, std)  # pyright: ignore[reportArgumentType]
    arrays: dict[str, Any] = {
        "profile": np.array(profiles, np.int32),
        "gap": np.array(gaps, np.int32),
        "redraw": np.array(redraws, np.int32),
        "job_mask": np.ones(len(profiles), np.bool_),
        "slot_mask": np.ones(cap, np.bool_),
        "entry_mask": np.ones(cap * width, np.bool_),
        "horizon": np.int32(horizon),
        "warm_up": np.int32(integer(warm_up, "warm_up")),
    }
    return Instance(system=system, noise=noise, **arrays)


def _serial(system: System) -> np.ndarray:
    """i64[P]: us that no job exceeds if its tasks and transfers run one after another on the
    worst PEs.
    """
    speeds = [np.asarray(each) for each in (system.bandwidth, system.to_memory, system.from_memory)]
    slowest = min(int(each[each > 0].min()) for each in speeds if (each > 0).any())
    moves = 2 * (np.asarray(system.volume, np.int64) // slowest)
    return np.asarray(system.exec_time).max(-1).sum(-1, dtype=np.int64) + moves.sum((-1, -2))


def to_host(system: System) -> tuple[Platform, list[Job]]:
    """Platform and job profiles of a system with made-up names: task k of profile p is `p.k`."""
    host: Any = jax.tree.map(np.asarray, system)
    num_pes = int(host.pe_mask.sum())
    names: dict[tuple[int, int], str] = {
        (p, k): f"{p}.{k}" for p, size in enumerate(host.num_tasks_of) for k in range(size)
    }

    def rows(table: Any) -> dict[str, tuple]:
        found = {}
        for (p, k), name in names.items():
            pairs = zip(table[p, k, :num_pes].tolist(), host.exec_mask[p, k], strict=False)
            found[name] = tuple(value if able else None for value, able in pairs)
        return found

    has_memory = (host.to_memory[:num_pes] > 0).all()
    platform = Platform(
        name="instance",
        pes=tuple(f"PE {q}" for q in range(num_pes)),
        exec_time=rows(host.exec_time),
        bandwidth=host.bandwidth[:num_pes, :num_pes],
        to_memory=host.to_memory[:num_pes] if has_memory else None,
        from_memory=host.from_memory[:num_pes] if has_memory else None,
        power=rows(host.power) if host.power.any() else None,
    )
    jobs = []
    for p in np.flatnonzero(host.profile_mask):
        edges = [
            (int(host.predecessor[p, k, d]), int(k), int(host.volume[p, k, d]))
            for k, d in np.argwhere(host.predecessor_mask[p])
        ]
        tasks = tuple(name for (profile, _), name in names.items() if profile == p)
        jobs.append(Job(name=f"profile {p}", tasks=tasks, edges=tuple(edges)))
    return platform, jobs
