import logging
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from cruor.bundle.manifest import MapContext, OperatingPoint, SliceCalibration, UsualRange, VolumeFit
from cruor.demo.phantom import EPIDURAL, NORMAL, write_phantom_study
from cruor.dicom.instances import PutAside
from cruor.dicom.studies import find_studies
from cruor.reader import study as reading
from cruor.reader.along_scan import context_of_maps
from cruor.reader.results import NO_MAPS, UNPLACED, Decision, Status
from cruor.reader.study import read_study
from tests.reader.fakes import AnyAlone, BrightBlood, Broken, NoBlood, NoNumbers, bundle


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_study(folder, "normal", NORMAL)
    write_phantom_study(folder, "epidural", EPIDURAL, with_other_series=True)
    return folder


def only_study(folder: Path):
    (study,) = find_studies([folder]).studies
    return study


@pytest.fixture(scope="module")
def normal(phantoms):
    return only_study(phantoms / "phantom-normal")


@pytest.fixture(scope="module")
def epidural(phantoms):
    return only_study(phantoms / "phantom-epidural")


@pytest.fixture(scope="module")
def suspected(epidural):
    return read_study(epidural, bundle())


def cut_short(study, keep: slice):
    """The study with only some slices of its brain series."""
    (series,) = study.series
    frames, positions = series.frames[keep], series.positions_mm[keep]
    return replace(study, series=(replace(series, frames=frames, positions_mm=positions),))


def of_blood(**changes):
    """A bundle whose map is blood."""
    fit = VolumeFit(factor=2.0, low=0.5, high=3.0, origin="by hand")
    return bundle(map_kind="blood", map_scale=1.0, volume=fit, **changes)


def test_a_bundle_whose_map_is_blood_estimates_its_volume_with_a_range(epidural, normal):
    bleeding, quiet = read_study(epidural, of_blood()), read_study(normal, of_blood())
    assert bleeding.blood_volume.ml > 5
    assert quiet.blood_volume is None or bleeding.blood_volume.ml > quiet.blood_volume.ml + 5
    assert bleeding.blood_volume.low_ml == pytest.approx(0.5 * bleeding.blood_volume.ml)
    assert bleeding.blood_volume.high_ml == pytest.approx(3 * bleeding.blood_volume.ml)


def test_the_volume_is_that_of_the_cells_above_one_half(epidural):
    result = read_study(epidural, of_blood())
    spacing = result.slices[0].frame.pixel_spacing[0]
    cells = [(one.map >= 0.5).sum() * (one.box.size * spacing / 8) ** 2 for one in result.slices]
    assert result.blood_volume.ml == pytest.approx(2.0 * sum(cells) * 5.0 / 1000, rel=1e-6)


def test_without_a_cell_of_blood_no_volume_is_told(normal):
    no_blood = of_blood(session=NoBlood())
    assert read_study(normal, no_blood).blood_volume is None


def test_other_bundles_tell_no_volume(suspected):
    assert suspected.blood_volume is None


def test_without_the_distance_of_slices_no_volume_is_told(epidural, suspected):
    (brain,) = [one for one in epidural.series if one.series_instance_uid == suspected.series_instance_uid]
    blind = replace(epidural, series=(replace(brain, spacing_mm=None),))
    result = read_study(blind, of_blood())
    assert result.blood_volume is None
    assert "no volume of blood is told: how far slices lie apart is not known" in result.notes


def test_without_the_size_of_a_pixel_no_volume_is_told(epidural, suspected):
    (brain,) = [one for one in epidural.series if one.series_instance_uid == suspected.series_instance_uid]
    frames = tuple(replace(frame, pixel_spacing=None) for frame in brain.frames)
    blind = replace(epidural, series=(replace(brain, frames=frames),))
    result = read_study(blind, of_blood())
    assert result.status == Status.DECIDED
    assert result.blood_volume is None
    assert "no volume of blood is told: the size of a pixel is not known" in result.notes


def test_a_study_unlike_those_of_the_training_says_so(normal):
    strange = bundle(usual=(UsualRange("brain_hu", 60.0, 70.0),))
    result = read_study(normal, strange)
    assert result.status is Status.DECIDED
    (caution,) = result.cautions
    assert caution.startswith("unlike the studies that the network learned from")
    assert "usual 60 to 70" in caution


