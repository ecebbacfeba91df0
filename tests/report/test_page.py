from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cruor.dicom.instances import PutAside, SeriesConsidered
from cruor.reader.results import NO_MAPS, UNPLACED, StudyResult
from cruor.reader.volume import BloodVolume
from cruor.report.cards import StudyCard
from cruor.report.files import write_study
from cruor.report.page import render_page, write_page
from cruor.report.text import BLOOD_MAP_SENTENCE, MAP_SENTENCE

from .samples import doubtful, failed, not_suspected, read_slice, refused, slice_result, suspected, unsure

EVIL = "<script>alert(1)</script>\"'><img src=//evil.example/x>"


class Elements(HTMLParser):
    """Collects (tag, attributes) and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def card(tmp_path: Path) -> StudyCard:
    return write_study(suspected(), tmp_path, read_slice)


def cards_of(tmp_path: Path, *results: StudyResult) -> list[StudyCard]:
    return [write_study(result, tmp_path, read_slice) for result in results]


def test_studies_stand_suspected_then_not_analysed_then_not_suspected(tmp_path: Path) -> None:
    less = suspected(study_instance_uid="1.2.7", patient_id="P-7", probability=0.6)
    page = render_page(cards_of(tmp_path, not_suspected(), refused(), less, failed(), suspected()))
    assert re.findall(r'class="who"><b>(P-\d)', page) == ["P-1", "P-7", "P-4", "P-3", "P-2"]


def test_the_page_asks_nothing_of_the_network(card: StudyCard) -> None:
    for tag, attributes in Elements(render_page([card])).found:
        assert tag not in {"script", "link", "iframe", "object", "form", "base"}
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("src", "href"):
            value = attributes.get(name) or ""
            assert value.startswith(("data:image/jpeg;base64,", "#", f"{card.folder}/")) or value == ""


def test_the_content_security_policy_allows_the_own_style_and_data_pictures_only(card: StudyCard) -> None:
    page = render_page([card])
    policy = next(
        attributes["content"] or ""
        for tag, attributes in Elements(page).found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_hostile_text_is_shown_and_never_taken_for_markup(tmp_path: Path) -> None:
    evil = suspected(
        study_instance_uid=EVIL,
        patient_id=EVIL,
        notes=(EVIL,),
        rule=EVIL,
        bundle=EVIL,
        series_considered=(SeriesConsidered(EVIL, EVIL, True, EVIL),),
    )
    aside = [PutAside(EVIL, EVIL, True)]
    plain = render_page(cards_of(tmp_path, suspected()), [PutAside("a", "b", True)])
    parsed = Elements(render_page(cards_of(tmp_path, evil, refused(reason=EVIL)), aside))
    assert {tag for tag, _ in parsed.found} <= {tag for tag, _ in Elements(plain).found} | {"span"}
    assert not [1 for _, attributes in parsed.found if "evil" in (attributes.get("src") or "")]
    assert parsed.text.count("alert(1)") >= 9


def test_text_that_turns_round_or_steers_is_made_visible(tmp_path: Path) -> None:
    page = render_page(cards_of(tmp_path, suspected(patient_id="A\u202eB\x1b[31m\udcff")))
    assert "A\ufffdB\ufffd[31m\ufffd" in page


def test_every_state_has_its_own_word_and_reason(tmp_path: Path) -> None:
    text = Elements(render_page(cards_of(tmp_path, suspected(), not_suspected(), refused(), failed()))).text
    assert all(
        word in text for word in ("Bleed suspected", "Not suspected", "Not analysed", "Not analysed: failed")
    )
    assert "bone kernel only" in text
    assert "the network broke" in text


def test_a_study_that_is_not_sure_is_counted_and_worded_by_itself(tmp_path: Path) -> None:
    page = render_page(cards_of(tmp_path, not_suspected(), refused(), unsure(), suspected()))
    assert re.findall(r'class="who"><b>(P-\d)', page) == ["P-1", "P-8", "P-3", "P-2"]
    assert '<li class="unsure"><b>1</b> not sure</li>' in page
    text = " ".join(Elements(page).text.split())
    assert "Not sure 0.17 look yourself" in text
    assert "0.17 low" not in text
    assert "unsure" not in render_page(cards_of(tmp_path, not_suspected())).partition("</style>")[2]


def test_why_an_answer_may_not_hold_stands_under_it(tmp_path: Path) -> None:
    text = " ".join(Elements(render_page(cards_of(tmp_path, doubtful()))).text.split())
    assert "does not suspect a bleed, but its answer may not hold for this study. Look yourself" in text
    assert "Unlike the studies that the network learned from, be careful: the brain has 80 HU." in text
    assert "operating point" not in text
    bleeding = suspected(cautions=doubtful().cautions)
    assert "Unlike the studies" in Elements(render_page(cards_of(tmp_path, bleeding))).text


@pytest.mark.parametrize(
    ("probability", "word"), [(0.14, "look yourself"), (0.49, "look yourself"), (0.5, "raised")]
)
def test_a_suspected_study_of_low_probability_is_not_called_low(
    probability: float, word: str, tmp_path: Path
) -> None:
    page = render_page(cards_of(tmp_path, suspected(probability=probability)))
    assert f"{probability:.2f} {word}" in " ".join(Elements(page).text.split())


def test_a_study_that_reaches_another_point_and_may_not_hold_says_both(tmp_path: Path) -> None:
    page = render_page(cards_of(tmp_path, unsure(cautions=doubtful().cautions)))
    text = " ".join(Elements(page).text.split())
    assert "a more sensitive operating point of the bundle does; and its answer may not hold for this" in text


def test_above_cold_maps_stands_that_nothing_was_placed(tmp_path: Path) -> None:
    note = f"{UNPLACED} (the hottest is 0.02): look at the slices named"
    text = Elements(render_page(cards_of(tmp_path, suspected(notes=(note,))))).text
    assert f"N{note[1:]}." in text
    assert "Where the network looked" not in text


def test_a_study_without_a_flag_does_not_look_cleared(tmp_path: Path) -> None:
    page = render_page(cards_of(tmp_path, not_suspected()))
    assert "That does not clear the study" in page
    assert not re.search(r"green|✓|✔|\bnormal\b|all clear", page)


def test_bars_of_suspicious_slices_lead_to_their_panel(card: StudyCard) -> None:
    found = Elements(render_page([card])).found
    ids = {attributes.get("id") for _, attributes in found}
    bars = [attributes for tag, attributes in found if tag == "a" and "aria-label" in attributes]
    assert [bar["aria-label"] for bar in bars] == [
        "Slice 3, 15.0 mm: probability 0.850, above 0.8",
        "Slice 4, 20.0 mm: probability 0.970, above 0.8",
    ]
    assert all((bar["href"] or "").removeprefix("#") in ids for bar in bars)


def test_ids_are_unique(tmp_path: Path) -> None:
    twins = [suspected(study_instance_uid=f"1.{index}") for index in range(3)]
    ids = [
        attributes["id"]
        for _, attributes in Elements(render_page(cards_of(tmp_path, *twins))).found
        if "id" in attributes
    ]
    assert len(ids) == len(set(ids))


def test_few_studies_are_open_and_many_are_closed(card: StudyCard) -> None:
    assert "open>" in render_page([card])
    assert "open>" not in render_page([card] * 4)


def test_every_series_is_listed_with_why(card: StudyCard) -> None:
    text = Elements(render_page([card])).text
    assert all(part in text for part in ("HEAD 5.0", "thickest soft-tissue series", "BONE", "bone kernel"))


def test_files_put_aside_are_listed(card: StudyCard) -> None:
    text = Elements(render_page([card], [PutAside("x/readme", "no DICOM", False)])).text
    assert "1 file put aside" in text
    assert "x/readme" in text


def test_the_page_says_what_it_is_not(card: StudyCard) -> None:
    text = Elements(render_page([card])).text
    assert "Research use only - not a medical device." in text
    assert "The map shows what the network used, not where the bleed is." in text


def test_values_that_are_not_finite_do_not_break_the_page(tmp_path: Path) -> None:
    odd = replace(slice_result(1, float("nan")), position_mm=float("nan"), findings={})
    assert "Slice 1" in render_page(cards_of(tmp_path, suspected(slices=(odd,), suspicious=())))


def test_a_run_without_studies_gives_a_page(tmp_path: Path) -> None:
    assert "No study was found." in write_page([], [], tmp_path).read_text("utf-8")


def test_without_maps_the_page_does_not_speak_of_where_the_network_looked(tmp_path: Path) -> None:
    one = slice_result(1, 0.9, map=None, findings={})
    mapless = suspected(slices=(one,), suspicious=(1,), notes=(NO_MAPS,))
    page = render_page(cards_of(tmp_path, mapless))
    assert NO_MAPS in Elements(page).text
    assert "Where the network looked" not in page
    assert '<th scope="col">subdural</th>' not in page


def test_a_map_of_blood_is_called_so_and_its_volume_is_an_estimate_with_a_range(tmp_path: Path) -> None:
    blood = suspected(map_kind="blood", blood_volume=BloodVolume(23.4, 12.0, 41.0))
    text = Elements(render_page(cards_of(tmp_path, blood))).text
    assert "Estimate from the maps: about 23 ml of blood; in four of five" in text
    assert "it was 12 to 41 for such an estimate." in text
    assert BLOOD_MAP_SENTENCE in text
    assert MAP_SENTENCE not in text


def test_a_study_that_is_not_suspected_shows_no_volume(tmp_path: Path) -> None:
    volume = BloodVolume(0.4, 0.1, 1.2)
    for quiet, is_told in ((not_suspected(blood_volume=volume), False), (unsure(blood_volume=volume), True)):
        assert ("ml of blood" in Elements(render_page(cards_of(tmp_path, quiet))).text) is is_told


def test_a_bundle_that_tells_no_volume_has_no_such_line(card: StudyCard) -> None:
    text = Elements(render_page([card])).text
    assert "ml of blood" not in text
    assert MAP_SENTENCE in text
