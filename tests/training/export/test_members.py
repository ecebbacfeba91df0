"""`cruor.training.export.members`: which networks a bundle holds, and what it calls them."""

from __future__ import annotations

import pytest

from cruor.bundle.manifest import NetworkName
from cruor.training.experiment import Experiment
from cruor.training.export.members import network_name

pytestmark = pytest.mark.filterwarnings("ignore:::lightning")


def test_each_members_side_is_told_where_one_is_not_the_inputs(sided: list[Experiment]) -> None:
    assert network_name(sided) == NetworkName("blood-map", members=2, sides=(144, 0))
    assert network_name(sided[1:]) == NetworkName("blood-map")