def test_a_study_whose_examination_had_contrast_says_that_it_may_not_be_plain(tmp_path):
    for path in write_phantom_study(tmp_path, "normal", NORMAL).rglob("*.dcm"):
        instance = pydicom.dcmread(path)
        instance.StudyDescription, instance.SeriesDescription = "CT HEAD W/WO CONTRAST", "HEAD 5.0"
        instance.save_as(path)
    result = read_study(only_study(tmp_path), bundle())
    (caution,) = result.cautions
    assert caution.startswith("perhaps not plain CT: StudyDescription speaks of contrast")
    assert result.unsure


def test_a_study_not_suspected_whose_answer_may_not_hold_is_not_sure(normal):
    strange = bundle(usual=(UsualRange("brain_hu", 60.0, 70.0),))
    result = read_study(normal, strange)
    assert result.decision is Decision.NOT_SUSPECTED
    assert result.unsure
    assert len(result.suspicious) == reading.SHOWN_AT_LEAST, "look yourself, and where"


def test_a_suspected_study_whose_answer_may_not_hold_stays_suspected(epidural):
    result = read_study(epidural, bundle(usual=(UsualRange("brain_hu", 60.0, 70.0),)))
    assert result.decision is Decision.SUSPECTED
    assert result.cautions
    assert not result.unsure


def test_a_study_not_suspected_that_reaches_a_more_sensitive_point_says_that_it_is_not_sure(normal):
    rules = bundle().manifest.rules
    sensitive = OperatingPoint("sensitivity-95", 1e-6, "by hand")
    strict = replace(rules.operating_point, threshold=0.999)
    result = read_study(
        normal, bundle(rules=replace(rules, operating_point=strict, other_points=(sensitive,)))
    )
    assert result.decision is Decision.NOT_SUSPECTED
    assert any(
        note.startswith("not sure: the study probability") and "sensitivity-95" in note
        for note in result.notes
    )
    assert result.unsure
    assert len(result.suspicious) == reading.SHOWN_AT_LEAST, "look yourself, and where"


def test_a_study_that_reaches_no_point_is_not_called_unsure(normal):
    strict = OperatingPoint("sensitivity-95", 0.999, "by hand")
    result = read_study(normal, bundle(rules=replace(bundle().manifest.rules, other_points=(strict,))))
    assert result.decision is Decision.NOT_SUSPECTED
    assert not result.unsure


def test_a_suspected_study_is_not_called_unsure(epidural):
    sensitive = OperatingPoint("sensitivity-95", 1e-6, "by hand")
    rules = replace(bundle().manifest.rules, other_points=(sensitive,))
    result = read_study(epidural, bundle(rules=rules))
    assert not result.unsure
    assert not any("not sure" in note for note in result.notes)


@pytest.mark.parametrize(
    ("session", "map_kind", "told"),
    [(NoBlood(), "blood", True), (BrightBlood(), "blood", False), (NoBlood(), "grad-cam", False)],
)
def test_a_suspected_study_whose_maps_place_no_blood_says_so(epidural, session, map_kind, told):
    result = read_study(epidural, bundle(session, map_kind=map_kind, map_scale=1.0))
    assert result.decision is Decision.SUSPECTED
    assert any(note.startswith(UNPLACED) for note in result.notes) is told


def test_a_study_that_is_not_sure_with_cold_maps_says_so(normal):
    result = read_study(normal, of_blood(session=NoBlood(), usual=(UsualRange("brain_hu", 60.0, 70.0),)))
    assert result.unsure
    assert any(note.startswith(UNPLACED) and "the maps point nowhere" in note for note in result.notes)


def test_a_bundle_with_a_reach_asks_the_neighbours_of_a_slice(suspected, epidural):
    calibration = bundle().manifest.calibration
    reaching = bundle(calibration=replace(calibration, reach_mm=4.0))
    alone = np.array([one.probability for one in suspected.slices])
    asked = np.array([one.probability for one in read_study(epidural, reaching).slices])
    assert asked.max() < alone.max() and asked.min() >= alone.min()
    assert asked.argmax() == alone.argmax()


