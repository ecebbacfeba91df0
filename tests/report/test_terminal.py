from __future__ import annotations

import io

from rich.console import Console

from cruor.reader.results import StudyResult
from cruor.reader.volume import BloodVolume
from cruor.report.terminal import study_table

from .samples import doubtful, failed, not_suspected, refused, suspected, unsure


def shown(*results: StudyResult, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(study_table(results))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_most_suspected_first_and_not_analysed_before_not_suspected() -> None:
    text = shown(not_suspected(), refused(), failed(), suspected())
    places = [text.index(word) for word in ("BLEED SUSPECTED", "Failed", "Not analysed ", "Not suspected ")]
    assert places == sorted(places)


def test_a_study_that_is_not_sure_stands_next_after_the_suspected_and_is_not_called_not_suspected() -> None:
    text = shown(not_suspected(), failed(), unsure(), suspected())
    rows = [line.strip().split("  ")[0] for line in text.splitlines()[3:7]]
    assert rows == ["BLEED SUSPECTED", "Not sure", "Failed", "Not suspected"]


def test_a_row_tells_probability_slices_and_where_to_look() -> None:
    row = next(line for line in shown(suspected()).splitlines() if "BLEED" in line)
    assert row.split() == ["BLEED", "SUSPECTED", "0.97", "P-1", "1.2.3", "2/5", "4", "3"]


def test_nothing_is_cut_or_coloured_at_80_columns_in_a_pipe() -> None:
    full = suspected(
        patient_id="A" * 30, study_instance_uid="1." + "2" * 60, suspicious=(101, 102, 103, 104, 105)
    )
    text = shown(full, refused())
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text
    assert "101 102 103 +2" in text


def test_reasons_and_notes_stand_below_with_their_patient() -> None:
    text = shown(suspected(), refused())
    assert "P-1: gantry tilt 18.5 degrees" in text
    assert "P-3: bone kernel only: send a soft-tissue series" in text


def test_the_volume_is_told_of_a_study_that_is_suspected_or_not_sure() -> None:
    volume = BloodVolume(6.2, 1.5, 20.0)
    for result, is_told in ((suspected, True), (unsure, True), (not_suspected, False)):
        text = " ".join(shown(result(blood_volume=volume)).split())
        assert ("estimate: about 6.2 ml of blood" in text) is is_told


def test_cautions_stand_before_notes() -> None:
    text = " ".join(shown(doubtful(notes=("decided by a rule",))).split())
    assert 0 < text.index("P-9: unlike the studies") < text.index("P-9: decided by a rule")


def test_text_from_a_file_is_neither_markup_nor_a_command_to_the_terminal() -> None:
    text = shown(suspected(patient_id="[red]x[/]", notes=("\x1b[2J\x07gone [/nothing]",)))
    assert "[red]x[/]" in text
    assert "\x1b" not in text
    assert "\x07" not in text
