"""`manifest.json`: everything about a model that reading needs and a user may ask for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal, cast

from cruor.preprocessing.channels import InputSettings
from cruor.records import RecordError, build_record, plain_record

OUTPUTS = ("any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
"""The network's outputs in the order of the RSNA 2019 labels: any hemorrhage, and the five subtypes."""

RULES = ("probability", "paper-2.5", "paper-5", "paper-10")
"""How slices can decide a study; `reader.rules` does it."""

STUDY_FEATURES = ("peak", "top_mean", "highest")
"""What a study head can look at; `reader.study_head` computes it."""

MEASURES = ("brain_hu", "spread_hu", "brain_share")
"""Of a study's look, by which it is told to be unlike those of the training (`reader.unlike`)."""

GREATEST_LOGIT = 100.0
"""Slopes, weights and intercepts beyond make every answer the same."""

GREATEST = 1e6
"""No reach, factor or scale of a map is as large; beyond it sums stop being numbers."""

FORMAT = 1
"""Of manifest.json. Raised when a reader of the old one would misread the new one."""


class BundleError(Exception):
    """A bundle that cannot be used: the message names the file or field, and what to do."""


@dataclass(frozen=True)
class MapContext:
    """How the maps of neighbours enter a slice's logit of `any` (`reader.along_scan.context_of_maps`).

    Slices are shown and counted with it. The study probability is made without: a small bleed may be seen on
    one slice alone.

    Attributes:
        reach_mm: maps of slices about so near are averaged, cell by cell.
        hottest_share: of a map's cells, the hottest: the logit is pooled from their mean.
        logit_share: of that mean in the logit.
    """

    reach_mm: float
    hottest_share: float
    logit_share: float


@dataclass(frozen=True)
class SliceCalibration:
    """Slice probability of output c is sigmoid(slope[c] * logit[c] + intercept[c]); one value an output.

    Attributes:
        slope, intercept: one value an output.
        reach_mm: before that, logits are averaged with those of slices about so near
            (`reader.along_scan.average_along_scan`); 0: each slice stands for itself.
        maps: what the maps of neighbours add before that; None: nothing.
    """

    slope: tuple[float, ...]
    intercept: tuple[float, ...]
    reach_mm: float = 0.0
    maps: MapContext | None = None

    @property
    def for_study(self) -> SliceCalibration:
        """By which the study probability is made: the same without the maps of neighbours."""
        return replace(self, maps=None)


@dataclass(frozen=True)
class StudyHead:
    """Study probability: a logistic regression on features of the slices in their order.

    Attributes:
        features: names of `reader.study_head.FEATURES`, in the order of the weights.
        weights, intercept: of the logistic regression.
        prevalence: share of studies with hemorrhage that its probabilities are meant for; None where nobody
            fitted it.
    """

    features: tuple[str, ...]
    weights: tuple[float, ...]
    intercept: float
    prevalence: float | None = None


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold on the study probability: SUSPECTED at or above it. `origin` says how it was found."""

    name: str
    threshold: float
    origin: str


@dataclass(frozen=True)
class Rules:
    """How slices become a decision.

    Attributes:
        default: name of the rule that is used unless another is asked for (`reader.rules`).
        default_why: which did better in cross-validation, in figures.
        slice_threshold: a slice is positive above it (paper section 2.4: 0.8).
        operating_point: the one that the rule `probability` uses unless another is asked for.
        other_points: further ones, to be asked for by name.
    """

    default: str
    default_why: str
    slice_threshold: float
    operating_point: OperatingPoint
    other_points: tuple[OperatingPoint, ...] = ()

    @property
    def every_point(self) -> tuple[OperatingPoint, ...]:
        """The one in use, then the others."""
        return (self.operating_point, *self.other_points)

    def at(self, name: str) -> Rules:
        """The same with another operating point in use.

        Raises:
            BundleError: the bundle has none of that name.
        """
        points = {point.name: point for point in self.every_point}
        if name not in points:
            raise BundleError(f"no operating point {name!r} in this bundle; it has: {', '.join(points)}")
        others = tuple(point for point in points.values() if point.name != name)
        return replace(self, operating_point=points[name], other_points=others)


LEAST_SIZE = 32
"""Rows and columns that a network looks at: with fewer, a backbone of stride 32 has no last features."""

MOST_MEMBERS = 100
"""Networks of a bundle: more would not come from folds, but from a damaged manifest."""


@dataclass(frozen=True)
class NetworkName:
    """A network by name.

    Attributes:
        backbone: that of timm where the name leaves it open, else empty.
        members: so many networks of this make read each slice, at most MOST_MEMBERS; their logits and maps
            are averaged.
        sides: rows and columns at which each of them looks at the input, 0 for the input's own; empty where
            all look at it as it is.
    """

    name: str
    backbone: str = ""
    members: int = 1
    sides: tuple[int, ...] = ()


@dataclass(frozen=True)
class VolumeFit:
    """How the blood that a map shows becomes millilitres.

    Attributes:
        factor: the volume of the map's blood times it is the estimate.
        low, high: of the studies it was measured on, four in five had a volume between these shares of the
            estimate.
        origin: what was measured against what.
    """

    factor: float
    low: float
    high: float
    origin: str


@dataclass(frozen=True)
class UsualRange:
    """Between which values a measure (`reader.unlike`) of the training's studies lay, and a little beyond."""

    name: str
    low: float
    high: float


