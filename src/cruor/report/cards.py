"""A study as the page shows it: record and panels, without maps and pixels, so that 200 fit in memory."""

from __future__ import annotations

from dataclasses import dataclass

from cruor.report.record import StudyRecord
from cruor.report.text import state_of


@dataclass(frozen=True)
class CardPanel:
    """The panel of one slice.

    Attributes:
        number: of the slice.
        file_name: the PNG in the folder of the study.
        data_uri: a smaller JPEG to stand in the page, None where the page only links the PNG.
    """

    number: int
    file_name: str
    data_uri: str | None


@dataclass(frozen=True)
class StudyCard:
    """One study on the page.

    Attributes:
        record: as written to result.json.
        suspicious: numbers of the slices to look at first, most suspicious first; the one that made the study
            probability is among the first three.
        panels: in that order.
        folder: name of the study's folder beside the page.
        missing: what could not be drawn, one sentence each.
    """

    record: StudyRecord
    suspicious: tuple[int, ...]
    panels: tuple[CardPanel, ...]
    folder: str
    missing: tuple[str, ...] = ()

    @property
    def study_instance_uid(self) -> str:
        return self.record["study_instance_uid"]

    @property
    def status(self) -> str:
        return self.record["status"]

    @property
    def decision(self) -> str | None:
        return self.record["decision"]

    @property
    def unsure(self) -> bool:
        return self.record["unsure"]

    @property
    def probability(self) -> float | None:
        return self.record["probability"]

    @property
    def state(self) -> str:
        """One of the five states of `cruor.report.text`."""
        return state_of(self)
