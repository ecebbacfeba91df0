"""`read_study`: a study in, a result out. The one way for command line, page, node and evaluation."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cruor.bundle.manifest import Rules, SliceCalibration
from cruor.bundle.model import Bundle
from cruor.dicom.choice import MIN_BRAIN_MM, MIN_BRAIN_SLICES, THICKNESS_MM, choose_series
from cruor.dicom.contrast import contrast_doubt
from cruor.dicom.head import Inside, has_brain, has_skull, inside_skull, looks_like_phantom
from cruor.dicom.instances import Frame, Series, Study, UnreadableError
from cruor.dicom.pixels import is_blank, read_hu
from cruor.preprocessing.channels import InputSettings, crop_head, to_channels
from cruor.preprocessing.crop import Box
from cruor.reader.along_scan import logits_along_scan
from cruor.reader.results import NO_MAPS, UNPLACED, UNSURE_NOTE, Decision, SliceResult, Status, StudyResult
from cruor.reader.rules import PROBABILITY, explain, is_suspected
from cruor.reader.study_head import study_probability
from cruor.reader.unlike import what_is_unlike
from cruor.reader.volume import BLOOD, BloodVolume, blood_area_mm2, estimate, volume_ml

BATCH = 8
"""Slices a forward pass: enough to keep the cores busy, few enough to keep memory flat."""

WORKERS = 2
"""Threads that decode and crop while the network runs; the codecs and onnxruntime release the GIL."""

MOST_UNREADABLE = 0.1
"""With a larger share of unreadable slices the study is FAILED: what was not seen may hold the blood."""

SHOWN_AT_LEAST = 3
"""Slices shown of a suspected study in which no slice alone is above the slice threshold."""

OnSlice = Callable[[int, int], None]
"""Called with slices done and slices in all."""

log = logging.getLogger(__name__)


class NoNumberError(Exception):
    """The network gave something that is no number: such a study must not be decided."""


@dataclass(frozen=True, eq=False)
class _Head:
    """One slice ready for the network, with what its skull holds, and whether all its pixels are the same."""

    place: int
    channels: NDArray[np.float32]
    box: Box
    inside: Inside
    blank: bool


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the network said of one slice, before its neighbours are asked."""

    place: int
    position_mm: float
    logits: NDArray[np.float32]
    map: NDArray[np.float32] | None
    box: Box
    inside: Inside
    blank: bool


@dataclass(eq=False)
class _Reading:
    """What the slices of a series gave."""

    seen: list[_Seen] = field(default_factory=list)
    unreadable: list[UnreadableError] = field(default_factory=list)


def read_study(
    study: Study, bundle: Bundle, rule: str | None = None, on_slice: OnSlice = lambda done, total: None
) -> StudyResult:
    """Read one study: choose the series, read every slice, decide.

    Args:
        study: from `dicom.series.group_studies`.
        bundle: an open bundle.
        rule: one of `bundle.manifest.RULES`; the bundle's default where None.
        on_slice: told of progress.

    Returns:
        DECIDED, or REFUSED or FAILED with a reason. Whatever stands in the study, this never raises: the
        next study must be read.
    """
    start = time.perf_counter()
    unread = StudyResult(
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=None,
        patient_id=study.patient_id,
        status=Status.FAILED,
        reason=None,
        decision=None,
        probability=None,
        rule=None,
        positive_slices=None,
        slice_count=0,
        slices=(),
        suspicious=(),
        map_scale=bundle.manifest.map_scale,
        map_kind=bundle.manifest.map_kind,
        notes=tuple(f"put aside: {aside.name}: {aside.why}" for aside in study.put_aside),
        series_considered=(),
        bundle=bundle.label,
        seconds=0.0,
    )
    try:
        result = _read(study, unread, bundle, rule or bundle.manifest.rules.default, on_slice)
    except NoNumberError:
        result = replace(unread, reason="the network gave no number for a slice; check the bundle")
    except Exception as error:  # one broken study must not take the others with it
        # The class alone: an exception's text may quote what stands in the file.
        log.error("study not read: %s", type(error).__name__, exc_info=log.isEnabledFor(logging.DEBUG))
        reason = f"reading stopped on an internal error ({type(error).__name__}); report it"
        result = replace(unread, reason=reason)
    return replace(result, seconds=time.perf_counter() - start)


