"""DICOM files made up for tests: every transfer syntax, and heads, chests and phantoms by ellipses."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from cruor.dicom import head
from cruor.dicom.files import find_instances
from cruor.dicom.instances import Frame, Instance, PutAside, Series, Source, Study
from cruor.dicom.series import frames_of, group_studies
from tests.dicom import jpeg_lossless

LOSSLESS = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big_endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg_lossless_p14": JPEGLossless,
    "jpeg_lossless_sv1": JPEGLosslessSV1,
    "jpeg_ls": JPEGLSLossless,
    "jpeg_2000_lossless": JPEG2000Lossless,
}
LOSSY = {"jpeg_ls_near": JPEGLSNearLossless, "jpeg_2000": JPEG2000, "jpeg_baseline": JPEGBaseline8Bit}

ROOT = "1.2.826.0.1.3680043.8.498."
_numbers = itertools.count(1)


def uid() -> str:
    """A UID that no other call gave."""
    return f"{ROOT}{next(_numbers)}"


def ct(stored: NDArray[np.integer], **elements: Any) -> FileDataset:
    """A CT image in explicit little endian: 16 bits, signed where the array is, slope 1, intercept 0.

    Any element can be set by its keyword; None leaves it out.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    values: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": uid(),
        "StudyInstanceUID": f"{ROOT}0.1",
        "SeriesInstanceUID": f"{ROOT}0.2",
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.5, 0.5],
        "SliceThickness": 5,
        "InstanceNumber": 1,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[-2],
        "Columns": stored.shape[-1],
        "BitsAllocated": 8 * stored.dtype.itemsize,
        "BitsStored": 8 * stored.dtype.itemsize,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
        "PixelData": stored.astype(stored.dtype.newbyteorder("<")).tobytes(),
        **elements,
    }
    values.setdefault("HighBit", (values["BitsStored"] or 1) - 1)
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    if stored.dtype.itemsize == 1 and "PixelData" in dataset:
        dataset["PixelData"].VR = "OB"  # as OW, big endian would swap pairs of pixels
    meta.MediaStorageSOPInstanceUID = values["SOPInstanceUID"] or "1.2.3"
    return dataset


def encode(dataset: FileDataset, syntax: str) -> FileDataset:
    """Bring an image of `ct` into another transfer syntax, in place."""
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        words = np.frombuffer(dataset.PixelData, dtype=f"<u{dataset.BitsAllocated // 8}")
        samples = words.reshape(dataset.Rows, dataset.Columns) & ((1 << dataset.BitsStored) - 1)
        predictor = 1 if syntax == JPEGLosslessSV1 else 2
        _put(dataset, jpeg_lossless.encode(samples, dataset.BitsStored, predictor), syntax)
    elif syntax == JPEGBaseline8Bit:
        samples = np.frombuffer(dataset.PixelData, dtype=np.uint8).reshape(dataset.Rows, dataset.Columns)
        stream = io.BytesIO()
        Image.fromarray(samples).save(stream, "JPEG", quality=95)
        _put(dataset, stream.getvalue(), syntax)
    elif syntax == JPEGLSNearLossless:
        dataset.compress(syntax, jls_error=2, generate_instance_uid=False)
    elif syntax == JPEG2000:
        dataset.compress(syntax, j2k_cr=[4], generate_instance_uid=False)
    elif pydicom.uid.UID(syntax).is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    else:
        if syntax == ExplicitVRBigEndian and dataset.BitsAllocated == 16:
            dataset.PixelData = np.frombuffer(dataset.PixelData, dtype="<u2").astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _put(dataset: FileDataset, stream: bytes, syntax: str) -> None:
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax


