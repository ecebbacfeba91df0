"""One module a kind of data: each turns a data set as published into prepared studies (see `store`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cruor.training.prepare.ct_ich import read_ct_ich
from cruor.training.prepare.drawings import Drawings
from cruor.training.prepare.rsna import read_rsna
from cruor.training.prepare.store import LabelledStudy, write_prepared

KINDS = {"ct-ich": read_ct_ich, "rsna": read_rsna}


def prepare_data(kind: str, root: Path, out: Path, drawings: Path | None = None) -> int:
    """Prepare a data set of a kind of KINDS; return the number of slices.

    Args:
        kind: one of KINDS.
        root: the data set as published.
        out: folder of the prepared data.
        drawings: folder of drawn blood, kept beside the HU where there is some.

    Raises:
        OSError: root or its tables cannot be read, or out cannot be written.
        ValueError: the labels contradict themselves.
    """
    studies = KINDS[kind](root)
    if drawings is not None:
        studies = _with_drawings(studies, Drawings(drawings))
    return len(write_prepared(studies, out))


def _with_drawings(studies: Iterator[LabelledStudy], drawings: Drawings) -> Iterator[LabelledStudy]:
    for study in studies:
        found = {row: drawings.of(one.source, one.sop_instance_uid) for row, one in enumerate(study.slices)}
        yield replace(study, drawn={row: picture for row, picture in found.items() if picture is not None})
