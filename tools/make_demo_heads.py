"""Make the three real studies that ship with cruor from the pictures of ct-ich.

Run from the project's folder; the data is looked for under $CRUOR_SHARED, ../shared by default:

    python tools/make_demo_heads.py

The HU come from two pictures of each slice: the brain picture (L 40 W 120) inside its range, the bone picture
(L 700 W 3200), which is coarse, beyond it. What lies outside the head becomes air, so that neither the head
holder nor the noise of the pictures' JPEG coding is left there.
"""

from __future__ import annotations

import csv
import io
import math
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from cruor.demo.ct import CtSeries, ct_slice, write_jpeg_ls

OUT = Path(__file__).parents[1] / "src" / "cruor" / "demo" / "heads"
SIZE = 384
SPACING_MM = 5.0
AIR_HU = -1000
HEAD_FLOOR_HU = -500
# An adult head's outline at its widest level, skin included: an ellipse of about 155 by 195 mm.
HEAD_AREA_MM2 = math.pi / 4 * 155 * 195
COMMENT = (
    "From PhysioNet ct-ich (Hssayeni 2020), CC BY 4.0. HU rebuilt from 8-bit pictures of two windows, "
    "air outside the head, resampled. "
    "PixelSpacing is ESTIMATED from the size of an average head: do not measure."
)


@dataclass(frozen=True)
class Patient:
    """One patient of ct-ich: number there, age in years, sex."""

    number: int
    age: int
    sex: str


PATIENTS = (Patient(77, 33, "M"), Patient(91, 57, "F"), Patient(104, 60, "F"))


def main() -> None:
    """Make the three archives anew."""
    source = Path(os.environ.get("CRUOR_SHARED", "../shared")) / "data" / "ct-ich"
    with (source / "slices.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    OUT.mkdir(parents=True, exist_ok=True)
    for patient in PATIENTS:
        numbers = sorted(int(row["slice"]) for row in rows if int(row["patient"]) == patient.number)
        slices = {number: slice_hu(source, patient.number, number) for number in numbers}
        path = OUT / f"ct-ich-{patient.number:03d}.zip"
        write_study(path, patient, slices)
        print(f"{path.name}: {len(slices)} slices, {path.stat().st_size / 1e6:.2f} MB")


def slice_hu(source: Path, patient: int, number: int) -> NDArray[np.int16]:
    """Rebuild one slice: (SIZE, SIZE), HU, air outside the head."""
    name = f"{patient:03d}_{number:02d}.jpg"
    brain = np.asarray(Image.open(source / "brain" / name).convert("L"), dtype=np.float32)
    picture = Image.open(source / "bone" / name).convert("L")
    head = _outline(-900.0 + np.asarray(picture, dtype=np.float32) * 3200.0 / 255.0)
    coarse = Image.fromarray(np.asarray(picture, dtype=np.float32)).resize(
        brain.shape[::-1], Image.Resampling.BICUBIC
    )
    beyond = -900.0 + np.asarray(coarse) * 3200.0 / 255.0
    hu = -20.0 + brain * 120.0 / 255.0
    hu = np.where(brain >= 253, np.maximum(beyond, 100.0), hu)
    hu = np.where(brain <= 2, np.minimum(beyond, -20.0), hu)
    inside = np.asarray(Image.fromarray(head).resize(brain.shape[::-1], Image.Resampling.NEAREST))
    hu = np.where(inside & (hu > -880.0), hu, float(AIR_HU)).astype(np.float32)
    shrunk = Image.fromarray(hu).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    rounded: NDArray[np.int16] = np.rint(np.asarray(shrunk)).astype(np.int16)
    return rounded


def _outline(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The head, its air cells included: the largest body that is not air, holes filled, one pixel wider."""
    filled = ~_flood(hu < HEAD_FLOOR_HU, _edge_seeds(hu.shape))
    head = _largest(filled)
    wider = Image.fromarray(head.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(3))
    return np.asarray(wider) > 0


def _edge_seeds(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    seeds = np.ones(shape, dtype=bool)
    seeds[1:-1, 1:-1] = False
    return seeds


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    left, largest = mask.copy(), np.zeros_like(mask)
    while left.sum() > largest.sum():
        seed = np.zeros_like(mask)
        seed[tuple(np.argwhere(left)[len(np.argwhere(left)) // 2])] = True
        body = _flood(left, seed)
        left &= ~body
        largest = body if body.sum() > largest.sum() else largest
    return largest


def _flood(mask: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """All of `mask` that hangs together with the seeds."""
    reached = seeds & mask
    while True:
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown &= mask
        if grown.sum() == reached.sum():
            return reached
        reached = grown


def estimated_spacing(slices: dict[int, NDArray[np.int16]]) -> float:
    """Millimetres a pixel, were this head of average size."""
    pixels = max(
        int((hu > HEAD_FLOOR_HU).sum()) for number, hu in slices.items() if number >= len(slices) // 2
    )
    return round(math.sqrt(HEAD_AREA_MM2 / pixels), 2)


def write_study(path: Path, patient: Patient, slices: dict[int, NDArray[np.int16]]) -> None:
    """Write the slices into a zip, numbered as in ct-ich: a slice missing there is missing here."""
    spacing = estimated_spacing(slices)
    series = CtSeries(
        study=f"ct-ich-{patient.number}",
        series_number=2,
        description="Head 5.0 (rebuilt from pictures)",
        patient_id=f"CT-ICH-{patient.number:03d}",
        pixel_spacing_mm=spacing,
        thickness_mm=SPACING_MM,
        image_type=("DERIVED", "PRIMARY", "AXIAL"),
        extra={
            "PatientAge": f"{patient.age:03d}Y",
            "PatientSex": patient.sex,
            "ImageComments": COMMENT,
            "Manufacturer": "unknown",
            "PatientIdentityRemoved": "YES",
            "DeidentificationMethod": "by the publishers of ct-ich",
        },
    )
    corner = -spacing * (SIZE - 1) / 2
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number, hu in slices.items():
            image = ct_slice(hu, series, number, (corner, corner, (number - 1) * SPACING_MM))
            buffer = io.BytesIO()
            write_jpeg_ls(image, buffer)
            # A fixed date, so that the same pictures make the same archive.
            archive.writestr(zipfile.ZipInfo(_file_name(number), (2020, 1, 1, 0, 0, 0)), buffer.getvalue())
    print(f"  spacing taken as {spacing} mm")


def _file_name(number: int) -> str:
    """A name that tells nothing of the order, half of them without extension, as exports have it."""
    scrambled = (number * 37) % 101
    return f"CT{scrambled:04d}" + (".dcm" if number % 2 else "")


if __name__ == "__main__":
    main()
