"""A bundle whose networks are trained again, by the same experiments: what was measured of them stays."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cruor.bundle.manifest import Manifest, write_manifest
from cruor.bundle.model import CARD_FILE, MANIFEST_FILE, MODEL_FILE, Bundle
from cruor.preprocessing.channels import PREPROCESSING
from cruor.training.data import load_heads
from cruor.training.experiment import Experiment, ExperimentError, load_experiment
from cruor.training.export import (
    BundleName,
    ancestry,
    export_command,
    last_networks,
    other_ancestry,
    render_card,
)
from cruor.training.graph import HALF, STORES, map_scale, write_graph
from cruor.training.networks.ensemble import Ensemble
from cruor.training.runs import EXPERIMENT_FILE


def export_retrained(
    runs: Sequence[Path], folder: Path, bundle: BundleName, measured: Bundle, weights: str = HALF
) -> Path:
    """Make a bundle of the networks that every patient taught, with the calibration and figures of another.

    Cross-validation takes hours, and its tables may be gone or stand on another machine, while the networks
    of `cruor train` take minutes each. Whether the experiments are the same is told by their codes and seeds,
    network and input: who changes an experiment under its old code deceives himself.

    Args:
        runs: folders of `cruor train`; their networks are averaged.
        folder: made if missing; the bundle's files are written into it.
        bundle: how it is called.
        measured: a bundle that was made of cross-validated runs of the same codes, in the same order.
        weights: how they are kept in the graph, a name of `graph.STORES`.

    Raises:
        ExperimentError: a run is not finished, or runs are not those that were measured.
    """
    experiments = [load_experiment(run / EXPERIMENT_FILE) for run in runs]
    first = experiments[0]
    _check_measured(experiments, measured)
    networks = last_networks(first, runs)
    network = networks[0] if len(networks) == 1 else Ensemble(networks)
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / MODEL_FILE
    write_graph(network, first, model, STORES[weights])
    manifest = replace(
        measured.manifest,
        name=bundle.name,
        version=bundle.version,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        network=replace(measured.manifest.network, members=len(networks)),
        map_scale=map_scale(network, load_heads(first.data, first.input), first),
        made_by={
            "export": f"{export_command(runs, bundle, weights, folds=0)} --measured-by BUNDLE",
            "networks_of": "train",
            "measured_by": _measured_by(measured.manifest),
            **ancestry(runs[0], first),
            **({"beside": [other_ancestry(run) for run in runs[1:]]} if len(runs) > 1 else {}),
        },
        digest=hashlib.sha256(model.read_bytes()).hexdigest(),
    )
    write_manifest(manifest, folder / MANIFEST_FILE)
    (folder / CARD_FILE).write_text(render_card(manifest), encoding="utf-8")
    return folder


def _check_measured(experiments: Sequence[Experiment], measured: Bundle) -> None:
    """Refuse runs that are not those of the bundle.

    Raises:
        ExperimentError: naming what differs.
    """
    first, manifest = experiments[0], measured.manifest
    made = [manifest.made_by, *manifest.made_by.get("beside", [])]
    for said, own, of_bundle in (
        ("runs", [(one.code, one.training.seed) for one in experiments], [_run_of(one) for one in made]),
        ("network", first.network.name, manifest.network.name),
        ("input", first.input, manifest.input),
        (
            "left_out_patients",
            list(first.data.left_out_patients),
            manifest.made_by.get("left_out_patients", []),
        ),
        ("folds", first.data.folds, manifest.made_by.get("folds")),
        ("preprocessing", PREPROCESSING, manifest.preprocessing),
    ):
        if own != of_bundle:
            raise ExperimentError(
                f"{measured.label} was measured with other {said} ({of_bundle}) than these ({own}); "
                "cross-validate these and export them without --measured-by"
            )


def _run_of(made: dict[str, Any]) -> tuple[str, int]:
    return str(made.get("run", "")), int(made.get("seed", -1))


def _measured_by(manifest: Manifest) -> dict[str, Any]:
    """Bundle and commits of what was measured; of a bundle that was itself trained again, those before it."""
    made = manifest.made_by
    own = {
        "bundle": f"{manifest.name} {manifest.version}",
        "created": manifest.created,
        "commits": [one.get("commit") for one in [made, *made.get("beside", [])]],
    }
    before: dict[str, Any] = made.get("measured_by", own)
    return before
