"""A bundle and the network that it was made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from cruor.bundle.manifest import Figure
from cruor.bundle.model import Bundle, open_bundle
from cruor.training.experiment import DataSettings, Experiment, NetworkSettings
from cruor.training.export.figures import left_out_figures
from cruor.training.graph import load_network
from cruor.training.networks.lite0 import Lite0
from tests.training.samples import few_draws


@pytest.fixture(scope="module")
def network(finished_run: Path, finished_experiment: Experiment) -> Lite0:
    return load_network(finished_experiment, finished_run)


@pytest.fixture(scope="module")
def bundle(exported: Path) -> Bundle:
    return open_bundle(str(exported))


@pytest.fixture
def few_rounds() -> Iterator[None]:
    with few_draws():
        yield


@pytest.fixture(scope="module")
def never_seen(out_of_fold: pd.DataFrame) -> dict[str, Figure]:
    held_out = out_of_fold[out_of_fold["source"] == "ct-ich"].assign(left_out="ct-ich")
    return {one.name: one for one in left_out_figures(held_out, out_of_fold)}


@pytest.fixture
def sided() -> list[Experiment]:
    """Of two networks, of which the first looks at the input at another side."""
    settings = [NetworkSettings("blood-map", side=side) for side in (144, 0)]
    return [Experiment("made-up", DataSettings(("nowhere",)), network=one) for one in settings]
