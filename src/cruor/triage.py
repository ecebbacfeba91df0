"""From paths to results: find, group, read one study after another. What `cruor triage` and the demo run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cruor.bundle.model import Bundle
from cruor.dicom.files import find_instances
from cruor.dicom.instances import Instance, PutAside, Study
from cruor.dicom.series import group_studies
from cruor.reader.results import StudyResult
from cruor.reader.study import OnSlice, read_study


@dataclass(frozen=True, eq=False)
class Found:
    """What stands under the paths: studies, and every file that was not read."""

    studies: list[Study]
    put_aside: list[PutAside] = field(default_factory=list)

    @property
    def damaged(self) -> list[PutAside]:
        """DICOM files that should have been readable; foreign files are not among them."""
        return [aside for aside in self.put_aside if aside.damaged]


def find_studies(paths: Iterable[Path], on_file: Callable[[int], None] = lambda found: None) -> Found:
    """Find every DICOM file under the paths and group them into studies; pixels are not read yet."""
    instances: list[Instance] = []
    put_aside: list[PutAside] = []
    for number, found in enumerate(find_instances(paths), start=1):
        (put_aside if isinstance(found, PutAside) else instances).append(found)  # type: ignore[arg-type]
        on_file(number)
    return Found(group_studies(instances, put_aside), put_aside)


def read_studies(
    studies: Iterable[Study], bundle: Bundle, rule: str | None, on_slice: Callable[[Study], OnSlice]
) -> Iterator[StudyResult]:
    """Read study by study, so that each result can be written before the next study is opened."""
    for study in studies:
        yield read_study(study, bundle, rule, on_slice(study))
