"""`cruor.training.export.members`: which networks a bundle holds, and what it calls them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cruor.bundle.manifest import NetworkName
from cruor.bundle.model import Bundle
from cruor.training.experiment import DataSettings, Experiment, NetworkSettings
from cruor.training.export.card import render_card
from cruor.training.export.members import network_name

pytestmark = pytest.mark.filterwarnings("ignore:::lightning")


class TestNetworkName:
    @pytest.fixture
    def sided(self) -> list[Experiment]:
        """Of two networks, of which the first looks at the input at another side."""
        settings = [NetworkSettings("blood-map", side=side) for side in (144, 0)]
        return [Experiment("made-up", DataSettings(("nowhere",)), network=one) for one in settings]

    def test_it_tells_each_members_side_where_one_is_not_the_inputs(self, sided: list[Experiment]) -> None:
        assert network_name(sided) == NetworkName("blood-map", members=2, sides=(144, 0))
        assert network_name(sided[1:]) == NetworkName("blood-map")

    def test_the_card_tells_them_in_pixels(self, sided: list[Experiment], bundle: Bundle) -> None:
        shown = replace(bundle.manifest.input.crop, size=224)
        told = replace(
            bundle.manifest,
            network=network_name(sided),
            input=replace(bundle.manifest.input, crop=shown),
        )
        assert "averaged; they look at the input at 144, 224 pixels a side. Outputs" in render_card(told)
        one = replace(told, network=network_name(sided[:1]))
        assert "features; it looks at the input at 144 pixels a side. Outputs" in render_card(one)
