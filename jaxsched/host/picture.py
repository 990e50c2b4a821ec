"""Pictures of charts: SVG and pages without dependencies, which notebooks show by themselves; PNG,
PDF and axes with matplotlib.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jaxsched.host import figure
from jaxsched.host.chart import Chart
from jaxsched.host.svg import render_svg, xml

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".svg", ".html", ".png", ".pdf")


class Row(NamedTuple):
    """A row of the table of a page."""

    cells: Sequence[object]
    group: int | None = None  # whose boxes it is about
    late: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
    """A chart, and on a page the lines and the table beside it; notebooks show the chart by
    themselves.
    """

    chart: Chart = dataclasses.field(repr=False)
    notes: Sequence[str] = dataclasses.field(repr=False, default=())
    columns: Sequence[str] = dataclasses.field(repr=False, default=())
    rows: Sequence[Row] = dataclasses.field(repr=False, default=())

    @functools.cached_property
    def svg(self) -> str:
        """The chart as self-contained SVG; pointing at a box shows what it is."""
        return render_svg(self.chart)

    @property
    def page(self) -> str:
        """The chart, the lines and the table as one page of HTML that needs nothing else."""
        return _page(self)

    def figure(self) -> Figure:
        """The chart as a figure of matplotlib of fitting size."""
        return figure.render_figure(self.chart)

    def plot(self, axes: Sequence[Axes] | None = None) -> list[Axes]:
        """Draw with matplotlib on a new figure, or on given axes: the panels from above, the last
        one on the last.

        Axes of the user's own get as many names of rows, ticks and labels as they have room for,
        and a legend where it takes less than a third of their height. Returns the axes.
        """
        return figure.draw_on(self.chart, axes)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write an .svg, .html, .png or .pdf file; the errors are those of `check_path`."""
        suffix = check_path(path, overwrite)
        if suffix in (".svg", ".html"):
            content = (self.svg if suffix == ".svg" else self.page).encode()
        else:
            buffer = io.BytesIO()
            self.figure().savefig(buffer, format=suffix[1:], dpi=120)
            content = buffer.getvalue()
        with open(path, "wb" if overwrite else "xb") as file:
            file.write(content)

    def _repr_html_(self) -> str:
        return f'<div style="max-width:100%;overflow-x:auto">{self.svg}</div>'


def check_path(path: str | os.PathLike[str], overwrite: bool = False) -> str:
    """The kind of file that a picture is written as: one of `FORMATS`.

    Raises, before any work: `ValueError` for another kind, `ModuleNotFoundError` where it needs
    matplotlib and there is none, `FileExistsError` where the file is in the way,
    `FileNotFoundError` where there is no such folder.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        known = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise ValueError(f"{path}: a picture is written as {known}")
    if suffix in (".png", ".pdf") and find_spec("matplotlib") is None:
        advice = 'pip install "jaxsched[viz]", or write .svg, which needs nothing'
        raise ModuleNotFoundError(f"{path}: {suffix} needs matplotlib: {advice}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True to replace it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    return suffix


def _page(picture: Picture) -> str:
    """The chart, the lines, the table; a click on a box or row leaves only its group in colour."""
    heading = xml(picture.chart.heading)
    notes = "".join(f"<li>{xml(note)}</li>" for note in picture.notes)
    head = "".join(f"<th>{xml(column)}</th>" for column in picture.columns)
    rows = []
    for row in picture.rows:
        data = "" if row.group is None else f' data-group="{row.group}"'
        late = ' class="late"' if row.late else ""
        cells = "".join(f"<td>{xml(str(cell))}</td>" for cell in row.cells)
        rows.append(f"<tr{data}{late}>{cells}</tr>\n")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>\n{''.join(rows)}</tbody></table>"
    return _PAGE.format(
        title=heading,
        svg=picture.svg,
        notes=f"<ul>{notes}</ul>" if notes else "",
        table=table if rows else "",
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 14px/1.5 sans-serif; color: #222; margin: 1.5rem; }}
.chart {{ overflow-x: auto; }}
[data-group] {{ cursor: pointer; }}
.chosen svg [data-group]:not(.on) {{ opacity: .15; }}
table {{ border-collapse: collapse; margin-top: 1rem; }}
th, td {{ padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }}
th:first-child, td:first-child {{ text-align: left; }}
tr.on {{ background: #eef4fb; }}
tr.late td:last-child {{ color: #b00020; font-weight: bold; }}
</style></head><body>
<div class="chart">{svg}</div>
{notes}
{table}
<script>
let chosen = null;
document.addEventListener("click", event => {{
  const hit = event.target.closest("[data-group]");
  chosen = hit && hit.dataset.group !== chosen ? hit.dataset.group : null;
  document.body.classList.toggle("chosen", chosen !== null);
  for (const element of document.querySelectorAll("[data-group]"))
    element.classList.toggle("on", element.dataset.group === chosen);
}});
</script></body></html>
"""
