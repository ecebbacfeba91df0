"""`cruor.training.export.terms`: the strictest source decides."""

from __future__ import annotations

import pandas as pd
import pytest

from cruor.training.export.terms import STRICTEST, data_sources, strictest_terms

pytestmark = pytest.mark.filterwarnings("ignore:::lightning")


def of_sources(*names: str) -> pd.DataFrame:
    return pd.DataFrame({"source": names, "patient_id": names, "any": [1.0] * len(names)})


@pytest.mark.parametrize(
    ("sources", "strict"),
    [
        (("ct-ich",), False),
        (("ct-ich", "rsna-sample"), True),
        (("rsna-train",), True),
        (("ct-ich", "a set nobody knows"), True),
    ],
)
def test_the_strictest_terms_win(sources: tuple[str, ...], strict: bool) -> None:
    terms = strictest_terms(of_sources(*sources))
    assert terms.startswith(STRICTEST if strict else "CC BY 4.0")
    assert all((source in terms) is (strict and source != "ct-ich") for source in sources)


def test_a_source_whose_terms_are_not_known_has_the_strictest() -> None:
    (source,) = data_sources(of_sources("a set nobody knows"))
    assert source.terms == STRICTEST
