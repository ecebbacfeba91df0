"""One tiny run, trained, cross-validated and exported once for all tests that look at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_limits

from cruor.training.crossval import OUT_OF_FOLD, crossvalidate
from cruor.training.experiment import Experiment, NetworkSettings, load_experiment
from cruor.training.export.export import export_run
from cruor.training.export.writing import BundleName
from cruor.training.run import EXPERIMENT_FILE, train
from tests.training.samples import few_draws, prepare_some, saved, tiny_experiment


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they give on inputs so small, and beside other work they wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared slices of twelve made-up patients."""
    return prepare_some(tmp_path_factory.mktemp("prepared") / "ct-ich")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """A run that began with ImageNet weights, trained and cross-validated on two sources."""
    folder = tmp_path_factory.mktemp("finished")
    experiment = replace(
        tiny_experiment(prepared, prepare_some(folder / "rsna-sample", source="rsna-sample"), size=96),
        network=NetworkSettings(weights="imagenet", frozen_stages=2),
    )
    file = saved(experiment, folder)
    crossvalidate(file, folder)
    return train(file, folder)


@pytest.fixture(scope="session")
def finished_experiment(finished_run: Path) -> Experiment:
    return load_experiment(finished_run / EXPERIMENT_FILE)


@pytest.fixture(scope="session")
def out_of_fold(finished_run: Path) -> pd.DataFrame:
    return pd.read_parquet(finished_run / OUT_OF_FOLD)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, finished_run: Path) -> Path:
    """The bundle of the finished run."""
    with few_draws():
        return export_run(finished_run, tmp_path_factory.mktemp("bundle"), BundleName("tiny", "0.0.1"))
