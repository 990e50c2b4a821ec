"""What happened in a simulation: every task and job with its times, as data, CSV and Chrome
trace.
"""

from __future__ import annotations

import dataclasses
import json
import operator
import os
from collections.abc import Sequence
from typing import NamedTuple

from jaxsched.envs.soc.platforms import Job, Platform
from jaxsched.host.table import csv_cell
from jaxsched.host.text import write_text


class TaskRecord(NamedTuple):
    """Task `task` of the job with ordinal `job` ran on `pe` from `start` to `finish`, us."""

    job: int
    task: int
    pe: int
    start: int
    finish: int


class JobRecord(NamedTuple):
    """When a job entered the system and when its last task ended, us; `finish` and `latency` are
    None until then.
    """

    arrival: int
    finish: int | None
    latency: int | None


@dataclasses.dataclass(frozen=True)
class Trace:
    """A simulated stream. Jobs are numbered from 0 in the order in which they entered.

    A stream may end before all is done: jobs with `finish` None are unfinished, tasks that never
    started are not in `tasks`, and the last ones may have a `finish` after `end`. Means are over
    completed jobs only, so `completed` and `latency_so_far` belong beside them.
    """

    tasks: Sequence[TaskRecord]  # sorted by (job, task)
    # by ordinal; with the pseudo-steady-state start the first ones enter at 0
    jobs: Sequence[JobRecord]
    platform: Platform
    profiles: Sequence[Job]  # one per job of `jobs`
    end: int  # us: the last finish, or the horizon where the stream was cut
    warmup: int = 0  # us; jobs that finish before it are not in the means
    held_back: int = 0  # jobs that entered later than they were due because of the cap
    dropped: int = 0  # arrivals that never entered: no room, or held back to the end

    def __post_init__(self):
        tasks = sorted(TaskRecord(*map(operator.index, row)) for row in self.tasks)
        jobs = []
        for row in self.jobs:
            arrival, *rest = (None if value is None else operator.index(value) for value in row)
            jobs.append(JobRecord(arrival, *rest))  # pyright: ignore[reportArgumentType]
        object.__setattr__(self, "tasks", tasks)
        object.__setattr__(self, "jobs", jobs)
        if len(self.profiles) != len(jobs):
            raise ValueError(f"{len(self.profiles)} profiles for {len(jobs)} jobs")

    @property
    def completed(self) -> int:
        """Number of completed jobs, those before the end of the warm-up not counted."""
        return len(self._latencies())

    @property
    def average_latency(self) -> float:
        """Mean over the completed jobs of finish - arrival, us; nan where there are none."""
        latencies = self._latencies()
        return sum(latencies) / len(latencies) if latencies else float("nan")

    @property
    def unfinished(self) -> list[int]:
        """Ordinals of the jobs that entered and were not completed."""
        return [i for i, job in enumerate(self.jobs) if job.finish is None]

    @property
    def latency_so_far(self) -> list[int]:
        """For each unfinished job the time it has been in the system at `end`, us."""
        return [self.end - self.jobs[i].arrival for i in self.unfinished]

    @property
    def makespan(self) -> int:
        """The last finish of a task, us; 0 without tasks."""
        return max((row.finish for row in self.tasks), default=0)

    @property
    def energy(self) -> float | None:
        """Summed over the tasks: power at the top operating point times run time (DS3: uJ,
        SoCRATES: its own unit).

        No idle power and no frequency scaling. None where the platform states no power for one of
        the tasks.
        """
        total = 0.0
        for row in self.tasks:
            spent = self.platform.energy(
                self.profiles[row.job].tasks[row.task], row.pe, row.finish - row.start
            )
            if spent is None:
                return None
            total += spent
        return total if self.platform.power is not None else None

    def to_csv(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write one row `job,profile,task,name,pe,pe_name,start,finish` per task, times in us.

        Raises `FileExistsError` where the file exists and `overwrite` is False.
        """
        rows: list[tuple[object, ...]] = [
            ("job", "profile", "task", "name", "pe", "pe_name", "start", "finish")
        ]
        for row in self.tasks:
            profile = self.profiles[row.job]
            task = (row.job, profile.name, row.task, profile.tasks[row.task])
            rows.append((*task, row.pe, self.platform.pes[row.pe], row.start, row.finish))
        write_text(path, (",".join(map(csv_cell, row)) + "\n" for row in rows), overwrite)

    def to_chrome(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write trace events as JSON, for ui.perfetto.dev or chrome://tracing: a row per PE, a bar
        per job.

        Raises `FileExistsError` where the file exists and `overwrite` is False.
        """
        events: list[dict[str, object]] = []
        for pid, name in ((0, f"PEs of {self.platform.name}"), (1, "jobs")):
            events.append({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}})
            events.append(
                {"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": pid}}
            )
        for pe, name in enumerate(self.platform.pes):
            events.append(
                {"ph": "M", "name": "thread_name", "pid": 0, "tid": pe, "args": {"name": name}}
            )
            events.append(
                {
                    "ph": "M",
                    "name": "thread_sort_index",
                    "pid": 0,
                    "tid": pe,
                    "args": {"sort_index": pe},
                }
            )
        for row in self.tasks:
            profile = self.profiles[row.job]
            event: dict[str, object] = {
                "ph": "X",
                "name": profile.tasks[row.task],
                "cat": "task",
                "pid": 0,
                "tid": row.pe,
            }
            event |= {"ts": row.start, "dur": row.finish - row.start}
            events.append(
                event | {"args": {"job": row.job, "profile": profile.name, "task": row.task}}
            )
        for i, job in enumerate(self.jobs):  # asynchronous events: they overlap
            event: dict[str, object] = {
                "name": self.profiles[i].name,
                "cat": "job",
                "pid": 1,
                "id": i,
            }
            finish = self.end if job.finish is None else job.finish
            events.append(
                event
                | {
                    "ph": "b",
                    "ts": job.arrival,
                    "args": {"job": i, "completed": job.finish is not None},
                }
            )
            events.append(event | {"ph": "e", "ts": finish})
        lines = (
            json.dumps(event) + (",\n" if i < len(events) - 1 else "\n")
            for i, event in enumerate(events)
        )
        write_text(
            path, ['{"traceEvents": [\n', *lines, '], "displayTimeUnit": "ns"}\n'], overwrite
        )

    def _latencies(self) -> list[int]:
        done = [job for job in self.jobs if job.finish is not None and job.finish >= self.warmup]
        return [job.latency for job in done if job.latency is not None]
