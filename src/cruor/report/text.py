"""Words that the terminal and the page share, and text from files made safe to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from cruor.reader.results import NO_MAPS

RESEARCH_ONLY = "Research use only - not a medical device."
NO_MAP_SENTENCE = NO_MAPS
MAP_SENTENCE = "The map shows what the network used, not where the bleed is."
BLOOD_MAP_SENTENCE = "The map shows where the network takes pixels for blood. It errs: look at the slice."
NOT_CLEARED = "Not suspected is not cleared: read the study as usual."

SUSPECTED, UNSURE, NOT_SUSPECTED = "suspected", "unsure", "not-suspected"
REFUSED, FAILED = "refused", "failed"
"""The five states a study can be shown in; the two last are both "not analysed", for different reasons."""

STATE_WORDS = {
    SUSPECTED: "Bleed suspected",
    UNSURE: "Not sure",
    NOT_SUSPECTED: "Not suspected",
    REFUSED: "Not analysed",
    FAILED: "Not analysed: failed",
}

# A study that nobody analysed may hold anything, so it stands above those that were analysed without a flag.
_RANK = {SUSPECTED: 0, UNSURE: 1, FAILED: 2, REFUSED: 3, NOT_SUSPECTED: 4}

_BANDS = ((0.95, "very high"), (0.8, "high"), (0.5, "raised"), (0.2, "moderate"), (0.0, "low"))


def map_sentence(map_kind: str) -> str:
    """What must be said beside a map of a kind (`bundle.manifest.Manifest.map_kind`)."""
    return BLOOD_MAP_SENTENCE if map_kind == "blood" else MAP_SENTENCE


def volume_words(ml: float, low_ml: float, high_ml: float) -> str:
    """An estimated volume with its range, as people are told it."""
    return (
        f"about {_rounded(ml)} ml of blood; in four of five studies measured it was {_rounded(low_ml)} to "
        f"{_rounded(high_ml)} for such an estimate"
    )


def _rounded(ml: float) -> str:
    return f"{ml:.1f}" if ml < 10 else f"{ml:.0f}"


class _HasVerdict(Protocol):
    """What a StudyResult and a page's card have in common."""

    @property
    def status(self) -> str: ...
    @property
    def decision(self) -> str | None: ...
    @property
    def unsure(self) -> bool: ...
    @property
    def probability(self) -> float | None: ...
    @property
    def study_instance_uid(self) -> str: ...


_Study = TypeVar("_Study", bound=_HasVerdict)


def state_of(study: _HasVerdict) -> str:
    """Return which of the five states to show; an unknown status or decision is FAILED, never a negative."""
    status, decision = study.status, study.decision
    if status == "DECIDED" and decision == "SUSPECTED":
        return SUSPECTED
    if status == "DECIDED" and decision == "NOT_SUSPECTED":
        return UNSURE if study.unsure else NOT_SUSPECTED
    return REFUSED if status == "REFUSED" else FAILED


def band(probability: float) -> str:
    """Return a probability (0 to 1) as a word; the words describe, they decide nothing."""
    return next((word for low, word in _BANDS if probability >= low), "low")


def most_suspected_first(studies: Sequence[_Study]) -> list[_Study]:
    """Sort for reading: suspected, not sure, not analysed, not suspected; in each the most probable first."""

    def key(study: _Study) -> tuple[int, float, str]:
        rank = _RANK[state_of(study)]
        return rank, -(study.probability or 0.0), study.study_instance_uid

    return sorted(studies, key=key)


def printable(text: str) -> str:
    """Replace what could steer a terminal or turn text round: control, bidirectional, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
