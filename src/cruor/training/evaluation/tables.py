"""The tables of an evaluation, laid out once for page, CSV, LaTeX and picture."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cruor.training.evaluation.counts import RATES, Counts
from cruor.training.evaluation.figures import BALANCED, NATURAL, Area
from cruor.training.evaluation.metrics import Estimate

RESEARCH_ONLY = "Research use only: not a medical device."


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: of its files.
        title: what it shows.
        note: what the intervals are, and what they assume.
        head: names of the columns.
        rows: a cell is text, a whole number, or an Estimate.
        percent: Estimates are shares and shown in percent.
    """

    name: str
    title: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    percent: bool = False

    def texts(self) -> Iterator[list[str]]:
        """The rows as people read them."""
        for row in self.rows:
            yield [cell_text(cell, self.percent) for cell in row]


def cell_text(cell: Any, percent: bool) -> str:
    """One cell as text: `95.5 (93.9 to 96.7)`; `-` where a value is undefined."""
    if isinstance(cell, Estimate):
        return _estimate_text(cell, percent)
    return "-" if cell is None else str(cell)


def _estimate_text(estimate: Estimate, percent: bool) -> str:
    if math.isnan(estimate.value):
        return "-"
    value, low, high = (
        f"{100 * number:.1f}" if percent else f"{number:.3f}"
        for number in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} (-)" if math.isnan(estimate.low) else f"{value} ({low} to {high})"


def reasons(table: Table) -> list[str]:
    """Why cells of a table are undefined, each reason once."""
    said = [cell.reason for row in table.rows for cell in row if isinstance(cell, Estimate) and cell.reason]
    return list(dict.fromkeys(said))