class Flickering(BrightBlood):
    """A map of blood that is warm on every second slice alone."""

    def run(self, names, feeds):
        logits, maps = super().run(names, feeds)
        return [
            logits,
            np.where(np.arange(len(maps))[:, None, None, None] % 2, 0.9, 0.1).astype(np.float32) + 0 * maps,
        ]


def asking_maps(session=None):
    """Bundles whose map is blood: one without, one with the maps of neighbours."""
    context = MapContext(reach_mm=4.0, hottest_share=0.02, logit_share=0.7)
    calibration = replace(bundle().manifest.calibration, maps=context)
    plain = bundle(session or Flickering(), map_kind="blood", map_scale=1.0)
    return plain, replace(plain, manifest=replace(plain.manifest, calibration=calibration))


def test_a_bundle_with_a_context_of_maps_asks_the_maps_of_neighbours(epidural):
    plain, asking = asking_maps()
    alone, asked = read_study(epidural, plain), read_study(epidural, asking)
    maps = np.stack([one.map for one in alone.slices])
    positions = np.array([one.position_mm for one in alone.slices])
    changed = context_of_maps(maps, positions, asking.manifest.calibration.maps)
    assert np.abs(changed).max() > 0.1
    before, after = (np.array([one.probability for one in result.slices]) for result in (alone, asked))
    logits_before, logits_after = (np.log(chance / (1 - chance)) for chance in (before, after))
    np.testing.assert_allclose(logits_after, logits_before + changed, rtol=1e-6)


def test_the_study_probability_is_made_without_the_maps_of_neighbours(epidural):
    plain, asking = asking_maps()
    assert read_study(epidural, asking).probability == read_study(epidural, plain).probability


class OneSliceAlone(BrightBlood):
    """Of slice 5 the logit is highest, and the map warm between two cold ones; all others are warm, too."""

    def __init__(self):
        self.seen = 0

    def run(self, names, feeds):
        logits, maps = super().run(names, feeds)
        number = self.seen + 1 + np.arange(len(maps))
        self.seen += len(maps)
        logits = np.where(number == 5, 3.0, 2.0)[:, None] + 0 * logits
        warm = np.where((number == 4) | (number == 6), 0.05, 0.9)
        return [logits, (warm[:, None, None, None] + 0 * maps).astype(np.float32)]


def test_the_slice_that_made_the_study_probability_is_among_the_first_to_look_at(epidural):
    plain, asking = asking_maps(OneSliceAlone())
    alone = read_study(epidural, plain)
    assert max(alone.slices, key=lambda one: one.probability).number == 5
    asking.session.seen = 0
    asked = read_study(epidural, asking)
    assert asked.slices[4].probability < min(asked.slices[n].probability for n in (10, 15, 20))
    assert 5 in asked.suspicious[: reading.SHOWN_AT_LEAST]
    assert len(set(asked.suspicious)) == len(asked.suspicious)


def test_without_known_spacing_each_slice_stands_for_itself(epidural, suspected):
    reaching = bundle(calibration=replace(bundle().manifest.calibration, reach_mm=4.0))
    series = tuple(replace(one, spacing_mm=None) for one in epidural.series)
    result = read_study(replace(epidural, series=series), reaching)
    assert [one.probability for one in result.slices] == [one.probability for one in suspected.slices]


def test_a_head_with_blood_is_suspected_and_a_head_without_is_not(suspected, normal):
    assert (suspected.status, suspected.decision) == (Status.DECIDED, Decision.SUSPECTED)
    healthy = read_study(normal, bundle())
    assert (healthy.status, healthy.decision) == (Status.DECIDED, Decision.NOT_SUSPECTED)
    assert healthy.probability < 0.5 < suspected.probability


def test_every_slice_has_its_number_position_probability_findings_and_map(suspected):
    assert [one.number for one in suspected.slices] == list(range(1, 29))
    positions = [one.position_mm for one in suspected.slices]
    assert positions == sorted(positions)
    for one in suspected.slices:
        assert 0 <= one.probability <= 1
        assert len(one.findings) == 5
        assert one.map.shape == (8, 8)
        assert (one.map >= 0).all()


