"""A bundle and the network that it was made of."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from cruor.bundle.model import Bundle, open_bundle
from cruor.training.evaluation.metrics import bootstrap
from cruor.training.experiment import Experiment
from cruor.training.export import figures
from cruor.training.graph import load_network
from cruor.training.networks.lite0 import Lite0


@pytest.fixture(scope="module")
def network(finished_run: Path, finished_experiment: Experiment) -> Lite0:
    return load_network(finished_experiment, finished_run)


@pytest.fixture(scope="module")
def bundle(exported: Path) -> Bundle:
    return open_bundle(str(exported))


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "bootstrap", partial(bootstrap, rounds=20))
