"""The judge of finished simulations: NumPy on the host, written from the rules of the README, not
from `rules.py`.

It asks whether a trace could have happened, not whether a scheduler was good: tasks may start later
than they could.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from jaxsched.envs.soc.platforms import Job, Platform
from jaxsched.envs.soc.trace import Trace
from jaxsched.host.errors import UnknownNameError

MOST_FAULTS = 100  # a trace that is wrong throughout is not described in full
_NEVER = np.iinfo(np.int64).max // 4


def validate(
    platform: Platform,
    jobs: Sequence[Job],
    trace: Trace,
    *,
    communication: str = "pe_to_pe",
    duration: Callable[[int, int, int], int] | None = None,
    arrivals: Sequence[int] | None = None,
    max_jobs_in_system: int | None = None,
    cap_mode: str = "ds3",
    redraw: Sequence[int] | None = None,
) -> list[str]:
    """Everything wrong with `trace`, one line each (at most `MOST_FAULTS`); an empty list means
    that it is valid.

    `jobs`: the profile of each job by ordinal, also of those that never entered. Checked are: each
    task once, on a PE that can run it, for its time (`duration(job, task, pe)` in us where there is
    noise), after its job's arrival, and after its predecessors' retirement and transfers; one task
    at a time on a PE (one of length 0 holds it for 1 us); finish and latency of the jobs; what was
    unfinished at the end; never more than `max_jobs_in_system` at once.

    With `arrivals`, the requested times as in `simulate` (their differences are the gaps), arrivals
    must be exactly what `cap_mode` makes of them: `ds3`, `socrates` (with `redraw`: us until a job
    held back polls again, by ordinal, less one) or `open` (no cap).
    """
    if communication not in ("pe_to_pe", "shared_memory"):
        raise UnknownNameError("communication", communication, ("pe_to_pe", "shared_memory"))
    if cap_mode not in ("ds3", "socrates", "open"):
        raise UnknownNameError("cap_mode", cap_mode, ("ds3", "socrates", "open"))
    faults = _malformed(platform, jobs, trace)
    if faults:
        return faults[:MOST_FAULTS]

    # [N, T], by job and task; start -1: did not start
    shape = len(trace.jobs), max((job.num_tasks for job in jobs), default=1)
    rows = np.array(trace.tasks, np.int64).reshape(-1, 5)
    pe, start, finish = np.full((3, *shape), -1, np.int64)
    for field, column in ((pe, 2), (start, 3), (finish, 4)):
        field[rows[:, 0], rows[:, 1]] = rows[:, column]
    retire = np.maximum(finish, start + 1)

    for i, k, p, begin, end in rows.tolist():
        time = platform.exec_time[jobs[i].tasks[k]][p]
        if time is None:
            faults.append(f"{_task(i, k)} is on PE {p}, which cannot run it")
            continue
        if duration is not None:
            time = duration(i, k, p)
        if end - begin != time:
            faults.append(
                f"{_task(i, k)} takes {time} us on PE {p}, but runs from {begin} to {end}"
            )
        if begin < trace.jobs[i].arrival:
            faults.append(
                f"{_task(i, k)} starts at {begin}, before its job arrives at {trace.jobs[i].arrival}"
            )
        if begin > trace.end or (begin == trace.end and end > begin):
            faults.append(f"{_task(i, k)} starts at {begin}, not before the end at {trace.end}")
    faults += _exclusive(rows)
    faults += _precedence(platform, jobs, communication, pe, start, finish, retire)
    faults += _jobs(jobs, trace, start, finish, retire)
    leaves = _leaves(jobs, trace, start, retire)
    if max_jobs_in_system is not None and cap_mode != "open":
        faults += _cap(trace, leaves, max_jobs_in_system)
    if arrivals is not None:
        cap = None if cap_mode == "open" else max_jobs_in_system
        faults += _arrivals(
            jobs, trace, leaves, arrivals, cap, redraw if cap_mode == "socrates" else None
        )
    return faults[:MOST_FAULTS]


def _task(job: int, task: int) -> str:
    return f"job {job}, task {task}"


def _malformed(platform: Platform, jobs: Sequence[Job], trace: Trace) -> list[str]:
    """Ids out of range, tasks twice, negative times; nothing else can be judged while there are
    any.
    """
    faults, seen = [], set()
    if len(trace.jobs) > len(jobs):
        faults.append(f"the trace has {len(trace.jobs)} jobs, but there are {len(jobs)}")
        return faults
    for i, job in enumerate(trace.jobs):
        if job.arrival < 0 or (job.finish is None) != (job.latency is None):
            faults.append(
                f"job {i} has arrival {job.arrival}, finish {job.finish} and latency {job.latency}"
            )
    for i, k, p, start, finish in trace.tasks:
        if not (
            0 <= i < len(trace.jobs) and 0 <= k < jobs[i].num_tasks and 0 <= p < platform.num_pes
        ):
            faults.append(f"there is no {_task(i, k)} on PE {p}")
        elif (i, k) in seen:
            faults.append(f"{_task(i, k)} runs twice")
        elif start < 0 or finish < start:
            faults.append(f"{_task(i, k)} runs from {start} to {finish}")
        seen.add((i, k))
    return faults


def _exclusive(rows: np.ndarray) -> list[str]:
    faults = []
    order = np.lexsort((rows[:, 4], rows[:, 3], rows[:, 2]))
    last = rows[order[:1]]
    for row in rows[order[1:]]:
        before = last[0]
        if row[2] == before[2] and row[3] < max(before[4], before[3] + 1):
            faults.append(
                f"PE {row[2]}: {_task(row[0], row[1])} starts at {row[3]}, but {_task(before[0], before[1])} has it "
                f"from {before[3]} to {before[4]}"
            )
        if row[2] != before[2] or max(row[4], row[3] + 1) >= max(before[4], before[3] + 1):
            last = row[None]
    return faults


def _precedence(
    platform: Platform,
    jobs: Sequence[Job],
    communication: str,
    pe: np.ndarray,
    start: np.ndarray,
    finish: np.ndarray,
    retire: np.ndarray,
) -> list[str]:
    faults = []
    of_profile: dict[Job, list[int]] = {}
    for i in range(len(start)):
        of_profile.setdefault(jobs[i], []).append(i)
    for job, ordinals in of_profile.items():
        ready, read = np.zeros((2, len(ordinals), job.num_tasks), np.int64)  # with shared memory
        for src, dst, volume in job.edges:
            runs = start[ordinals, dst] >= 0
            too_early = runs & (
                (start[ordinals, src] < 0) | (retire[ordinals, src] > start[ordinals, dst])
            )
            for i in np.array(ordinals)[too_early]:
                faults.append(
                    f"{_task(i, dst)} starts at {start[i, dst]}, before task {src} is complete"
                )
            source, target = pe[ordinals, src], pe[ordinals, dst]
            if communication == "shared_memory":
                if platform.to_memory is None or platform.from_memory is None:
                    return [f"platform {platform.name!r} has no memory node"]
                written = finish[ordinals, src] + volume // platform.to_memory[source].astype(
                    np.int64
                )
                ready[:, dst] = np.maximum(ready[:, dst], written)
                read[:, dst] = np.maximum(
                    read[:, dst], volume // platform.from_memory[target].astype(np.int64)
                )
                continue
            arrive = finish[ordinals, src] + volume // platform.bandwidth[source, target].astype(
                np.int64
            )
            for n in np.flatnonzero(runs & ~too_early & (start[ordinals, dst] < arrive)):
                i = ordinals[n]
                faults.append(
                    f"{_task(i, dst)} starts at {start[i, dst]}, before its data from task {src} arrive at {arrive[n]}"
                )
        mine = start[ordinals, : job.num_tasks]
        for n, k in np.argwhere((mine >= 0) & (mine < ready + read)):
            faults.append(
                f"{_task(ordinals[n], k)} starts at {mine[n, k]}, but its data are in the memory at {ready[n, k]} and "
                f"take {read[n, k]} us from there"
            )
    return faults


def _jobs(
    jobs: Sequence[Job], trace: Trace, start: np.ndarray, finish: np.ndarray, retire: np.ndarray
) -> list[str]:
    faults = []
    for i, job in enumerate(trace.jobs):
        own = slice(0, jobs[i].num_tasks)
        started = bool((start[i, own] >= 0).all())
        last = int(finish[i, own].max())
        if job.finish is None:
            if started and retire[i, own].max() < trace.end:
                faults.append(
                    f"job {i} has no finish, but its last task is complete at {last}, before {trace.end}"
                )
            continue
        if not started:
            faults.append(
                f"job {i} finishes at {job.finish} without its task {int(start[i, own].argmin())}"
            )
        elif job.finish != last:
            faults.append(f"job {i} finishes at {job.finish}, but its last task at {last}")
        if job.latency != job.finish - job.arrival:
            faults.append(
                f"job {i} has latency {job.latency}, but is there from {job.arrival} to {job.finish}"
            )
    return faults


def _leaves(jobs: Sequence[Job], trace: Trace, start: np.ndarray, retire: np.ndarray) -> np.ndarray:
    """i64[N]: the tick in which each job leaves the system; late where it does not."""
    leaves = np.full(len(trace.jobs), _NEVER)
    for i in range(len(leaves)):
        own = slice(0, jobs[i].num_tasks)
        if trace.jobs[i].finish is not None and (start[i, own] >= 0).all():
            leaves[i] = retire[i, own].max()
    return leaves


def _cap(trace: Trace, leaves: np.ndarray, cap: int) -> list[str]:
    faults, arrival = [], np.array([job.arrival for job in trace.jobs], np.int64)
    for i, now in enumerate(arrival):
        inside = int((leaves[:i] > now).sum()) + 1
        if inside > cap:
            faults.append(
                f"job {i} enters at {now} as one of {inside} in the system, the cap is {cap}"
            )
    return faults


def _arrivals(
    jobs: Sequence[Job],
    trace: Trace,
    leaves: np.ndarray,
    requests: Sequence[int],
    cap: int | None,
    redraw: Sequence[int] | None,
) -> list[str]:
    """Every job enters in the tick that the requests, the cap and the jobs before it give, or
    not before the end.
    """
    if len(requests) != len(jobs):
        return [f"{len(requests)} requests for {len(jobs)} jobs"]
    faults, previous, late = [], 0, False
    for i in range(min(len(trace.jobs) + 1, len(jobs))):
        gap = int(requests[i]) - (int(requests[i - 1]) if i else 0)
        due = previous + gap
        # enters with a job that was held back, when those that leave now have left
        follows = late and gap == 0
        late = False
        if cap is not None and (leaves[:i] >= due + follows).sum() >= cap:
            room = int(np.sort(leaves[:i])[-cap])  # the first tick with room
            late = redraw is None
            due = max(due + 1, room) if redraw is None else max(due, room) + 1 + int(redraw[i])
        late |= follows
        if i == len(trace.jobs):
            if due < trace.end:
                faults.append(
                    f"job {i} did not enter, though it could at {due}, before the end at {trace.end}"
                )
            break
        previous = trace.jobs[i].arrival
        if previous != due:
            faults.append(f"job {i} arrives at {previous}, expected at {due}")
    return faults