def _read(study: Study, unread: StudyResult, bundle: Bundle, rule: str, on_slice: OnSlice) -> StudyResult:
    if study.patients > 1:
        reason = f"files of {study.patients} patients share one StudyInstanceUID; send each one's alone"
        return replace(unread, patient_id="", status=Status.REFUSED, reason=reason)
    choice = choose_series(study)
    unread = replace(unread, series_considered=choice.considered)
    if choice.series is None:
        status = Status.FAILED if choice.unreadable else Status.REFUSED
        return replace(unread, status=status, reason=choice.reason)
    series = choice.series
    reading = _read_slices(series, bundle, on_slice)
    missing = len(reading.unreadable) + _damaged_of(series, study)
    thin = _why_thin(series)
    unread = replace(
        unread,
        series_instance_uid=series.series_instance_uid,
        slice_count=len(reading.seen),
        unread=missing,
        notes=(
            *series.notes,
            *([thin] if thin else []),
            *unread.notes,
            *(f"slice not read: {error}" for error in reading.unreadable),
        ),
    )
    # A damaged file leaves a gap among the levels, too: the two counts are of the same slices.
    lost = max(missing, series.missing_levels)
    expected = len(reading.seen) + lost
    if lost > MOST_UNREADABLE * expected:
        reason = f"{lost} of {expected} slices are missing or cannot be read; send the series again"
        return replace(unread, status=Status.FAILED, reason=reason)
    phantom = looks_like_phantom([one.inside for one in reading.seen])
    too_little = _too_little_brain(series, reading, phantom)
    if too_little:
        return replace(unread, status=Status.REFUSED, reason=too_little)
    cautions = _cautions(series, reading, phantom, bundle)
    if missing:
        cautions.insert(0, f"{missing} of {expected} slices could not be read: what they show is not known")
    unread = replace(unread, cautions=tuple(cautions))
    slices = _with_neighbours(reading.seen, series, bundle)
    volume = _blood_volume(series, slices, bundle)
    if volume is None and (why := _why_no_volume(series, bundle)):
        unread = replace(unread, notes=(*unread.notes, why))
    judged = _probabilities(reading.seen, series, bundle, bundle.manifest.calibration.for_study)[:, 0]
    return _decide(replace(unread, blood_volume=volume), slices, judged, bundle, rule)


def _decide(
    unread: StudyResult, slices: list[SliceResult], judged: NDArray[np.float64], bundle: Bundle, rule: str
) -> StudyResult:
    """Decide by the slices, and by what the study probability is made of, (slices,) (`for_study`)."""
    rules = bundle.manifest.rules
    probabilities = np.array([one.probability for one in slices])
    probability = study_probability(judged, bundle.manifest.study_head)
    positive = int((probabilities > rules.slice_threshold).sum())
    if not math.isfinite(probability):
        raise NoNumberError
    suspected = is_suspected(rule, rules, probability, positive, len(slices))
    notes = [explain(rule, rules, probability, positive, len(slices))]
    if not bundle.has_maps:
        notes.append(NO_MAPS)
    if suspected != is_suspected(PROBABILITY, rules, probability, positive, len(slices)):
        notes.append(
            f"another rule disagrees: {explain(PROBABILITY, rules, probability, positive, len(slices))}"
        )
    missed = "" if suspected else _points_reached(rules, probability)
    if missed:
        notes.append(f"{UNSURE_NOTE} {probability:.3f} reaches {missed}; look yourself")
    unsure = not suspected and bool(missed or unread.cautions)
    if (suspected or unsure) and (hottest := _hottest_without_blood(slices, bundle)) is not None:
        what = "what is suspected could not be placed" if suspected else "the maps point nowhere"
        notes.append(f"{UNPLACED} (the hottest is {hottest:.2f}): {what}; look at the slices named")
    return replace(
        unread,
        status=Status.DECIDED,
        decision=Decision.SUSPECTED if suspected else Decision.NOT_SUSPECTED,
        unsure=unsure,
        probability=probability,
        rule=rule,
        positive_slices=positive,
        notes=(*notes, *unread.notes),
        slices=tuple(slices),
        suspicious=_suspicious(slices, judged, rules, suspected or unsure),
    )


def _why_thin(series: Series) -> str | None:
    if series.thickness_mm is None or series.thickness_mm >= THICKNESS_MM[0]:
        return None
    thickness, least = series.thickness_mm, THICKNESS_MM[0]
    return f"slices of {thickness:.2g} mm: what ships with cruor was measured on {least} mm and more"


