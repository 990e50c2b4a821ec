"""Drawings without dependencies: SVG text that notebooks show by themselves."""

from __future__ import annotations

import dataclasses
import os
import re
from xml.sax.saxutils import escape

# Okabe & Ito (2008), safe for the colour-blind, without black; then the same lighter and darker. With more things the
# colours repeat: names in them and tooltips tell them apart.
_HUES = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0), (240, 228, 66))
_SHADES = (0.0, 0.5, -0.35)  # share of white, or of black where negative


@dataclasses.dataclass(frozen=True)
class Picture:
    """A drawing as SVG text, or a page around it; notebooks show it by themselves."""

    svg: str = dataclasses.field(repr=False)  # a notebook stores the repr beside the picture
    page: str = dataclasses.field(repr=False, default="")

    def _repr_html_(self) -> str:
        return f'<div style="max-width:100%;overflow-x:auto">{self.svg}</div>'

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the page where there is one, else the SVG; `FileExistsError` where the file is in the way."""
        try:
            with open(path, "w" if overwrite else "x", encoding="utf-8", newline="\n") as file:
                file.write(self.page or self.svg)
        except FileExistsError:
            raise FileExistsError(f"{os.fspath(path)} exists; pass overwrite=True to replace it") from None


def xml(text: str) -> str:
    """`text` as XML character data; characters that XML forbids become spaces."""
    return escape(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", text))


def colour_of(index: int) -> tuple[str, str]:
    """The colour of a thing by its number and the colour of the text on it that contrasts most."""
    share = _SHADES[index // len(_HUES) % len(_SHADES)]
    target = 255 if share > 0 else 0
    rgb = [round(channel + (target - channel) * abs(share)) for channel in _HUES[index % len(_HUES)]]
    linear = [(c / 255) ** 2.2 for c in rgb]  # WCAG 2 relative luminance, with the plain gamma
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#{:02x}{:02x}{:02x}".format(*rgb), "#000" if luminance > 0.18 else "#fff"


def round_ticks(span: int) -> range:
    """About ten round numbers from 0 to `span`: steps of 1, 2 or 5 times a power of ten."""
    step = 1
    while span / step > 12:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return range(0, span + 1, step)
