"""A run becomes a bundle: graph with maps, calibration and study head, figures, card."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cruor.bundle.manifest import FORMAT, Manifest, Rules
from cruor.preprocessing.channels import PREPROCESSING
from cruor.training.calibration import outputs_of
from cruor.training.data import load_heads
from cruor.training.experiment import Experiment, ExperimentError, load_experiment
from cruor.training.export.ancestry import ancestry
from cruor.training.export.evidence import (
    SLICE_THRESHOLD,
    Evidence,
    check_calibration,
    check_measurable,
    evidence_of_folds,
    evidence_of_sides,
)
from cruor.training.export.figures import left_out_figures, measured, slice_figures, study_figures
from cruor.training.export.members import last_networks, network_name, networks_of_folds
from cruor.training.export.terms import data_sources, strictest_terms
from cruor.training.export.writing import BundleName, export_command, write_bundle
from cruor.training.graph import HALF, map_scale
from cruor.training.networks.ensemble import Ensemble
from cruor.training.runs import EXPERIMENT_FILE, LEFT_OUT, PREDICTIONS_FILE, crossvalidation_files
from cruor.training.together import check_alike, held_out_slices
from cruor.training.usual import usual_ranges
from cruor.training.volume_fit import fit_volume

OTHER_HOSPITALS = "other hospitals at all"
"""Left out of what is untried where a source was left out of the training."""

UNTRIED = (
    "scanners and reconstructions other than those of the sources above",
    OTHER_HOSPITALS,
    "children, except for a few in ct-ich",
    "after surgery, with drains or metal; old and chronic blood on its own",
    "contrast-enhanced CT, bone kernels, slices thinner than 2.5 mm",
    "a prospective series at natural prevalence; the share of studies with hemorrhage here is far higher",
)


def export_run(
    run: Path,
    folder: Path,
    bundle: BundleName,
    weights: str = HALF,
    *,
    folds: int = 0,
    beside: Sequence[Path] = (),
) -> Path:
    """Make a bundle of a trained run.

    Args:
        run: `runs/<code>/` after `cruor train`, and after `cruor crossval` of the same experiment where
            the experiment names no split.
        folder: made if missing; the bundle's files are written into it.
        bundle: how it is called.
        weights: how they are kept in the graph, a name of `graph.STORES`.
        folds: so many first folds of `cruor crossval`, their networks together; 0 is that of `cruor train`,
            which every patient taught.
        beside: further runs like it (`together.check_alike`). Networks are those of `cruor train` of each
            run, or those of the folds, taken from the runs in turn; what is fitted and measured is the mean
            of what one network of each run says of patients that it never saw.

    Raises:
        ExperimentError: a run was not trained to its end, or by a share of its patients; nothing was
            measured; networks of folds are asked for that there are not; or runs are not alike.
    """
    experiment = load_experiment(run / EXPERIMENT_FILE)
    tables = [(file, "crossval") for file in crossvalidation_files(experiment)]
    if experiment.data.split:
        tables = [(PREDICTIONS_FILE, "train")]
    if beside:
        _check_turns(experiment, run, folds, beside)
    _check_folds(experiment, run, folds)
    runs = [run, *beside]
    if experiment.data.learned_share < 1:
        raise ExperimentError(
            f"{run}: a point of a learning curve (data: learned_share), no bundle is made of it"
        )
    for file, command in tables:
        if not (run / file).exists():
            raise ExperimentError(f"{run}: no {file}; run `cruor {command}` on the experiment first")
    members = networks_of_folds(experiment, runs, folds) if folds else last_networks(experiment, runs)
    heads = load_heads(experiment.data, experiment.input)
    table = held_out_slices(runs, tables[0][0])
    check_measurable(table, run)
    evidence = evidence_of_sides(table, heads.index) if experiment.data.split else evidence_of_folds(table)
    check_calibration(evidence.calibration, table, run)
    if not experiment.data.split and experiment.data.leave_out:
        evidence = replace(evidence, left_out=held_out_slices(runs, LEFT_OUT))
    network = members[0] if len(members) == 1 else Ensemble(members)
    taken = [load_experiment(runs[number % len(runs)] / EXPERIMENT_FILE) for number in range(len(members))]
    made_by = {
        "export": export_command(runs, bundle, weights, folds),
        "networks_of": "crossval" if folds else "train",
        **ancestry(runs, experiment),
    }
    manifest = make_manifest(
        bundle,
        experiment,
        evidence,
        scale=map_scale(network, heads, experiment),
        map_kind=network.map_kind,
        members=taken,
        made_by=made_by,
    )
    return write_bundle(folder, network, experiment, manifest, weights)


def _check_folds(experiment: Experiment, run: Path, folds: int) -> None:
    """Refuse networks of folds that the run cannot have.

    Raises:
        ExperimentError: it has a split, or fewer folds.
    """
    if folds and experiment.data.split:
        raise ExperimentError(f"{run}: trained by a split, so there are no folds; leave out --folds")
    if folds > experiment.data.folds:
        raise ExperimentError(f"{run}: {folds} folds are wanted, it has {experiment.data.folds}")


def _check_turns(experiment: Experiment, run: Path, folds: int, beside: Sequence[Path]) -> None:
    """Refuse runs that cannot be read together, or of which one would give no network.

    Raises:
        ExperimentError: as `check_alike`; there are fewer folds than runs; or the run has a split.
    """
    if experiment.data.split:
        raise ExperimentError(f"{run}: trained by a split, so it has no folds; leave out --beside")
    if 0 < folds <= len(beside):
        raise ExperimentError(
            f"{run}: {1 + len(beside)} runs give their networks of folds in turn; ask for --folds "
            f"{1 + len(beside)} or more, or leave it out for their networks of `cruor train`"
        )
    check_alike(experiment, beside)


def make_manifest(
    bundle: BundleName,
    experiment: Experiment,
    evidence: Evidence,
    *,
    scale: float,
    map_kind: Literal["grad-cam", "blood"],
    members: Sequence[Experiment],
    made_by: dict[str, object],
) -> Manifest:
    """Measure a bundle and tell what is known of it, but the digest; of each member its experiment."""
    figures = [*slice_figures(evidence), *study_figures(evidence)]
    if evidence.left_out is not None:
        figures += left_out_figures(evidence.left_out, evidence.slices)
    return Manifest(
        format=FORMAT,
        name=bundle.name,
        version=bundle.version,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        preprocessing=PREPROCESSING,
        network=network_name(members),
        input=experiment.input,
        outputs=outputs_of(evidence.slices),
        map_scale=scale,
        calibration=evidence.calibration,
        study_head=evidence.head,
        rules=Rules(
            evidence.default,
            evidence.default_why,
            SLICE_THRESHOLD,
            operating_point=evidence.points[0],
            other_points=evidence.points[1:],
        ),
        data=tuple(data_sources(evidence.seen)),
        terms=strictest_terms(evidence.seen),
        figures=tuple(measured(figures)),
        untried=tuple(one for one in UNTRIED if evidence.left_out is None or one != OTHER_HOSPITALS),
        made_by=made_by,
        digest="",
        map_kind=map_kind,
        volume=fit_volume(evidence.fitted_on),
        usual=usual_ranges(experiment.data),
    )
