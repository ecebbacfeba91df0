"""Writing arrays of HU as DICOM CT Image Storage, with UIDs that are the same every time."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless

_UID_SPACE = uuid.UUID("5d0bd5a1-1b33-4f3c-a3a3-7a2c1c9b7c52")
_INTERCEPT = -1024
_AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class CtSeries:
    """The tags that the slices of a series share.

    Attributes:
        study: key of the study; equal keys give equal UIDs.
        series_number, description: as in the tags; the number must be unique in the study.
        patient_id, patient_name: never a person's.
        pixel_spacing_mm, thickness_mm: geometry.
        orientation: ImageOrientationPatient.
        image_type: ImageType (0008,0008).
        extra: further tags, keyword -> value.
    """

    study: str
    series_number: int
    description: str
    patient_id: str
    patient_name: str = ""
    pixel_spacing_mm: float = 0.45
    thickness_mm: float = 5.0
    kernel: str = "BRAIN"
    orientation: tuple[float, ...] = _AXIAL
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")
    extra: dict[str, object] = field(default_factory=dict)


def stable_uid(*keys: str | int) -> str:
    """Derive a UID from keys (PS3.5 B.2: 2.25 and a UUID as one number)."""
    return f"2.25.{uuid.uuid5(_UID_SPACE, '/'.join(map(str, keys))).int}"


def ct_slice(
    hu: NDArray[np.int16], series: CtSeries, number: int, position_mm: tuple[float, float, float]
) -> FileDataset:
    """Make one CT image, explicit little endian.

    Args:
        hu: (rows, columns), HU, not below -1024.
        series: shared tags.
        number: InstanceNumber, also what its UID is derived from.
        position_mm: centre of the upper left pixel, patient coordinates.
    """
    image = FileDataset("", {}, preamble=b"\0" * 128, file_meta=_file_meta(series, number))
    _add_identity(image, series, number)
    image.ImagePositionPatient = [round(value, 4) for value in position_mm]
    image.ImageOrientationPatient = list(series.orientation)
    image.SliceLocation = round(position_mm[2], 4)
    image.SliceThickness = series.thickness_mm
    image.PixelSpacing = [series.pixel_spacing_mm, series.pixel_spacing_mm]
    image.KVP = 120
    image.ConvolutionKernel = series.kernel
    for keyword, value in series.extra.items():
        setattr(image, keyword, value)
    _add_pixels(image, hu)
    return image


def write_uncompressed(image: FileDataset, path: Path) -> None:
    """Write as it is."""
    image.save_as(path, enforce_file_format=True)


def write_jpeg_ls(image: FileDataset, path: Path | BinaryIO) -> None:
    """Write in JPEG-LS without loss, about a quarter of the size; the UID stays, for no value changes."""
    image.compress(JPEGLSLossless, generate_instance_uid=False)
    image.save_as(path, enforce_file_format=True)


def _file_meta(series: CtSeries, number: int) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = stable_uid(series.study, series.series_number, number)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta


def _add_identity(image: FileDataset, series: CtSeries, number: int) -> None:
    image.SpecificCharacterSet = "ISO_IR 100"
    image.ImageType = list(series.image_type)
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = stable_uid(series.study, series.series_number, number)
    image.StudyInstanceUID = stable_uid(series.study)
    image.SeriesInstanceUID = stable_uid(series.study, series.series_number)
    image.FrameOfReferenceUID = stable_uid(series.study, "frame of reference")
    image.Modality = "CT"
    image.Manufacturer = "cruor"
    image.PatientName = series.patient_name
    image.PatientID = series.patient_id
    image.PatientBirthDate = ""
    image.PatientSex = ""
    image.PatientPosition = "HFS"
    image.PositionReferenceIndicator = ""
    image.StudyDate = image.StudyTime = image.AccessionNumber = image.ReferringPhysicianName = ""
    image.StudyID = ""
    image.StudyDescription = "CT HEAD WITHOUT CONTRAST"
    image.SeriesDescription = series.description
    image.SeriesNumber = series.series_number
    image.InstanceNumber = number
    image.AcquisitionNumber = 1
    image.BodyPartExamined = "HEAD"


def _add_pixels(image: FileDataset, hu: NDArray[np.int16]) -> None:
    """Stored as a scanner does: 16 bit, 12 used, HU = stored - 1024. Above 3071 HU is cut."""
    stored = np.clip(hu.astype(np.int32) - _INTERCEPT, 0, 4095).astype(np.uint16)
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = stored.shape
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    image.RescaleIntercept, image.RescaleSlope = _INTERCEPT, 1
    image.RescaleType = "HU"
    image.WindowCenter, image.WindowWidth = 40, 80
    image.PixelData = stored.astype("<u2").tobytes()
    image["PixelData"].VR = "OW"
