"""Streams of task graphs on heterogeneous PEs in plain Python: the oracle of the tests and the
baseline of throughput.

Written from the notes on DS3, DASH-Sim and SoCRATES alone: ints, lists, heaps and exact fractions,
no NumPy, nothing of jaxsched. It jumps from event to event; every tick in which something can
happen runs these steps in this order:

1. Jobs due exactly now enter if there is room under the cap; otherwise they are held back.
2. Tasks that finish now retire in the order in which they were started; each frees its PE and
   appends to the ready list those successors whose last predecessor it was, ascending task id. The
   last task of a job closes the job.
3. Jobs held back since an earlier tick enter if there is room.
4. If the ready list is not empty, the scheduler gives every task in it a PE.
5. These tasks get the time at which their data are there and join the executable list in the order
   of assignment (`dispatch_order="insertion"`), which is then kept sorted by job ordinal
   (`"job_id"`, stable).
6. One pass over the executable list: a task starts if its data are there, its PE is free and the
   task that its plan puts before it has retired. Others are passed over, later ones may overtake.

Where the notes are silent or leave two readings, this is what is done:

* A task of length 0 that starts at t has finish t, occupies its PE until t + 1 and retires then.
  The finish of a job is the largest finish of its tasks, so a job whose tail has length 0 has
  finish t, but leaves the system at t + 1.
* Jobs may have several heads and tails. Heads become ready in ascending task id, at injection.
* Gap 0: the next job is due in the same tick. If its predecessor entered in step 1, it enters in
  step 1 too; if its predecessor entered in step 3, in step 3 (if there is room; otherwise it is
  held back from then on).
* A job that is due at t and finds no room in step 1 does not enter at t, even if step 2 makes room:
  the generator polls again at t + 1. In `ds3` mode it then enters in step 3 of the first tick > t
  that has room.
* `socrates` mode: a held-back job enters 1 + extra[ordinal] us after the tick in which the slot
  became free, in step 1 of that tick (as any job that is due); the slot cannot be lost meanwhile.
* `initial` jobs enter at 0 in step 1, whatever their gaps (pseudo-steady-state start: `initial` =
  cap); the gap of job `initial` counts from 0. The gap of job 0 counts from 0 where `initial` is 0.
* Shared memory: a task whose predecessors have all retired waits until the largest finish + volume
  // to_memory; the waiting list is kept in the order of arrival in it, and those whose time has
  come become ready between steps 3 and 4, also those that need not wait. Heads become ready at
  injection, in steps 1 and 3. C(k, p) = max volume // from_memory.
* `horizon`: the ticks before it run, the tick `horizon` does not (SoCRATES runs the ticks 0 to
  length - 1). Tasks that run then keep the finish they will have; jobs that have not left the
  system are unfinished.
* ETF breaks ties by the ready order at the call: DS3 and SoCRATES search a copy of the ready list,
  so that swapping positions in the list itself changes no tie and ends in the order of the picks,
  the order of assignment.
* A[p], the estimate of EFT and ETF, is never reset or corrected: neither by noise nor by other
  tasks' completion.
* MET, where some but not all of several candidates are busy, deletes as many as are busy from the
  first busy one on, as DS3 does: WiFi RX alone takes 389 us that way, and 309 us if exactly the
  busy ones are dropped. A PE is busy from the start of a task until it retires.
* ETF_LB's counter per PE runs through the whole simulation (so in DS3), starts at 0 and goes up by
  one each time a candidate improves on the best so far; among the PEs with a task's smallest
  estimate the one with the smallest counter counts as its best.
* CPU takes PE 0, or where PE 0 cannot run the task the first one that can.
* HEFT_RT ranks by exact mean times, ties in ready order; tasks are assigned in the order of the
  plan. Its timelines hold, per PE, the running task [start, start + mean time] and the executable
  ones in the order of the executable list. Only the tasks being planned get a plan predecessor: the
  task just before them on their timeline. A task of length 0 fits between two others, so it may be
  planned before tasks that are queued already.
* Static HEFT and PEFT use the simulator's own whole transfer times (v // bandwidth, also from a PE
  to itself) for finish times, exact means (v / mean off-diagonal bandwidth; in shared memory v /
  mean to_memory + v / mean from_memory) for ranks, and the ready list of the PEFT paper instead of
  a sort, which need not respect precedence. Ties go to the first task in topological order (lowest
  id first), then to the lowest PE. In a stream the plan of a job is made on an empty platform; its
  tasks are assigned in ready order.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from fractions import Fraction
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any, NamedTuple

INF = 1 << 60

Edges = Sequence[tuple[int, int, int]]  # (src, dst, volume)


class Platform(NamedTuple):
    """Times in us per task name and PE (None: cannot run), bandwidths in units per us."""

    exec_time: dict[str, Sequence[int | None]]
    bandwidth: Sequence[Sequence[int]]
    to_memory: Sequence[int] | None = None
    from_memory: Sequence[int] | None = None


class Job(NamedTuple):
    """A profile: task names and edges."""

    tasks: Sequence[str]
    edges: Edges


class Run(NamedTuple):
    """What happened. `jobs[i]` is (arrival, finish, latency), the last two None for unfinished
    jobs.
    """

    # (job, task, pe, start, finish) of all started tasks, sorted
    tasks: list[tuple[int, int, int, int, int]]
    jobs: list[tuple[int, int | None, int | None]]
    end: int
    held_back: list[int]  # ordinals of the jobs that found no room when they were due
    dispatched: list[tuple[int, int, int]]  # (job, task, pe) in the order of assignment

    @property
    def mean_latency(self) -> float:
        """Over the completed jobs."""
        latency = [job[2] for job in self.jobs if job[2] is not None]
        return sum(latency) / len(latency)


class Profile:
    """A job profile on a platform: times, transfers and graph, looked up by task id."""

    def __init__(self, platform: Platform, job: Job, communication: str = "pe_to_pe"):
        self.num_tasks, self.num_pes = len(job.tasks), len(platform.bandwidth)
        self.exec = [
            [INF if t is None else t for t in platform.exec_time[name]] for name in job.tasks
        ]
        self.able = [[p for p, t in enumerate(row) if t < INF] for row in self.exec]
        self.preds: list[list[tuple[int, int]]] = [[] for _ in job.tasks]  # (task, volume)
        self.succs: list[list[int]] = [[] for _ in job.tasks]
        for src, dst, volume in sorted(job.edges):
            self.preds[dst].append((src, volume))
            self.succs[src].append(dst)
        self.heads = [k for k, before in enumerate(self.preds) if not before]
        self.shared = communication == "shared_memory"
        pes = range(self.num_pes)
        # move[src, dst][p][q]: us from p to q
        edges = () if self.shared else job.edges
        self.move = {
            (src, dst): [[v // b for b in row] for row in platform.bandwidth]
            for src, dst, v in edges
        }
        if self.shared:
            assert platform.to_memory is not None
            assert platform.from_memory is not None
            self.to_memory = {(s, d): [v // b for b in platform.to_memory] for s, d, v in job.edges}
            self.from_memory = [
                [max((v // b for _, v in before), default=0) for b in platform.from_memory]
                for before in self.preds
            ]
            mean = [
                Fraction(sum(row), self.num_pes)
                for row in (platform.to_memory, platform.from_memory)
            ]
            self.mean_move = {(s, d): v / mean[0] + v / mean[1] for s, d, v in job.edges}
        else:
            others = [platform.bandwidth[p][q] for p in pes for q in pes if p != q]
            mean_b = Fraction(sum(others), max(len(others), 1))
            self.mean_move = {
                (s, d): v / mean_b if others else Fraction(0) for s, d, v in job.edges
            }
        self.mean = [
            Fraction(sum(row[p] for p in able), len(able))
            for row, able in zip(self.exec, self.able, strict=True)
        ]
        self.plans: dict[str, Plan] = {}

    def plan(self, method: str) -> Plan:
        """The static schedule of one job on an empty platform."""
        if method not in self.plans:
            self.plans[method] = {"heft": heft, "peft": peft}[method](self)
        return self.plans[method]

    def topological(self) -> list[int]:
        """Task ids, each after its predecessors, lowest first."""
        waits, order = [len(before) for before in self.preds], []
        heap = list(self.heads)
        while heap:
            k = heappop(heap)
            order.append(k)
            for s in self.succs[k]:
                waits[s] -= 1
                if not waits[s]:
                    heappush(heap, s)
        return order


# ------------------------------------------------------------------------------------------- static


class Plan(NamedTuple):
    """A static schedule, entries by task id; `before[k]` is the task that precedes k on its PE,
    or None.
    """

    pe: list[int]
    start: list[int]
    finish: list[int]
    before: list[int | None]

    @property
    def makespan(self) -> int:
        """The latest finish."""
        return max(self.finish)


def heft(profile: Profile) -> Plan:
    """Topcuoglu, Hariri, Wu 2002: upward rank, earliest finish with insertion."""
    order = profile.topological()
    rank = [Fraction(0)] * profile.num_tasks
    for k in reversed(order):
        rank[k] = profile.mean[k] + max(
            (profile.mean_move[k, s] + rank[s] for s in profile.succs[k]), default=Fraction(0)
        )
    queue = sorted(order, key=lambda k: -rank[k])  # stable: topological among equals
    placing = _Placing(profile)
    for k in queue:
        placing.place(k, lambda k, p, finish: finish)
    return placing.plan()


def peft(profile: Profile) -> Plan:
    """Arabnejad, Barbosa 2014: optimistic cost table, ready list by its mean, finish + table
    with insertion.
    """
    order = profile.topological()
    position = {k: i for i, k in enumerate(order)}
    table: list[list[Any]] = [[INF] * profile.num_pes for _ in order]
    rank = [Fraction(0)] * profile.num_tasks
    for k in reversed(order):
        for p in profile.able[k]:
            table[k][p] = max(
                (
                    min(
                        table[s][q]
                        + profile.exec[s][q]
                        + (profile.mean_move[k, s] if q != p else 0)
                        for q in profile.able[s]
                    )
                    for s in profile.succs[k]
                ),
                default=Fraction(0),
            )
        rank[k] = Fraction(sum(table[k][p] for p in profile.able[k])) / len(profile.able[k])
    waits = [len(before) for before in profile.preds]
    heap = [(-rank[k], position[k], k) for k in profile.heads]
    heapify(heap)
    placing = _Placing(profile)
    while heap:
        _, _, k = heappop(heap)
        placing.place(k, lambda k, p, finish: finish + table[k][p])
        for s in profile.succs[k]:
            waits[s] -= 1
            if not waits[s]:
                heappush(heap, (-rank[s], position[s], s))
    return placing.plan()


class _Placing:
    """List scheduling with insertion into gaps."""

    def __init__(self, profile: Profile):
        self.profile = profile
        self.pe, self.start, self.finish = ([0] * profile.num_tasks for _ in range(3))
        # (start, finish, task)
        self.lines: list[list[tuple[int, int, int]]] = [[] for _ in range(profile.num_pes)]

    def place(self, k: int, cost: Callable[[int, int, int], Any]) -> None:
        profile, best = self.profile, None
        for p in profile.able[k]:
            if profile.shared:
                written = [
                    self.finish[j] + profile.to_memory[j, k][self.pe[j]]
                    for j, _ in profile.preds[k]
                ]
                ready = max(written, default=0) + profile.from_memory[k][p]
            else:
                moved = [
                    self.finish[j] + profile.move[j, k][self.pe[j]][p] for j, _ in profile.preds[k]
                ]
                ready = max(moved, default=0)
            begin, at = gap(self.lines[p], ready, profile.exec[k][p])
            value = cost(k, p, begin + profile.exec[k][p])
            if best is None or value < best[0]:
                best = (value, p, begin, at)
        assert best is not None
        _, p, begin, at = best
        self.pe[k], self.start[k], self.finish[k] = p, begin, begin + profile.exec[k][p]
        self.lines[p].insert(at, (begin, self.finish[k], k))

    def plan(self) -> Plan:
        before: list[int | None] = [None] * self.profile.num_tasks
        for line in self.lines:
            for (_, _, a), (_, _, b) in pairwise(line):
                before[b] = a
        return Plan(self.pe, self.start, self.finish, before)


def gap(line: Sequence[tuple[int, int, Any]], ready: int, length: int) -> tuple[int, int]:
    """The earliest start >= ready of a gap of this length in a timeline, and the index to insert
    at.
    """
    for i, (start, finish, _) in enumerate(line):
        # otherwise it is over: a task of length 0 goes behind those at the same time
        if finish > ready:
            if ready + length <= start:
                return ready, i
            ready = finish
    return ready, len(line)


# --------------------------------------------------------------------------------------- simulation


class Task:
    """A task of a job in the system."""

    __slots__ = (
        "arrive",
        "before",
        "data",
        "exec",
        "finish",
        "job",
        "key",
        "pe",
        "profile",
        "retired",
        "start",
        "task",
    )

    def __init__(self, job: int, task: int, profile: Profile):
        self.job, self.task, self.profile = job, task, profile
        self.exec = profile.exec[task]  # mean us per PE
        # when its data would be there, per PE; from when it is ready
        self.arrive: Sequence[int] = ()
        self.before: Task | None = None  # must retire first
        self.pe, self.start, self.finish, self.data, self.retired = -1, -1, -1, -1, False
        self.key: Any = None  # order in the executable list


class Simulator:
    """One stream. `gaps[i]` is the time from the injection of job i - 1 to the request of job i;
    see the module.
    """

    def __init__(
        self,
        platform: Platform,
        jobs: Sequence[Job],
        gaps: Sequence[int],
        *,
        scheduler: str | Callable[[Simulator, list[Task]], tuple[Task, int]] = "etf",
        communication: str = "pe_to_pe",
        cap: int | None = None,
        cap_mode: str = "ds3",
        extra: Sequence[int] | None = None,
        initial: int = 0,
        dispatch_order: str = "job_id",
        horizon: int | None = None,
        realised: Callable[[int, int, int], int] | None = None,
    ):
        assert communication in ("pe_to_pe", "shared_memory")
        assert cap_mode in ("ds3", "socrates", "open")
        assert dispatch_order in ("job_id", "insertion")
        profiles: dict[int, Profile] = {}
        for job in jobs:
            if id(job) not in profiles:
                profiles[id(job)] = Profile(platform, job, communication)
        self.profiles = [profiles[id(job)] for job in jobs]
        self.num_pes = len(platform.bandwidth)
        self.gaps, self.extra, self.initial, self.horizon = gaps, extra, initial, horizon
        self.cap = INF if cap is None or cap_mode == "open" else cap
        self.socrates = cap_mode == "socrates"
        self.by_job = dispatch_order == "job_id"
        self.shared = communication == "shared_memory"
        self.realised = realised
        self.scheduler = (
            getattr(self, scheduler) if isinstance(scheduler, str) else self.ask(scheduler)
        )

        self.now = 0
        self.next_job, self.held = 0, False  # the next to enter, and whether it has found no room
        self.due = gaps[0] if gaps and not initial else 0  # when it is due
        self.in_system, self.completed = 0, 0
        self.ready: list[Task] = []
        self.waiting: list[tuple[int, Task]] = []  # shared memory: (when ready, task)
        # (key, task), sorted by key
        self.executable: list[list[tuple[Any, Task]]] = [[] for _ in range(self.num_pes)]
        self.running: list[Task | None] = [None] * self.num_pes
        # heap of (when it retires, order of start, task)
        self.finishing: list[tuple[int, int, Task]] = []
        self.estimate = [0] * self.num_pes  # A[p]
        self.counter = [0] * self.num_pes  # of ETF_LB
        self.started = 0
        self.tasks: list[list[Task]] = []  # by job ordinal
        self.left: list[int] = []
        self.waits: list[list[int]] = []
        self.arrival: list[int] = []
        self.job_finish: list[int | None] = []
        self.held_back: list[int] = []
        self.dispatched: list[Task] = []

    # ---------------------------------------------------------------------------------------- ticks

    def run(self) -> Run:
        """The whole stream."""
        end = INF if self.horizon is None else self.horizon
        while self.now < end:
            self.tick()
            self.now = self.next_event()
        if self.horizon is None:
            end = max((task.finish for tasks in self.tasks for task in tasks), default=0)
        started = [task for tasks in self.tasks for task in tasks if task.start >= 0]
        latency = [
            None if f is None else f - a for a, f in zip(self.arrival, self.job_finish, strict=True)
        ]
        return Run(
            [(task.job, task.task, task.pe, task.start, task.finish) for task in started],
            list(zip(self.arrival, self.job_finish, latency, strict=True)),
            end,
            self.held_back,
            [(task.job, task.task, task.pe) for task in self.dispatched],
        )

    def tick(self) -> None:
        """Everything that happens at `now`."""
        now, finishing, ready = self.now, self.finishing, self.ready
        self.enter(held=False)  # 1
        freed = False
        while finishing and finishing[0][0] == now:  # 2
            freed |= self.retire(heappop(finishing)[2])
        if self.held and self.socrates:
            if freed:
                self.held, self.due = False, now + 1 + (self.extra or ())[self.next_job]
        elif self.held and self.due < now:  # 3
            self.enter(held=True)
        if self.waiting:
            ready += [task for when, task in self.waiting if when <= now]
            self.waiting = [(when, task) for when, task in self.waiting if when > now]
        if ready:  # 4, 5
            self.ready = []
            self.scheduler(ready)
        starting = []
        # 6: PEs do not interfere, only the order of the starts matters
        for p, queue in enumerate(self.executable):
            if queue and self.running[p] is None:
                for i, (_, task) in enumerate(queue):
                    if task.data <= now and (task.before is None or task.before.retired):
                        starting.append(queue.pop(i))
                        break
        if len(starting) > 1:
            starting.sort(key=lambda item: item[0])
        for _, task in starting:
            p = task.pe
            length = (
                task.exec[p] if self.realised is None else self.realised(task.job, task.task, p)
            )
            task.start, task.finish = now, now + length
            self.running[p] = task
            self.started += 1
            heappush(finishing, (task.finish if length else now + 1, self.started, task))

    def next_event(self) -> int:
        """The next tick in which something may happen, INF if none."""
        now, when = self.now, INF
        if self.finishing:
            when = self.finishing[0][0]
        if self.next_job < len(self.profiles):
            if not self.held:
                when = min(when, self.due)
            elif not self.socrates and self.in_system < self.cap:
                when = min(when, now + 1)
        for other, _ in self.waiting:
            when = min(when, other)
        for p, queue in enumerate(self.executable):
            if queue and self.running[p] is None:
                for _, task in queue:
                    if now < task.data < when:
                        when = task.data
        return when

    def enter(self, held: bool) -> None:
        """Step 1, or 3 for a job that is held back; jobs that follow at gap 0 enter in the same
        step.
        """
        now = self.now
        while self.next_job < len(self.profiles):
            filling = self.next_job < self.initial
            if not filling and (self.due > now or self.held != held):
                return
            if not filling and self.in_system >= self.cap:
                if not self.held:
                    self.held_back.append(self.next_job)
                self.held = True
                return
            job, profile = self.next_job, self.profiles[self.next_job]
            self.tasks.append([Task(job, k, profile) for k in range(profile.num_tasks)])
            self.left.append(profile.num_tasks)
            self.waits.append([len(before) for before in profile.preds])
            self.arrival.append(now)
            self.job_finish.append(None)
            self.in_system += 1
            for k in profile.heads:
                task = self.tasks[job][k]
                task.arrive = () if self.shared else [0] * self.num_pes
                self.ready.append(task)
            self.next_job += 1
            self.held = held = False
            if self.next_job < len(self.profiles):
                self.due = now + self.gaps[self.next_job]

    def retire(self, task: Task) -> bool:
        """Step 2 for one task; true if its job leaves the system."""
        job, profile = task.job, task.profile
        task.retired = True
        self.running[task.pe] = None
        tasks, waits = self.tasks[job], self.waits[job]
        for s in profile.succs[task.task]:
            waits[s] -= 1
            if waits[s]:
                continue
            successor = tasks[s]
            if self.shared:
                times = [
                    tasks[j].finish + profile.to_memory[j, s][tasks[j].pe]
                    for j, _ in profile.preds[s]
                ]
                self.waiting.append((max(times), successor))
                continue
            before = profile.preds[s]
            j = before[0][0]
            other = tasks[j]
            finish = other.finish
            arrive = [finish + m for m in profile.move[j, s][other.pe]]
            for j, _ in before[1:]:
                other = tasks[j]
                finish = other.finish
                for p, m in enumerate(profile.move[j, s][other.pe]):
                    if finish + m > arrive[p]:
                        arrive[p] = finish + m
            successor.arrive = arrive
            self.ready.append(successor)
        self.left[job] -= 1
        if self.left[job]:
            return False
        self.job_finish[job] = max(other.finish for other in tasks)
        self.in_system -= 1
        self.completed += 1
        return True

    # ----------------------------------------------------------------------------------- schedulers

    def assign(self, task: Task, p: int) -> None:
        """Step 5 for one task."""
        assert task.exec[p] < INF, "the PE cannot run the task"
        arrive = self.arrive(task)[p]
        task.pe, task.data = p, arrive if arrive > self.now else self.now
        self.estimate[p] = task.exec[p] + max(task.data, self.estimate[p])
        sequence = len(self.dispatched)
        self.dispatched.append(task)
        if self.by_job:
            insort(self.executable[p], ((task.job, sequence), task))
        else:
            self.executable[p].append((sequence, task))

    def arrive(self, task: Task) -> Sequence[int]:
        """When the data of a ready task would be on each PE, if it were assigned now."""
        if self.shared and not task.arrive:
            task.arrive = [self.now + m for m in task.profile.from_memory[task.task]]
        return task.arrive

    def earliest_finish(self, task: Task) -> tuple[int, int]:
        """The smallest t + est(k, p) and the lowest PE that has it."""
        now, best, pe = self.now, INF, -1
        for p, (e, a, b) in enumerate(
            zip(task.exec, self.arrive(task), self.estimate, strict=True)
        ):
            finish = e + (a if a >= b and a >= now else b if b >= now else now)
            if finish < best:
                best, pe = finish, p
        return best, pe

    def cpu(self, ready: list[Task]) -> None:
        for task in ready:
            self.assign(task, task.profile.able[task.task][0])

    def stf(self, ready: list[Task]) -> None:
        for task in ready:
            self.assign(task, task.exec.index(min(task.exec)))

    def met(self, ready: list[Task]) -> None:
        given = [0] * self.num_pes
        for task in ready:
            shortest = min(task.exec)
            candidates = [p for p, e in enumerate(task.exec) if e == shortest]
            busy = [i for i, p in enumerate(candidates) if self.running[p] is not None]
            if busy and len(busy) < len(candidates):
                del candidates[busy[0] : busy[0] + len(busy)]
            p = min(candidates, key=lambda p: given[p])
            given[p] += 1
            self.assign(task, p)

    def eft(self, ready: list[Task]) -> None:
        for task in ready:
            self.assign(task, self.earliest_finish(task)[1])

    def etf(self, ready: list[Task]) -> None:
        if len(ready) == 1:
            self.assign(ready[0], self.earliest_finish(ready[0])[1])
            return
        left = [(task, *self.earliest_finish(task)) for task in ready]
        while left:
            i, best = 0, INF
            for j, (_, finish, _) in enumerate(left):
                if finish < best:
                    i, best = j, finish
            task, _, pe = left.pop(i)
            self.assign(task, pe)
            # Estimates never fall, so only those that wanted this PE may change their mind.
            left = [(t, *self.earliest_finish(t)) if p == pe else (t, f, p) for t, f, p in left]

    def etf_lb(self, ready: list[Task]) -> None:
        left = list(ready)
        while left:
            best, pick, pe = INF, None, -1
            for task in left:
                ends = [
                    e + max(a, b, self.now)
                    for e, a, b in zip(task.exec, self.arrive(task), self.estimate, strict=True)
                ]
                shortest = min(ends)
                if shortest < best:
                    tied = [p for p, end in enumerate(ends) if end == shortest]
                    best, pick, pe = shortest, task, min(tied, key=lambda p: self.counter[p])
                    self.counter[pe] += 1
            assert pick is not None
            left.remove(pick)
            self.assign(pick, pe)

    def heft_rt(self, ready: list[Task], released: bool = False) -> None:
        now = self.now
        lines: list[list[tuple[int, int, Any]]] = []
        for p, task in enumerate(self.running):
            line, at = [], now
            if task is not None:
                line.append((task.start, task.start + task.exec[p], task))
                at = max(now, task.start + task.exec[p])
            for _, queued in self.executable[p]:
                line.append((at, at + queued.exec[p], queued))
                at += queued.exec[p]
            lines.append(line)

        order = sorted(ready, key=lambda task: -task.profile.mean[task.task])
        earliest = now
        if released:
            # An entry node is sorted behind the tasks of the largest rank, which is its own, and
            # exchanged with the first. Its id is the largest of the tasks + 1; where that task is
            # planned, so is the entry.
            means = [task.profile.mean[task.task] for task in order]
            ties = means.count(means[0])
            order = [*order[1:ties], order[0], *order[ties:]]
            job, number = max((task.job, task.task) for task in ready)
            entry = (job, number + 1) if number + 1 < len(self.tasks[job]) else (job + 1, 0)
            ends = [
                end for line in lines for _, end, task in line if (task.job, task.task) == entry
            ]
            earliest = max([now, *ends])
        for task in order:
            found = [
                (*gap(lines[p], earliest, task.exec[p]), p) for p in task.profile.able[task.task]
            ]
            begin, at, p = min(found, key=lambda item: item[0] + task.exec[item[2]])
            task.before = lines[p][at - 1][2] if at else None
            lines[p].insert(at, (begin, begin + task.exec[p], task))
            self.assign(task, p)

    def heft_rt_released(self, ready: list[Task]) -> None:
        self.heft_rt(ready, released=True)

    def heft(self, ready: list[Task]) -> None:
        self.follow(ready, "heft")

    def peft(self, ready: list[Task]) -> None:
        self.follow(ready, "peft")

    def follow(self, ready: list[Task], method: str) -> None:
        """Each task to the PE of its job's static plan, after the task before it there."""
        for task in ready:
            plan = task.profile.plan(method)
            before = plan.before[task.task]
            task.before = None if before is None else self.tasks[task.job][before]
            self.assign(task, plan.pe[task.task])

    def ask(
        self, decide: Callable[[Simulator, list[Task]], tuple[Task, int]]
    ) -> Callable[[list[Task]], None]:
        """A scheduler that asks for one (task, PE) after another; `decide` sees the tasks that
        are left.
        """

        def schedule(ready: list[Task]) -> None:
            while ready:
                task, p = decide(self, ready)
                ready.remove(task)
                self.assign(task, p)

        return schedule


def simulate(platform: Platform, jobs: Sequence[Job], gaps: Sequence[int], **settings: Any) -> Run:
    """`Simulator(...).run()`."""
    return Simulator(platform, jobs, gaps, **settings).run()
