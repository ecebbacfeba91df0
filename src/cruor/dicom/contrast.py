"""Whether a series was taken with contrast agent, by its elements: bleeding and contrast look alike.

What is said of the series itself decides. What is said of the whole examination does not, since most begin
with a plain series: it leaves a doubt, which a reader must be told.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

from cruor.dicom import tags
from cruor.dicom.instances import Series

_NO_AGENT = (
    "", "-", "0", "0ML", "KEIN", "KEINE", "KEINES", "N", "NIL", "NO", "NON", "NONE", "OHNE", "SANS", "W/O",
)  # fmt: skip
"""What stands in ContrastBolusAgent where none was given, beside what `_said_of` takes for plain."""
_AMOUNTS = ("ContrastBolusVolume", "ContrastBolusTotalDose")
"""Above 0, agent was given (PS3.3 C.7.6.4)."""
_MANNERS = ("ContrastBolusRoute", "ContrastBolusIngredient")
"""Filled only where there was an agent, but by some scanners also beside an agent of "NONE"."""

_WITH = r"(?:W|WITH|MIT|CON|COM|AVEC|MET)"
_WITHOUT = r"(?:W/?O|W/?OUT|WITHOUT|OHNE|SIN|SENZA|SEM|SANS|ZONDER)"
_AND = r"[\s/&+-]*(?:AND|OR|UND|ODER|Y|O|E|ET|OU|EN|PUIS|DANN)?[\s/&+-]*"
_TWO_PHASES = re.compile(
    rf"\b{_WITH}\b{_AND}\b{_WITHOUT}\b|\b{_WITHOUT}\b{_AND}\b{_WITH}\b|\bWWO\b|\bPRE{_AND}POST[- ]?(?:CON|K)"
)
"""A protocol with and without contrast, "W/WO"."""

_AGENT = r"(?:CONTR\w*|KONTR\w*|CON|CM|KM|MDC|PDC|C?IV|INJ\w*|ENH\w*|CE|MEDIO|MEZZO|MEIO|PRODUIT)\b"
_PLAIN = re.compile(
    rf"\b(?:{_WITHOUT}|NON?|O|S/|KEINE?|GEEN|AVANT|VOR|PRE|UTAN|UDEN|BEZ)[\s/-]*"
    rf"{_AGENT}(?:[ -](?:DI |DE )?{_AGENT})*"
    r"|\bWITHOUT\b|\bW/?O\b|\bPLAIN\b|\bNATIVE?\b|\bUNENHANCED\b|\bN[CE]CT\b|\bC-(?!\w)|\bKM-?FREI"
    r"|\bCONTR\w*\W+NO(?:NE)?\b|(?:^| )-CONTR\w*|\bNOCON\w*"
)
_CONTRAST = re.compile(
    r"(?<!LOW )[CK]ONTRAS|CO?NTRST|\bPOST[- ]?(?:CONTR|CON\b|CM|KM|GAD|INJ(?!UR)|ENH|C?IV)"
    r"|\bCE(?:CT)?\b|ENHANCE|\bENH\b|INJECT|\bINJ\b|\bC\+(?! ?[TL](?![A-Z]))|\+ ?CM\b"
    r"|\+ ?C\b(?![-/ ]*(?:[TL]\b|SP))|\bW/C\b(?![- ]*SP)|\bW(?:ITH)?[ /]*(?:IV[ -]?)?(?:CON|CM)\b"
    r"|\bIV[- ]?C(?:ON|M)\b|\b(?:KM|MDC|PDC|CIV)\b|\bAVEC IV\b|\bCT[AVP]\b|ANGIO(?![MP])"
    r"|\bVEI?N(?:OUS|OS|OES|EUX|EUS)|\bARTERI(?:AL|E|OS)|PERFUSION"
    r"|\b(?:OMNIPAQUE|ISOVUE|ULTRAVIST|VISIPAQUE|IOHEX|IOPA|IOMER|IODIX)"
)
"""What English, German, French, Italian, Spanish, Portuguese and Dutch scanners write, without accents.
"+C-SPINE" and "C+T" are necks and chests."""

_OF_EXAMINATION = (
    "ProtocolName",
    "StudyDescription",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
)
_REQUESTED = ("RequestedProcedureDescription", "ScheduledProcedureStepDescription")
_LOOK_ALIKE = "bleeding and contrast look alike"

Said = Literal["nothing", "plain", "contrast", "both"]


def with_contrast(series: Series) -> str | None:
    """Why a series must be taken for one with contrast, as one clause; None where nothing says so."""
    if element := _agent(series):
        return f"with contrast agent ({element}); {_LOOK_ALIKE}"
    if _said_of(series.description) == "contrast":
        return f"with contrast agent by its description; {_LOOK_ALIKE}"
    return None


def contrast_doubt(series: Series) -> str | None:
    """What leaves open whether a series was taken before contrast, as one sentence; None where nothing does.

    Its description speaks of both; or the examination speaks of contrast, and neither description nor
    ContrastBolusAgent says that this series is plain.
    """
    own = _said_of(series.description)
    if own == "both":
        return f"its description speaks of contrast and of none; {_LOOK_ALIKE}"
    if own == "plain" or _says_none(series):
        return None
    named = [element for element, text in _examination(series) if _said_of(text) in ("contrast", "both")]
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
    for element in _AMOUNTS:
        if any(_is_amount(part) for part in _parts(series, element)):
            return element
    told = [element for element in _MANNERS if not all(map(_is_none, _parts(series, element)))]
    return told[0] if told and not _says_none(series) else None


def _says_none(series: Series) -> bool:
    """Whether ContrastBolusAgent is filled, and with the word that there was none."""
    parts = _parts(series, "ContrastBolusAgent")
    return any(parts) and all(map(_is_none, parts))


def _parts(series: Series, element: str) -> list[str]:
    return tags.text(series.header, element).split("\\")


def _is_none(text: str) -> bool:
    return _plainly(text).replace(" ", "") in _NO_AGENT or _said_of(text) == "plain"


def _is_amount(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and float(text) > 0
    except ValueError:
        return False


def _said_of(text: str) -> Said:
    """What a text says of contrast. A protocol of two phases is taken for contrast: one of them had it."""
    plainly = _plainly(text)
    one_phase = _TWO_PHASES.sub(" ", plainly)
    rest = _PLAIN.sub(" ", one_phase)
    speaks_of_none = rest != one_phase
    if _CONTRAST.search(rest):
        return "both" if speaks_of_none else "contrast"
    if one_phase != plainly:
        return "contrast"
    return "plain" if speaks_of_none else "nothing"


def _plainly(text: str) -> str:
    """In capitals, without accents and dots, words apart by one space."""
    folded = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").upper()
    joined = re.sub(r"\b(?:[A-Z]\.){2,}", lambda found: found.group().replace(".", "") + " ", folded)
    return re.sub(r"[_.\s^]+", " ", joined).strip()


def _examination(series: Series) -> Iterator[tuple[str, str]]:
    for element in _OF_EXAMINATION:
        yield element, tags.text(series.header, element)
    for item in tags.items(series.header, "RequestAttributesSequence"):
        for element in _REQUESTED:
            yield element, tags.text(item, element)