def test_positive_slices_are_those_above_the_papers_threshold(suspected):
    above = [one.number for one in suspected.slices if one.probability > 0.8]
    assert suspected.positive_slices == len(above) > 0
    assert sorted(suspected.suspicious) == above
    first = suspected.slices[suspected.suspicious[0] - 1]
    assert first.probability == max(one.probability for one in suspected.slices)


def test_a_suspected_study_always_has_slices_to_look_at(epidural):
    timid = bundle(rules=replace(bundle().manifest.rules, slice_threshold=1.0))
    result = read_study(epidural, timid)
    assert result.decision is Decision.SUSPECTED
    assert result.positive_slices == 0
    assert len(result.suspicious) == reading.SHOWN_AT_LEAST


def test_the_rule_asked_for_is_the_rule_used_and_named(epidural):
    for rule in ("probability", "paper-2.5", "paper-5", "paper-10"):
        assert read_study(epidural, bundle(), rule).rule == rule
    assert read_study(epidural, bundle()).rule == bundle().manifest.rules.default


def test_the_paper_rule_can_say_no_where_the_probability_says_yes(epidural):
    strict = bundle(rules=replace(bundle().manifest.rules, slice_threshold=1.0))
    assert read_study(epidural, strict, "paper-5").decision is Decision.NOT_SUSPECTED
    assert read_study(epidural, strict, "probability").decision is Decision.SUSPECTED


def test_the_same_study_gives_the_same_result_twice(epidural, suspected):
    again = read_study(epidural, bundle())
    assert [one.probability for one in again.slices] == [one.probability for one in suspected.slices]
    assert again.probability == suspected.probability


def test_the_answer_says_which_series_was_read_and_why_not_the_others(suspected):
    chosen = [one for one in suspected.series_considered if one.chosen]
    assert [one.series_instance_uid for one in chosen] == [suspected.series_instance_uid]
    assert len(suspected.series_considered) == 3
    assert all(one.why for one in suspected.series_considered)


def test_progress_is_told_for_every_slice(normal):
    told = []
    read_study(normal, bundle(), on_slice=lambda done, total: told.append((done, total)))
    assert told == [(done, 28) for done in range(1, 29)]


def test_too_few_slices_are_refused_with_the_number_needed(normal):
    result = read_study(cut_short(normal, slice(12, 18)), bundle())
    assert result.status is Status.REFUSED
    assert result.decision is None
    assert result.probability is None
    assert "8" in result.reason


def test_slices_below_the_brain_are_refused_though_there_are_enough_of_them(normal, monkeypatch):
    monkeypatch.setattr(reading, "has_brain", lambda inside: False)
    result = read_study(normal, bundle())
    assert result.status is Status.REFUSED
    assert "brain is seen on 0 of 28 slices" in result.reason


def damaged(study, places: set[int]):
    """The study with some slices whose files are gone."""

    def gone(place, frame):
        if place not in places:
            return frame
        source = replace(frame.instance.source, path=Path("gone.dcm"))
        return replace(frame, instance=replace(frame.instance, source=source))

    (series,) = study.series
    frames = tuple(gone(place, frame) for place, frame in enumerate(series.frames))
    return replace(study, series=(replace(series, frames=frames),))


def test_one_unreadable_slice_is_named_in_the_notes_and_the_rest_is_read(normal):
    result = read_study(damaged(normal, {27}), bundle())
    assert result.status is Status.DECIDED
    assert result.slice_count == 27
    assert any("gone.dcm" in note for note in result.notes)


def altered(folder: Path, places: range, change):
    """The phantom with an epidural hematoma, the stored values of some slices changed."""
    written = write_phantom_study(folder, "epidural", EPIDURAL)
    (series,) = only_study(written).series
    for place in places:
        path = series.frames[place].instance.source.path
        instance = pydicom.dcmread(path)
        instance.PixelData = change(instance.pixel_array.copy()).tobytes()
        instance.save_as(path)
    return only_study(written)


def blanked(folder: Path, places: range):
    return altered(folder, places, np.zeros_like)


