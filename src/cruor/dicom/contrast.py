"""Whether a series was taken with contrast agent, by its elements: bleeding and contrast look alike.

What is said of the series itself decides. What is said of the whole examination does not, since most begin
with a plain series: it leaves a doubt, which a reader must be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cruor.dicom import tags
from cruor.dicom.instances import Series

_NO_AGENT = ("NO", "NONE", "NIL", "N", "0", "PLAIN", "WITHOUT", "NO CONTRAST", "NON CONTRAST")
_GIVEN = ("ContrastBolusVolume", "ContrastBolusTotalDose")
"""Amounts (PS3.3 C.7.6.4): above 0, agent was given."""
_TOLD = ("ContrastBolusRoute", "ContrastBolusIngredient")
"""Filled only where there was an agent, but by some scanners also beside an agent of "NONE"."""

_PLAIN = re.compile(
    r"WITHOUT|W/?O\b|\bNON?[- ]?(CON|ENH|CE\b|IV)|PLAIN|NATIVE|NATIV\b|UNENHANCED|\bN[CE]CT|\bC-(?!\w)"
    r"|\bPRE[- ]?(CON|CM|KM|INJ|IV)|\bVOR KM\b"
    r"|\b(OHNE|SANS|AVANT|SIN|SENZA|SEM|ZONDER|UTAN|UDEN|BEZ) (\w+ )?([CK]ON|KM|MDC|PDC|C?IV\b|INJ|MEDIO)",
    re.I,
)
_BOTH = re.compile(
    r"\bW(ITH)?\s*(/|&|\+|AND)\s*W(/?O|ITHOUT)\b|\bW(/?O|ITHOUT)\s*(/|&|\+|AND)\s*W(ITH)?\b", re.I
)
"""A protocol of two phases, "W/WO CONTRAST": says nothing of the one series."""
_CONTRAST = re.compile(
    r"[CK]ONTRAS|CO?NTRST|\bPOST[- ]?(CON|CM|KM|GAD|INJ|ENH|IV)|\bCE\b|\bCECT\b|ENHANCED|INJECT|BOLUS"
    r"|\bC\+(?! ?[TL])|\+ ?C\b(?![- ]*SP)|\bW(ITH)?[ ./]*(IV[ -]?)?(CON|CM)\b|\bIV[- ]?C(ON|M)\b|\b(KM|MDC)\b"
    r"|\bCT[AVP]\b|ANGIO|VENOUS|VENÖS|ARTERI[AE]L|PERFUSION",
    re.I,
)
"""English, and what German, French, Italian, Spanish and Portuguese scanners write. "+C-SPINE" is a neck."""

_OF_EXAMINATION = (
    "ProtocolName",
    "StudyDescription",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
)
_REQUESTED = ("RequestedProcedureDescription", "ScheduledProcedureStepDescription")
_LOOK_ALIKE = "bleeding and contrast look alike"


def with_contrast(series: Series) -> str | None:
    """Why a series must be taken for one with contrast, as one clause; None where nothing says so."""
    if element := _agent(series):
        return f"with contrast agent ({element}); {_LOOK_ALIKE}"
    if _names_contrast(series.description):
        return f"with contrast agent by its description; {_LOOK_ALIKE}"
    return None


def contrast_doubt(series: Series) -> str | None:
    """What leaves open whether a series was taken before contrast, as one sentence; None where nothing does.

    The examination speaks of contrast, and neither description nor ContrastBolusAgent says that this series
    is plain.
    """
    if _says_none(series) or _PLAIN.search(_spaced(_BOTH.sub("", series.description))):
        return None
    named = [element for element, text in _examination(series) if _names_contrast(text)]
    if not named:
        return None
    return (
        f"{named[0]} speaks of contrast, and nothing says that this series was taken before it; {_LOOK_ALIKE}"
    )


def _agent(series: Series) -> str | None:
    """The element that tells of contrast agent."""
    header = series.header
    if tags.text(header, "ContrastBolusAgent") and not _says_none(series):
        return "ContrastBolusAgent"
    if tags.items(header, "ContrastBolusAgentSequence"):
        return "ContrastBolusAgentSequence"
    for element in _GIVEN:
        amount = tags.numbers(header, element, 1)
        if amount and amount[0] > 0:
            return element
    told = [element for element in _TOLD if tags.text(header, element).upper() not in ("", *_NO_AGENT)]
    return told[0] if told and not _says_none(series) else None


def _says_none(series: Series) -> bool:
    return tags.text(series.header, "ContrastBolusAgent").upper() in _NO_AGENT


def _names_contrast(text: str) -> bool:
    spaced = _spaced(text)
    one_phase = _BOTH.sub("", spaced)
    named = _BOTH.search(spaced) or _CONTRAST.search(one_phase)
    return bool(named) and not _PLAIN.search(one_phase)


def _spaced(text: str) -> str:
    """Words apart: an underscore would count as a letter."""
    return re.sub(r"[_\s]+", " ", text)


def _examination(series: Series) -> Iterator[tuple[str, str]]:
    for element in _OF_EXAMINATION:
        yield element, tags.text(series.header, element)
    for item in tags.items(series.header, "RequestAttributesSequence"):
        for element in _REQUESTED:
            yield element, tags.text(item, element)
