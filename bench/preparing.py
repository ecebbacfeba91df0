"""Preparing a data set, and what the whole of RSNA 2019 would cost: `python -m bench.preparing`."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pydicom
from rich.console import Console

from bench.machine import ROOT, made_by
from bench.measures import Measure, measure_table, seconds_of
from cruor.demo import copy_heads
from cruor.training.prepare import prepare_data
from cruor.training.prepare.plan import Request
from cruor.training.prepare.store import STUDIES

RSNA_SLICES = 752_803
"""Slices of RSNA's stage 2 training set, one file in one folder each."""

EPOCH_SLICES = 195_050
"""An epoch of the paper: 97,525 training slices with blood and as many without."""

EFFCLASS_SLICE_S = 1.3
"""A training step of EffClass a slice, on two cores of an AMD EPYC (docs/reproduction.md)."""


def measure_preparing(temporary: Path) -> list[Measure]:
    """Prepare DICOM as RSNA published it, uncompressed, with one process; with the cost of the whole set."""
    root, name = _published(temporary / "published")
    request = Request("rsna", root, temporary / "prepared", workers=1)
    begun = time.process_time()
    seconds = seconds_of(lambda: prepare_data(request))
    of_core = time.process_time() - begun
    slices = prepare_data(request)[0].slices
    size = sum(file.stat().st_size for file in (request.out / STUDIES).iterdir())
    rate, bytes_a_slice = slices / of_core, size / slices
    how = f"by processor time; {name}, {slices} slices of uncompressed DICOM; {seconds:.0f} s by the clock"
    return [
        Measure("preparing, a core", rate, "slices/s", None, how),
        Measure("prepared, a slice", bytes_a_slice / 1000, "kB", None, "HU without loss, on disk"),
        *cost_of_rsna(rate, bytes_a_slice),
    ]


def cost_of_rsna(slices_a_second: float, bytes_a_slice: float) -> list[Measure]:
    """What RSNA's training set costs, by what one slice does.

    Args:
        slices_a_second: prepared by one core.
        bytes_a_slice: on disk, prepared.
    """
    hours = RSNA_SLICES / slices_a_second / 3600
    epoch = EPOCH_SLICES * EFFCLASS_SLICE_S / 3600
    by = f"{EPOCH_SLICES:,} slices, {EFFCLASS_SLICE_S} s each on two cores"
    return [
        Measure("RSNA prepared, one core", hours, "h", None, f"{RSNA_SLICES:,} slices; divide by the cores"),
        Measure("RSNA prepared, disk", RSNA_SLICES * bytes_a_slice / 1e9, "GB", None, "10^9 bytes"),
        Measure("an epoch of EffClass", epoch, "h", None, by),
    ]


def _published(folder: Path) -> tuple[Path, str]:
    """The RSNA sample where the shared data are, else the demo's heads; uncompressed, in one folder."""
    shared = Path(os.environ.get("CRUOR_SHARED", ROOT.parent / "shared")) / "data" / "rsna-sample"
    folder.mkdir(parents=True)
    if shared.is_dir():
        files, name = sorted(shared.rglob("*.dcm")), "RSNA sample"
    else:
        heads = copy_heads(folder.parent / "heads")
        files = sorted(file for head in heads for file in head.rglob("*.dcm"))
        name = "no RSNA data under $CRUOR_SHARED: demo heads"
    for number, file in enumerate(files):
        dataset = pydicom.dcmread(file)
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            dataset.decompress(generate_instance_uid=False)
        dataset.save_as(folder / f"{number:05d}.dcm")
    (folder / "stage_2_train.csv").write_text("ID,Label\n", encoding="utf-8")
    return folder, name


def main() -> None:
    """Measure and print."""
    console = Console()
    for what, said in made_by().items():
        console.print(f"[bold]{what}[/]: {said}", highlight=False)
    with tempfile.TemporaryDirectory() as temporary:
        console.print(measure_table(measure_preparing(Path(temporary))))


if __name__ == "__main__":
    main()
