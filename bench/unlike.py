"""`python -m bench.unlike PREPARED...`: how often a study is called unlike those of the training.

Each complete series is held against the ranges of the others: as it is, which should rarely be called unlike,
and changed as another scanner or kernel would change it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.ndimage import gaussian_filter

from cruor.dicom.head import inside_skull
from cruor.reader.unlike import measure, outside
from cruor.training.usual import FEWEST, complete_series, ranges_of

Slice = NDArray[np.int16]
_CHANCE = np.random.default_rng(1)


def _shifted(by: int) -> Callable[[Slice], Slice]:
    return lambda hu: np.where(hu > -900, hu + by, hu).astype(np.int16)


def _noisy(hu: Slice) -> Slice:
    return hu + _CHANCE.normal(0, 30, hu.shape).astype(np.int16)


def _blurred(hu: Slice) -> Slice:
    smooth: Slice = gaussian_filter(hu, 3.0)
    return smooth


def _stronger(hu: Slice) -> Slice:
    return np.where(hu > -900, np.clip(hu * 1.25, -1024, 3000), hu).astype(np.int16)


CHANGES: dict[str, Callable[[Slice], Slice]] = {
    "as it is": lambda hu: hu,
    "8 HU brighter": _shifted(8),
    "15 HU brighter": _shifted(15),
    "8 HU darker": _shifted(-8),
    "15 HU darker": _shifted(-15),
    "HU a quarter larger": _stronger,
    "noise of 30 HU": _noisy,
    "blurred by 3 pixels": _blurred,
}


def unlike(
    folders: Annotated[list[Path], typer.Argument(metavar="PREPARED...", help="Folders of `cruor prepare`.")],
) -> None:
    """Show the share of complete series that are called unlike the others, as they are and changed."""
    studies: dict[str, list[dict[str, float]]] = {name: [] for name in CHANGES}
    for folder in folders:
        for slices, spacing in track(complete_series(folder), folder.name, total=None):
            for name, change in CHANGES.items():
                studies[name].append(measure([inside_skull(change(hu), spacing) for hu in slices]))
    if len(studies["as it is"]) <= FEWEST:
        raise typer.BadParameter(f"{len(studies['as it is'])} series; more than {FEWEST} have ranges")
    Console().print(_table(studies))


def _table(studies: dict[str, list[dict[str, float]]]) -> Table:
    own = studies["as it is"]
    table = Table("each series against the others", "called unlike", "by")
    for name, changed in studies.items():
        told = [
            [one.name for one in outside(found, ranges_of([*own[:place], *own[place + 1 :]]))]
            for place, found in enumerate(changed)
        ]
        reasons = sorted({measured for one in told for measured in one})
        counted = [f"{measured} {sum(measured in one for one in told)}" for measured in reasons]
        table.add_row(name, f"{sum(map(bool, told))} of {len(told)}", ", ".join(counted))
    return table


if __name__ == "__main__":
    typer.run(unlike)