@dataclass(frozen=True)
class Figure:
    """One measured figure with its interval and parent."""

    name: str
    value: float
    low: float
    high: float
    cases: str
    origin: str


@dataclass(frozen=True)
class DataSource:
    """One data set behind the weights."""

    name: str
    terms: str
    patients: int
    slices: int
    positive_slices: int


@dataclass(frozen=True)
class Manifest:
    """The whole of manifest.json.

    Attributes:
        format: see FORMAT.
        name, version: of the bundle.
        created: ISO date.
        preprocessing: name of the code path that made the network's input
            (`preprocessing.channels.PREPROCESSING`); a bundle of another one is refused.
        network: which network of `training.networks` the weights are of, so that it can be built again.
        input: windows, crop, size, normalisation.
        outputs: names of the logits in order: all of OUTPUTS, or `any` alone.
        map_scale: value of a map that is shown as the hottest colour; 0 where the network gives no maps.
        calibration: how logits become slice probabilities.
        study_head: how slices become the study probability.
        rules: how either decides a study, and which does by default.
        data: the data sets behind the weights.
        figures: what was measured, each with interval and origin.
        made_by: the run: commit, seed, folds, first weights, left-out patients and the like; for people.
        digest: sha256 of model.onnx, hexadecimal.
        terms: what the weights may be used for.
        untried: what the model has not been tried on.
        map_kind: what the map is: Grad-CAM, up to a constant, or the probability of blood by cell, from which
            part of the slice's logit is pooled.
        volume: None where the map tells none.
        usual: what studies of the training look like; a study outside says so.
    """

    format: int
    name: str
    version: str
    created: str
    preprocessing: str
    network: NetworkName
    input: InputSettings
    outputs: tuple[str, ...]
    map_scale: float
    calibration: SliceCalibration
    study_head: StudyHead
    rules: Rules
    data: tuple[DataSource, ...]
    terms: str
    figures: tuple[Figure, ...]
    untried: tuple[str, ...]
    made_by: dict[str, Any]
    digest: str
    map_kind: Literal["grad-cam", "blood"] = "grad-cam"
    volume: VolumeFit | None = None
    usual: tuple[UsualRange, ...] = ()


