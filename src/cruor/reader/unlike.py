"""Whether a study looks like those that the network learned from, by what lies inside its skull."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cruor.bundle.manifest import UsualRange
from cruor.dicom.head import Inside, has_brain

WORDS = {
    "brain_hu": "the brain has {value:.0f} HU, usual {low:.0f} to {high:.0f}",
    "spread_hu": "its parts differ by {value:.1f} HU, usual {low:.1f} to {high:.1f}",
    "brain_share": "{value:.0%} of the skull's inside looks like brain, usual {low:.0%} to {high:.0%}",
}
"""What is measured, and how it is told."""


def measure(slices: Sequence[Inside]) -> dict[str, float]:
    """Medians over the slices with brain, by name; empty where there is none.

    `brain_hu` and `spread_hu` in HU: contrast and another calibration of the scanner change the first, a
    sharp kernel, a swollen brain and a phantom the second. `brain_share` falls with air and metal.
    """
    brain = [one for one in slices if has_brain(one)]
    if not brain:
        return {}
    return {name: float(np.median([getattr(one, name) for one in brain])) for name in WORDS}


def what_is_unlike(slices: Sequence[Inside], usual: Sequence[UsualRange]) -> str | None:
    """What lies outside the usual ranges, in one clause; None where nothing does."""
    found = measure(slices)
    told = [
        WORDS[one.name].format(value=found[one.name], low=one.low, high=one.high)
        for one in outside(found, usual)
    ]
    return "; ".join(told) or None


def outside(found: dict[str, float], usual: Sequence[UsualRange]) -> list[UsualRange]:
    """The ranges in which what was measured does not lie."""
    return [one for one in usual if one.name in found and not one.low <= found[one.name] <= one.high]
