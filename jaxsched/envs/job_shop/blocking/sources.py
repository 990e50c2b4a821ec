"""Where blocking job shops come from: the classic generators, with machines that fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array, random

from jaxsched.envs.job_shop.blocking.failures import LONGEST
from jaxsched.envs.job_shop.blocking.types import Failures, Instance, Interruptions, Windows
from jaxsched.envs.job_shop.types import Shop
from jaxsched.host.checks import INT32_MAX, Fault, array, integer
from jaxsched.host.errors import InstanceError


@dataclasses.dataclass(frozen=True)
class Interrupted:
    """A source of classic job shops with failures; see `interrupted`."""

    source: Callable[[Array], Shop]
    probability: tuple[float, ...]
    mean_repair: float

    def __post_init__(self):
        for value in self.probability:
            Interruptions(value, self.mean_repair)  # the same checks
        if not self.probability:
            raise ValueError("give at least one probability")

    def __call__(self, key: Array) -> Instance:
        """An instance drawn with `key`; the same one with x64 on or off, jitted or not."""
        source_key, probability_key, noise_key = random.split(key, 3)
        instance = without_buffers(self.source(source_key))
        choices = jnp.asarray(self.probability, jnp.float32)
        chosen = choices[random.randint(probability_key, (), 0, len(self.probability), jnp.int32)]
        return instance.replace(failures=_failures(instance, noise_key, chosen, self.mean_repair))


@dataclasses.dataclass(frozen=True)
class Unbuffered:
    """A source of classic job shops as blocking ones."""

    source: Callable[[Array], Shop]

    def __call__(self, key: Array) -> Instance:
        return without_buffers(self.source(key))


def unbuffered(source: Callable[[Array], Shop]) -> Unbuffered:
    """The shops of a classic source without buffers, never interrupted."""
    return Unbuffered(source)


def interrupted(
    source: Callable[[Array], Shop], probability: float | Sequence[float], mean_repair: float = 1.0
) -> Interrupted:
    """The shops of a classic source without buffers, with machines that fail; each draws one of
    several probabilities.

    `mean_repair` is in units of the mean duration of the shop, as in `Interruptions`.
    """
    several = (probability,) if isinstance(probability, int | float) else tuple(probability)
    return Interrupted(source, several, mean_repair)


def without_buffers(shop: Shop) -> Instance:
    """A job shop as one without buffers, never interrupted; one without buffers as it is."""
    if isinstance(shop, Instance):
        return shop
    return Instance(
        machine=shop.machine,
        duration=shop.duration,
        op_mask=shop.op_mask,
        machine_mask=shop.machine_mask,
        release=shop.release,
    )


def interrupt(instance: Shop, interruptions: Interruptions, key: Array) -> Instance:
    """The instance with these interruptions; `key` draws the failures.

    Raises `InstanceError` for windows that make no sense, and where times could exceed int32.
    """
    instance = without_buffers(instance)
    instance = instance.replace(
        failures=_failures(
            instance, key, jnp.float32(interruptions.probability), interruptions.mean_repair
        ),
        windows=_windows(instance, interruptions.windows),
    )
    check_horizon(instance)
    return instance


def check_horizon(instance: Instance) -> None:
    """Raise `InstanceError` where the times of a schedule could exceed int32, repairs and
    maintenance included.
    """
    duration, real = np.asarray(instance.duration, np.int64), np.asarray(instance.op_mask)
    horizon = int(duration.sum()) + int(np.asarray(instance.release).max(initial=0))
    if instance.failures is not None:
        horizon += int(real.sum()) * (
            LONGEST * int(np.ceil(float(instance.failures.mean_repair))) + 1
        )
    if instance.windows is not None:
        horizon += int(
            (np.asarray(instance.windows.end, np.int64) - np.asarray(instance.windows.start)).sum()
        )
        horizon += int(np.asarray(instance.windows.end).max(initial=0))
    if horizon > INT32_MAX:
        raise InstanceError(
            f"a schedule could take {horizon} ticks with its repairs and maintenance, beyond int32"
        )


def _failures(instance: Instance, key: Array, probability: Array, mean_repair: float) -> Failures:
    total = instance.duration.sum(dtype=jnp.int32).astype(jnp.float32)
    mean = total / jnp.maximum(instance.op_mask.sum(dtype=jnp.int32), 1).astype(jnp.float32)
    repair = jnp.maximum(jnp.float32(mean_repair) * mean, jnp.float32(1))
    return Failures(noise_key=key, probability=probability, mean_repair=repair)


def _windows(instance: Instance, windows: Sequence[tuple[int, int, int]]) -> Windows | None:
    """The windows by machine, rising; those that touch are joined."""
    if not windows:
        return None
    num_machines = instance.num_machines
    rows: list[list[tuple[int, int]]] = [[] for _ in range(num_machines)]
    names = "machine", "start", "end"
    for i, window in enumerate(array(windows, "windows")):
        at = ("window", i)
        values = array(window, at)
        if len(values) != 3:
            raise Fault(f"expected (machine, start, end), got {len(values)} values", at)
        named = zip(names, values, strict=True)
        machine, start, end = (integer(value, at, field=name) for name, value in named)
        if machine >= num_machines:
            raise Fault(f"machine {machine} is out of range, there are {num_machines}", at)
        if start >= end:
            raise Fault(f"needs start < end, got {start} and {end}", at)
        rows[machine].append((start, end))
    joined: list[list[list[int]]] = []
    for row in rows:
        merged: list[list[int]] = []
        for start, end in sorted(row):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        joined.append(merged)
    table = np.zeros((2, num_machines, max(map(len, joined))), np.int32)
    for machine, merged in enumerate(joined):
        for i, span in enumerate(merged):
            table[:, machine, i] = span
    return Windows(jnp.asarray(table[0]), jnp.asarray(table[1]))
