"""`cruor.training.together`: runs whose networks are read together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cruor.training.experiment import DataSettings, Experiment, ExperimentError, save_experiment
from cruor.training.map_column import MAP_COLUMN, pack_maps, unpack_maps
from cruor.training.runs import EXPERIMENT_FILE, OUT_OF_FOLD, PREDICTIONS_FILE
from cruor.training.together import check_alike, check_cross_validated, held_out_slices
from tests.training.evaluation.making import table

FIRST = Experiment(code="first", data=DataSettings(("somewhere",)))


def run_of(folder: Path, experiment: Experiment, slices: pd.DataFrame) -> Path:
    """A run folder with the two files that are read."""
    folder.mkdir()
    save_experiment(experiment, folder / EXPERIMENT_FILE)
    slices.to_parquet(folder / OUT_OF_FOLD)
    return folder


@pytest.fixture
def other(tmp_path: Path) -> Experiment:
    """The same experiment with another seed."""
    return replace(FIRST, code="other", training=replace(FIRST.training, seed=2))


def test_what_is_compared_with_must_be_cross_validated(tmp_path: Path, other: Experiment) -> None:
    finished = run_of(tmp_path / "other", other, table())
    check_cross_validated([finished])
    with pytest.raises(ExperimentError, match=r"nowhere: no out_of_fold.parquet; run `cruor crossval`"):
        check_cross_validated([finished, tmp_path / "nowhere"])


class TestAlike:
    def test_another_seed_may_be_read_beside(self, tmp_path: Path, other: Experiment) -> None:
        check_alike(FIRST, [run_of(tmp_path / "other", other, table())])

    @pytest.mark.parametrize("part", ["data", "input", "network"])
    def test_what_a_slice_or_a_network_is_must_be_the_same(
        self, part: str, tmp_path: Path, other: Experiment
    ) -> None:
        changed = {
            "data": replace(other.data, left_out_patients=("P1",)),
            "input": replace(other.input, mean=0.25),
            "network": replace(other.network, dropout=0.75),
        }
        run = run_of(tmp_path / "other", replace(other, **{part: changed[part]}), table())  # type: ignore[arg-type]
        with pytest.raises(ExperimentError, match=f"other: `{part}` differs from that of 'first'"):
            check_alike(FIRST, [run])

    def test_fewer_windows_may_be_read_beside_more(self, tmp_path: Path, other: Experiment) -> None:
        narrower = replace(other, input=replace(other.input, windows_hu=other.input.windows_hu[:1]))
        check_alike(FIRST, [run_of(tmp_path / "other", narrower, table())])

    def test_one_that_looks_at_the_input_at_another_side_may_be_read_beside(
        self, tmp_path: Path, other: Experiment
    ) -> None:
        smaller = replace(other, network=replace(other.network, side=64))
        check_alike(FIRST, [run_of(tmp_path / "other", smaller, table())])

    @pytest.mark.parametrize("windows", [((0, 80), (0, 140)), ((-20, 180),)])
    def test_windows_that_the_first_run_lacks_or_another_first_one_are_refused(
        self, windows: tuple[tuple[int, int], ...], tmp_path: Path, other: Experiment
    ) -> None:
        changed = replace(other, input=replace(other.input, windows_hu=windows))
        with pytest.raises(ExperimentError, match="other: `input` differs"):
            check_alike(FIRST, [run_of(tmp_path / "other", changed, table())])

    def test_a_run_named_twice_is_refused(self, tmp_path: Path, other: Experiment) -> None:
        run = run_of(tmp_path / "other", other, table())
        with pytest.raises(ExperimentError, match="named twice"):
            check_alike(FIRST, [run, run])
        with pytest.raises(ExperimentError, match="named twice"):
            check_alike(other, [run])

    def test_a_run_that_is_not_finished_is_refused(self, tmp_path: Path, other: Experiment) -> None:
        run = run_of(tmp_path / "other", other, table())
        (run / OUT_OF_FOLD).unlink()
        with pytest.raises(ExperimentError, match=r"no out_of_fold\.parquet; run `cruor crossval`"):
            check_alike(FIRST, [run])

    def test_a_run_whose_sources_left_out_are_not_finished_is_refused(self, tmp_path: Path) -> None:
        data = replace(FIRST.data, leave_out=(("here",),))
        first = replace(FIRST, data=data)
        run = run_of(tmp_path / "other", replace(first, code="other"), table())
        with pytest.raises(ExperimentError, match=r"no left_out\.parquet; run `cruor crossval`"):
            check_alike(first, [run])


class TestHeldOutSlices:
    def test_logits_and_shares_of_blood_are_averaged_and_nothing_else(self, tmp_path: Path) -> None:
        ours = table(folds=2).assign(blood_share=0.25)
        theirs = ours.assign(logit_any=ours["logit_any"] + 2, blood_share=0.75, fold=1 - ours["fold"])
        runs = [run_of(tmp_path / "a", FIRST, ours), run_of(tmp_path / "b", FIRST, theirs)]
        mean = held_out_slices(runs, OUT_OF_FOLD)
        np.testing.assert_allclose(mean["logit_any"], ours["logit_any"] + 1)
        assert (mean["blood_share"] == 0.5).all()
        others = [name for name in ours.columns if name not in ("logit_any", "blood_share")]
        pd.testing.assert_frame_equal(mean[others], ours[others])

    def test_maps_are_averaged_as_the_bundle_averages_them_by_the_logits_of_cells(
        self, tmp_path: Path
    ) -> None:
        ours, cells = table(folds=2), np.ones((3, 3))
        maps = [pack_maps(np.stack([level * cells] * len(ours))) for level in (0.01, 0.9)]
        runs = [
            run_of(tmp_path / name, FIRST, ours.assign(**{MAP_COLUMN: column}))
            for name, column in zip("ab", maps, strict=True)
        ]
        mean = unpack_maps(held_out_slices(runs, OUT_OF_FOLD)[MAP_COLUMN])
        wanted = 1 / (1 + np.exp(-(np.log(0.01 / 0.99) + np.log(9)) / 2))
        np.testing.assert_allclose(mean, wanted, rtol=1e-6)

    @pytest.mark.parametrize(
        ("file", "again"), [(OUT_OF_FOLD, "cruor crossval"), (PREDICTIONS_FILE, "cruor train")]
    )
    def test_a_table_without_the_maps_of_its_network_is_refused(
        self, tmp_path: Path, file: str, again: str
    ) -> None:
        with_map = replace(FIRST, network=replace(FIRST.network, name="blood-map"))
        run = run_of(tmp_path / "a", with_map, table(folds=2))
        table(folds=2).to_parquet(run / file)
        with pytest.raises(ExperimentError, match=f"{file}: made by an older cruor.*{again}"):
            held_out_slices([run], file)

    def test_one_run_is_as_it_stands(self, tmp_path: Path) -> None:
        ours = table(folds=2)
        run = run_of(tmp_path / "a", FIRST, ours)
        pd.testing.assert_frame_equal(held_out_slices([run], OUT_OF_FOLD), ours)

    def test_tables_of_other_slices_are_refused(self, tmp_path: Path) -> None:
        ours = table(folds=2)
        runs = [run_of(tmp_path / "a", FIRST, ours), run_of(tmp_path / "b", FIRST, ours.iloc[::-1])]
        with pytest.raises(ExperimentError, match=r"b/out_of_fold\.parquet: of other slices than"):
            held_out_slices(runs, OUT_OF_FOLD)
