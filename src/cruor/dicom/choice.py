"""Which series of a study is read, and why not the others; or why none is.

Tags decide first, pixels where tags are missing or could be wrong. There is no default: a study in which
nothing is an axial, plain head CT with a soft kernel is refused with a reason a person can act on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

from cruor.dicom import head, tags
from cruor.dicom.contrast import contrast_doubt, with_contrast
from cruor.dicom.geometry import AXIAL_WITHIN_DEGREES, SAME_LEVEL_MM
from cruor.dicom.instances import Choice, Frame, Series, SeriesConsidered, Study, UnreadableError
from cruor.dicom.kernels import Kernel, kernel_of
from cruor.dicom.pixels import absurd_because, read_hu

MIN_BRAIN_SLICES = 8
"""Fewer slices with brain are no head CT to answer for: 8 slices of 5 mm are a third of a brain."""

MIN_BRAIN_MM = 40.0
"""The same for thin slices: brain over less than this is a part of a head."""

SAMPLE, SAMPLE_EVERY, SAMPLE_AT_MOST = 9, 12, 24
"""Slices decoded of a candidate, spread over its length; of long series (head and trunk) one in twelve,
so that the head is not missed between two of them."""

COUNT_ALL_UP_TO = 40
"""A candidate of so many slices is looked at in full where its sample leaves MIN_BRAIN_SLICES in doubt."""

THICKNESS_MM = (2.5, 6.0)
"""Slices this thick are preferred: what the network learned from, and less noise than thin ones."""

MAX_REPEATS = 3
"""More images of one level than this are a time series (perfusion), whose images show contrast passing."""

OTHER_BODY_PARTS = (
    "CHEST", "THORAX", "LUNG", "HEART", "ABDOMEN", "PELVIS", "SPINE", "NECK", "SHOULDER", "HIP", "KNEE",
    "LEG", "FOOT", "ANKLE", "ARM", "HAND", "WRIST", "ELBOW", "EXTREMITY", "LIVER", "KIDNEY", "AORTA", "COLON",
    "BREAST",
)  # fmt: skip
"""BodyPartExamined that is no head, where no head is named beside it (PS3.16 annex L, and free text)."""

_OUTER_SHARE = 0.1
_HEAD_PARTS = ("HEAD", "BRAIN", "SKULL", "CRANI", "CEREB")
_LOCALIZER_WORDS = ("LOCALIZER", "SCOUT", "SURVIEW", "TOPOGRAM", "SCANOGRAM")
_PROJECTION_WORDS = ("MIP", "MINIP", "VOLREN", "VRT", "SSD", "PROJECTION IMAGE", "3D", "MAXIMUM", "MINIMUM")
_RESLICED_WORDS = ("REFORMATTED", "MPR", "AVERAGE", "RESAMPLED", "AXIAL")
_SCREEN_WORDS = ("SCREEN SAVE", "SCREENSAVE", "DOSE", "PROT", "REF_SURVIEW", "EVIDENCE", "CAPTURE")
_NOT_HU = ("MGML", "Z_EFF", "ED", "EDW", "PCT", "OD")


@dataclass(frozen=True)
class _Verdict:
    """Why a series is not read, and what to send instead; `far` grows with the number of checks it passed."""

    why: str
    ask: str
    far: int
    unreadable: bool = False


@dataclass
class _Sample:
    """What the decoded slices of a candidate showed."""

    slices: int
    unreadable: list[str] = field(default_factory=list)
    absurd: list[str] = field(default_factory=list)
    inside: list[head.Inside] = field(default_factory=list)
    noise_hu: list[float] = field(default_factory=list)
    brain: int = 0


def choose_series(study: Study) -> Choice:
    """Choose the series to read: surely plain, soft kernel, axial, original, about 5 mm, then most slices.

    Tags are judged for every series. Those that pass are looked at in order of preference, SAMPLE slices or a
    few more of each, until one holds: what follows was not preferred. The exact number of brain slices is the
    reader's to count. A skull that holds no brain (a phantom) is chosen and said in `why`:
    `head.looks_like_phantom` tells, and the reader must not answer for it.

    Args:
        study: as `group_studies` gives it.

    Returns:
        Choice with the chosen series and one sentence for each series; without a series, with the reason.
    """
    verdicts = [_unfit_by_tags(series) for series in study.series]
    whys = [verdict.why if verdict else "" for verdict in verdicts]
    candidates = [index for index, verdict in enumerate(verdicts) if verdict is None]
    candidates.sort(key=lambda index: _preference(study.series[index]))
    chosen: int | None = None
    for index in candidates:
        series = study.series[index]
        if chosen is not None:
            whys[index] = _less_preferred(series, study.series[chosen])
            continue
        verdict, why = _look_at(series)
        verdicts[index], whys[index] = verdict, why
        chosen = index if verdict is None else None
    # Parts of one series, as of two sizes, are looked at by themselves; what is the same is said once.
    considered = tuple(
        dict.fromkeys(
            SeriesConsidered(series.series_instance_uid, series.description, index == chosen, whys[index])
            for index, series in enumerate(study.series)
        )
    )
    if chosen is not None:
        return Choice(study.series[chosen], considered, None)
    unfit = [verdict for verdict in verdicts if verdict]
    furthest = max(unfit, key=lambda verdict: verdict.far, default=None)
    unreadable = furthest is None or furthest.unreadable
    return Choice(None, considered, _refusal(study, unfit), unreadable)


def _unfit_by_tags(series: Series) -> _Verdict | None:
    """Return the first reason in the tags not to read a series, None where there is none."""
    for far, (check, ask) in enumerate(_CHECKS):
        why = check(series)
        if why:
            return _Verdict(why, ask, far)
    return None


def _modality(series: Series) -> str | None:
    modality = tags.text(series.header, "Modality").upper()
    return None if modality in ("CT", "") else f"not CT but {modality}"


def _class(series: Series) -> str | None:
    header = series.header
    if "Rows" not in header:
        return "holds no pictures (a report or other document)"
    sop_class = tags.text(header, "SOPClassUID")
    if sop_class in ("", CTImageStorage, EnhancedCTImageStorage):
        return None
    if "SecondaryCaptureDeviceManufacturer" in header or sop_class.startswith("1.2.840.10008.5.1.4.1.1.7"):
        return "secondary capture: a picture of a screen, not measured HU"
    return "not a CT image by its SOP class"


def _image_type(series: Series) -> str | None:
    kinds = tags.text(series.header, "ImageType").upper()
    parts = kinds.split("\\")
    scan = tags.text(series.header, "ScanOptions").upper()
    if any(word in kinds or word in scan for word in _LOCALIZER_WORDS):
        return "localizer, a flat overview for planning"
    if any(part in _PROJECTION_WORDS or part.startswith("MIP") for part in parts):
        return f"projection or rendering ({parts[-1]}), not slices"
    resliced = any(word in kinds for word in _RESLICED_WORDS)
    if any(word in kinds for word in _SCREEN_WORDS) or ("SECONDARY" in parts and not resliced):
        return "secondary picture by its ImageType, not measured slices"
    return None


def _colour(series: Series) -> str | None:
    samples = tags.whole_number(series.header, "SamplesPerPixel") or 1
    return "colour pictures, not CT slices" if samples != 1 else None


def _orientation(series: Series) -> str | None:
    if series.tilt_degrees is None or series.tilt_degrees <= AXIAL_WITHIN_DEGREES:
        return None
    return f"not axial: tilted by {series.tilt_degrees:.0f} degrees ({AXIAL_WITHIN_DEGREES:.0f} at most)"


def _body_part(series: Series) -> str | None:
    part = tags.text(series.header, "BodyPartExamined").upper()
    names = re.split(r"[^A-Z]+", part)
    other = any(name in OTHER_BODY_PARTS or name.endswith("SPINE") for name in names)
    if any(word in part for word in _HEAD_PARTS) or not other:
        return None
    return f"not a head: BodyPartExamined is {part[:16]}"


def _units(series: Series) -> str | None:
    kind = tags.text(series.header, "RescaleType").upper()
    if kind in _NOT_HU:
        return f"not in HU (RescaleType {kind})"
    if all(frame.rescale_slope is None or frame.rescale_intercept is None for frame in series.frames):
        return "without RescaleSlope and RescaleIntercept, so its HU are unknown"
    return None


def _time_series(series: Series) -> str | None:
    levels = np.array(series.positions_mm)
    different = 1 + int((np.diff(levels) >= SAME_LEVEL_MM).sum())
    if len(levels) <= MAX_REPEATS * different or different == 1:
        return None
    return f"time series: {len(levels)} images of {different} levels"


def _one_level(series: Series) -> str | None:
    levels = np.array(series.positions_mm)
    if len(levels) <= MAX_REPEATS or np.ptp(levels) >= SAME_LEVEL_MM:
        return None
    return f"all {len(levels)} images lie at one level by their positions, so their order is not known"


def _kernel(series: Series) -> str | None:
    if _kernel_of(series) is not Kernel.SHARP:
        return None
    name = tags.text(series.header, "ConvolutionKernel") or series.description
    return f"sharp kernel for bone or lung ({name[:24]}); its noise hides blood"


def _slices(series: Series) -> str | None:
    count = len(series.frames)
    slices = "slice" if count == 1 else "slices"
    return f"only {count} {slices}, {MIN_BRAIN_SLICES} are needed" if count < MIN_BRAIN_SLICES else None


_ORIGINAL = "send the original axial CT images of the head"
_CHECKS: tuple[tuple[Callable[[Series], str | None], str], ...] = (
    (_modality, "send a CT of the head"),
    (_class, _ORIGINAL),
    (_colour, _ORIGINAL),
    (_image_type, _ORIGINAL),
    (_orientation, "send the axial series"),
    (_body_part, "send a CT of the head; if it is one, correct BodyPartExamined"),
    (_units, _ORIGINAL),
    (with_contrast, "send the plain series, taken before contrast"),
    (_time_series, "send the plain series, taken before contrast"),
    (_one_level, _ORIGINAL),
    (_kernel, "send the reconstruction with a soft (brain) kernel"),
    (_slices, "send the whole series"),
)
"""In the order in which a person would say it, each with what to send instead."""


def _kernel_of(series: Series) -> Kernel:
    kernel = kernel_of(tags.text(series.header, "ConvolutionKernel"))
    if kernel is Kernel.UNKNOWN and re.search(r"\bbone\b|\bbony\b", series.description, re.I):
        return Kernel.SHARP
    return kernel


def _preference(series: Series) -> tuple[bool, bool, int, bool, int, float, str]:
    """Sort key, the best first."""
    group, unsure_kernel = _thickness_group(series), _kernel_of(series) is Kernel.UNKNOWN
    away = abs((series.thickness_mm or 5.0) - 5.0)
    return (
        contrast_doubt(series) is not None,
        not _is_original(series),
        group,
        unsure_kernel,
        -len(series.frames),
        away,
        series.series_instance_uid,
    )


def _thickness_group(series: Series) -> int:
    """0 for THICKNESS_MM, then unknown, thinner, thicker."""
    thickness = series.thickness_mm
    if thickness is None:
        return 1
    if thickness < THICKNESS_MM[0]:
        return 2
    return 0 if thickness <= THICKNESS_MM[1] else 3


def _is_original(series: Series) -> bool:
    kinds = tags.text(series.header, "ImageType").upper().split("\\")
    return not {"DERIVED", "SECONDARY", "REFORMATTED", "MPR"} & set(kinds)


def _look_at(series: Series) -> tuple[_Verdict | None, str]:
    """Decode a sample of a candidate; return why it cannot be read (None where it can), and one sentence."""
    count = len(series.frames)
    sample = _sample(_spread_out(series.frames, max(SAMPLE, min(count // SAMPLE_EVERY, SAMPLE_AT_MOST))))
    brain = _estimate(sample, count)
    phantom = head.looks_like_phantom(sample.inside)
    if brain < 1.5 * MIN_BRAIN_SLICES and SAMPLE < count <= COUNT_ALL_UP_TO and not phantom:
        sample = _sample(series.frames)
        brain = sample.brain
        phantom = head.looks_like_phantom(sample.inside)
    verdict = _unfit_by_pixels(series, sample, brain, phantom)
    if verdict:
        return verdict, verdict.why
    why = f"taken: {_kind(series)}"
    return None, f"{why}; looks like a phantom: {phantom}" if phantom else why


def _unfit_by_pixels(series: Series, sample: _Sample, brain: int, phantom: str | None) -> _Verdict | None:
    far, looked = len(_CHECKS), sample.slices
    for kind, examples in (("cannot be read", sample.unreadable), ("are no CT images", sample.absurd)):
        if 2 * len(examples) > looked:
            why = f"{len(examples)} of {looked} slices looked at {kind}: {examples[0]}"
            return _Verdict(why, _ORIGINAL, far, unreadable=examples is sample.unreadable)
    if phantom:
        return None
    if not any(head.has_skull(found) for found in sample.inside) or not brain:
        why = f"no brain inside a skull in any of {looked} slices looked at"
        return _Verdict(why, "send an axial CT of the head", far)
    noise = float(np.median(sample.noise_hu)) if sample.noise_hu else 0.0
    if _kernel_of(series) is Kernel.UNKNOWN and noise > head.BONE_KERNEL_NOISE_HU:
        why = f"sharp kernel by its noise ({noise:.0f} HU from pixel to pixel); it hides blood"
        return _Verdict(why, "send the reconstruction with a soft (brain) kernel", far)
    if brain < MIN_BRAIN_SLICES:
        why = f"brain in only about {brain} slices, {MIN_BRAIN_SLICES} are needed"
        return _Verdict(why, "send the whole series, from skull base to vertex", far + 1)
    return None


def _spread_out(frames: tuple[Frame, ...], count: int) -> tuple[Frame, ...]:
    """Return frames evenly spread; the outermost tenths, neck and air above the head, are left out."""
    if len(frames) <= count:
        return frames
    first, last = _OUTER_SHARE * (len(frames) - 1), (1 - _OUTER_SHARE) * (len(frames) - 1)
    return tuple(frames[round(place)] for place in np.linspace(first, last, count).tolist())


def _estimate(sample: _Sample, count: int) -> int:
    """Return about how many of `count` slices show brain; exact where all were looked at."""
    if sample.slices == count:
        return sample.brain
    return round(sample.brain / sample.slices * count * (1 - 2 * _OUTER_SHARE))


def _sample(frames: tuple[Frame, ...]) -> _Sample:
    sample = _Sample(len(frames))
    for frame in frames:
        try:
            hu = read_hu(frame)
        except UnreadableError as error:
            sample.unreadable.append(error.why)
            continue
        because = absurd_because(hu)
        if because:
            sample.absurd.append(because)
            continue
        found = head.inside_skull(hu, frame.pixel_spacing)
        sample.inside.append(found)
        sample.brain += head.has_brain(found)
        if head.has_skull(found):
            noise = head.noise_hu(hu, head.soft_cells(hu))
            sample.noise_hu += [noise] if np.isfinite(noise) else []
    return sample


def _kind(series: Series) -> str:
    """Say in a few words what kind of series it is: what tags tell, and what is only assumed."""
    kernel = tags.text(series.header, "ConvolutionKernel").split("\\")[0]
    thickness = "" if series.thickness_mm is None else f", {series.thickness_mm:.3g} mm"
    axial = "axial" if series.tilt_degrees is not None else "axial by its pixels"
    soft = f"soft kernel {kernel}" if _kernel_of(series) is Kernel.SOFT else "soft kernel by its noise"
    original = "" if _is_original(series) else ", resliced"
    plain = "plain" if contrast_doubt(series) is None else "plain or with contrast, not said which"
    return f"{plain}, {axial}, {soft}{thickness}{original}, {len(series.frames)} slices"


def _less_preferred(series: Series, chosen: Series) -> str:
    """Say what decided between two series that could both be read."""
    if contrast_doubt(series) and not contrast_doubt(chosen):
        return "could be read, but may be with contrast agent; one that says it is plain was preferred"
    if not _is_original(series) and _is_original(chosen):
        return "could be read, but is resliced; the original was preferred"
    if _thickness_group(series) != _thickness_group(chosen) and series.thickness_mm is not None:
        return f"could be read, but has {series.thickness_mm:.3g} mm slices; about 5 mm was preferred"
    if _kernel_of(series) is Kernel.UNKNOWN and _kernel_of(chosen) is Kernel.SOFT:
        return "could be read, but its kernel is not named; a named soft kernel was preferred"
    if len(series.frames) < len(chosen.frames):
        return (
            f"could be read, but has {len(series.frames)} slices; one of {len(chosen.frames)} was preferred"
        )
    return "could be read, but another of the same kind was preferred"


def _refusal(study: Study, verdicts: list[_Verdict]) -> str:
    """One sentence: what was found, and what to send, by the series that came furthest."""
    damaged = sum(aside.damaged for aside in study.put_aside)
    files = f" (damaged files put aside: {damaged})" if damaged else ""
    if not verdicts:
        return f"no image of the study could be read{files}: send the study again"
    furthest = max(verdicts, key=lambda verdict: verdict.far)
    if len(verdicts) == 1:
        return f"the only series cannot be read ({furthest.why}){files}: {furthest.ask}"
    reasons = Counter(verdict.why for verdict in sorted(verdicts, key=lambda verdict: -verdict.far))
    listed = "; ".join(f"{count} x {why}" if count > 1 else why for why, count in list(reasons.items())[:4])
    return f"none of {len(verdicts)} series can be read ({listed}){files}: {furthest.ask}"
