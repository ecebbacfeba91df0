"""`cruor.training.map_column`: maps go through a table and come back to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from cruor.training.map_column import MAP_COLUMN, pack_maps, unpack_maps

MAPS = st.tuples(st.integers(1, 5), st.integers(1, 20)).flatmap(
    lambda shape: arrays(np.float32, (shape[0], shape[1], shape[1]), elements=st.floats(0, 1, width=32))
)


@given(MAPS)
def test_maps_come_back_as_they_were(maps: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(unpack_maps(pd.Series(pack_maps(maps))), maps)


def test_maps_survive_a_file(tmp_path: Path) -> None:
    maps = np.random.default_rng(1).random((4, 18, 18)).astype(np.float32)
    pd.DataFrame({MAP_COLUMN: pack_maps(maps)}).to_parquet(tmp_path / "table.parquet")
    np.testing.assert_array_equal(unpack_maps(pd.read_parquet(tmp_path / "table.parquet")[MAP_COLUMN]), maps)
