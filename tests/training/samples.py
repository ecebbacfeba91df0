"""Generated heads, prepared folders and experiments small enough to train on in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cruor.preprocessing.channels import InputSettings
from cruor.preprocessing.crop import CropSettings
from cruor.training.evaluation.metrics import bootstrap
from cruor.training.experiment import (
    DataSettings,
    Experiment,
    NetworkSettings,
    TrainingSettings,
    save_experiment,
)
from cruor.training.export import figures
from cruor.training.prepare.store import LABELS, LabelledSlice, LabelledStudy, write_prepared

SIDE = 96
UNKNOWN = float("nan")


def head(seed: int, blood: bool = False) -> NDArray[np.int16]:
    """A slice of a skull with noise for a brain; with blood, a bright blob in it. (SIDE, SIDE), HU."""
    rng = np.random.default_rng(seed)
    distance = _distance_to_middle()
    hu = np.full((SIDE, SIDE), -1000.0)
    hu[distance < 40] = 900
    brain = distance < 36
    hu[brain] = 32 + 4 * rng.standard_normal(int(brain.sum()))
    if blood:
        hu[blob()] = 75
    return np.round(hu).astype(np.int16)


def blob() -> NDArray[np.bool_]:
    """Where `head` puts blood."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.asarray(np.hypot(rows - 40, columns - 60) < 8)


def _distance_to_middle() -> NDArray[np.float64]:
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return np.asarray(np.hypot(rows, columns))


def labels(any_blood: float, subtypes: float | None = None) -> tuple[float, ...]:
    """Labels in the order of LABELS; every subtype the same, by default unknown where there is blood."""
    other = (UNKNOWN if any_blood else 0.0) if subtypes is None else subtypes
    return (any_blood, *[other] * (len(LABELS) - 1))


def study(
    name: str,
    bleeding: tuple[bool, ...],
    *,
    source: str = "ct-ich",
    patient: str | None = None,
    drawn: bool = True,
) -> LabelledStudy:
    """A complete study with one slice for each entry of `bleeding`, drawn where there is blood."""
    slices = tuple(
        LabelledSlice(
            source=source,
            patient_id=patient or f"patient of {name}",
            study_instance_uid=name,
            sop_instance_uid=f"{name}.{number}",
            number=number,
            complete_series=True,
            labels=labels(float(blood)),
        )
        for number, blood in enumerate(bleeding, start=1)
    )
    seed = sum(name.encode())
    hu = np.stack([head(seed + number, blood) for number, blood in enumerate(bleeding)])
    picture = np.where(blob(), 255, 0).astype(np.uint8)
    return LabelledStudy(slices, hu, {row: picture for row, blood in enumerate(bleeding) if blood and drawn})


def as_pictures(one: LabelledStudy) -> LabelledStudy:
    """The same as pictures of level 36, width 80 are prepared: what is darker or brighter is cut off."""
    slices = tuple(replace(slice_, known_low_hu=-4.0, known_high_hu=76.0) for slice_ in one.slices)
    return replace(one, slices=slices, hu=np.clip(one.hu, -4, 76))


def prepare_some(folder: Path, patients: int = 12, source: str = "ct-ich") -> Path:
    """A prepared folder: every second patient bleeds in three of five slices."""
    bleeding, quiet = (False, True, True, True, False), (False,) * 5
    write_prepared(
        (study(f"{source}-{i:02d}", bleeding if i % 2 else quiet, source=source) for i in range(patients)),
        folder,
    )
    return folder


def tiny_experiment(*folders: Path, code: str = "tiny", size: int = 64) -> Experiment:
    """Two epochs of two steps on a network of random weights, two folds."""
    return Experiment(
        code=code,
        data=DataSettings(tuple(map(str, folders)), folds=2),
        input=InputSettings(CropSettings(size=size)),
        network=NetworkSettings(weights="random"),
        training=TrainingSettings(
            epochs=2, batch_size=18, negatives_per_positive=1.0, place_weight=1.0, learning_rate=1e-3
        ),
    )


def saved(experiment: Experiment, folder: Path) -> Path:
    """The experiment as a file in the folder."""
    file = folder / f"{experiment.code}.yaml"
    save_experiment(experiment, file)
    return file


@contextmanager
def few_draws() -> Iterator[None]:
    """A bundle's intervals are of 20 draws: quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "bootstrap", partial(bootstrap, rounds=20))
        yield
