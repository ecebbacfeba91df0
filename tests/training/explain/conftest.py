"""The shipped bundle opened for explaining, and a real head with a bleed (of the demo; ct-ich, CC BY 4.0)."""

from __future__ import annotations

from pathlib import Path

import pytest

import cruor.demo
from cruor.dicom.instances import Study
from cruor.dicom.studies import find_studies
from cruor.training.explain.explainer import Explainer, open_explainer


@pytest.fixture(scope="session")
def explainer() -> Explainer:
    return open_explainer("lite0")


@pytest.fixture(scope="session")
def bleeding_zip() -> Path:
    return Path(cruor.demo.__file__).parent / "heads" / "ct-ich-091.zip"


@pytest.fixture(scope="session")
def bleeding(bleeding_zip: Path) -> Study:
    (study,) = find_studies([bleeding_zip]).studies
    return study
