"""Tables of predictions made up for the tests: no network, no pixels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cruor.bundle.manifest import OUTPUTS
from cruor.training.evaluation.figures import Settings
from cruor.training.evaluation.predictions import BUNDLE, Predictions

QUICK = Settings(rounds=50)
NAN = float("nan")


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def table(
    studies: int = 20, slices: int = 10, *, seed: int = 1, folds: int = 0, outputs=OUTPUTS, skill: float = 2.5
) -> pd.DataFrame:
    """Every second study bleeds in four of its slices, all of one subtype; logits know it by `skill`."""
    rng = np.random.default_rng(seed)
    study = np.repeat(np.arange(studies), slices)
    number = np.tile(np.arange(1, slices + 1), studies)
    blood = (study % 2 == 1) & (number > 3) & (number <= 7)
    columns = {
        "source": np.where(study < studies // 2, "here", "there"),
        "patient_id": [f"P{i:03d}" for i in study],
        "study_instance_uid": [f"S{i:03d}" for i in study],
        "sop_instance_uid": [f"S{i:03d}.{n}" for i, n in zip(study, number, strict=True)],
        "number": number,
        "complete_series": True,
        "any": blood.astype(float),
    }
    for place, subtype in enumerate(OUTPUTS[1:]):
        columns[subtype] = (blood & (study // 2 % 5 == place)).astype(float)
    columns |= {
        "file": [f"studies/{i}.npz" for i in study],
        "row": number - 1,
        "drawn": False,
        "study_any": (study % 2 == 1).astype(float),
        "age_years": 20.0 + 3 * (study % 20),
        "sex": np.where(study % 4 < 2, "F", "M"),
        "spacing_mm": np.where(study % 3 == 0, 1.0, 5.0),
    }
    if folds:
        columns["fold"] = study // 2 % folds
    for output in outputs:
        columns[f"logit_{output}"] = rng.standard_normal(len(study)) - 2 + skill * columns[output]
    return pd.DataFrame(columns)


def predicted(slices: pd.DataFrame | None = None, name: str = "made up 1", **made_by: object) -> Predictions:
    """Predictions as of a bundle without calibration; the study's is the highest of its slices."""
    found = table() if slices is None else slices.copy()
    for column in [name for name in found if name.startswith("logit_")]:
        found[column.replace("logit", "probability")] = sigmoid(found[column])
    highest = found.groupby("study_instance_uid")["probability_any"].transform("max")
    found = found.assign(study_probability=highest, study_threshold=0.5)
    return Predictions(found, {"name": name, "how": BUNDLE, **made_by})