def to_bytes(dataset: Dataset) -> bytes:
    """The file as bytes."""
    stream = io.BytesIO()
    syntax = dataset.file_meta.TransferSyntaxUID
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    pydicom.dcmwrite(stream, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return stream.getvalue()


def write(dataset: Dataset, path: Path) -> Path:
    """Write the file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_bytes(dataset))
    return path


def found_in(*paths: Path) -> tuple[list[Instance], list[PutAside]]:
    """What `find_instances` gives, apart."""
    found = list(find_instances(paths))
    instances = [one for one in found if isinstance(one, Instance)]
    return instances, [one for one in found if isinstance(one, PutAside)]


def frame_of(dataset: Dataset, folder: Path, index: int = 0) -> Frame:
    """Write a data set and read back its frame."""
    instances, aside = found_in(write(dataset, folder / f"{uid()}.dcm"))
    assert not aside, aside
    return frames_of(instances[0])[index]


def in_memory(dataset: Dataset, name: str = "made up") -> Instance:
    """An instance that is on no disk, for what looks at headers only."""
    return Instance(Source(Path(name)), dataset)


def study_of(folder: Path) -> Study:
    """The one study below a folder."""
    (study,) = group_studies(*found_in(folder))
    return study


def series_of(*datasets: Dataset) -> list[Series]:
    """The series of one study of headers."""
    (study,) = group_studies([in_memory(dataset, str(number)) for number, dataset in enumerate(datasets)])
    return list(study.series)


def enhanced(stored: NDArray[np.integer], positions: list[float], **elements: Any) -> FileDataset:
    """An enhanced multi-frame CT, (frames, rows, columns): geometry and rescale in functional groups only."""
    gone = dict.fromkeys(
        ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
         "RescaleIntercept"]
    )  # fmt: skip
    dataset = ct(
        stored, SOPClassUID=EnhancedCTImageStorage, NumberOfFrames=len(positions), **gone, **elements
    )
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.5], 5
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [_own_groups(z, number) for number, z in enumerate(positions)]
    return dataset


def _own_groups(z: float, number: int) -> Dataset:
    own, position, transformation = Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = [0, 0, z]
    transformation.RescaleSlope, transformation.RescaleIntercept = 1, -1000 - number
    own.PlanePositionSequence, own.PixelValueTransformationSequence = [position], [transformation]
    return own


def ellipse(
    size: int, half_rows: float, half_columns: float, row: float = 0, column: float = 0
) -> NDArray[np.bool_]:
    """An ellipse in a square of `size` pixels, its middle moved by row and column."""
    rows, columns = np.indices((size, size)) - (size - 1) / 2
    within: NDArray[np.bool_] = ((rows - row) / half_rows) ** 2 + (
        (columns - column) / half_columns
    ) ** 2 <= 1
    return within


def noise(size: int, hu: float, seed: int = 0) -> NDArray[np.float64]:
    """White noise."""
    return np.random.default_rng(seed).normal(0, hu, (size, size))


def head_hu(size: int = 128, share: float = 1.0, noise_hu: float = 3, seed: int = 0) -> NDArray[np.int16]:
    """A slice through a head of 200 x 150 mm in a field of 250 mm: skin, skull, brain, ventricles.

    share: 1 at the widest level, less towards the vertex.
    """
    mm = size / 250 * share
    hu = np.full((size, size), -1000.0)
    hu[ellipse(size, 100 * mm, 76 * mm)] = 40
    hu[ellipse(size, 94 * mm, 70 * mm)] = 900
    inside = ellipse(size, 87 * mm, 63 * mm)
    hu[inside] = 38
    hu[ellipse(size, 70 * mm, 46 * mm)] = 28
    hu[ellipse(size, 30 * mm, 18 * mm)] = 8
    return np.round(hu + noise(size, noise_hu, seed) * (hu > -1000)).astype(np.int16)


def hollow_head_hu(filling: float, noise_hu: float = 3, size: int = 128) -> NDArray[np.int16]:
    """A skull with one filling: a phantom."""
    hu = head_hu(size, noise_hu=0).astype(np.float64)
    hu[ellipse(size, 87 * size / 250, 63 * size / 250)] = filling
    return np.round(hu + noise(size, noise_hu) * (hu > -1000)).astype(np.int16)


def trunk_hu(lungs: bool, size: int = 128) -> NDArray[np.int16]:
    """A slice through chest or abdomen of 360 x 240 mm in a field of 420 mm: fat, muscle, spine, ribs."""
    mm = size / 420
    hu = np.full((size, size), -1000.0)
    hu[ellipse(size, 120 * mm, 180 * mm)] = -100
    hu[ellipse(size, 100 * mm, 160 * mm)] = 55
    for angle in np.arange(20) * np.pi / 10:
        row, column = 92 * mm * np.sin(angle), 150 * mm * np.cos(angle)
        hu[ellipse(size, 6 * mm, 8 * mm, row, column)] = 500
    hu[ellipse(size, 22 * mm, 22 * mm, 65 * mm)] = 400
    if lungs:
        for side in (-75, 75):
            hu[ellipse(size, 75 * mm, 55 * mm, 0, side * mm)] = -850
    return np.round(hu + noise(size, 5) * (hu > -1000)).astype(np.int16)


def write_series(folder: Path, slices: list[NDArray[np.int16]], spacing: float = 5, **elements: Any) -> Path:
    """Write slices from below upwards as one series of one study; its pixels 250 mm wide."""
    series_uid = elements.pop("SeriesInstanceUID", uid())
    pixel = 250 / slices[0].shape[0]
    for number, hu in enumerate(slices):
        dataset = ct(
            hu,
            **{
                "SeriesInstanceUID": series_uid,
                "ImagePositionPatient": [0, 0, number * spacing],
                "InstanceNumber": number + 1,
                "PixelSpacing": [pixel, pixel],
                "SliceThickness": spacing,
                **elements,
            },
        )
        write(dataset, folder / series_uid / f"{number:03d}")
    return folder


def head_slices(count: int = 20, noise_hu: float = 3) -> list[NDArray[np.int16]]:
    """Slices of a head from the widest level to the vertex."""
    shares = np.sqrt(np.linspace(1, 0.2, count)).tolist()
    return [head_hu(share=share, noise_hu=noise_hu, seed=number) for number, share in enumerate(shares)]


def is_brain_slice(hu: NDArray[np.int16], pixel_spacing: tuple[float, float] | None) -> bool:
    """What the reader asks of each slice."""
    return head.has_brain(head.inside_skull(hu, pixel_spacing))
