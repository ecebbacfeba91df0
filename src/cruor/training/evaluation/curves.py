"""Pictures of an evaluation, and the points they are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from sklearn.metrics import precision_recall_curve, roc_curve

from cruor.training.evaluation.figures import Cases
from cruor.training.evaluation.metrics import Estimate
from cruor.training.evaluation.tables import RESEARCH_ONLY, Table, cell_text

INK, FAINT = "#1d2733", "#8a94a3"
COLOURS = ("#b3372b", "#2f6ea5", "#c9862b", "#6b4e9b")
STYLE = {
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True, eq=False)
class Line:
    """One curve to draw: its cases, how it is called, and its area with the interval."""

    name: str
    cases: Cases
    area: Estimate

    @property
    def drawable(self) -> bool:
        """Whether both classes are there."""
        return bool(0 < self.cases.labels.sum() < len(self.cases.labels))

    @property
    def label(self) -> str:
        """For the legend."""
        return f"{self.name}: {cell_text(self.area, percent=False)}"


def roc_points(cases: Cases) -> pd.DataFrame:
    """False positive rate and sensitivity at each threshold, from none called to all."""
    false_positive, sensitivity, threshold = roc_curve(cases.labels, cases.scores)
    return pd.DataFrame(
        {"threshold": threshold, "false_positive_rate": false_positive, "sensitivity": sensitivity}
    ).replace(np.inf, np.nan)


def precision_points(cases: Cases) -> pd.DataFrame:
    """Precision and recall at each threshold, lowest first; the last point calls none."""
    precision, recall, threshold = precision_recall_curve(cases.labels, cases.scores)
    return pd.DataFrame({"threshold": np.append(threshold, np.nan), "recall": recall, "precision": precision})


def draw_roc(lines: list[Line], file: Path) -> None:
    """ROC curves on one square."""
    figure, axes = _square("1 - specificity", "sensitivity")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=(0, (4, 4)))
    for line, colour in zip(lines, COLOURS, strict=False):
        points = roc_points(line.cases)
        axes.plot(
            points["false_positive_rate"],
            points["sensitivity"],
            color=colour,
            label=line.label,
            linewidth=1.6,
        )
    axes.legend(
        frameon=False, loc="lower right", title="ROC-AUC (95 %, bootstrap over patients)", title_fontsize=8.5
    )
    _save(figure, file)


def draw_precision(lines: list[Line], file: Path) -> None:
    """Precision-recall curves; dotted: what calling everything would give."""
    figure, axes = _square("recall (sensitivity)", "precision (PPV)")
    for line, colour in zip(lines, COLOURS, strict=False):
        points = precision_points(line.cases)
        axes.step(
            points["recall"], points["precision"], color=colour, label=line.label, linewidth=1.6, where="post"
        )
        axes.axhline(line.cases.labels.mean(), color=colour, linewidth=0.8, linestyle=":")
    axes.legend(frameon=False, loc="lower left", title="average precision (95 %)", title_fontsize=8.5)
    _save(figure, file)


def draw_reliability(rows: list[dict[str, Any]], file: Path) -> None:
    """Share with hemorrhage over probability; bars are exact 95 % intervals, cases taken as independent."""
    figure, axes = _square("probability", "share with hemorrhage")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=(0, (4, 4)))
    for row, colour in zip(rows, COLOURS, strict=False):
        curve = row["curve"]
        place = [point["probability"] for point in curve]
        shares = [point["share"] for point in curve]
        reach = [
            [share.value - share.low for share in shares],
            [share.high - share.value for share in shares],
        ]
        name = f"{row['what']}, classes alike" if row["classes_alike"] else row["what"]
        axes.errorbar(
            place,
            [share.value for share in shares],
            yerr=np.maximum(reach, 0),
            color=colour,
            marker="o",
            markersize=4,
            linewidth=1.3,
            elinewidth=0.8,
            label=name,
        )
    axes.legend(
        frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=len(rows), columnspacing=1
    )
    _save(figure, file)


def draw_table(table: Table, file: Path) -> None:
    """The table as a picture, for slides."""
    rows = list(table.texts())
    widths = [max(len(row[i]) for row in [list(table.head), *rows]) + 2 for i in range(len(table.head))]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(sum(widths) * 0.08, 0.3 * (len(rows) + 1)))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        drawn = axes.table(
            rows,
            colLabels=list(table.head),
            colWidths=[width / sum(widths) for width in widths],
            cellLoc="left",
            colLoc="left",
            bbox=Bbox.unit(),
            edges="horizontal",
        )
        drawn.auto_set_font_size(False)
        drawn.set_fontsize(9)
        for cell in drawn.get_celld().values():
            cell.set_edgecolor("#d9dee5")
        axes.set_title(table.title, fontsize=9.5, loc="left", fontweight="bold")
        figure.text(0, -0.02, RESEARCH_ONLY, fontsize=7, color=FAINT, va="top")
        figure.savefig(file, dpi=160, bbox_inches="tight", facecolor="white")


def _square(across: str, up: str) -> tuple[Figure, Axes]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 4.8))
        axes = figure.add_subplot()
        axes.set(xlabel=across, ylabel=up, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.grid(color="#edf0f3", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_title(RESEARCH_ONLY, fontsize=7, color=FAINT)
    return figure, axes


def _save(figure: Figure, file: Path) -> None:
    figure.savefig(file, dpi=160, bbox_inches="tight", facecolor="white")
