"""What reading a study gives: plain data for the report room and whoever comes after it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cruor.bundle.manifest import OUTPUTS
from cruor.dicom.instances import Frame, SeriesConsidered
from cruor.preprocessing.crop import Box
from cruor.reader.volume import BloodVolume

FINDINGS = OUTPUTS[1:]
"""The five subtypes; the network's first output is `any`."""


NO_MAPS = "This bundle's network gives no map: nothing is shown of where it looked."
"""Note of every study read with such a bundle."""

UNSURE_NOTE = "not sure: the study probability"
"""Beginning of the note of a study that is not suspected but reaches another operating point."""

UNPLACED = "no cell of any map is taken for blood"
"""Beginning of the note of a study that is suspected, or not sure, without a place."""


class Status(StrEnum):
    """What became of a study. There is no default: an unread study is never NOT_SUSPECTED."""

    DECIDED = "DECIDED"
    REFUSED = "REFUSED"
    FAILED = "FAILED"


class Decision(StrEnum):
    """The answer for a DECIDED study."""

    SUSPECTED = "SUSPECTED"
    NOT_SUSPECTED = "NOT_SUSPECTED"


@dataclass(frozen=True, eq=False)
class SliceResult:
    """One slice as the network saw it.

    Attributes:
        number: 1 is the lowest slice that was read, as radiologists count.
        sop_instance_uid: of the instance the slice stands in.
        position_mm: along the slice normal.
        probability: of any hemorrhage, 0 to 1.
        findings: subtype (see FINDINGS) -> probability, 0 to 1; empty where the bundle tells none.
        map: float32, (h, w), >= 0: by the bundle's `map_kind`, Grad-CAM of `any` at the last feature map, up
            to one constant for the whole study, so that slices can be compared (docs/architecture.md, rule
            4), or the probability of blood by cell; None where the network's head allows no exact map.
        box: the part of the slice that the network saw and the map covers, in pixels of the slice.
        frame: where the pixels are, to show the slice.
    """

    number: int
    sop_instance_uid: str
    position_mm: float
    probability: float
    findings: dict[str, float]
    map: NDArray[np.float32] | None
    box: Box
    frame: Frame


@dataclass(frozen=True, eq=False)
class StudyResult:
    """Everything cruor says about one study.

    Attributes:
        reason: why it was REFUSED or FAILED, None when DECIDED.
        decision, probability, rule: None unless DECIDED. `rule` names what made the decision.
        unsure: NOT_SUSPECTED, but the probability reaches another operating point of the bundle, or there are
            cautions.
        positive_slices: slices above the slice threshold of the rule's family (the paper's 0.8).
        suspicious: numbers of the slices a reader should look at first, most suspicious first;
            every one above the slice threshold; where there is none, the three highest of a study that is
            suspected or not sure. Of such a study the slice that its probability was made of is among them.
        map_scale: the value of `SliceResult.map` shown as the hottest colour, one for the bundle.
        map_kind: what `SliceResult.map` is.
        blood_volume: an estimate; None unless DECIDED by a bundle that tells it, on slices whose place and
            pixel size are known, and with a cell of blood on a map.
        cautions: why the answer may not hold for this study, whatever it is, a sentence each: slices were not
            read or show no closed skull, it is unlike those of the training, perhaps a phantom, perhaps not
            plain CT.
        unread: slices and files of the chosen series that could not be read; each is named in the notes.
        bundle: "name version" of the bundle that read it.
        seconds: from the first byte of the series to the decision.
    """

    study_instance_uid: str
    series_instance_uid: str | None
    patient_id: str
    status: Status
    reason: str | None
    decision: Decision | None
    probability: float | None
    rule: str | None
    positive_slices: int | None
    slice_count: int
    slices: tuple[SliceResult, ...]
    suspicious: tuple[int, ...]
    map_scale: float
    notes: tuple[str, ...]
    series_considered: tuple[SeriesConsidered, ...]
    bundle: str
    seconds: float
    unread: int = 0
    unsure: bool = False
    cautions: tuple[str, ...] = ()
    map_kind: str = "grad-cam"
    blood_volume: BloodVolume | None = None
