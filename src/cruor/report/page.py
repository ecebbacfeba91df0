"""The page over all studies of a run: one file that asks nothing of the network, and works without script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cruor.dicom.instances import PutAside
from cruor.reader.results import FINDINGS, UNPLACED, UNSURE_NOTE
from cruor.report import text
from cruor.report.cards import StudyCard
from cruor.report.colours import bar_colour
from cruor.report.files import RESULT_NAME, SLICES_NAME, write_atomically

PAGE_NAME = "index.html"

PAPER_SLICE_THRESHOLD = 0.8
"""Probability above which the paper calls a slice positive; drawn as a line, decides nothing here."""

_TOP_SLICES = 5
_CALM_BELOW = 0.5
"""Probabilities below have words that calm."""
_OPEN_STUDIES = 3
_STRIP_HEIGHT = 100.0
_STRIP_STEP = 10.0


@dataclass(frozen=True)
class _Bar:
    """One slice in a strip; x, y, width, height in the units of the strip's view box."""

    number: int
    x: float
    y: float
    width: float
    height: float
    colour: str
    title: str
    link: str | None


def write_page(
    cards: Sequence[StudyCard],
    put_aside: Sequence[PutAside],
    out: Path,
    slice_threshold: float = PAPER_SLICE_THRESHOLD,
    terms: str = "",
) -> Path:
    """Write index.html over all studies of a run into `out`; return its path."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / PAGE_NAME
    page = render_page(cards, put_aside, slice_threshold, terms)
    write_atomically(path, page.encode("utf-8", "replace"))
    return path


def render_page(
    cards: Sequence[StudyCard],
    put_aside: Sequence[PutAside] = (),
    slice_threshold: float = PAPER_SLICE_THRESHOLD,
    terms: str = "",
) -> str:
    """Return the page as HTML. Links lead to the studies' folders beside it; everything else is inside."""
    css = resources.files("cruor.report").joinpath("templates/page.css").read_text("utf-8").strip()
    ordered = text.most_suspected_first(cards)
    states = [card.state for card in ordered]
    return (
        _environment()
        .get_template("index.html.j2")
        .render(
            css=Markup(f"<style>{css}</style>"),
            csp=_content_security_policy(css),
            studies=[
                _study_view(card, rank, len(ordered), slice_threshold) for rank, card in enumerate(ordered)
            ],
            counts={state: states.count(state) for state in text.STATE_WORDS},
            put_aside=put_aside,
            bundles=sorted({card.record["bundle"] for card in ordered}),
            threshold=slice_threshold,
            terms=terms,
            words=text,
            finding_names=FINDINGS,
            result_name=RESULT_NAME,
            slices_name=SLICES_NAME,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cruor.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters["colour"] = bar_colour
    return environment


def _printable(value: Any) -> Any:
    return text.printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _content_security_policy(css: str) -> str:
    """Nothing may be loaded or run; the one style sheet is named by its digest."""
    digest = base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _study_view(card: StudyCard, rank: int, count: int, threshold: float) -> dict[str, Any]:
    """What the template needs of one study."""
    slices = sorted(card.record["slices"], key=lambda one: -(one["probability"] or 0.0))
    return {
        "anchor": f"study-{rank + 1}",
        "card": card,
        "record": card.record,
        "state": card.state,
        "reason": _sentence(card.record["reason"] or "no reason was given"),
        "state_word": text.STATE_WORDS[card.state],
        "open": count <= _OPEN_STUDIES,
        "band": _band(card),
        "cautions": [_sentence(caution) for caution in card.record["cautions"]],
        "is_torn": bool(_begun_with(UNSURE_NOTE, card)),
        "unplaced": next(map(_sentence, _begun_with(UNPLACED, card)), None),
        "bars": _bars(card, f"study-{rank + 1}", threshold),
        "strip_width": max(len(slices), 1) * _STRIP_STEP,
        "threshold_y": _STRIP_HEIGHT * (1.0 - threshold),
        "top_slices": slices[:_TOP_SLICES],
        "panels": [(f"study-{rank + 1}-slice-{panel.number}", panel) for panel in card.panels],
    }


def _begun_with(beginning: str, card: StudyCard) -> list[str]:
    return [note for note in card.record["notes"] if note.startswith(beginning)]


def _sentence(clause: str) -> str:
    """A reason as a sentence; the full stop stands in the template."""
    return f"{clause[:1].upper()}{clause[1:]}".rstrip(".")


def _band(card: StudyCard) -> str | None:
    """The probability as a word, but none that would calm where the study is suspected or not sure."""
    if card.probability is None:
        return None
    is_calming = card.state == text.UNSURE or _calms(card)
    return "look yourself" if is_calming else text.band(card.probability)


def _calms(card: StudyCard) -> bool:
    """Whether the word for the probability would calm, though a bleed is suspected.

    A bundle for a place where bleeds are rare suspects at low probabilities (`cruor calibrate`).
    """
    return card.state == text.SUSPECTED and (card.probability or 0.0) < _CALM_BELOW


def _bars(card: StudyCard, anchor: str, threshold: float) -> list[_Bar]:
    """One bar for each slice, from the feet upwards; those with a panel lead to it."""
    links = {
        panel.number: f"#{anchor}-slice-{panel.number}"
        if panel.data_uri
        else f"{card.folder}/{panel.file_name}"
        for panel in card.panels
    }
    bars = []
    for index, one in enumerate(card.record["slices"]):
        probability = one["probability"] or 0.0
        height = max(_STRIP_HEIGHT * probability, 1.5)
        where = "" if one["position_mm"] is None else f", {one['position_mm']:.1f} mm"
        above = f", above {threshold:g}" if probability > threshold else ""
        bars.append(
            _Bar(
                number=one["number"],
                x=index * _STRIP_STEP,
                y=_STRIP_HEIGHT - height,
                width=_STRIP_STEP * 0.8,
                height=height,
                colour=bar_colour(probability),
                title=f"Slice {one['number']}{where}: probability {probability:.3f}{above}",
                link=links.get(one["number"]),
            )
        )
    return bars
