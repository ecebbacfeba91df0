"""What `--out` holds for each study. Documented in docs/result.md."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import itertools
import os
import re
import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, PngImagePlugin

from cruor.dicom.instances import UnreadableError
from cruor.dicom.pixels import read_hu
from cruor.reader.results import FINDINGS, SliceResult, StudyResult
from cruor.report.cards import CardPanel, StudyCard
from cruor.report.panels import SliceReader, render_panel
from cruor.report.record import SliceRecord, record_json, study_record

RESULT_NAME = "result.json"
SLICES_NAME = "slices.csv"
SLICES_COLUMNS = (
    "number",
    "sop_instance_uid",
    "position_mm",
    "probability",
    *FINDINGS,
    "panel",
)

PAGE_PANELS = 6
"""As many panels of a study go into the page itself; the others are linked. Keeps 200 studies in one file."""

WORKERS = 2
"""Panels drawn at a time."""

_PAGE_PANEL_WIDTH = 1400
_PNG_MARK = ("Software", "cruor")
_PANEL_NAME = re.compile(r"slice-\d{3,}\.png")
_TEMPORARY_PREFIX = ".cruor-"
_PLAIN_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def study_folder_name(study_instance_uid: str) -> str:
    """Name the folder of a study: the UID itself, or what is safe of it with a digest of the whole.

    A valid UID holds no "-", so a made-up name can never be the name of another study.
    """
    if len(study_instance_uid) <= 64 and _PLAIN_UID.fullmatch(study_instance_uid):
        return study_instance_uid
    digest = hashlib.sha256(study_instance_uid.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    safe = re.sub(r"[^A-Za-z0-9]+", "_", study_instance_uid).strip("_")[:40]
    return f"{safe or 'study'}-{digest}"


def write_study(result: StudyResult, out: Path, read_slice: SliceReader = read_hu) -> StudyCard:
    """Write result.json, slices.csv and the panels of a study under `out`; return its card for the page.

    Every file appears whole or not at all, result.json last. Panels that an earlier run left and this one
    did not draw are removed; files of others are left alone. A panel whose pixels cannot be read again is
    named in the card, and the rest is written.
    """
    folder = out / study_folder_name(result.study_instance_uid)
    folder.mkdir(parents=True, exist_ok=True)
    record = study_record(result)
    panels, missing = _write_panels(result, folder, read_slice)
    names = {panel.number: panel.file_name for panel in panels}
    write_atomically(folder / SLICES_NAME, _slices_csv(record["slices"], names).encode("utf-8"))
    write_atomically(folder / RESULT_NAME, record_json(record, indent=2).encode("ascii") + b"\n")
    _remove_stale(folder, keep=set(names.values()))
    return StudyCard(record, tuple(result.suspicious), tuple(panels), folder.name, tuple(missing))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part."""
    temporary = path.with_name(f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_panels(
    result: StudyResult, folder: Path, read_slice: SliceReader
) -> tuple[list[CardPanel], list[str]]:
    """Draw the suspicious slices, most suspicious first; return the panels and what could not be drawn."""

    def draw(place: int, one: SliceResult) -> CardPanel | str:
        try:
            picture = render_panel(result, one, read_slice)
        except UnreadableError as error:
            return f"No panel for slice {one.number}: {error}"
        name = f"slice-{one.number:03d}.png"
        write_atomically(folder / name, _png(picture, one))
        return CardPanel(one.number, name, _page_jpeg(picture) if place < PAGE_PANELS else None)

    # Decoding, resizing and compressing release the GIL.
    with ThreadPoolExecutor(WORKERS) as pool:
        drawn = list(pool.map(draw, itertools.count(), _suspicious_slices(result)))
    panels = [one for one in drawn if isinstance(one, CardPanel)]
    return panels, [one for one in drawn if isinstance(one, str)]


def _suspicious_slices(result: StudyResult) -> Iterable[SliceResult]:
    by_number = {one.number: one for one in result.slices}
    return [by_number[number] for number in dict.fromkeys(result.suspicious) if number in by_number]


def _png(picture: Image.Image, one: SliceResult) -> bytes:
    """The panel as PNG. The mark says that the file is ours to replace; no patient is named in it."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text(*_PNG_MARK)
    texts.add_itxt("SOPInstanceUID", one.sop_instance_uid.encode("utf-8", "replace").decode("utf-8"))
    buffer = io.BytesIO()
    # Level 4 takes two thirds longer and saves a fiftieth of the size.
    picture.save(buffer, "PNG", pnginfo=texts, compress_level=2)
    return buffer.getvalue()


def _page_jpeg(picture: Image.Image) -> str:
    """The panel for the page: a smaller JPEG, as a data URI."""
    height = round(picture.height * _PAGE_PANEL_WIDTH / picture.width)
    small = picture.resize((_PAGE_PANEL_WIDTH, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=84, optimize=True, progressive=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _slices_csv(slices: list[SliceRecord], panels: dict[int, str]) -> str:
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(SLICES_COLUMNS)
    for one in slices:
        findings = [one["findings"].get(name) for name in FINDINGS]
        uid = _no_formula(one["sop_instance_uid"])
        row = [one["number"], uid, one["position_mm"], one["probability"], *findings]
        table.writerow([*row, panels.get(one["number"], "")])
    return buffer.getvalue().encode("utf-8", "replace").decode("utf-8")


def _no_formula(text: str) -> str:
    """Keep a spreadsheet from taking text out of a file for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _remove_stale(folder: Path, keep: set[str]) -> None:
    for path in folder.iterdir():
        if path.name in keep or path.is_symlink() or not path.is_file():
            continue
        if _is_leftover(path.name) or (_PANEL_NAME.fullmatch(path.name) and _has_mark(path)):
            path.unlink()


def _is_leftover(name: str) -> bool:
    return name.startswith(_TEMPORARY_PREFIX) and name.endswith(".tmp")


def _has_mark(path: Path) -> bool:
    key, value = _PNG_MARK
    try:
        with Image.open(path) as picture:
            return bool(picture.info.get(key) == value)
    except (OSError, ValueError, SyntaxError):
        return False
