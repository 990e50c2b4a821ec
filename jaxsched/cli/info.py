"""What there is and whether it works: `list`, `doctor`, `bench`."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

from jaxsched.cli.common import (
    EXTRAS,
    first_sentence,
    join_names,
    make_environment,
    make_source,
    pip_line,
)
from jaxsched.cli.outputs import check_writable


def list_names() -> None:
    """List environments with their rules, training presets and named instances, and what each
    offers.
    """
    from jaxsched.core.offer import Offer
    from jaxsched.envs.registry import list_envs, make, offer
    from jaxsched.evaluation.report import plain_table
    from jaxsched.policies.io import shipped_policies

    offers = {}
    for name in list_envs():
        env = make(name)
        offers[name] = offered = offer(env)
        print(f"{name}: {first_sentence(type(env.unwrapped))}")
        print(f"  rules: {', '.join(env.heuristics)}")
        print("  presets:")
        for preset, value in offered.presets.items():
            print(f"    {preset:<10} {value.about}")
        print("  instances:")
        sets = offered.sets(env) if offered.sets else {}
        for names, about in {**sets, "generated:N": "so many of the environment's source"}.items():
            print(f"    {names:<11} {about}")
        if policies := shipped_policies(env):
            print(f"  policies: {', '.join(policies)}")
    entries = [field.name for field in dataclasses.fields(Offer)]
    body = [
        [entry, *("x" if entry in each.offers() else "" for each in offers.values())]
        for entry in entries
    ]
    print()
    print(plain_table("what each problem offers", ["", *offers], body))


def doctor() -> int:
    """Show versions, devices, memory and extras, and try every environment from end to end."""
    from importlib.util import find_spec

    import jax

    from jaxsched.envs.registry import list_envs, make
    from jaxsched.evaluation import evaluate, generate
    from jaxsched.evaluation.report import versions
    from jaxsched.training.estimate import machine_bytes

    for package, version in versions().items():
        print(f"{package:<9} {version}")
    for device in jax.devices():
        memory = (device.memory_stats() or {}).get("bytes_limit")
        print(
            f"device    {device} ({device.device_kind}{f', {memory / 2**30:.1f} GiB' if memory else ''})"
        )
    if memory := machine_bytes():
        print(f"memory    {memory / 2**30:.1f} GiB")
    print(f"cpus      {os.cpu_count()}")
    x64: bool = jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
    cache: str | None = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    print(f"x64       {'on' if x64 else 'off'}")
    print(f"cache     {cache or 'off: compiled programs are not kept'}")
    print(
        f"data      {os.environ.get('JAXSCHED_DATA') or 'JAXSCHED_DATA is not set: packaged instances only'}"
    )
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if find_spec(name) is None]
        print(
            f"{extra:<9} {f'without {join_names(missing)}: {pip_line(extra)}' if missing else 'installed'}"
        )

    healthy = True
    for name in list_envs():
        try:
            env = make(name)
            rule = next(iter(env.heuristics))
            row = evaluate(env, generate(env.default_source, 1), rule).rows[0]
            outcome = f"works: {rule} reaches {row.objective} on {row.size}, lower bound {row.lower_bound}"
        except Exception as error:  # whatever is wrong is the result
            healthy, outcome = False, f"FAILS: {type(error).__name__}: {error}"
        print(f"check     {name} {outcome}")
    return 0 if healthy else 1


def bench(
    env: str = "JobShop-v0",
    /,
    *,
    batch: int = 1024,
    seconds: float = 2.0,
    settings: tuple[str, ...] = (),
    source: tuple[str, ...] = (),
    seed: int = 0,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Measure reset, step and observe on this device: random play on instances of the environment's
    own source.

    Args:
        env: Environment id.
        batch: Episodes side by side.
        seconds: At least so long per measurement, compilation apart.
        settings: Settings of the environment, NAME=VALUE.
        source: Options of the source of the instances, NAME=VALUE.
        seed: Seed of the instances and actions.
        out: Write the results to this JSON file.
        force: Overwrite it where it exists.
    """
    from jaxsched.evaluation import throughput
    from jaxsched.evaluation.report import header, number, print_table, write_text
    from jaxsched.policies.io import describe

    check_writable(out, force)
    environment = make_environment(env, settings)
    instances = make_source(environment, source) or environment.default_source
    results = throughput(environment, instances, batch=batch, seconds=seconds, seed=seed)
    titles = ["measured", "schedules/s", "decisions/s", "wall s", "CPU s", "compile s"]
    body = [
        [r.what, f"{r.schedules_per_second:,.0f}", f"{r.decisions_per_second:,.0f}"]
        + [number(value) for value in (r.wall_seconds, r.cpu_seconds, r.compile_seconds)]
        for r in results
    ]
    print_table(f"{env}, batch {batch}", titles, body)
    if out is not None:
        data = {
            "header": header(),
            "environment": describe(environment),
            "batch": batch,
            "seed": seed,
        }
        write_text(
            out,
            json.dumps(data | {"results": [dataclasses.asdict(r) for r in results]}, indent=1)
            + "\n",
            overwrite=force,
        )
