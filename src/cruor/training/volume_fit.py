"""How the blood of a map becomes millilitres: measured against drawn blood, on held-out studies."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cruor.bundle.manifest import VolumeFit

FEWEST = 10
"""Studies below which nothing is fitted."""

LEAST_SHARE = 0.002
"""Drawn blood below this sum of shares of a box is a speck: its ratio to anything says little."""


def fit_volume(slices: pd.DataFrame) -> VolumeFit | None:
    """Fit the factor from map to drawing, and the range in which four in five studies lie.

    Areas are compared as shares of each slice's box, on the slices whose drawing is known: boxes of a study
    are about as large and slices about as far apart, so that pixel size and spacing, which pictures lack,
    nearly cancel out. The range is of each study against the factor of the others, so that no study is
    measured by its own.

    Args:
        slices: of held-out patients, with `blood_share` and `drawn_share` (`run.predict_slices`).

    Returns:
        None where the network's map is not blood, or fewer than FEWEST studies can be compared.
    """
    if "blood_share" not in slices:
        return None
    known = slices[slices["complete_series"] & slices["drawn_share"].notna()]
    sums = known.groupby("study_instance_uid")[["blood_share", "drawn_share"]].sum()
    sums = sums[(sums["drawn_share"] > LEAST_SHARE) & (sums["blood_share"] > 0)]
    if len(sums) < FEWEST:
        return None
    ratios = (sums["drawn_share"] / sums["blood_share"]).to_numpy()
    factor = float(np.median(ratios))
    of_others = np.array([np.median(np.delete(ratios, place)) for place in range(len(ratios))])
    low, high = (float(bound) for bound in np.quantile(ratios / of_others, [0.1, 0.9]))
    origin = f"{len(sums)} held-out studies with blood on map and drawing, against blood drawn by a machine"
    return VolumeFit(factor, low, high, origin)
