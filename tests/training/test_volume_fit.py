"""`cruor.training.volume_fit`: maps are measured against drawings, study by study."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cruor.training.volume_fit import FEWEST, fit_volume


def slices(studies: int, ratio: float = 0.5) -> pd.DataFrame:
    """Three slices a study: nothing, and blood of which a share `ratio` of the map is drawn."""
    rows = []
    for number in range(studies):
        size = 0.01 * (1 + number)
        for drawn, seen in ((0.0, 0.0), (size * ratio, size), (size * ratio, size)):
            rows.append((f"study {number}", True, seen, drawn))
    columns = ["study_instance_uid", "complete_series", "blood_share", "drawn_share"]
    return pd.DataFrame(rows, columns=columns)


def test_the_factor_is_what_the_map_must_be_multiplied_by() -> None:
    fit = fit_volume(slices(12))
    assert fit is not None
    assert (fit.factor, fit.low, fit.high) == pytest.approx((0.5, 1, 1))
    assert fit.origin.startswith("12 held-out studies")


def test_four_in_five_studies_lie_in_the_range() -> None:
    table = slices(40)
    spread = np.repeat(np.random.default_rng(1).lognormal(sigma=0.5, size=40), 3)
    fit = fit_volume(table.assign(drawn_share=table["drawn_share"] * spread))
    assert fit is not None
    truth = spread[::3] * 0.5 / fit.factor
    assert ((truth >= fit.low) & (truth <= fit.high)).mean() == pytest.approx(0.8, abs=0.03)


def test_no_study_is_measured_by_its_own_ratio() -> None:
    table = slices(11)
    ratios = np.array([1.0] * 5 + [2.0] + [4.0] * 5)
    fit = fit_volume(table.assign(drawn_share=table["blood_share"] * np.repeat(ratios, 3)))
    assert fit is not None
    assert fit.factor == 2
    of_others = [np.median(np.delete(ratios, place)) for place in range(11)]
    assert of_others[0] == 3  # not 2: without it, the middle lies between 2 and 4
    assert (fit.low, fit.high) == pytest.approx(tuple(np.quantile(ratios / of_others, [0.1, 0.9])))
    assert (fit.low, fit.high) == pytest.approx((1 / 3, 8 / 3), rel=0.01)


def test_slices_without_a_drawing_count_on_neither_side() -> None:
    table = slices(12)
    table.loc[table.index % 3 == 2, "drawn_share"] = np.nan
    fit = fit_volume(table)
    assert fit is not None
    assert fit.factor == pytest.approx(0.5)


def test_single_slices_are_no_studies() -> None:
    assert fit_volume(slices(12).assign(complete_series=False)) is None


def test_too_few_studies_tell_nothing() -> None:
    assert fit_volume(slices(FEWEST - 1)) is None


def test_a_network_whose_map_is_not_blood_has_no_volume() -> None:
    assert fit_volume(slices(12).drop(columns=["blood_share", "drawn_share"])) is None
