"""Instances -> frames -> series in scan order -> studies, with a note on whatever is unusual."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import median

import numpy as np
from pydicom.dataset import Dataset

from cruor.dicom import geometry, tags
from cruor.dicom.instances import Frame, Instance, PutAside, Series, Study, UnreadableError, Vector
from cruor.dicom.pixels import is_wrapped

MAX_FRAMES = 20_000
"""More frames in one file are a broken header, not a CT."""

SAME_THICKNESS_MM = 0.05
"""Slice thicknesses that differ by less are one thickness, rounded."""

GAP_FROM = 1.2
"""Slices whose distance is more than so many times their thickness leave out a part of the head."""


def frames_of(instance: Instance) -> list[Frame]:
    """Return the images of an instance.

    Geometry and rescale of enhanced multi-frame CT come from its functional groups, the frame's own before
    the shared ones (PS3.3 C.7.6.16). An object without pixels (a report) counts as one frame without
    geometry, which `read_hu` refuses: so it has its place in a series, and `choose_series` can say why it was
    not taken.

    Raises:
        UnreadableError: the number of frames is impossible, or differs from the functional groups.
    """
    header = instance.header
    count = tags.whole_number(header, "NumberOfFrames")
    count = 1 if count is None else count
    per_frame = tags.items(header, "PerFrameFunctionalGroupsSequence")
    if not 1 <= count <= MAX_FRAMES or (per_frame and len(per_frame) != count):
        groups = f" and {len(per_frame)} functional groups" if per_frame else ""
        raise UnreadableError(instance.source.name, f"declares {count} frames{groups}; send it again")
    shared = tags.items(header, "SharedFunctionalGroupsSequence")[:1]
    if not per_frame:
        return [_frame(instance, index, [*shared, header]) for index in range(count)]
    return [_frame(instance, index, [own, *shared, header]) for index, own in enumerate(per_frame)]


def group_studies(instances: Iterable[Instance], put_aside: Iterable[PutAside] = ()) -> list[Study]:
    """Group instances into studies, and their images into series in scan order.

    One DICOM series becomes several `Series` where its images differ in orientation or matrix size (a
    localizer inside a series). The answer does not depend on the order of the instances.

    Args:
        instances: of any number of studies.
        put_aside: files that were not read. Those that name a study are attached to it; damaged ones that
            do not are attached to every study that has files in the same folder or archive.

    Returns:
        Studies by StudyInstanceUID; a study known only by files that were put aside is among them, with no
        series.
    """
    aside: dict[str, list[PutAside]] = defaultdict(list)
    homeless = []
    for entry in put_aside:
        if entry.study_instance_uid:
            aside[entry.study_instance_uid].append(entry)
        elif entry.damaged:
            homeless.append(entry)
    grouped: dict[str, dict[str, list[Instance]]] = defaultdict(lambda: defaultdict(list))
    containers: dict[str, set[str]] = defaultdict(set)
    for instance in instances:
        grouped[instance.study_instance_uid][instance.series_instance_uid].append(instance)
        containers[instance.study_instance_uid].add(instance.source.container)
    for uid, around in containers.items():
        aside[uid] += [entry for entry in homeless if entry.name.startswith(tuple(around))]
    return [_study(uid, grouped.get(uid, {}), aside.get(uid, [])) for uid in sorted({*grouped, *aside})]


def _study(uid: str, by_series: dict[str, list[Instance]], aside: list[PutAside]) -> Study:
    series: list[Series] = []
    patient_ids: set[str] = set()
    for series_uid in sorted(by_series):
        frames: list[Frame] = []
        for instance in sorted(
            by_series[series_uid], key=lambda one: (one.sop_instance_uid, one.source.name)
        ):
            patient_ids.add(tags.text(instance.header, "PatientID"))
            try:
                frames += frames_of(instance)
            except UnreadableError as error:
                aside.append(PutAside(error.name, error.why, True, uid, series_uid))
        parts = _split(frames)
        series += [_series(series_uid, part, len(parts)) for part in parts]
    named = sorted(patient_ids - {""})
    return Study(uid, named[0] if named else "", tuple(series), tuple(aside), max(1, len(named)))


def _frame(instance: Instance, index: int, places: list[Dataset]) -> Frame:
    """Build a frame from the first place that has each value: own groups, shared groups, header."""
    orientation = _first(places, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    axes = None if orientation is None else geometry.unit_axes(orientation)
    position = _first(places, "PlanePositionSequence", "ImagePositionPatient", 3)
    spacing = _first(places, "PixelMeasuresSequence", "PixelSpacing", 2)
    thickness = _first(places, "PixelMeasuresSequence", "SliceThickness", 1)
    slope = _first(places, "PixelValueTransformationSequence", "RescaleSlope", 1)
    intercept = _first(places, "PixelValueTransformationSequence", "RescaleIntercept", 1)
    return Frame(
        instance=instance,
        index=index,
        position=None if position is None else (position[0], position[1], position[2]),
        row_direction=axes[0] if axes else None,
        column_direction=axes[1] if axes else None,
        pixel_spacing=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        slice_thickness=thickness[0] if thickness and thickness[0] > 0 else None,
        rescale_slope=slope[0] if slope else None,
        rescale_intercept=intercept[0] if intercept else None,
    )


def _first(places: list[Dataset], group: str, keyword: str, count: int) -> tuple[float, ...] | None:
    for place in places:
        for item in (*tags.items(place, group)[:1], place):
            found = tags.numbers(item, keyword, count)
            if found is not None:
                return found
    return None


def _split(frames: list[Frame]) -> list[list[Frame]]:
    """Split frames by matrix size and orientation; the largest part first."""
    parts: list[list[Frame]] = []
    for frame in frames:
        for part in parts:
            if _matrix(frame) == _matrix(part[0]) and _same_orientation(frame, part[0]):
                part.append(frame)
                break
        else:
            parts.append([frame])
    return sorted(parts, key=len, reverse=True)


def _matrix(frame: Frame) -> tuple[int | None, int | None]:
    header = frame.instance.header
    return tags.whole_number(header, "Rows"), tags.whole_number(header, "Columns")


def _axes(frame: Frame) -> tuple[Vector, Vector] | None:
    if frame.row_direction is None or frame.column_direction is None:
        return None
    return frame.row_direction, frame.column_direction


def _same_orientation(one: Frame, other: Frame) -> bool:
    first, second = _axes(one), _axes(other)
    if first is None or second is None:
        return first is second
    return all(
        geometry.angle_degrees(a, b) <= geometry.SAME_ORIENTATION_DEGREES
        for a, b in zip(first, second, strict=True)
    )


def _series(uid: str, frames: list[Frame], parts: int) -> Series:
    notes = []
    if parts > 1:
        notes.append(f"one of {parts} parts of its series that differ in orientation or size")
    ordered, along, known_mm, order_note = _in_order(frames)
    axes = _axes(ordered[0])
    tilt = None if axes is None else geometry.tilt_degrees(*axes)
    found = geometry.levels(np.array(along)) if known_mm else None
    spacing = found.spacing_mm if found else None
    thicknesses = [frame.slice_thickness for frame in ordered if frame.slice_thickness is not None]
    notes += order_note
    if tilt is not None and geometry.TILT_NOTED_DEGREES <= tilt <= geometry.AXIAL_WITHIN_DEGREES:
        notes.append(f"slices are tilted by {tilt:.1f} degrees")
    if found:
        notes += _level_notes(found)
    notes += _thickness_notes(thicknesses, spacing) + _numbering_notes(ordered) + _pixel_notes(ordered)
    return Series(
        series_instance_uid=uid,
        description=tags.text(ordered[0].instance.header, "SeriesDescription"),
        frames=tuple(ordered),
        positions_mm=tuple(along),
        tilt_degrees=tilt,
        spacing_mm=spacing,
        thickness_mm=float(median(thicknesses)) if thicknesses else spacing,
        notes=tuple(notes),
        missing_levels=found.missing if found else 0,
    )


def _in_order(frames: list[Frame]) -> tuple[list[Frame], list[float], bool, list[str]]:
    """Return frames from inferior to superior, their places, whether these are mm, and what was assumed."""
    axes = _axes(frames[0])
    positions = [frame.position for frame in frames if frame.position is not None]
    if axes is not None and len(positions) == len(frames):
        along = geometry.project(np.array(positions), geometry.upward_normal(*axes))
        return *_sorted(frames, [float(place) for place in along]), True, []
    locations = _numbers_of(frames, "SliceLocation")
    if locations is not None and len(frames) > 1:
        note = "no complete ImagePositionPatient: ordered by SliceLocation, taken to grow towards the head"
        return *_sorted(frames, locations), True, [note]
    counts = _numbers_of(frames, "InstanceNumber")
    note = "no geometry: ordered by InstanceNumber, first taken for lowest"
    if counts is None or (len(frames) > 1 and len(set(counts)) == 1):
        note = "no geometry and no InstanceNumber: the order is not known"
        counts = [0.0] * len(frames)
    ordered, _ = _sorted(frames, [count + frame.index for count, frame in zip(counts, frames, strict=True)])
    return ordered, [float(place) for place in range(len(frames))], False, [note] if len(frames) > 1 else []


def _sorted(frames: list[Frame], places: list[float]) -> tuple[list[Frame], list[float]]:
    """Sort by place; within a level by InstanceNumber, then by UID: the same whatever order files came in."""

    def key(number: int) -> tuple[float, float, str, int]:
        frame = frames[number]
        count = tags.number(frame.instance.header, "InstanceNumber") or 0.0
        return places[number], count, frame.instance.sop_instance_uid, frame.index

    order = sorted(range(len(frames)), key=key)
    return [frames[number] for number in order], [places[number] for number in order]


def _numbers_of(frames: list[Frame], keyword: str) -> list[float] | None:
    found = [tags.number(frame.instance.header, keyword) for frame in frames]
    several = len({frame.instance.sop_instance_uid for frame in frames}) > 1
    complete = [value for value in found if value is not None]
    if len(complete) < len(found) or (
        keyword == "SliceLocation" and not (several and len(set(complete)) > 1)
    ):
        return None
    return complete


def _level_notes(found: geometry.Levels) -> list[str]:
    notes = []
    if found.doubled:
        times = "twice" if found.most_repeats == 2 else f"up to {found.most_repeats} times"
        notes.append(f"{found.doubled} of {found.count} levels are imaged {times}")
    if found.missing:
        slices = "slice seems" if found.missing == 1 else "slices seem"
        notes.append(f"{found.missing} {slices} to be missing (gaps up to {found.greatest_mm:.1f} mm)")
    elif not found.even:
        notes.append(f"spacing is uneven, {found.least_mm:.1f} to {found.greatest_mm:.1f} mm")
    return notes


def _thickness_notes(thicknesses: list[float], spacing: float | None) -> list[str]:
    kinds: list[float] = []
    for thickness in sorted(thicknesses):
        if not kinds or thickness - kinds[-1] > SAME_THICKNESS_MM:
            kinds.append(thickness)
    if len(kinds) > 1:
        return [
            "slices of " + " and ".join(f"{kind:g}" for kind in kinds[:4]) + " mm thickness in one series"
        ]
    if kinds and spacing is not None and spacing > GAP_FROM * kinds[0]:
        return [f"slices of {kinds[0]:g} mm lie {spacing:.1f} mm apart: what is between them was not imaged"]
    return []


def _numbering_notes(ordered: list[Frame]) -> list[str]:
    """Say when InstanceNumber runs from the head down, or does not follow the positions at all."""
    counts = _numbers_of(ordered, "InstanceNumber")
    if counts is None or len(ordered) < 2 or len({frame.instance.sop_instance_uid for frame in ordered}) < 2:
        return []
    steps = np.diff(counts)
    if (steps > 0).all():
        return []
    if (steps < 0).all():
        return ["InstanceNumber counts from the head down; read from below"]
    return ["InstanceNumber does not follow the positions; read by position"]


def _pixel_notes(ordered: list[Frame]) -> list[str]:
    wrapped = sum(is_wrapped(frame) for frame in ordered)
    return [f"12-bit values without their offset mended in {wrapped} slices"] if wrapped else []
