"""Stored pixels -> HU: a truth table of files, and one test for each rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames

from cruor.dicom.files import find_instances
from cruor.dicom.instances import Frame, Instance, Source, UnreadableError
from cruor.dicom.pixels import AIR_HU, absurd_because, is_blank, is_wrapped, read_hu
from cruor.dicom.series import frames_of
from tests.dicom import writing


def ramp(kind: str, low: int, high: int) -> NDArray[Any]:
    """A picture of 48 x 40 with every part of a range of stored values."""
    return np.linspace(low, high, 48 * 40).round().astype(kind).reshape(48, 40)


# name -> stored values and elements; each is read in every lossless transfer syntax.
KINDS: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
    "16_bit_signed": (ramp("i2", -1024, 3000), {}),
    "16_bit_unsigned": (ramp("u2", 0, 4000), {"RescaleIntercept": -1024}),
    "12_bit_unsigned": (ramp("u2", 0, 4095), {"BitsStored": 12, "RescaleIntercept": -1024}),
    "12_bit_signed": (ramp("i2", -1024, 2047), {"BitsStored": 12}),
    "8_bit_unsigned": (ramp("u1", 0, 255), {"RescaleSlope": 4, "RescaleIntercept": -1000}),
}


def expected_hu(stored: NDArray[Any], elements: dict[str, Any]) -> NDArray[np.int64]:
    slope, intercept = int(elements.get("RescaleSlope", 1)), int(elements.get("RescaleIntercept", 0))
    hu: NDArray[np.int64] = stored.astype(np.int64) * slope + intercept
    return hu


@pytest.mark.parametrize("syntax", writing.LOSSLESS)
@pytest.mark.parametrize("kind", KINDS)
def test_reads_every_lossless_transfer_syntax_to_the_last_hu(kind: str, syntax: str, tmp_path: Path) -> None:
    stored, elements = KINDS[kind]
    dataset = writing.encode(writing.ct(stored, **elements), writing.LOSSLESS[syntax])
    hu = read_hu(writing.frame_of(dataset, tmp_path))
    assert hu.dtype == np.int16
    np.testing.assert_array_equal(hu, expected_hu(stored, elements))


@pytest.mark.parametrize(
    ("syntax", "error_hu"), [("jpeg_ls_near", 2), ("jpeg_2000", 40), ("jpeg_baseline", 12)]
)
def test_reads_lossy_transfer_syntaxes_nearly(syntax: str, error_hu: int, tmp_path: Path) -> None:
    kind = "8_bit_unsigned" if syntax == "jpeg_baseline" else "12_bit_unsigned"
    stored, elements = KINDS[kind]
    dataset = writing.encode(writing.ct(stored, **elements), writing.LOSSY[syntax])
    hu = read_hu(writing.frame_of(dataset, tmp_path))
    assert np.abs(hu - expected_hu(stored, elements)).max() <= error_hu


def test_reads_extended_jpeg_of_12_bits(tmp_path: Path) -> None:
    bundled = pydicom.dcmread(str(get_testdata_file("JPGExtended.dcm", download=False)))
    shape = np.zeros((bundled.Rows, bundled.Columns), np.uint16)
    dataset = writing.ct(shape, BitsStored=12, RescaleIntercept=-1024, PixelData=bundled.PixelData)
    dataset.file_meta.TransferSyntaxUID = bundled.file_meta.TransferSyntaxUID
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    hu = read_hu(writing.frame_of(dataset, tmp_path))
    reference = bundled.pixel_array.astype(int) - 1024
    assert dataset.file_meta.TransferSyntaxUID.name.startswith("JPEG Extended")
    np.testing.assert_array_equal(hu, reference)


def test_agrees_with_pydicom_on_its_ct() -> None:
    path = Path(str(get_testdata_file("CT_small.dcm", download=False)))
    dataset = pydicom.dcmread(path)
    reference = np.frombuffer(dataset.PixelData, "<i2").reshape(128, 128) * 1.0 - 1024
    (instance,) = find_instances([path])
    assert isinstance(instance, Instance)
    (frame,) = frames_of(instance)
    hu = read_hu(frame)
    np.testing.assert_array_equal(hu[reference >= -1024], reference[reference >= -1024])


def hu_of(folder: Path, stored: Any, kind: str = "i2", **elements: Any) -> list[int]:
    """HU of one row of stored values, in the middle of rows of the first one."""
    row = np.array(stored, dtype=kind)
    picture = np.full((5, len(row)), row[0], dtype=kind)
    picture[2] = row
    return [int(value) for value in read_hu(writing.frame_of(writing.ct(picture, **elements), folder))[2]]


def test_drops_unused_high_bits(tmp_path: Path) -> None:
    assert hu_of(tmp_path, [0xF000 | 1024, 0x8000 | 1064], "u2", BitsStored=12, RescaleIntercept=-1024) == [
        0,
        40,
    ]


def test_extends_the_sign_of_12_bits(tmp_path: Path) -> None:
    assert hu_of(tmp_path, [0x0FFF, 0x0C18], "u2", BitsStored=12, PixelRepresentation=1) == [-1, -1000]


def test_shifts_where_the_high_bit_is_above_the_stored_bits(tmp_path: Path) -> None:
    values = hu_of(
        tmp_path, [1024 << 4, 1064 << 4 | 7], "u2", BitsStored=12, HighBit=15, RescaleIntercept=-1024
    )
    assert values == [0, 40]


def test_rounds_decimal_slopes_to_the_nearest_hu(tmp_path: Path) -> None:
    values = hu_of(tmp_path, [10, 11, 13], RescaleSlope="0.55", RescaleIntercept="-0.25")
    assert values == [5, 6, 7]


def test_clips_to_int16(tmp_path: Path) -> None:
    assert hu_of(tmp_path, [0, 32767], RescaleSlope=1000) == [0, 32767]


@pytest.mark.parametrize("padding", [-1500, -2000, -2048, -3024])
def test_undeclared_padding_becomes_air(padding: int, tmp_path: Path) -> None:
    assert hu_of(tmp_path, [padding, -1024, -1000, 40]) == [AIR_HU, -1024, -1000, 40]


def test_declared_padding_becomes_air_even_inside_the_range(tmp_path: Path) -> None:
    assert hu_of(tmp_path, [0, 3000, 40], PixelPaddingValue=3000) == [0, AIR_HU, 40]


def test_padding_range_becomes_air_in_either_order(tmp_path: Path) -> None:
    for first, last in ((3000, 3010), (3010, 3000)):
        values = hu_of(
            tmp_path, [2999, 3000, 3005, 3010, 3011], PixelPaddingValue=first, PixelPaddingRangeLimit=last
        )
        assert values == [2999, AIR_HU, AIR_HU, AIR_HU, 3011]


def test_padding_that_does_not_fit_the_stored_bits_becomes_air(tmp_path: Path) -> None:
    values = hu_of(
        tmp_path, [63536, 1064], "u2", BitsStored=12, RescaleIntercept=-1024, PixelPaddingValue=63536
    )
    assert values == [AIR_HU, 40]


def test_monochrome1_with_turned_values_is_turned_back(tmp_path: Path) -> None:
    turned = [4095 - 24, 4095 - 1064]
    elements = {"BitsStored": 12, "RescaleIntercept": -1024, "PhotometricInterpretation": "MONOCHROME1"}
    assert hu_of(tmp_path, turned, "u2", **elements) == [-1000, 40]


def test_monochrome1_with_values_in_hu_is_left_as_it_is(tmp_path: Path) -> None:
    elements = {"BitsStored": 12, "RescaleIntercept": -1024, "PhotometricInterpretation": "MONOCHROME1"}
    assert hu_of(tmp_path, [24, 1064], "u2", **elements) == [-1000, 40]


def test_12_bit_values_that_lost_their_offset_are_mended(tmp_path: Path) -> None:
    wrapped = [(value + 4096) % 4096 for value in (-1000, -1, 0, 40, 3000)]
    elements = {"BitsStored": 12, "RescaleIntercept": -2}
    assert hu_of(tmp_path, wrapped, "u2", **elements) == [-1000, -1, 0, 40, 3000]


def test_says_which_frames_lost_their_offset(tmp_path: Path) -> None:
    stored = np.zeros((4, 4), np.uint16)
    assert is_wrapped(writing.frame_of(writing.ct(stored, BitsStored=12), tmp_path))
    assert not is_wrapped(
        writing.frame_of(writing.ct(stored, BitsStored=12, RescaleIntercept=-1024), tmp_path)
    )


def enhanced_frames(folder: Path, syntax: str) -> list[Frame]:
    stored = np.stack([np.full((40, 36), 1000 + 10 * number, np.uint16) for number in range(4)])
    dataset = writing.encode(writing.enhanced(stored, [0, 5, 10, 15]), syntax)
    (instance,), _ = writing.found_in(writing.write(dataset, folder / "enhanced"))
    return frames_of(instance)


@pytest.mark.parametrize(
    "syntax", ["explicit", "implicit", "deflated", "rle", "jpeg_ls", "jpeg_2000_lossless"]
)
def test_reads_the_asked_frame_of_enhanced_ct_with_its_own_rescale(syntax: str, tmp_path: Path) -> None:
    frames = enhanced_frames(tmp_path, writing.LOSSLESS[syntax])
    values = [np.unique(read_hu(frame)).tolist() for frame in reversed(frames)]
    assert values == [[27], [18], [9], [0]]


def test_reads_a_multi_frame_file_once_for_all_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = enhanced_frames(tmp_path, writing.LOSSLESS["explicit"])
    reads: list[Source] = []

    def read_bytes(source: Source) -> bytes:
        reads.append(source)
        return source.path.read_bytes()

    monkeypatch.setattr(Source, "read_bytes", read_bytes)
    for frame in frames:
        read_hu(frame)
    assert len(reads) == 1


UNREADABLE: dict[str, tuple[dict[str, Any], str]] = {
    "no_slope": ({"RescaleSlope": None}, "RescaleSlope"),
    "no_intercept": ({"RescaleIntercept": None}, "RescaleIntercept"),
    "slope_zero": ({"RescaleSlope": 0}, "impossible rescale"),
    "too_few_pixels": ({"PixelData": b"\0" * 100}, "100 bytes of pixels where 512"),
    "too_many_pixels": ({"PixelData": b"\0" * 1000}, "1000 bytes of pixels where 512"),
    "no_pixels_inside": ({"PixelData": b""}, "no pixels"),
    "colour": ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour"),
    "impossible_bits": ({"BitsStored": 17}, "impossible bits"),
    "huge": ({"Rows": 60000, "Columns": 60000}, "60000 rows"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable_pixels_are_named_with_the_reason(case: str, tmp_path: Path) -> None:
    elements, words = UNREADABLE[case]
    frame = writing.frame_of(writing.ct(np.zeros((16, 16), np.int16), **elements), tmp_path)
    with pytest.raises(UnreadableError, match=words) as caught:
        read_hu(frame)
    assert caught.value.name == frame.instance.source.name


@pytest.mark.parametrize("syntax", ["jpeg_ls", "jpeg_2000_lossless", "jpeg_lossless_sv1"])
def test_a_compressed_stream_cut_short_is_unreadable(syntax: str, tmp_path: Path) -> None:
    dataset = writing.encode(writing.ct(ramp("i2", 0, 100)), writing.LOSSLESS[syntax])
    (stream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([stream[:-60]])
    with pytest.raises(UnreadableError, match="cut short"):
        read_hu(writing.frame_of(dataset, tmp_path))


def test_a_stream_that_the_decoder_refuses_is_unreadable(tmp_path: Path) -> None:
    dataset = writing.encode(writing.ct(ramp("i2", 0, 100)), writing.LOSSLESS["jpeg_ls"])
    dataset.PixelData = encapsulate([b"no JPEG-LS" * 9])
    with pytest.raises(UnreadableError, match="cannot be decoded"):
        read_hu(writing.frame_of(dataset, tmp_path))


@pytest.mark.parametrize("syntax", ["jpeg_ls", "jpeg_2000_lossless", "jpeg_lossless_sv1"])
def test_a_stream_of_another_size_than_declared_is_unreadable(syntax: str, tmp_path: Path) -> None:
    dataset = writing.encode(writing.ct(ramp("i2", 0, 100)), writing.LOSSLESS[syntax])
    dataset.Rows = 96
    with pytest.raises(UnreadableError, match="48 x 40 where 96 x 40"):
        read_hu(writing.frame_of(dataset, tmp_path))


def test_a_file_that_is_gone_is_unreadable(tmp_path: Path) -> None:
    frame = writing.frame_of(writing.ct(ramp("i2", 0, 100)), tmp_path)
    frame.instance.source.path.unlink()
    with pytest.raises(UnreadableError, match="cannot be read"):
        read_hu(frame)


def test_an_object_without_pictures_is_unreadable() -> None:
    report = writing.ct(np.zeros((4, 4), np.int16), Rows=None, Columns=None, PixelData=None, Modality="SR")
    (frame,) = frames_of(writing.in_memory(report))
    with pytest.raises(UnreadableError, match="no picture"):
        read_hu(frame)


def test_tells_blank_and_absurd_slices_from_heads() -> None:
    assert is_blank(np.full((8, 8), 40, np.int16))
    assert "blank" in str(absurd_because(np.full((8, 8), 40, np.int16)))
    assert "nearly blank" in str(absurd_because(writing.noise(64, 5).astype(np.int16)))
    assert "not like CT" in str(absurd_because(np.where(np.eye(64) > 0, 20000, 10000).astype(np.int16)))
    assert absurd_because(writing.head_hu()) is None
