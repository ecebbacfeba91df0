"""A bundle whose networks are trained again, by the same experiments: what was measured of them stays."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from cruor.bundle.manifest import Manifest, MapContext
from cruor.bundle.model import Bundle, find_bundle, open_bundle
from cruor.preprocessing.channels import PREPROCESSING
from cruor.training.calibration import MAP_REACH_MM
from cruor.training.data import load_heads
from cruor.training.experiment import Experiment, ExperimentError, load_experiment
from cruor.training.export.ancestry import ancestry
from cruor.training.export.members import last_networks, network_name
from cruor.training.export.terms import data_sources
from cruor.training.export.writing import BundleName, export_command, write_bundle
from cruor.training.graph import HALF, map_scale
from cruor.training.networks.blood_map import HOTTEST_SHARE, MAP_SHARE
from cruor.training.networks.ensemble import Ensemble
from cruor.training.runs import EXPERIMENT_FILE
from cruor.training.together import check_alike_settings


def export_retrained(
    runs: Sequence[Path], folder: Path, bundle: BundleName, measured_by: str, weights: str = HALF
) -> Path:
    """Make a bundle of the networks that every patient taught, with the calibration and figures of another.

    Cross-validation takes hours, and its tables may be gone or stand on another machine, while the networks
    of `cruor train` take minutes each. That the experiments are the same is told by all that a manifest
    holds of them: codes, seeds, network, first weights, input, patients, slices. It does not hold the phases
    of training: who changes those under an old code deceives himself.

    Args:
        runs: folders of `cruor train`; their networks are averaged. The prepared data must be there.
        folder: made if missing; the bundle's files are written into it.
        bundle: how it is called.
        measured_by: name or folder of a bundle that was made of cross-validated runs of the same codes, in
            the same order.
        weights: how they are kept in the graph, a name of `graph.STORES`.

    Raises:
        BundleError: that bundle cannot be opened.
        ExperimentError: a run is not finished, or runs are not those that were measured; or the folder is
            that of the bundle.
    """
    measured = open_bundle(measured_by)
    if folder.resolve() == find_bundle(measured_by).resolve():
        raise ExperimentError(f"{folder}: is the bundle that was measured; name another folder")
    experiment = load_experiment(runs[0] / EXPERIMENT_FILE)
    check_alike_settings(experiment, runs[1:])
    _check_runs(runs, measured)
    _check_experiment(experiment, measured)
    networks = last_networks(experiment, runs)
    heads = load_heads(experiment.data, experiment.input)
    _check_data(heads.index, measured)
    network = networks[0] if len(networks) == 1 else Ensemble(networks)
    manifest = replace(
        measured.manifest,
        name=bundle.name,
        version=bundle.version,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        network=network_name([load_experiment(run / EXPERIMENT_FILE) for run in runs]),
        map_scale=map_scale(network, heads, experiment),
        made_by={
            "export": f"{export_command(runs, bundle, weights, folds=0)} --measured-by BUNDLE",
            "networks_of": "train",
            "measured_by": _measured_by(measured.manifest),
            **ancestry(runs, experiment),
        },
    )
    return write_bundle(folder, network, experiment, manifest, weights)


def _check_runs(runs: Sequence[Path], measured: Bundle) -> None:
    """Refuse other runs than those that were measured, or another order: the first gives input and folds.

    Raises:
        ExperimentError: naming those that are wanted; or one looks at the input at another side.
    """
    made = measured.manifest.made_by
    wanted = [_called(str(one.get("run")), one.get("seed")) for one in [made, *made.get("beside", [])]]
    experiments = [load_experiment(run / EXPERIMENT_FILE) for run in runs]
    named = [_called(one.code, one.training.seed) for one in experiments]
    if named != wanted:
        raise ExperimentError(
            f"{measured.label} was measured with {', '.join(wanted)}; name these in this order, the first as "
            f"RUN and each other with --beside, not {', '.join(named)}"
        )
    sides = measured.manifest.network.sides[: len(runs)] or (0,) * len(runs)
    for experiment, side in zip(experiments, sides, strict=True):
        if experiment.network.side != side:
            raise ExperimentError(
                f"{experiment.code}: `network: side` is {experiment.network.side}, {measured.label} was "
                f"measured with {side}; cross-validate and export without --measured-by"
            )


def _called(code: str, seed: object) -> str:
    return f"{code} (seed {seed})"


def _check_experiment(experiment: Experiment, measured: Bundle) -> None:
    """Refuse an experiment that is not what the bundle says it was made by.

    Raises:
        ExperimentError: naming what differs.
    """
    manifest, data = measured.manifest, experiment.data
    made = manifest.made_by
    if data.split or "split" in made:
        raise ExperimentError(
            f"{measured.label}: runs by a split are measured when they are trained; leave out --measured-by"
        )
    if data.learned_share < 1:
        raise ExperimentError(
            f"{experiment.code}: a point of a learning curve (data: learned_share), no bundle is made of it"
        )
    network, maps = manifest.network, manifest.calibration.maps
    for name, own, of_bundle in (
        ("input", experiment.input, manifest.input),
        (
            "network",
            (experiment.network.name, experiment.network.backbone),
            (network.name, network.backbone),
        ),
        ("network: weights", experiment.network.weights, made.get("first_weights")),
        ("training: place_weight", experiment.training.place_weight > 0, made.get("drawn_blood")),
        ("data: left_out_patients", list(data.left_out_patients), made.get("left_out_patients")),
        ("data: folds", data.folds, made.get("folds")),
        ("preprocessing", PREPROCESSING, manifest.preprocessing),
        ("calibration: maps", maps and MapContext(MAP_REACH_MM, HOTTEST_SHARE, MAP_SHARE), maps),
    ):
        if own != of_bundle:
            raise ExperimentError(
                f"{experiment.code}: `{name}` is not what {measured.label} was measured with; cross-validate "
                "and export without --measured-by"
            )


def _check_data(index: pd.DataFrame, measured: Bundle) -> None:
    """Refuse other patients or slices than those that were measured.

    Raises:
        ExperimentError: naming the first source that differs.
    """
    own = {source.name: source for source in data_sources(index)}
    of_bundle = {source.name: source for source in measured.manifest.data}
    for name in sorted(own.keys() | of_bundle.keys()):
        if own.get(name) != of_bundle.get(name):
            raise ExperimentError(
                f"source {name}: patients or slices are not those that {measured.label} was measured with; "
                "prepare the same data, or cross-validate and export without --measured-by"
            )


def _measured_by(manifest: Manifest) -> dict[str, Any]:
    """The bundle that was measured and what made it; of one that was itself trained again, that before it."""
    made = manifest.made_by
    if "measured_by" in made:
        before: dict[str, Any] = made["measured_by"]
        return before
    return {
        "bundle": f"{manifest.name} {manifest.version}",
        "created": manifest.created,
        "digest": manifest.digest,
        "export": made.get("export"),
        "runs": [
            {key: one.get(key) for key in ("run", "commit", "packages", "python")}
            for one in [made, *made.get("beside", [])]
        ],
    }