def _cautions(series: Series, reading: _Reading, phantom: str | None, bundle: Bundle) -> list[str]:
    """Why the answer may not hold, whatever it is."""
    cautions = []
    if doubt := contrast_doubt(series):
        cautions.append(f"perhaps not plain CT: {doubt}")
    if phantom:
        # A swollen brain can be as even as a phantom: a refusal could hide a patient, silence would be wrong.
        cautions.append(f"a phantom, or a brain unlike those learned from: {phantom}")
    elif unlike := what_is_unlike([one.inside for one in reading.seen], bundle.manifest.usual):
        cautions.append(
            f"unlike the studies that the network learned from, be careful with its answer: {unlike}"
        )
    if open_skulls := _without_skull(reading.seen):
        slices = "slice shows" if open_skulls == 1 else "slices show"
        cautions.append(
            f"{open_skulls} {slices} no closed skull between others with brain: operated, or a part of the "
            "picture is missing"
        )
    return cautions


def _without_skull(seen: list[_Seen]) -> int:
    """How many slices show no skull, or too little of one, between the lowest and the highest with brain."""
    brain = [at for at, one in enumerate(seen) if has_brain(one.inside)]
    return sum(not has_skull(one.inside) for one in seen[brain[0] : brain[-1]]) if brain else 0


def _points_reached(rules: Rules, probability: float) -> str:
    """The bundle's other operating points at which the study would be suspected, with their thresholds."""
    reached = [one for one in rules.other_points if probability >= one.threshold]
    return " and ".join(f"{one.name} ({one.threshold:.3f})" for one in reached)


def _hottest_without_blood(slices: list[SliceResult], bundle: Bundle) -> float | None:
    """The hottest cell of the study's maps of blood where none is blood; None where one is, or no map is."""
    maps = [one.map for one in slices if one.map is not None]
    if bundle.manifest.map_kind != "blood" or not maps:
        return None
    hottest = max(float(one.max()) for one in maps)
    return hottest if hottest < BLOOD else None


def _blood_volume(series: Series, slices: list[SliceResult], bundle: Bundle) -> BloodVolume | None:
    """What the maps of a whole series amount to; None where that cannot be told."""
    fit = bundle.manifest.volume
    if fit is None or series.spacing_mm is None:
        return None
    areas = []
    for one in slices:
        spacing = one.frame.pixel_spacing
        if spacing is None or one.map is None:
            return None
        areas.append(blood_area_mm2(one.map, one.box.size, spacing))
    raw_ml = volume_ml(np.array(areas), np.array([one.position_mm for one in slices]))
    return estimate(raw_ml, fit) if raw_ml > 0 else None  # a range of nothing to nothing was never measured


def _why_no_volume(series: Series, bundle: Bundle) -> str | None:
    if bundle.manifest.volume is None:
        return None
    if series.spacing_mm is None:
        return "no volume of blood is told: how far slices lie apart is not known"
    if any(frame.pixel_spacing is None for frame in series.frames):
        return "no volume of blood is told: the size of a pixel is not known"
    return None


def _damaged_of(series: Series, study: Study) -> int:
    """Damaged files that belong to the series, or may: those that cannot tell their series count."""
    mine = (None, series.series_instance_uid)
    return sum(aside.damaged and aside.series_instance_uid in mine for aside in study.put_aside)


def _too_little_brain(series: Series, reading: _Reading, phantom: str | None) -> str | None:
    """Why the slices are no whole head, None where they are."""
    with_brain = [one.position_mm for one in reading.seen if has_brain(one.inside)]
    if len(with_brain) < MIN_BRAIN_SLICES:
        what = f"looks like a phantom: {phantom}" if phantom else "is this a whole head CT?"
        seen = f"brain is seen on {len(with_brain)} of {len(reading.seen)} slices"
        return f"{seen}, at least {MIN_BRAIN_SLICES} are needed; {what}"
    if series.spacing_mm is None:
        return None
    extent = max(with_brain) - min(with_brain) + series.spacing_mm
    if extent < MIN_BRAIN_MM:
        return f"brain is seen over {extent:.0f} mm, at least {MIN_BRAIN_MM:.0f} needed; send the whole head"
    return None


def _suspicious(
    slices: list[SliceResult], judged: NDArray[np.float64], rules: Rules, some_always: bool
) -> tuple[int, ...]:
    """Numbers of the slices to look at first: every positive one, and where asked some always.

    The slice that the study probability was made of is among the first SHOWN_AT_LEAST of those: without its
    neighbours' maps it may stand higher than it is shown.
    """
    ranked = sorted(slices, key=lambda one: -one.probability)
    positive = [one.number for one in ranked if one.probability > rules.slice_threshold]
    if not some_always:
        return tuple(positive)
    first = positive or [one.number for one in ranked[:SHOWN_AT_LEAST]]
    worst = slices[int(judged.argmax())].number
    if worst in first[:SHOWN_AT_LEAST]:
        return tuple(first)
    others = [number for number in first if number != worst]
    return (*others[: SHOWN_AT_LEAST - 1], worst, *others[SHOWN_AT_LEAST - 1 :])


