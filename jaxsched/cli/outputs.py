"""Files that a command writes: refused before the work where they cannot be written, and never
lost after it.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxsched.core.environment import Environment
    from jaxsched.core.offer import Loaded
    from jaxsched.evaluation import Row


def check_writable(path: Path | None, force: bool) -> None:
    """Make the folder of a file that will be written; `OSError` where it cannot be or the file
    is in the way.
    """
    from jaxsched.evaluation.report import refuse_existing

    if path is None:
        return
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder, not a file to write")
    refuse_existing(path, force)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):  # raises where the folder takes no files
        pass


def check_chart(env: Environment, path: Path | None, force: bool) -> None:
    """Refuse a chart that the problem does not offer, or that needs what is not installed."""
    from jaxsched.envs.registry import offer
    from jaxsched.host.picture import check_path

    if path is None:
        return
    if offer(env).picture is None:
        raise ValueError(f"{path}: {env.id} offers no charts")
    check_writable(path, force)
    check_path(path, force)


def check_table(env: Environment, path: Path | None, force: bool) -> None:
    """Refuse a solution file that the problem cannot write: .json always can be, .csv where it
    is offered.
    """
    from jaxsched.envs.registry import offer

    if path is None:
        return
    ending = path.suffix.lower()
    if ending not in (".csv", ".json"):
        raise ValueError(f"{path}: a solution is written as .csv or .json")
    if ending == ".csv" and offer(env).write is None:
        raise ValueError(f"{path}: {env.id} offers no solutions as .csv; write a .json file")
    check_writable(path, force)


def save_chart(
    env: Environment, loaded: Loaded, solution: Any, path: Path, title: str, force: bool
) -> None:
    """The solution as an .svg, .html, .png or .pdf file; `check_chart` comes before the work."""
    from jaxsched.envs.registry import offer

    picture = offer(env).picture
    assert picture is not None
    picture(env, loaded.instance, solution, names=loaded.names, title=title).save(
        path, overwrite=force
    )


def save_solution(env: Environment, loaded: Loaded, row: Row, path: Path, force: bool) -> None:
    """The solution as a table, or with all figures of its row as .json; `check_table` comes
    before the work.
    """
    from jaxsched.envs.registry import offer
    from jaxsched.evaluation.report import write_text

    write = offer(env).write
    if path.suffix.lower() == ".csv":
        assert write is not None
        write(env, loaded.instance, row.solution, path, names=loaded.names, overwrite=force)
    else:
        data = row.to_dict() | {"unit": loaded.unit, "solution": plain_data(row.solution)}
        write_text(path, json.dumps(data) + "\n", overwrite=force)


def save_all(row: Row, writes: Mapping[Path, Callable[[], None]]) -> None:
    """Write every file; where one fails, the others are written all the same, and the row is
    kept in another place.
    """
    faults = []
    for path, write in writes.items():
        try:
            write()
        except Exception as error:  # the work is done: whatever went wrong, its result is kept
            faults.append((path, error))
    if not faults:
        return
    data = row.to_dict() | {"solution": plain_data(row.solution)}
    with tempfile.NamedTemporaryFile(
        "w", prefix="jaxsched-", suffix=".json", delete=False, encoding="utf-8"
    ) as file:
        json.dump(data, file)
    path, error = faults[0]
    raise OSError(
        f"{path} was not written ({error}); the solution is kept in {file.name}"
    ) from error


def plain_data(value: Any) -> Any:
    """Dataclasses, arrays and containers as what JSON knows; anything else as its text."""
    import numpy as np

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain_data(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): plain_data(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain_data(entry) for entry in value]
    return value if isinstance(value, str | int | float | None) else str(value)
