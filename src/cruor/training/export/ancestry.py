"""What a bundle comes from: runs, commits, packages, machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from cruor.training.experiment import Experiment, ExperimentError, load_experiment
from cruor.training.runs import EXPERIMENT_FILE, MADE_BY_FILE


def ancestry(runs: Sequence[Path], experiment: Experiment) -> dict[str, object]:
    """What a bundle comes from: the runs, what made them, and what the card must tell of the experiment.

    Raises:
        ExperimentError: a run does not tell what made it.
    """
    run, *others = runs
    data = experiment.data
    split = {"split": data.split, "validation_side": data.validation_side, "test_side": data.test_side}
    return {
        "run": run.name,
        "seed": experiment.training.seed,
        **(split if data.split else {"folds": data.folds}),
        "left_out_patients": list(data.left_out_patients),
        "first_weights": experiment.network.weights,
        "drawn_blood": experiment.training.place_weight > 0,
        **_made_by(run),
        **({"beside": [_other_ancestry(one) for one in others]} if others else {}),
    }


def _other_ancestry(run: Path) -> dict[str, object]:
    """What made a run whose networks stand beside the first one's."""
    seed = load_experiment(run / EXPERIMENT_FILE).training.seed
    return {"run": run.name, "seed": seed, **_made_by(run)}


def _made_by(run: Path) -> dict[str, object]:
    """Commit, packages and machine of a run.

    Raises:
        ExperimentError: the run does not tell.
    """
    try:
        content: dict[str, object] = json.loads((run / MADE_BY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExperimentError(
            f"{run}: no {MADE_BY_FILE} that can be read, so nobody can tell what made it; copy the whole run"
        ) from error
    return content
