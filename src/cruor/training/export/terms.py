"""What a bundle was trained on, and under which terms its weights stand."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from cruor.bundle.manifest import DataSource

TERMS = {
    "ct-ich": "CC BY 4.0",
    "rsna": "non-commercial research",
    "rsna-sample": "non-commercial research",
    "rsna-train": "non-commercial research",
}
"""Terms of each source's slices; what is not listed is taken to be the strictest."""

STRICTEST = "non-commercial research"


def data_sources(slices: pd.DataFrame) -> Iterator[DataSource]:
    """What the weights were trained on."""
    for name, part in slices.groupby("source"):
        yield DataSource(
            name=str(name),
            terms=TERMS.get(str(name), STRICTEST),
            patients=int(part["patient_id"].nunique()),
            slices=len(part),
            positive_slices=int((part["any"] == 1).sum()),
        )


def strictest_terms(slices: pd.DataFrame) -> str:
    """Terms of the weights: those of the strictest source."""
    strict = sorted(
        source for source in slices["source"].unique() if TERMS.get(source, STRICTEST) == STRICTEST
    )
    if not strict:
        return "CC BY 4.0, attribution as in the card; research use only"
    return (
        f"non-commercial research only, since slices of {', '.join(strict)} were used; not a medical device"
    )