def write_csv(table: Table, folder: Path) -> None:
    """Write the table with value, low and high of each Estimate in columns of their own, unrounded."""
    with (folder / f"{table.name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        estimates = [any(isinstance(row[i], Estimate) for row in table.rows) for i in range(len(table.head))]
        writer.writerow(
            name
            for head, is_estimate in zip(table.head, estimates, strict=True)
            for name in ((head, f"{head} low", f"{head} high") if is_estimate else (head,))
        )
        for row in table.rows:
            writer.writerow(
                value
                for cell, is_estimate in zip(row, estimates, strict=True)
                for value in (_numbers(cell) if is_estimate else (cell,))
            )


def _numbers(cell: Any) -> tuple[Any, Any, Any]:
    if not isinstance(cell, Estimate):
        return cell, "", ""
    value, low, high = (
        "" if math.isnan(number) else f"{number:.6g}" for number in (cell.value, cell.low, cell.high)
    )
    return value, low, high


def write_latex(table: Table, folder: Path) -> None:
    """Write the table for `\\input`, with booktabs' rules; its caption says what the intervals are."""
    lines = [
        r"\begin{table}",
        rf"\caption{{{latex(table.title)}. {latex(table.note)} {latex(RESEARCH_ONLY)}}}",
        rf"\begin{{tabular}}{{{'l' * len(table.head)}}}",
        r"\toprule",
        " & ".join(map(latex, table.head)) + r" \\",
        r"\midrule",
        *(" & ".join(map(latex, row)) + r" \\" for row in table.texts()),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    (folder / f"{table.name}.tex").write_text("\n".join(lines) + "\n", encoding="utf-8")


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
} | {sign: "\\" + sign for sign in "&%$#_{}"}


def latex(text: str) -> str:
    """Escape what LaTeX would take as a command; intervals get an en dash."""
    escaped = "".join(_LATEX.get(sign, sign) for sign in text)
    return re.sub(r"(\d) to (-?\d)", r"\1--\2", escaped)


def all_tables(metrics: dict[str, Any]) -> list[Table]:
    """Every table of `evaluate.measure`; those of which there is nothing are left out."""
    tables = [
        _overall(metrics),
        slice_table(metrics["table1"], NATURAL),
        slice_table(metrics["table1"], BALANCED),
        _table_2(metrics),
        _at_prevalence(metrics),
        _calibration(metrics),
        _subgroups(metrics),
        _confusion(metrics),
    ]
    if "comparison" in metrics:
        tables += [_comparison(metrics["comparison"]), _mcnemar(metrics["comparison"])]
    return [table for table in tables if table.rows]


def _overall(metrics: dict[str, Any]) -> Table:
    rows = []
    for what in ("slice", "study"):
        part = metrics[what]
        found: Area = part["roc_auc"]
        cases = f"{part['cases']} ({part['positive']})"
        rows.append(
            (
                {"slice": "slices", "study": "studies"}[what],
                cases,
                found.bootstrap,
                found.delong,
                part["average_precision"],
            )
        )
    return Table(
        "overall",
        "Slices and studies",
        "95 % intervals. Bootstrap: over patients, so slices of one patient stay together. DeLong takes "
        "all cases as independent: for slices, of which a patient has many, it is too narrow.",
        ("", "cases (with hemorrhage)", "ROC-AUC (bootstrap)", "ROC-AUC (DeLong)", "average precision"),
        tuple(rows),
    )


def slice_table(table_1: list[dict[str, Any]], draw: str) -> Table:
    """The paper's Table 1, as `figures.table_1` measures it, for one draw of the slices."""
    rows = [row for row in table_1 if row["draw"] == draw]
    counts: Counts = rows[0]["counts"]
    cases = f"{counts.positives} slices with and {counts.negatives} without hemorrhage"
    how = (
        f"at natural prevalence: {cases}"
        if draw == NATURAL
        else f"balanced as in the paper, the larger class drawn down by seed: {cases}"
    )
    return Table(
        f"table1_{draw}",
        f"Table 1. Slices, {how}",
        "A slice is called when its probability is above TH. 95 % intervals by bootstrap over patients. "
        "PR: average precision. ROC: ROC-AUC.",
        ("TH", *RATES, "PR", "ROC"),
        tuple((f"{row['threshold']:g}", *(row[name] for name in (*RATES, "PR", "ROC"))) for row in rows),
    )


def _table_2(metrics: dict[str, Any]) -> Table:
    threshold = metrics["settings"]["slice_threshold"]
    return Table(
        "table2",
        "Table 2. Patients, by rule",
        f"paper-n: suspected when at least n % of the slices are above {threshold:g}; probability: the study "
        "probability reaches its operating point. 95 % intervals as in the paper: exact binomial for ACC, "
        "TPR and TNR; logit (Mercaldo 2007) for PPV and NPV, undefined at 0 and 100 %. Studies are taken as "
        "independent.",
        ("rule", *RATES, "N", "with hemorrhage"),
        tuple(
            (row["rule"], *(row[name] for name in RATES), row["N"], row["counts"].positives)
            for row in metrics["table2"]
        ),
        percent=True,
    )


def _at_prevalence(metrics: dict[str, Any]) -> Table:
    rows = metrics["at_prevalence"]
    prevalence = metrics["settings"]["prevalence"]
    return Table(
        "at_prevalence",
        f"PPV and NPV of studies where {100 * prevalence:g} % have hemorrhage",
        "From sensitivity and specificity of Table 2, the prevalence taken as known; logit intervals "
        "(Mercaldo 2007). They hold only where sensitivity and specificity carry over.",
        ("rule", "PPV", "NPV"),
        tuple((row["rule"], row["PPV"], row["NPV"]) for row in rows),
        percent=True,
    )


def _calibration(metrics: dict[str, Any]) -> Table:
    return Table(
        "calibration",
        "Calibration",
        "Brier: mean squared distance from the truth, interval by bootstrap over patients. Slope and "
        "intercept of log odds, perfect at 1 and 0; sandwich intervals with a patient as a cluster. Slice "
        "probabilities are made for as many positives as negatives, so the row with both classes weighing "
        "alike is theirs.",
        ("", "Brier", "slope", "intercept"),
        tuple(
            (
                f"{row['what']}{', classes weighing alike' if row['classes_alike'] else ', as they are'}",
                row["brier"],
                row["slope"],
                row["intercept"],
            )
            for row in metrics["calibration"]
        ),
    )


def _subgroups(metrics: dict[str, Any]) -> Table:
    rule, threshold = metrics["settings"]["subgroup_rule"], metrics["settings"]["slice_threshold"]
    return Table(
        "subgroups",
        "Parts of the data",
        f"Slices called above {threshold:g}, studies by the rule {rule}. A subtype stands against "
        "no hemorrhage at all. 95 % intervals by bootstrap over patients, exact binomial for TPR and TNR of "
        "studies; not corrected for the number of parts looked at.",
        (
            "part",
            "slices (with)",
            "slice ROC-AUC",
            "slice TPR",
            "slice TNR",
            "studies (with)",
            "study ROC-AUC",
            "study TPR",
            "study TNR",
        ),
        tuple(
            (
                f"{row['group']}: {row['part']}",
                _of(row["slices"]),
                row["slice_roc_auc"],
                row["slice_tpr"],
                row["slice_tnr"],
                _of(row["studies"]),
                row["study_roc_auc"],
                row["study_tpr"],
                row["study_tnr"],
            )
            for row in metrics["subgroups"]
        ),
    )


def _of(cases: dict[str, int]) -> str:
    return f"{cases['cases']} ({cases['positive']})"


def _confusion(metrics: dict[str, Any]) -> Table:
    rows = [
        (f"slices, {row['draw']}, above {row['threshold']:g}", *_four(row["counts"]))
        for row in metrics["table1"]
    ]
    rows += [(f"studies, {row['rule']}", *_four(row["counts"])) for row in metrics["table2"]]
    return Table(
        "confusion",
        "Confusion matrices",
        "Counts behind Tables 1 and 2.",
        ("decision", "true positive", "false negative", "false positive", "true negative"),
        tuple(rows),
    )


def _four(counts: Counts) -> tuple[int, int, int, int]:
    return counts.tp, counts.fn, counts.fp, counts.tn


def _comparison(comparison: dict[str, Any]) -> Table:
    return Table(
        "comparison",
        f"{comparison['first']} and {comparison['second']} on the same "
        f"{comparison['slices']} slices of known label and {comparison['studies']} studies",
        "Difference: first minus second. 95 % intervals by bootstrap over patients, both measured on each "
        "draw; DeLong by the paired covariance, all cases taken as independent.",
        ("figure", "first", "second", "difference", "difference (DeLong)", "p (DeLong)"),
        tuple(
            (
                row["figure"],
                row["first"],
                row["second"],
                row["difference"],
                row.get("delong"),
                _p_value(row.get("delong_p_value")),
            )
            for row in comparison["differences"]
        ),
    )


def _mcnemar(comparison: dict[str, Any]) -> Table:
    return Table(
        "mcnemar",
        "Studies that one decides rightly and the other not",
        "Exact McNemar test, two-sided; studies are taken as independent, and the rules are not corrected "
        "for their number.",
        ("rule", "only the first right", "only the second right", "p"),
        tuple(
            (row["rule"], row["only_first_right"], row["only_second_right"], _p_value(row["p_value"]))
            for row in comparison["mcnemar"]
        ),
    )


def _p_value(value: float | None) -> str | None:
    if value is None or math.isnan(value):
        return None
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
