"""`map`: files of the memory family."""

from __future__ import annotations

from pathlib import Path


def map_file(
    file: Path,
    /,
    *,
    capacity: str | None = None,
    method: str = "all",
    alignment: int = 1,
    time_limit: float = 60.0,
    seed: int = 0,
    out: Path | None = None,
    picture: Path | None = None,
    force: bool = False,
) -> int:
    """Give buffers their addresses; print peak, lower bound and gap of each method. Status 1 where none fits.

    Args:
        file: Buffers as .csv, in MiniMalloc's format.
        capacity: Memory there is, in the units of the file, or such as 512KiB or 1MiB.
        method: One of `jaxsched.envs.memory.ALLOCATION_METHODS`, some of them separated by commas, or all heuristics
            and the search.
        alignment: Round sizes and offsets up to multiples of it.
        time_limit: Seconds for each search or exact solver.
        seed: Seed of the search.
        out: Write the buffers with the offsets of the best plan to this .csv file.
        picture: Draw the best plan into this .svg or .png file.
        force: Overwrite files that exist.
    """
    from jaxsched.core.errors import Infeasible
    from jaxsched.envs import memory
    from jaxsched.evaluation.report import print_table, refuse_existing

    for path in (out, picture):
        refuse_existing(path, force)
    if picture is not None and picture.suffix not in (".svg", ".png"):
        raise ValueError(f"{picture}: a picture is an .svg or .png file")
    limit = None if capacity is None else amount(capacity)
    names = [*memory.HEURISTICS, "search"] if method == "all" else method.split(",")
    if "policy" in names:
        raise ValueError("a policy is played by `jaxsched.envs.memory.allocate` only")
    buffers, best, body, reasons = memory.read_csv(file), None, [], []
    for name in names:
        try:
            plan = memory.allocate(buffers, limit, name, alignment, time_limit=time_limit, seed=seed)
        except Infeasible as error:
            plan = error.plan
            reasons.append(f"{name}: {error}")
        proof = " (optimal)" if plan.proved else ""
        row = [name, str(plan.peak), f"{plan.lower_bound}{proof}", f"{plan.gap:.2f}", f"{plan.seconds:.2f}"]
        body.append(row if limit is None else [*row, "yes" if plan.peak <= limit else f"no, {plan.peak - limit} more"])
        best = plan if best is None or plan.peak < best.peak else best
    titles = ["method", "peak", "lower bound", "gap %", "seconds", *(["fits"] if limit is not None else [])]
    print_table(f"{file.name}: {len(buffers)} buffers" + (f", capacity {limit}" if limit else ""), titles, body)
    assert best is not None
    fits = limit is None or best.peak <= limit
    if not fits:
        print(reasons[-1])
    if out is not None:
        memory.write_csv(buffers, out, best, overwrite=force)
        print(f"offsets {out}")
    if picture is not None and picture.suffix == ".svg":
        memory.memory_map_svg(buffers, best, title=file.stem).save(picture, overwrite=force)
    elif picture is not None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(11, 6), layout="constrained")
        FigureCanvasAgg(figure)
        memory.memory_map(buffers, best, ax=figure.subplots())
        figure.savefig(picture, dpi=120)
    if picture is not None:
        print(f"picture {picture}")
    return 0 if fits else 1


def amount(text: str) -> int:
    """An amount of memory: `1048576`, `512KiB`, `1MiB`, `2GiB`."""
    number, factor = text.strip(), 1
    for power, unit in enumerate(("KiB", "MiB", "GiB"), 1):
        if number.lower().endswith(unit.lower()):
            number, factor = number[: -len(unit)].strip(), 1024**power
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise ValueError(f"capacity {text!r} is not an amount such as 1048576, 512KiB or 1MiB")
    return int(number) * factor
