"""What binds a schedule: the chain of operations that decides its end, the busiest machine, the
bound, late jobs.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxsched.envs.job_shop.labels import Labels
from jaxsched.envs.job_shop.lists import to_jobs
from jaxsched.envs.job_shop.orders import Orders
from jaxsched.envs.job_shop.settings import OBJECTIVES
from jaxsched.envs.job_shop.types import Instance, Schedule
from jaxsched.envs.job_shop.validate import measure, validate
from jaxsched.host.errors import UnknownNameError


@dataclasses.dataclass(frozen=True)
class Link:
    """An operation of a chain and what it had to wait for: `start`, `release`, `job`, `machine`,
    or `nothing`.
    """

    job: int
    op: int
    machine: int
    start: int
    end: int
    waits_for: str


def critical_chain(instance: Instance, schedule: Schedule, job: int | None = None) -> list[Link]:
    """The operations, first to last, that leave the end of `job` (default: the last to end) no room
    to be earlier.

    Each starts when the one before it ends, on the same machine or in the same job, preferring the
    machine. The first starts at time 0 (`start`), at the release of its job (`release`), or later
    than it had to (`nothing`: then the schedule has idle time that a left shift would remove).
    Empty where there are no operations.
    """
    jobs, release = to_jobs(instance), np.asarray(instance.release).tolist()
    starts = {
        (j, k): int(start) for j, row in enumerate(schedule.start) for k, start in enumerate(row)
    }
    ends = {(j, k): starts[j, k] + jobs[j][k][1] for j, k in starts}
    on_machine: dict[tuple[int, int], list[tuple[int, int]]] = {}  # machine, end -> operations
    for (j, k), end in ends.items():
        on_machine.setdefault((jobs[j][k][0], end), []).append((j, k))
    last = [
        (j, len(row) - 1) for j, row in enumerate(schedule.start) if len(row) and job in (None, j)
    ]
    if not last:
        return []
    target = max(last, key=lambda op: (ends[op], -op[0]))

    # Depth first from the end, each operation once: those of duration 0 may follow each other in
    # circles.
    # operation -> the next one, its reason
    after: dict[tuple[int, int], tuple[tuple[int, int] | None, str]] = {}
    stack: list[tuple[tuple[int, int], tuple[int, int] | None, str]] = [(target, None, "")]
    roots: dict[str, tuple[int, int]] = {}
    while stack and "start" not in roots:
        op, then, why = stack.pop()
        if op in after:
            continue
        after[op] = then, why
        (j, k), start = op, starts[op]
        own = [((j, k - 1), op, "job")] if k > 0 and ends[j, k - 1] == start else []
        others = [
            (other, op, "machine")
            for other in on_machine.get((jobs[j][k][0], start), [])
            if other != op
        ]
        if start == 0:
            roots["start"] = op
        elif k == 0 and start == release[j]:
            roots.setdefault("release", op)
        elif not own and not others:
            roots.setdefault("nothing", op)
        stack += own + sorted(others, key=lambda link: (starts[link[0]] != ends[link[0]], link[0]))
    why, op = next(
        ((why, roots[why]) for why in ("start", "release", "nothing") if why in roots),
        ("nothing", target),
    )
    chain: list[Link] = []
    while op is not None:
        chain.append(Link(*op, jobs[op[0]][op[1]][0], starts[op], ends[op], why))
        op, why = after[op]
    return chain


def explain(
    instance: Instance,
    schedule: Schedule,
    *,
    objective: str = "makespan",
    orders: Orders | None = None,
) -> list[str]:
    """Why the schedule is as long or as late as it is, a few lines of text; with `orders` in its
    names and dates.

    The lower bound and the machine or job that sets it; the busiest machine; the chain that decides
    the makespan, for the other objectives the end of the job that costs most; the late jobs. Raises
    `ValueError` for a schedule that is not valid.
    """
    if objective not in OBJECTIVES:
        raise UnknownNameError("objective", objective, OBJECTIVES)
    if faults := validate(instance, schedule):
        raise ValueError(f"not a schedule of this instance: {faults[0]}")
    labels, jobs = Labels(instance, orders), to_jobs(instance)
    if not any(jobs):
        return ["there are no operations"]
    lines = [_bound(instance, schedule, labels), _busiest(instance, schedule, labels)]
    completion = {
        j: int(row[-1]) + jobs[j][-1][1] for j, row in enumerate(schedule.start) if len(row)
    }
    late = _late(instance, completion)
    target = None
    if objective == "weighted_tardiness":
        target = late[0][0] if late else None
    elif objective == "flow_time":
        target = max(completion, key=lambda j: completion[j] - int(instance.release[j]))
    if objective != "weighted_tardiness" or late:
        lines.append(_chain_text(critical_chain(instance, schedule, target), target, labels))
    if np.asarray(instance.due_mask).any():
        shown = "; ".join(
            f"{labels.job_text(j)} by {labels.span_text(by)}"
            + (f" (weight {weight})" if weight != 1 else "")
            for j, by, weight in late[:5]
        )
        more = f" and {len(late) - 5} more" if len(late) > 5 else ""
        cost = measure(instance, schedule, "weighted_tardiness")
        lines.append(f"late: {shown}{more}; weighted tardiness {cost}" if late else "late: no job")
    return lines


def summary(instance: Instance, *, orders: Orders | None = None) -> tuple[list[str], list[str]]:
    """What is in an instance and how its file was read, a few lines of text; and the due dates that
    no schedule can meet.
    """
    labels, jobs = Labels(instance, orders), to_jobs(instance)
    release, due, due_mask = (
        np.asarray(leaf).tolist() for leaf in (instance.release, instance.due, instance.due_mask)
    )
    load: dict[int, int] = {}
    for machine, duration in (operation for row in jobs for operation in row):
        load[machine] = load.get(machine, 0) + duration
    real = [j for j, row in enumerate(jobs) if row]
    work = labels.span_text(sum(load.values()))
    lines = [
        f"{len(real)} jobs, {len(load)} machines, {sum(map(len, jobs))} operations, {work} of work"
    ]
    lines += () if orders is None else orders.notes
    lines += [
        f"{labels.machine_text(machine)}: {labels.span_text(load[machine])} of work"
        for machine in sorted(load, key=lambda m: (-load[m], m))[:5]
    ]
    dated = sum(due_mask[j] for j in real)
    lines.append(
        f"{sum(release[j] > 0 for j in real)} jobs with a later release, {dated} with a due date"
    )
    faults = []
    for j in real:
        end = release[j] + sum(duration for _, duration in jobs[j])
        if due_mask[j] and end > due[j]:
            faults.append(
                f"{labels.job_text(j)} is due at {labels.time(due[j])}, but ends at {labels.time(end)} at best"
            )
    return lines, faults


def _bound(instance: Instance, schedule: Schedule, labels: Labels) -> str:
    """The largest simple bound on the makespan: a job by itself, or a machine between its least
    head and tail.
    """
    best, text = -1, ""
    heads: dict[int, tuple[int, int, int]] = {}  # machine -> load, least head, least tail
    for j, (row, release) in enumerate(
        zip(to_jobs(instance), np.asarray(instance.release).tolist(), strict=True)
    ):
        head, tail = release, sum(duration for _, duration in row)
        if row and head + tail > best:
            best, text = head + tail, f"{labels.job_text(j)} alone"
        for machine, duration in row:
            load, least_head, least_tail = heads.get(machine, (0, head, tail))
            tail -= duration
            heads[machine] = load + duration, min(least_head, head), min(least_tail, tail)
            head += duration
    for machine, (load, head, tail) in heads.items():
        if load + head + tail > best:
            best, text = (
                load + head + tail,
                f"{labels.machine_text(machine)}: {labels.span_text(load)} of work",
            )
            text += f", at least {labels.span_text(head)} before it" if head else ""
            text += f", at least {labels.span_text(tail)} after it" if tail else ""
    makespan = int(schedule.makespan)
    verdict = (
        "reached" if makespan == best else f"{100 * (makespan / max(best, 1) - 1):.1f} % above"
    )
    span = labels.span_text
    return f"makespan {span(makespan)}; no schedule is below {span(best)} ({text}): {verdict}"


def _busiest(instance: Instance, schedule: Schedule, labels: Labels) -> str:
    load: dict[int, int] = {}
    for row in to_jobs(instance):
        for machine, duration in row:
            load[machine] = load.get(machine, 0) + duration
    machine = max(load, key=lambda m: (load[m], -m))
    share = 100 * load[machine] / max(int(schedule.makespan), 1)
    work = labels.span_text(load[machine])
    return f"busiest: {labels.machine_text(machine)}, {work} of work, {share:.0f} % of the makespan"


def _late(instance: Instance, completion: dict[int, int]) -> list[tuple[int, int, int]]:
    """(job, ticks late, weight), the costliest first."""
    instance_due, due_mask, weight = (
        np.asarray(leaf) for leaf in (instance.due, instance.due_mask, instance.weight)
    )
    late = [
        (j, end - int(instance_due[j]), int(weight[j]))
        for j, end in completion.items()
        if due_mask[j] and end > instance_due[j]
    ]
    return sorted(late, key=lambda entry: (-entry[1] * entry[2], -entry[1], entry[0]))


def _chain_text(chain: list[Link], target: int | None, labels: Labels) -> str:
    """The chain, with the operations in a row on one machine taken together."""
    parts: list[tuple[int, list[Link]]] = []
    for link in chain:
        if parts and parts[-1][0] == link.machine:
            parts[-1][1].append(link)
        else:
            parts.append((link.machine, [link]))
    shown = [
        f"{labels.machine_text(machine)} {labels.time(links[0].start)} to {labels.time(links[-1].end)} "
        f"({', '.join(dict.fromkeys(labels.job_text(link.job) for link in links))})"
        for machine, links in parts
    ]
    first = labels.job_text(chain[0].job)
    begin = {
        "start": "from time 0",
        "release": f"from the release of {first}",
        "nothing": f"from {labels.time(chain[0].start)}, though {first} could start there earlier",
    }[chain[0].waits_for]
    what = "the makespan" if target is None else f"the end of {labels.job_text(target)}"
    return (
        f"{what} is decided by {len(chain)} operations without a gap, {begin}: {' -> '.join(shown)}"
    )
