"""From paths to studies: find every DICOM file and group them, for `cruor triage` to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cruor.dicom.files import find_instances
from cruor.dicom.instances import Instance, PutAside, Study
from cruor.dicom.series import group_studies


@dataclass(frozen=True, eq=False)
class Found:
    """What stands under the paths: studies, and every file that was not read."""

    studies: list[Study]
    put_aside: list[PutAside]

    @property
    def damaged(self) -> list[PutAside]:
        """DICOM files that should have been readable; foreign files are not among them."""
        return [aside for aside in self.put_aside if aside.damaged]


def find_studies(paths: Iterable[Path], on_file: Callable[[int], None] = lambda found: None) -> Found:
    """Find every DICOM file under the paths and group them into studies; pixels are not read yet."""
    instances: list[Instance] = []
    put_aside: list[PutAside] = []
    for number, found in enumerate(find_instances(paths), start=1):
        if isinstance(found, PutAside):
            put_aside.append(found)
        else:
            instances.append(found)
        on_file(number)
    return Found(group_studies(instances, put_aside), put_aside)
