"""Curves of a run: what was logged after each epoch, as a table and as pictures."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("Agg")  # files only: a machine that trains has no screen

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

CURVES_FILE = "curves.csv"

SIDES = {
    "train": "#5b7083",
    "validation_balanced": "#e3a08c",
    "validation": "#c8553d",
    "test": "#3b7a57",
}
"""Sides of the split as they are drawn, with their colours; a name that begins as another stands first."""


def write_curves(metrics_csv: Path, folder: Path) -> None:
    """Write `curves.csv` and a picture for each quantity: `loss.png`, `accuracy.png`, ...

    Args:
        metrics_csv: a table with `epoch` (from 0) and columns named `<side>_<quantity>`, as
            `train_loss` or `validation_accuracy`; a side or a quantity may be missing, and an epoch may
            take several rows that each know a part. Rows without an epoch are left out.
        folder: where the files go; it must be there.

    Raises:
        ValueError: the table has no column `epoch`.
    """
    logged = pd.read_csv(metrics_csv)
    if "epoch" not in logged:
        raise ValueError(f"{metrics_csv}: no column 'epoch'; a table of metrics has one row an epoch")
    # `last` takes the last value that is known: a restart may have logged an epoch twice.
    epochs = logged.dropna(subset=["epoch"]).astype({"epoch": int}).groupby("epoch", as_index=False).last()
    known = epochs.dropna(axis="columns", how="all")  # of no epoch at all: nothing
    unfinished = folder / (CURVES_FILE + ".part")
    (known if len(epochs) else epochs).to_csv(unfinished, index=False)
    unfinished.replace(folder / CURVES_FILE)
    for quantity, sides in _quantities(list(known.columns)).items():
        _draw(known, quantity, sides, folder / f"{quantity}.png")


def _quantities(columns: list[str]) -> dict[str, list[str]]:
    """Quantity -> the sides it is known of: `train_loss`, `validation_loss` -> loss: train, validation."""
    quantities: dict[str, list[str]] = {}
    for column in columns:
        side = next((side for side in SIDES if column.startswith(f"{side}_")), None)
        if side is not None:
            quantities.setdefault(column.removeprefix(f"{side}_"), []).append(side)
    return {what: sorted(sides, key=list(SIDES).index) for what, sides in quantities.items()}


def _draw(epochs: pd.DataFrame, quantity: str, sides: list[str], file: Path) -> None:
    name = quantity.replace("_", " ")
    figure = Figure(figsize=(6.4, 4.0), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    for side in sides:
        known = epochs[["epoch", f"{side}_{quantity}"]].dropna()
        numbers, label = known["epoch"] + 1, side.replace("_", ", ")  # people count epochs from 1
        axes.plot(numbers, known[f"{side}_{quantity}"], marker="o", ms=4, color=SIDES[side], label=label)
    axes.set(xlabel="epoch", ylabel=name, title=f"{name} after each epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(file)
