"""`cruor.training.export.card`: it tells all that the manifest holds, and no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from cruor.bundle.manifest import Figure, StudyHead, read_manifest, write_manifest
from cruor.bundle.model import CARD_FILE, DEFAULT_BUNDLE, MANIFEST_FILE, Bundle, find_bundle, shipped_bundles
from cruor.training.experiment import Experiment
from cruor.training.export.card import render_card
from cruor.training.export.figures import measured
from cruor.training.export.members import network_name
from cruor.training.export.terms import TERMS

pytestmark = pytest.mark.filterwarnings("ignore:::lightning")


class TestCard:
    @pytest.fixture
    def card(self, exported: Path) -> str:
        return (exported / "README.md").read_text()

    def test_it_names_every_source_with_its_terms_and_counts(self, card: str, bundle: Bundle) -> None:
        assert {source.name for source in bundle.manifest.data} == {"ct-ich", "rsna-sample"}
        for source in bundle.manifest.data:
            assert f"| {source.name} | {TERMS[source.name]} | 12 | 60 | 18 |" in card

    def test_it_states_the_terms_of_the_weights(self, card: str, bundle: Bundle) -> None:
        assert f"**Terms of the weights:** {bundle.manifest.terms}." in card
        assert "not a medical device" in card

    def test_it_tells_that_the_split_is_by_patient(self, card: str) -> None:
        assert "Split by patient into 2 folds, seed 1" in card

    def test_it_gives_every_figure_with_its_interval(self, card: str, bundle: Bundle) -> None:
        assert bundle.manifest.figures
        for figure in bundle.manifest.figures:
            interval = f"{figure.value:.3f} | {figure.low:.3f} to {figure.high:.3f}"
            assert f"| {figure.name} | {interval} | {figure.cases} |" in card

    def test_it_tells_what_has_not_been_tried(self, card: str, bundle: Bundle) -> None:
        assert bundle.manifest.untried
        assert all(f"- {item}\n" in card for item in bundle.manifest.untried)

    def test_it_cites_where_data_drawings_and_first_weights_come_from(self, card: str) -> None:
        assert all(name in card for name in ("Hssayeni", "Flanders", "BLAST-CT", "ImageNet weights"))

    def test_it_claims_nothing_of_what_was_not_used(self, bundle: Bundle) -> None:
        manifest = replace(
            bundle.manifest,
            data=tuple(source for source in bundle.manifest.data if source.name == "ct-ich"),
            made_by={**bundle.manifest.made_by, "drawn_blood": False, "first_weights": "random"},
        )
        card = render_card(manifest)
        assert not [name for name in ("Flanders", "BLAST-CT", "ImageNet", "Left out of") if name in card]

    def test_it_names_the_patients_that_were_left_out(self, bundle: Bundle) -> None:
        left_out = {**bundle.manifest.made_by, "left_out_patients": ["CT-ICH-077", "CT-ICH-091"]}
        card = render_card(replace(bundle.manifest, made_by=left_out))
        assert "Left out of training, calibration and every figure: CT-ICH-077, CT-ICH-091." in card

    @pytest.mark.parametrize(
        ("area", "said"),
        [
            ("head", "the head, cut out of a slice and resized to"),
            ("shown-head", "the head as far as the windows show it, cut out of a slice and resized to"),
            ("slice", "the whole slice, resized to"),
        ],
    )
    def test_it_tells_what_of_a_slice_the_network_is_shown(
        self, bundle: Bundle, area: Literal["head", "shown-head", "slice"], said: str
    ) -> None:
        given = bundle.manifest.input
        shown = replace(given, crop=replace(given.crop, area=area))
        assert f"**Input:** {said}" in render_card(replace(bundle.manifest, input=shown))

    def test_it_tells_what_the_study_probability_is_made_of(self, bundle: Bundle) -> None:
        head = StudyHead(("highest", "top_mean"), (1.0, 1.0), 0.0)
        card = render_card(replace(bundle.manifest, study_head=head))
        assert "logistic regression on the highest slice logit and the mean of the highest tenth" in card

    def test_it_tells_the_side_at_which_a_network_looks(
        self, sided: list[Experiment], bundle: Bundle
    ) -> None:
        shown = replace(bundle.manifest.input.crop, size=224)
        told = replace(
            bundle.manifest,
            network=network_name(sided),
            input=replace(bundle.manifest.input, crop=shown),
        )
        assert "averaged; they look at the input at 144, 224 pixels a side. Outputs" in render_card(told)
        one = replace(told, network=network_name(sided[:1]))
        assert "features; it looks at the input at 144 pixels a side. Outputs" in render_card(one)

    def test_it_tells_another_hospital_only_where_one_was_tried(
        self, bundle: Bundle, never_seen: dict[str, Figure]
    ) -> None:
        figures = (*bundle.manifest.figures, *measured(never_seen.values()))
        tried = replace(bundle.manifest, figures=figures)
        assert "**another hospital**" in render_card(tried)
        assert "no other hospital has been tried" in render_card(bundle.manifest)

    def test_it_can_be_made_again_from_the_manifest(self, card: str, exported: Path, tmp_path: Path) -> None:
        write_manifest(read_manifest(exported / "manifest.json"), tmp_path / "manifest.json")
        assert render_card(read_manifest(tmp_path / "manifest.json")) == card


def test_the_card_of_the_default_bundle_is_what_its_manifest_gives() -> None:
    shipped = find_bundle(DEFAULT_BUNDLE)
    assert (shipped / CARD_FILE).read_text() == render_card(read_manifest(shipped / MANIFEST_FILE))


@pytest.mark.parametrize("name", shipped_bundles())
def test_the_manifest_of_every_shipped_bundle_still_gives_a_card(name: str) -> None:
    assert "Research use only" in render_card(read_manifest(find_bundle(name) / MANIFEST_FILE))