class TestBlankSlices:
    """Pixels that a transfer lost come as zeros: no blood is seen on them, and that says nothing."""

    def test_many_where_there_is_brain_fail_the_study(self, tmp_path):
        result = read_study(blanked(tmp_path, range(10, 20)), bundle())
        assert result.status is Status.FAILED
        assert result.decision is None
        assert "10 of 28 slices are missing or cannot be read" in result.reason

    def test_one_is_named_and_the_answer_of_the_rest_may_not_hold(self, tmp_path):
        study = blanked(tmp_path, range(12, 13))
        (series,) = study.series
        lost = Path(series.frames[12].name).name
        result = read_study(damaged(study, {3}), bundle())
        assert result.status is Status.DECIDED
        assert (result.slice_count, result.unread) == (26, 2)
        assert any("blank, though there is brain beside it" in note and lost in note for note in result.notes)
        assert "2 of 28 slices could not be read: what they show is not known" in result.cautions

    def test_at_the_end_of_a_scan_that_ends_in_brain_they_count_too(self, tmp_path):
        assert read_study(blanked(tmp_path, range(18, 28)), bundle()).status is Status.FAILED

    def test_at_its_beginning_as_well(self, tmp_path):
        assert read_study(blanked(tmp_path, range(10)), bundle()).status is Status.FAILED

    def test_beyond_the_head_they_are_air(self, tmp_path):
        """The phantom's brain ends at slice 24 of 0 to 27; on 25 there is bone and no brain."""
        result = read_study(blanked(tmp_path, range(26, 28)), bundle())
        assert (result.status, result.slice_count) == (Status.DECIDED, 28)
        assert result.cautions == ()


def test_slices_without_a_closed_skull_are_read_and_told(tmp_path):
    def opened(pixels):
        """Soft tissue in the place of the bone, but for the back of the head."""
        air, front = pixels.min(), round(0.65 * len(pixels))
        bone = pixels[:front] > air + 1300
        pixels[:front][bone] = air + 1040
        return pixels

    result = read_study(altered(tmp_path, range(10, 20), opened), bundle())
    assert result.status is Status.DECIDED
    assert result.slice_count == 28
    assert any("no closed skull between others with brain" in caution for caution in result.cautions)


def test_slices_thinner_than_any_that_was_measured_are_told(normal):
    (series,) = normal.series
    for thickness, is_told in ((0.6, True), (2.4, True), (2.5, False), (None, False)):
        thin = replace(normal, series=(replace(series, thickness_mm=thickness),))
        notes = read_study(thin, bundle()).notes
        assert any(note.startswith(f"slices of {thickness} mm") for note in notes) is is_told


def test_many_unreadable_slices_fail_the_study_rather_than_call_it_healthy(normal):
    result = read_study(damaged(normal, {0, 1, 2, 27}), bundle())
    assert result.status is Status.FAILED
    assert result.decision is None
    assert "4 of 28 slices are missing or cannot be read" in result.reason


def test_an_error_inside_fails_the_study_and_keeps_names_out_of_reason_and_log(normal, caplog):
    with caplog.at_level(logging.INFO):
        result = read_study(normal, bundle(Broken()))
    assert result.status is Status.FAILED
    assert result.decision is None
    assert "RuntimeError" in result.reason
    assert "Doe" not in result.reason + caplog.text


def test_an_even_brain_is_read_with_a_note_that_it_may_be_a_phantom(normal, monkeypatch):
    monkeypatch.setattr(reading, "looks_like_phantom", lambda slices: "uniform inside")
    result = read_study(normal, bundle())
    assert result.status is Status.DECIDED
    assert "phantom" in result.cautions[0]


def test_no_more_than_two_batches_of_slices_wait_at_a_time(normal, monkeypatch):
    """Memory must not grow with the number of slices."""
    (series,) = normal.series
    started, read = [], []
    real = reading._head

    def counted(place, frame, settings):
        started.append(place)
        assert len(started) - len(read) <= 2 * reading.BATCH + 1
        return real(place, frame, settings)

    monkeypatch.setattr(reading, "_head", counted)
    for head in reading._heads(series.frames * 3, bundle().manifest.input):
        read.append(head.place)
    assert read == list(range(84))


