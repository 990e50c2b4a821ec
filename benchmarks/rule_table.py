"""Priority rules on the classic benchmark sets, checked against the table of an independent run.

    python benchmarks/rule_table.py [--data FOLDER] [--output FILE] [--overwrite]

Non-delay dispatching, ties to the lowest job. A cell is the mean over a family's instances of
makespan / best known upper bound - 1, in per cent. ft and ta come with the package; the other
families are read from `$JAXSCHED_DATA` (or `--data`) and are listed as missing where they are not
there. Every schedule passes `validate`. The exit status is 1 where a cell is more than `TOLERANCE`
off. Makespans, the bounds they are compared with and versions go to
`benchmarks/results/rule_table.json`.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import pathlib
import platform
import sys
import time
from collections.abc import Sequence
from importlib import metadata

import jax

import jaxsched
from jaxsched.core import greedy, pad_stack, rollout, unstack
from jaxsched.envs import job_shop

TOLERANCE = 0.1  # points; the expected values are rounded to one decimal
FAMILIES: tuple[str, ...] = ("ft", "la", "abz", "orb", "swv", "yn", "ta", "dmu")
EXPECTED = {  # mean gap in per cent, a plain-Python run of the same rules; bounds as of 2026-08
    "spt": (28.1, 20.0, 25.1, 26.3, 23.1, 30.7, 27.5, 30.5),
    "lpt": (39.7, 32.0, 36.1, 34.9, 44.7, 31.2, 43.1, 50.9),
    "mwkr": (19.6, 12.6, 16.6, 25.2, 28.4, 19.7, 19.6, 29.4),
    "lwkr": (37.9, 35.8, 45.7, 33.1, 32.6, 42.7, 45.7, 44.2),
    "mopnr": (23.3, 13.9, 18.0, 29.1, 35.9, 22.8, 19.7, 33.7),
    "lopnr": (32.2, 33.1, 36.3, 36.7, 32.2, 43.4, 44.4, 43.0),
    "fifo": (28.9, 18.9, 24.6, 29.7, 37.4, 25.9, 25.4, 37.8),
    "fdd_mwkr": (22.3, 11.5, 14.6, 19.8, 29.9, 20.9, 18.0, 29.8),
    "cr": (23.4, 30.5, 24.6, 32.8, 35.0, 23.8, 39.1, 43.0),
}
OUTPUT = pathlib.Path(__file__).parent / "results" / "rule_table.json"


@functools.partial(jax.jit, static_argnums=(0, 1))
def play(env: jaxsched.Environment, rule: str, instances: job_shop.Instance) -> job_shop.State:
    """The final states of a rule on a batch of instances."""
    policy, key = greedy(env.heuristics[rule]), jax.random.key(0)  # greedy draws nothing
    return jax.vmap(lambda instance: rollout(env, key, instance, policy).state)(instances)


def makespans(
    env: jaxsched.Environment, instances: Sequence[job_shop.Instance], rule: str
) -> list[int]:
    """Makespan of a rule on every instance, each schedule validated."""
    states = unstack(jax.device_get(play(env, rule, pad_stack(instances))))
    schedules = [env.solution(state) for state in states]
    for instance, schedule in zip(instances, schedules, strict=True):
        if faults := job_shop.validate(instance, schedule):
            raise AssertionError(f"{rule}: {faults[0]}")
    return [schedule.makespan for schedule in schedules]


def versions() -> dict[str, str]:
    """What the run depended on."""
    packages = {name: metadata.version(name) for name in ("jax", "jaxlib", "numpy")}
    device = jax.devices()[0].device_kind
    return {
        "jaxsched": jaxsched.__version__,
        "python": platform.python_version(),
        **packages,
        "device": device,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Reproduce the table of priority rules (non-delay, gap in per cent)."
    )
    parser.add_argument(
        "--data", help="folder of the benchmark instances, instead of $JAXSCHED_DATA"
    )
    parser.add_argument("--output", type=pathlib.Path, default=OUTPUT, help="where the JSON goes")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    args = parser.parse_args(argv)
    if args.data:
        os.environ["JAXSCHED_DATA"] = args.data
    if args.output.exists() and not args.overwrite:
        parser.error(f"{args.output} exists; pass --overwrite to replace it, or another --output")

    instances: dict[str, job_shop.Instance] = {}
    members: dict[str, list[str]] = {}  # of every family that is there
    missing: dict[str, str] = {}
    for family in FAMILIES:
        names = job_shop.expand(family)
        try:
            instances.update({name: job_shop.load(name) for name in names})
        except jaxsched.InstanceError as error:
            missing[family] = str(error)
        else:
            members[family] = names

    # All instances in one padded batch: a program per rule, not one per rule and size.
    env = jaxsched.make("JobShop-v0", candidates="non_delay")
    upper = {name: job_shop.bounds(name).upper for name in instances}
    makespan: dict[str, dict[str, int]] = {}
    for rule in EXPECTED:
        began = time.perf_counter()
        makespan[rule] = dict(
            zip(instances, makespans(env, list(instances.values()), rule), strict=True)
        )
        print(
            f"{rule}: {len(instances)} instances, {time.perf_counter() - began:.1f} s",
            file=sys.stderr,
            flush=True,
        )

    gaps = {
        rule: {
            family: 100 * sum(row[name] / upper[name] - 1 for name in names) / len(names)
            for family, names in members.items()
        }
        for rule, row in makespan.items()
    }
    expected = {rule: dict(zip(FAMILIES, row, strict=True)) for rule, row in EXPECTED.items()}
    off = [
        f"{rule} on {family}: {gap:.2f}, expected {expected[rule][family]}"
        for rule, row in gaps.items()
        for family, gap in row.items()
        if abs(gap - expected[rule][family]) > TOLERANCE
    ]

    print("mean gap to the best known upper bound in per cent: here / expected")
    print(f"{'rule':<9}" + "".join(f"{family:>13}" for family in FAMILIES))
    for rule, row in gaps.items():
        cells = [f"{row[f]:.1f}" if f in row else "-" for f in FAMILIES]
        print(
            f"{rule:<9}"
            + "".join(f"{c:>7} /{e:5.1f}" for c, e in zip(cells, EXPECTED[rule], strict=True))
        )
    for family, reason in missing.items():
        print(f"missing {family}: {reason}")
    for line in off:
        print(f"off by more than {TOLERANCE}: {line}")
    checked = sum(map(len, gaps.values()))
    print(
        f"{checked - len(off)} of {checked} cells agree to {TOLERANCE} points, {len(missing)} families missing"
    )

    source = job_shop.bounds("ft06")
    report = {
        "candidates": "non_delay",
        "bounds": {"source": source.source, "date": source.date},
        "versions": versions(),
        "expected": expected,
        "gap": {
            rule: {family: round(gap, 3) for family, gap in row.items()}
            for rule, row in gaps.items()
        },
        "missing": missing,
        "instances": {
            name: {"upper_bound": upper[name]} | {rule: makespan[rule][name] for rule in EXPECTED}
            for name in instances
        },
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(_dumps(report), encoding="utf-8")
    return 1 if off else 0


def _dumps(report: dict) -> str:
    """JSON with one line per leaf table, so that a change shows as a change of one line."""
    lines = []
    for name, value in report.items():
        if isinstance(value, dict) and any(isinstance(row, dict) for row in value.values()):
            rows = ",\n".join(
                f"  {json.dumps(key)}: {json.dumps(row)}" for key, row in value.items()
            )
            lines.append(f"{json.dumps(name)}: {{\n{rows}\n }}")
        else:
            lines.append(f"{json.dumps(name)}: {json.dumps(value)}")
    return "{\n " + ",\n ".join(lines) + "\n}\n"


if __name__ == "__main__":
    sys.exit(main())
