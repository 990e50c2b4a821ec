"""Memory mapping in plain Python: the oracle of the tests and the plain-Python baseline of the
benchmark.

Written from the problem statement alone: ints, lists and byte addresses, nothing of jaxsched. A
program is the dict of `Program.from_dict`. Blocks of fast memory are kept in one list and looked at
one by one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

COPY, NOCOPY, DROP = 0, 1, 2


class Simulator:
    """A partial mapping. `legal()` are the actions at access `at`; `apply` takes one and returns
    the ticks saved.
    """

    def __init__(self, program: dict[str, Any]):
        self.program = program
        self.values = {value["id"]: value for value in program["values"]}
        self.accesses = [
            (t, access)
            for t, row in enumerate(program["instructions"])
            for access in row["accesses"]
        ]
        self.compute = [row["compute"] for row in program["instructions"]]
        self.cost = [0] * len(self.compute)  # what the accesses of each instruction take
        for t, access in self.accesses:
            self.cost[t] += self.values[access["value"]]["size"] * program["slow_cost"]
        self.supply = self.elapsed()
        self.baseline = self.latency = sum(self.supply)
        self.at = 0
        self.actions: list[int] = []
        # first and last instruction, low and high address
        self.blocks: list[tuple[int, int, int, int]] = []
        self.last_fast: dict[Any, tuple[int, int]] = {}  # instruction and address
        self.hbm_ready = {id: 0 for id, value in self.values.items() if value.get("input")}
        self.groups: dict[int, int | None] = {}  # the address, or None for slow memory

    def elapsed(self) -> list[int]:
        """Ticks of each instruction as decided so far."""
        return [max(c, m) for c, m in zip(self.compute, self.cost, strict=True)]

    def width(self, value: Any) -> int:
        step = self.program.get("alignment", 1)
        return (self.values[value]["size"] + step - 1) // step * step

    def over(self) -> bool:
        return self.at == len(self.accesses)

    def dead(self) -> bool:
        """Accesses are left, but no action is legal."""
        return not self.over() and not self.legal()

    def legal(self) -> list[int]:
        return (
            []
            if self.over()
            else [action for action in (COPY, NOCOPY, DROP) if self.effect(action) is not None]
        )

    # What an action would do: (block or None, address or None, supply taken, hbm_ready), or None
    # where it is illegal.

    def effect(self, action: int):
        t, access = self.accesses[self.at]
        value, alias = access["value"], access.get("alias")
        if alias in self.groups and (self.groups[alias] is None) != (action == DROP):
            return None
        bound = self.groups.get(alias) if alias in self.groups else None
        if access["kind"] == "write":
            return self.write(action, t, value, bound)
        return (self.read_copy, self.read_no_copy, self.read_drop)[action](t, value, bound)

    def write(self, action: int, t: int, value: Any, bound: int | None):
        if action == DROP:
            return None, None, {}, t + 1
        if action == COPY or self.values[value].get("output"):
            return None
        low = self.find(value, t, t, bound)
        return None if low is None else ((t, t, low, low + self.width(value)), low, {}, None)

    def read_copy(self, t: int, value: Any, bound: int | None):
        ready, last = self.hbm_ready.get(value), self.last_fast.get(value, (-1, 0))[0]
        if ready is None or ready > t or last == t:
            return None
        taken = self.take(value, range(t - 1, max(ready, last + 1) - 1, -1))
        if taken is None:
            return None
        first = min(taken, default=t)
        low = self.find(value, first, t, bound)
        return (
            None if low is None else ((first, t, low, low + self.width(value)), low, taken, ready)
        )

    def read_no_copy(self, t: int, value: Any, bound: int | None):
        if value not in self.last_fast:
            return None
        last, low = self.last_fast[value]
        if bound is not None and bound != low:
            return None
        if last == t:
            return kept(low, self.hbm_ready.get(value))
        high = low + self.width(value)
        if not self.free(last + 1, t, low, high):
            return None
        return (last + 1, t, low, high), low, {}, self.hbm_ready.get(value)

    def read_drop(self, t: int, value: Any, bound: int | None):
        ready = self.hbm_ready.get(value)
        if ready is not None:
            return (None, None, {}, ready) if ready <= t else None
        last, low = self.last_fast[value]
        taken = self.take(value, range(last + 1, t))
        if taken is None or last == t:
            return None
        final = max(taken, default=last)
        high = low + self.width(value)
        if final > last and not self.free(last + 1, final, low, high):
            return None
        return ((last + 1, final, low, high) if final > last else None), None, taken, final + 1

    def take(self, value: Any, instructions: Sequence[int]) -> dict[int, int] | None:
        """Supply taken from the instructions in this order until the demand of a copy is met;
        None if it is not.
        """
        need, taken = self.values[value]["size"] * self.program["copy_cost"], {}
        for u in instructions:
            if need and self.supply[u]:
                taken[u] = min(need, self.supply[u])
                need -= taken[u]
        return None if need else taken

    def free(self, first: int, last: int, low: int, high: int) -> bool:
        return not any(
            a <= last and first <= b and c < high and low < d for a, b, c, d in self.blocks
        )

    def find(self, value: Any, first: int, last: int, bound: int | None) -> int | None:
        """The address for a new block: that of the alias group, else the smallest gap that holds
        it, the lowest tie.
        """
        width = self.width(value)
        if bound is not None:
            fits = bound + width <= self.program["capacity"] and self.free(
                first, last, bound, bound + width
            )
            return bound if fits else None
        taken = sorted((c, d) for a, b, c, d in self.blocks if a <= last and first <= b)
        gaps, floor = [], 0
        for c, d in [*taken, (self.program["capacity"], self.program["capacity"])]:
            if c - floor >= width:
                gaps.append((c - floor, floor))
            floor = max(floor, d)
        return min(gaps)[1] if gaps else None

    def apply(self, action: int) -> int:
        effect = self.effect(action)
        assert effect is not None, f"action {action} is illegal at access {self.at}"
        block, low, taken, ready = effect
        t, access = self.accesses[self.at]
        value, alias = access["value"], access.get("alias")
        if block is not None:
            self.blocks.append(block)
            self.last_fast[value] = (block[1], block[2])
        for u, amount in taken.items():
            self.supply[u] -= amount
        if ready is None:
            self.hbm_ready.pop(value, None)
        else:
            self.hbm_ready[value] = ready
        if alias is not None:
            self.groups.setdefault(alias, low)
        if action != DROP:
            self.cost[t] -= self.values[value]["size"] * (
                self.program["slow_cost"] - self.program["fast_cost"]
            )
        before, self.latency = self.latency, sum(self.elapsed())
        self.actions.append(action)
        self.at += 1
        return before - self.latency


def kept(low: int, ready: int | None):
    """Nothing new is held: the value is there already."""
    return None, low, {}, ready


def play(program: dict[str, Any], actions: Sequence[int]) -> Simulator:
    """The simulator after these actions."""
    simulator = Simulator(program)
    for action in actions:
        simulator.apply(action)
    return simulator


def optimum(program: dict[str, Any], most: int = 200_000) -> tuple[int, list[int]]:
    """The smallest latency over all sequences of legal actions, and one that has it: the
    definition.
    """
    best, nodes = (Simulator(program).baseline + 1, []), 0

    def visit(simulator: Simulator) -> None:
        nonlocal best, nodes
        nodes += 1
        assert nodes <= most, "too large for exhaustive search"
        if simulator.over():
            best = min(best, (simulator.latency, simulator.actions))
            return
        for action in simulator.legal():
            child = copy.copy(simulator)
            for name in ("cost", "supply", "actions", "blocks", "last_fast", "hbm_ready", "groups"):
                setattr(child, name, copy.copy(getattr(simulator, name)))
            child.apply(action)
            visit(child)

    visit(Simulator(program))
    return best


def run(
    program: dict[str, Any], choose: Callable[[Simulator], Sequence[int]], backup: bool = False
) -> Simulator:
    """Play the first legal action in the order of preference that `choose` gives, with drop-backup
    or without.

    Drop-backup: at a dead end force DROP at the first access of the failing alias group, or, where
    that was forced or there is no earlier one, at the first access of the failing value; replay the
    old actions, with DROP, NOCOPY, COPY in this order where one is no longer legal.
    """
    simulator, forced = Simulator(program), set()

    def step(simulator: Simulator, preference: Sequence[int]) -> bool:
        allowed = [DROP] if simulator.at in forced else preference
        legal = simulator.legal()
        action = next((action for action in allowed if action in legal), None)
        if action is None:
            return False
        simulator.apply(action)
        return True

    while not simulator.over():
        if step(simulator, choose(simulator)):
            continue
        if not backup:
            return simulator
        target, old = simulator.at, simulator.actions
        while simulator.at < target or not simulator.legal():
            at = simulator.at
            alias, value = (
                simulator.accesses[at][1].get("alias"),
                simulator.accesses[at][1]["value"],
            )
            group = [
                i
                for i, (_, a) in enumerate(simulator.accesses)
                if alias is not None and a.get("alias") == alias
            ]
            leader = min([at, *group])
            first = next(i for i, (_, a) in enumerate(simulator.accesses) if a["value"] == value)
            new = first if leader == at or leader in forced else leader
            assert new not in forced
            forced.add(new)
            simulator = Simulator(program)
            while simulator.at < target and step(
                simulator, [old[simulator.at], DROP, NOCOPY, COPY]
            ):
                pass
    return simulator


def fixed(*preference: int) -> Callable[[Simulator], Sequence[int]]:
    """Always the same order of preference."""
    return lambda simulator: preference


def belady(simulator: Simulator) -> Sequence[int]:
    """NOCOPY for reads; COPY and fast writes unless they push out what is needed no later, or an
    only copy; DROP.
    """
    t, access = simulator.accesses[simulator.at]
    value, is_write = access["value"], access["kind"] == "write"
    come_in = NOCOPY if is_write else COPY
    effect = simulator.effect(come_in)
    if effect is None:
        return [DROP] if is_write else [NOCOPY, DROP]

    def next_use(value: Any) -> float:
        later = (
            u
            for u, a in simulator.accesses[simulator.at :]
            if a is not access and a["value"] == value
        )
        return min(later, default=float("inf"))

    low, high = effect[1], effect[1] + simulator.width(value)
    worth = True
    for other, (last, at) in simulator.last_fast.items():
        top = at + simulator.width(other)
        is_needed = other != value and next_use(other) < float("inf")
        if (
            is_needed
            and at < high
            and low < top
            and (last >= t or simulator.free(last + 1, t, at, top))
        ):
            worth &= other in simulator.hbm_ready and next_use(other) > next_use(value)
    order = [come_in] if worth else [DROP, come_in]
    return [*order, DROP] if is_write else [NOCOPY, *order, DROP]


def msa(simulator: Simulator) -> Sequence[int]:
    """What `msa_plan` wants to be fast, as far as it can be."""
    return (
        [NOCOPY, COPY, DROP]
        if simulator.at in msa_plan(simulator.program)
        else [DROP, NOCOPY, COPY]
    )


def msa_plan(program: dict[str, Any]) -> set[int]:
    """Positions of the accesses to have fast: values by summed benefit over the root of their
    width, by bytes.
    """
    fresh = Simulator(program)
    supply, saving = fresh.supply, program["slow_cost"] - program["fast_cost"]
    left = [program["capacity"]] * len(supply)
    written = {a["value"]: t + 1 for t, a in fresh.accesses if a["kind"] == "write"}
    ranked = []
    for rank, (id, value) in enumerate(fresh.values.items()):
        uses, benefit = [], 0
        for i, (t, access) in enumerate(fresh.accesses):
            if access["value"] != id or fresh.width(id) > program["capacity"]:
                continue
            if value.get("output") and access["kind"] == "write":
                continue
            late = sum(supply[written.get(id, 0) : t]) < value["size"] * program["copy_cost"]
            if late and (value.get("output") or id not in written):
                continue
            uses.append((i, t, access["kind"] == "write"))
            fast = max(fresh.compute[t], fresh.cost[t] - value["size"] * saving)
            benefit += max(fresh.compute[t], fresh.cost[t]) - fast
        if benefit > 0:
            ranked.append((-(benefit**2) / fresh.width(id), rank, id, uses))
    wanted = set()
    for _, _, id, uses in sorted(ranked, key=lambda row: row[:2]):
        width, times = fresh.width(id), [t for _, t, _ in uses]
        life = range(min(times), max(times) + 1)
        if all(left[u] >= width for u in life):
            wanted |= {i for i, _, _ in uses}
        else:
            alone = [
                (i, t)
                for i, t, is_write in uses
                if not is_write and min(left[max(t - 1, 0)], left[t]) >= width
            ]
            wanted |= {i for i, _ in alone}
            life = sorted({u for _, t in alone for u in (t - 1, t) if u >= 0})
        for u in life:
            left[u] -= width
    return wanted


RULES: dict[str, Callable[[Simulator], Sequence[int]]] = {
    "all_drop": fixed(DROP, NOCOPY, COPY),
    "greedy": fixed(NOCOPY, COPY, DROP),
    "greedy_copy": fixed(COPY, NOCOPY, DROP),
    "greedy_keep": fixed(NOCOPY, DROP, COPY),
    "belady": belady,
    "msa": msa,
}