def test_slices_keep_their_order_however_long_each_takes(suspected, epidural, monkeypatch):
    real, rng = reading._head, np.random.default_rng(1)

    def slow(place, frame, settings):
        time.sleep(rng.random() / 200)
        return real(place, frame, settings)

    monkeypatch.setattr(reading, "_head", slow)
    again = read_study(epidural, bundle())
    assert [one.sop_instance_uid for one in again.slices] == [
        one.sop_instance_uid for one in suspected.slices
    ]


def test_a_network_that_gives_no_number_fails_the_study(normal):
    result = read_study(normal, bundle(NoNumbers()))
    assert result.status is Status.FAILED
    assert result.decision is None
    assert "no number" in result.reason


def with_damaged_files(study, count: int, series_instance_uid: str | None):
    aside = PutAside("cut.dcm", "is cut short", True, study.study_instance_uid, series_instance_uid)
    return replace(study, put_aside=(aside,) * count)


@pytest.mark.parametrize("known", [True, False])
def test_damaged_files_of_the_series_count_as_slices_not_read(normal, known):
    series_uid = normal.series[0].series_instance_uid if known else None
    assert read_study(with_damaged_files(normal, 4, series_uid), bundle()).status is Status.FAILED
    few = read_study(with_damaged_files(normal, 1, series_uid), bundle())
    assert (few.status, few.unread) == (Status.DECIDED, 1)


def test_damaged_files_of_another_series_do_not_fail_the_study(normal):
    result = read_study(with_damaged_files(normal, 9, "1.2.3"), bundle())
    assert (result.status, result.unread) == (Status.DECIDED, 0)


def test_slice_numbers_run_from_one_to_the_slice_count(normal):
    result = read_study(damaged(normal, {3}), bundle())
    assert [one.number for one in result.slices] == list(range(1, result.slice_count + 1))


def test_files_of_two_patients_in_one_study_are_refused(normal):
    result = read_study(replace(normal, patients=2), bundle())
    assert result.status is Status.REFUSED
    assert "2 patients" in result.reason


def test_eight_thin_slices_are_not_a_head(normal):
    (series,) = normal.series
    middle, thin = slice(8, 20), tuple(0.6 * place for place in range(12))
    part = replace(series, frames=series.frames[middle], positions_mm=thin, spacing_mm=0.6)
    result = read_study(replace(normal, series=(part,)), bundle())
    assert result.status is Status.REFUSED
    assert "40" in result.reason


def test_what_the_decision_rests_on_is_the_first_note(suspected):
    assert suspected.notes[0].startswith("rule probability")


def test_a_study_whose_slices_all_cannot_be_read_failed(normal):
    result = read_study(damaged(normal, set(range(28))), bundle())
    assert result.status is Status.FAILED


def test_a_study_head_that_gives_no_number_fails_the_study(normal):
    wild = replace(bundle().manifest.study_head, weights=(1e308, -1e308))
    with np.errstate(all="ignore"):
        result = read_study(normal, bundle(study_head=wild))
    assert result.status is Status.FAILED
    assert result.decision is None


def test_a_hole_of_many_slices_fails_the_study_and_a_small_one_is_noted(normal):
    (series,) = normal.series
    hole = replace(normal, series=(replace(series, missing_levels=9),))
    assert read_study(hole, bundle()).status is Status.FAILED
    small = replace(normal, series=(replace(series, missing_levels=1),))
    assert read_study(small, bundle()).status is Status.DECIDED


def test_a_disagreement_of_rule_and_probability_is_noted(epidural, suspected):
    strict = bundle(rules=replace(bundle().manifest.rules, slice_threshold=0.9999))
    result = read_study(epidural, strict, "paper-5")
    assert result.decision is Decision.NOT_SUSPECTED
    assert any("another rule disagrees" in note for note in result.notes)
    assert not any("disagrees" in note for note in suspected.notes)


def test_a_bundle_without_maps_and_subtypes_gives_none_and_says_so(epidural):
    one = {"outputs": ("any",), "calibration": SliceCalibration((1.0,), (0.0,)), "map_scale": 0.0}
    result = read_study(epidural, bundle(AnyAlone(), **one))
    assert (result.status, result.decision) == (Status.DECIDED, Decision.SUSPECTED)
    assert NO_MAPS in result.notes
    assert all(one.map is None and one.findings == {} for one in result.slices)