def _read_slices(series: Series, bundle: Bundle, on_slice: OnSlice) -> _Reading:
    reading = _Reading()
    waiting: list[_Head] = []
    for done, head in enumerate(_heads(series.frames, bundle.manifest.input), start=1):
        if isinstance(head, UnreadableError):
            reading.unreadable.append(head)
        else:
            waiting.append(head)
        if len(waiting) == BATCH:
            _run_batch(waiting, series, bundle, reading)
            waiting = []
        on_slice(done, len(series.frames))
    if waiting:
        _run_batch(waiting, series, bundle, reading)
    return _put_blanks_aside(reading, series)


def _put_blanks_aside(reading: _Reading, series: Series) -> _Reading:
    """Count blank slices in a head as not read: pixels that were lost on the way come as zeros.

    Those beyond the head, with a slice that shows no brain between, are air.
    """
    seen = reading.seen
    brain = [at for at, one in enumerate(seen) if has_brain(one.inside)]
    if not brain:
        return reading
    lowest, highest = brain[0], brain[-1]
    while lowest > 0 and seen[lowest - 1].blank:
        lowest -= 1
    while highest + 1 < len(seen) and seen[highest + 1].blank:
        highest += 1
    lost = [at for at in range(lowest, highest + 1) if seen[at].blank]
    why = "blank, though there is brain beside it; send it again"
    blanks = [UnreadableError(series.frames[seen[at].place].name, why) for at in lost]
    return _Reading([one for at, one in enumerate(seen) if at not in lost], [*reading.unreadable, *blanks])


def _run_batch(heads: list[_Head], series: Series, bundle: Bundle, reading: _Reading) -> None:
    logits, maps = bundle.run(np.stack([head.channels for head in heads]))
    if not (np.isfinite(logits).all() and (maps is None or np.isfinite(maps).all())):
        raise NoNumberError
    each_map = [None] * len(heads) if maps is None else np.maximum(maps, 0)
    for head, said, slice_map in zip(heads, logits, each_map, strict=True):
        position = series.positions_mm[head.place]
        reading.seen.append(_Seen(head.place, position, said, slice_map, head.box, head.inside, head.blank))


def _with_neighbours(seen: list[_Seen], series: Series, bundle: Bundle) -> list[SliceResult]:
    """Probabilities of each slice, its neighbours asked where the distance to them is known."""
    calibrated = _probabilities(seen, series, bundle, bundle.manifest.calibration)
    findings = bundle.manifest.outputs[1:]
    return [
        SliceResult(
            number=number,
            sop_instance_uid=series.frames[one.place].instance.sop_instance_uid,
            position_mm=one.position_mm,
            probability=float(probabilities[0]),
            findings=dict(zip(findings, map(float, probabilities[1:]), strict=True)),
            map=one.map,
            box=one.box,
            frame=series.frames[one.place],
        )
        for number, (one, probabilities) in enumerate(zip(seen, calibrated, strict=True), start=1)
    ]


def _probabilities(
    seen: list[_Seen], series: Series, bundle: Bundle, calibration: SliceCalibration
) -> NDArray[np.float64]:
    """Calibrated probabilities, (slices, outputs), neighbours asked as the calibration says."""
    logits = np.stack([one.logits for one in seen]).astype(np.float64)
    if series.spacing_mm is not None:
        positions = np.array([one.position_mm for one in seen])
        maps = np.stack([one.map for one in seen if one.map is not None]) if bundle.has_maps else None
        logits = logits_along_scan(logits, maps, positions, calibration)
    calibrated = bundle.slice_probabilities(logits)
    if not np.isfinite(calibrated).all():
        raise NoNumberError
    return calibrated


def _heads(frames: tuple[Frame, ...], settings: InputSettings) -> Iterator[_Head | UnreadableError]:
    """Decode and crop in threads, in order; never more than two batches wait."""
    waiting: deque[Future[_Head | UnreadableError]] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        for place, frame in enumerate(frames):
            waiting.append(pool.submit(_head, place, frame, settings))
            if len(waiting) >= 2 * BATCH:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _head(place: int, frame: Frame, settings: InputSettings) -> _Head | UnreadableError:
    try:
        hu = read_hu(frame)
    except UnreadableError as error:
        return error
    head_hu, box = crop_head(hu, settings)
    inside = inside_skull(hu, frame.pixel_spacing)
    return _Head(place, to_channels(head_hu, settings), box, inside, is_blank(hu))
