"""The table for the terminal: most suspected first, readable at 80 columns and in a pipe without colour."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cruor.reader.results import StudyResult
from cruor.reader.volume import BloodVolume
from cruor.report.text import (
    FAILED,
    NOT_CLEARED,
    NOT_SUSPECTED,
    REFUSED,
    RESEARCH_ONLY,
    STATE_WORDS,
    SUSPECTED,
    UNSURE,
    most_suspected_first,
    printable,
    state_of,
    volume_words,
)

# No green: a study without a flag is not a study that was cleared.
_STYLES = {
    SUSPECTED: "bold red",
    UNSURE: "bold yellow",
    FAILED: "bold magenta",
    REFUSED: "yellow",
    NOT_SUSPECTED: "",
}
_TERSE_WORDS = STATE_WORDS | {SUSPECTED: "BLEED SUSPECTED", FAILED: "Failed"}
_UID_TAIL = 12
_PATIENT_ID_WIDTH = 12
_FIRST_SLICES = 3


def study_table(results: Sequence[StudyResult]) -> RenderableType:
    """Return the table over all studies, and under it every reason and note. Needs no maps and no slices."""
    ordered = most_suspected_first(results)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("State", no_wrap=True)
    table.add_column("Prob.", justify="right", no_wrap=True)
    table.add_column("Patient", no_wrap=True, overflow="ellipsis")
    table.add_column("Study", no_wrap=True)
    table.add_column("Slices", justify="right", no_wrap=True)
    table.add_column("Look first", no_wrap=True)
    for result in ordered:
        table.add_row(*_row(result))
    remarks = [line for result in ordered for line in _remarks(result)]
    gap = [Text("")] if remarks else []
    return Group(table, *remarks, *gap, Text(RESEARCH_ONLY, style="dim"), Text(NOT_CLEARED, style="dim"))


def _row(result: StudyResult) -> list[Text]:
    state = state_of(result)
    probability = "-" if result.probability is None else f"{result.probability:.2f}"
    slices = "-" if result.positive_slices is None else f"{result.positive_slices}/{result.slice_count}"
    return [
        Text(_TERSE_WORDS[state], style=_STYLES[state]),
        Text(probability),
        Text(_shortened(printable(result.patient_id) or "-", _PATIENT_ID_WIDTH)),
        Text(_uid_tail(result)),
        Text(slices),
        Text(_slice_list(result.suspicious)),
    ]


def _remarks(result: StudyResult) -> list[Text]:
    """Reason, cautions, volume, notes; each led by the patient or the study that it is about."""
    lead = printable(result.patient_id) or _uid_tail(result)
    style = _STYLES[state_of(result)]
    reasons = [(result.reason, style)] if result.reason else []
    cautions = [(caution, _STYLES[UNSURE]) for caution in result.cautions]
    asked = result.blood_volume if state_of(result) != NOT_SUSPECTED else None
    volumes = [] if asked is None else [(f"estimate: {_volume(asked)}", "")]
    lines = [*reasons, *cautions, *volumes, *((note, "") for note in result.notes)]
    return [Text.assemble((f"{lead}: ", "bold"), (printable(line), kind)) for line, kind in lines]


def _volume(volume: BloodVolume) -> str:
    return volume_words(volume.ml, volume.low_ml, volume.high_ml)


def _uid_tail(result: StudyResult) -> str:
    """The end of the UID: studies of one scanner differ there."""
    uid = printable(result.study_instance_uid)
    return uid if len(uid) <= _UID_TAIL else "…" + uid[-_UID_TAIL + 1 :]


def _slice_list(numbers: Sequence[int]) -> str:
    more = len(numbers) - _FIRST_SLICES
    return " ".join(str(number) for number in numbers[:_FIRST_SLICES]) + (f" +{more}" if more > 0 else "")


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
