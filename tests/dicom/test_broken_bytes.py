"""Bytes flipped and cut at random: a file is read, or said to be unreadable by name; nothing else happens."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cruor.dicom.choice import choose_series
from cruor.dicom.files import find_instances
from cruor.dicom.instances import Instance, PutAside, UnreadableError
from cruor.dicom.pixels import read_hu
from cruor.dicom.series import group_studies
from tests.dicom import writing

TRIES = 40
"""Broken files of each kind: few enough to be quick; thousands were tried while this was written."""

STORED = writing.head_hu(48)


def broken(data: bytes, rng: random.Random, until: int) -> bytes:
    """Flip one to eight bytes below `until`, and one time in four cut the end off."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(until)] = rng.choice([0, 0xFF, rng.randrange(256)])
    return bytes(changed[: rng.randrange(len(changed))] if rng.random() < 0.25 else changed)


def read_all(path: Path) -> int:
    """Go the whole way with a folder; count what was read. Any exception but UnreadableError passes on."""
    found = list(find_instances([path]))
    instances = [one for one in found if isinstance(one, Instance)]
    aside = [one for one in found if isinstance(one, PutAside)]
    assert all(entry.why and entry.name for entry in aside)
    read = 0
    for study in group_studies(instances, aside):
        assert choose_series(study).considered or study.put_aside
        for frame in (frame for series in study.series for frame in series.frames[:4]):
            try:
                read += read_hu(frame).dtype == np.int16
            except UnreadableError as error:
                assert error.name and error.why
    return read


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", ["header", "anywhere"])
@pytest.mark.parametrize("syntax", writing.LOSSLESS)
def test_flipped_bytes_are_read_or_named(syntax: str, part: str, tmp_path: Path) -> None:
    dataset = writing.encode(writing.ct(STORED), writing.LOSSLESS[syntax])
    data = writing.to_bytes(dataset)
    rng = random.Random(syntax)
    until = len(data) if part == "anywhere" else min(len(data), 900)
    read = 0
    for _ in range(TRIES):
        (tmp_path / "one").write_bytes(broken(data, rng, until))
        read += read_all(tmp_path)
    assert read < TRIES


@pytest.mark.filterwarnings("ignore")
def test_flipped_functional_groups_are_read_or_named(tmp_path: Path) -> None:
    stored = np.stack([STORED] * 4)
    data = writing.to_bytes(writing.enhanced(stored, [0, 5, 10, 15]))
    rng = random.Random(0)
    for _ in range(TRIES):
        (tmp_path / "one").write_bytes(broken(data, rng, len(data) - stored.nbytes))
        read_all(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_flipped_zip_archives_are_read_or_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("IM1", writing.to_bytes(writing.ct(STORED)))
    data = (tmp_path / "study.zip").read_bytes()
    rng = random.Random(1)
    for _ in range(TRIES):
        (tmp_path / "study.zip").write_bytes(broken(data, rng, len(data)))
        read_all(tmp_path)