def read_manifest(path: Path) -> Manifest:
    """Read manifest.json strictly.

    Raises:
        BundleError: not JSON, another format, an unknown or missing field, or a value of the wrong type.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: cannot be read as JSON ({error}); fetch the bundle again") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise BundleError(
            f"{path}: field 'format' is {found!r}, this cruor reads {FORMAT}; use a matching version"
        )
    try:
        manifest = cast(Manifest, build_record(Manifest, content, str(path)))
    except RecordError as error:
        raise BundleError(f"{error}; fetch or export the bundle again") from error
    for field, wrong in _senseless(manifest).items():
        if wrong:
            raise BundleError(f"{path}: field {field!r} makes no sense; fetch or export the bundle again")
    return manifest


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _senseless(manifest: Manifest) -> dict[str, bool]:
    """Field -> whether its value would give wrong answers quietly."""
    head, rules, settings, volume = manifest.study_head, manifest.rules, manifest.input, manifest.volume
    numbers = (*manifest.calibration.slope, *manifest.calibration.intercept, *head.weights, head.intercept)
    return {
        "outputs": manifest.outputs not in (OUTPUTS, OUTPUTS[:1]),
        "map_scale": manifest.map_scale != 0 and not 1e-6 < manifest.map_scale < GREATEST,
        "map_kind": manifest.map_kind == "blood" and manifest.map_scale == 0,
        "volume": volume is not None and not (manifest.map_kind == "blood" and _makes_sense(volume)),
        "calibration.reach_mm": not 0 <= manifest.calibration.reach_mm < GREATEST,
        "calibration.maps": not _context_makes_sense(manifest),
        "terms": not manifest.terms,
        "network.members": not 1 <= manifest.network.members <= MOST_MEMBERS,
        "network.sides": not _sides_make_sense(manifest),
        "input.crop.margin": not 0 <= settings.crop.margin <= 1,
        "input.crop.least_share": not 0 < settings.crop.least_share <= 1,
        "input.mean": not 0 <= settings.mean <= 1,
        "input.std": not 0.01 <= settings.std <= 10,
        "input.crop.size": settings.crop.size < 1,
        "input.windows_hu": any(low >= high for low, high in settings.windows_hu),
        "calibration or study_head": not all(abs(number) < GREATEST_LOGIT for number in numbers),
        "calibration.slope": any(slope <= 0 for slope in manifest.calibration.slope),
        "study_head.features": not head.features or not set(head.features) <= set(STUDY_FEATURES),
        "study_head.prevalence": head.prevalence is not None and not 0 < head.prevalence < 1,
        "usual": not all(one.name in MEASURES and one.low <= one.high for one in manifest.usual)
        or _has_twice(one.name for one in manifest.usual),
        "study_head.weights": len(head.weights) != len(head.features) or sum(head.weights) <= 0,
        "rules.default": rules.default not in RULES,
        "rules.slice_threshold": not 0 < rules.slice_threshold < 1,
        "rules.operating_point.threshold": not 0 < rules.operating_point.threshold < 1,
        "rules.other_points": not all(0 < point.threshold < 1 for point in rules.other_points)
        or _has_twice(point.name for point in (rules.operating_point, *rules.other_points)),
        "name": not manifest.name.strip(),
        "created": not _is_date(manifest.created),
    }


def _has_twice(names: Iterable[str]) -> bool:
    every = list(names)
    return len(set(every)) < len(every)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _sides_make_sense(manifest: Manifest) -> bool:
    """Whether there is one side for each member, or none, and each is 0 or within the input."""
    sides, size = manifest.network.sides, manifest.input.crop.size
    return len(sides) in (0, manifest.network.members) and all(
        side == 0 or LEAST_SIZE <= side <= size for side in sides
    )


def _context_makes_sense(manifest: Manifest) -> bool:
    context = manifest.calibration.maps
    if context is None:
        return True
    shares = (context.hottest_share, context.logit_share)
    return (
        manifest.map_kind == "blood"
        and 0 <= context.reach_mm < GREATEST
        and all(0 < share <= 1 for share in shares)
    )


def _makes_sense(volume: VolumeFit) -> bool:
    return 0 < volume.factor < GREATEST and 0 < volume.low <= 1 <= volume.high < GREATEST


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write manifest.json so that `read_manifest` gives it back."""
    path.write_text(json.dumps(plain_record(manifest), indent=2) + "\n", encoding="utf-8")
