"""A run becomes a bundle: graph with maps, calibration and study head, figures, card."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import jinja2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cruor.bundle.manifest import (
    FORMAT,
    DataSource,
    Figure,
    Manifest,
    NetworkName,
    OperatingPoint,
    Rules,
    SliceCalibration,
    StudyHead,
    write_manifest,
)
from cruor.bundle.model import CARD_FILE, MANIFEST_FILE, MODEL_FILE
from cruor.preprocessing.channels import PREPROCESSING
from cruor.reader.rules import PAPER_TENTHS, PROBABILITY, slices_needed
from cruor.training.calibration import (
    PLAIN_HEAD,
    SENSITIVE_POINT,
    averaged_logits,
    calibrated_logits,
    calls_by_other_folds,
    complete_studies,
    cross_fitted_logits,
    cross_fitted_studies,
    fit_slice_calibration,
    fit_study_head,
    operating_points,
    outputs_of,
    score_studies,
    sensitive_threshold,
)
from cruor.training.data import load_heads
from cruor.training.evaluation.figures import Cases
from cruor.training.evaluation.metrics import (
    Estimate,
    average_precision,
    bootstrap,
    brier,
    called_share,
    roc_auc,
    sensitivity,
    spared_share,
    specificity,
)
from cruor.training.evaluation.predictions import calibrated_by, studies_of, with_later_columns
from cruor.training.evaluation.reliability import reliability_curve
from cruor.training.experiment import Experiment, ExperimentError, load_experiment
from cruor.training.graph import HALF, STORES, load_network, map_scale, write_graph
from cruor.training.networks.base import SliceNetwork
from cruor.training.networks.ensemble import Ensemble
from cruor.training.networks.windows import show_more_windows
from cruor.training.runs import (
    EXPERIMENT_FILE,
    FINISHED_FILE,
    FOLD,
    LAST_CHECKPOINT,
    LEFT_OUT,
    MADE_BY_FILE,
    PREDICTIONS_FILE,
    TEST,
    VALIDATION,
    crossvalidation_files,
)
from cruor.training.together import check_alike, held_out_slices
from cruor.training.usual import usual_ranges
from cruor.training.volume_fit import fit_volume

NEVER_SEEN = ", never seen"
"""In a figure's name: its source was left out of the training."""

SLICE_THRESHOLD = 0.8
"""The paper's (section 2.4)."""

INTERVALS = "95 % intervals: exact binomial for shares of studies, else 1,000 bootstrap draws of patients"
OUT_OF_FOLD_ORIGIN = f"out of fold, `cruor crossval`; {INTERVALS}"
TEST_ORIGIN = f"test side of the split, `cruor train`; {INTERVALS}"

TERMS = {
    "ct-ich": "CC BY 4.0",
    "rsna": "non-commercial research",
    "rsna-sample": "non-commercial research",
    "rsna-train": "non-commercial research",
}
"""Terms of each source's slices; what is not listed is taken to be the strictest."""

STRICTEST = "non-commercial research"

NETWORK_WORDS = {
    "lite0": "EfficientNet-Lite0, global average pooling, one linear layer",
    "blood-map": "EfficientNet-Lite0 and a per-pixel head on features of strides 8, 16 and 32; the logit of "
    "any is made of the mean of the map's hottest cells and a linear layer on the pooled last features",
    "timm": "{backbone} of timm, global average pooling, one linear layer",
    "effclass": "EffClass (Cortés-Ferre et al. 2023, figures A4 to A7): EfficientDet-D0 without heads, five "
    "transposed convolutions, two convolutions, ResNet-18",
    "effclass-mended": "EffClass (Cortés-Ferre et al. 2023) with its faults mended: non-linear between the "
    "layers, transposed convolutions that fill the map",
    "effclass-fc": "EfficientDet-D0 without heads, its feature maps flattened into one fully connected layer "
    "(Cortés-Ferre et al. 2023, appendix A.1)",
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
}
"""What a card says of each network of `networks/`."""

OTHER_HOSPITALS = "other hospitals at all"
UNTRIED = (
    "scanners and reconstructions other than those of the sources above",
    OTHER_HOSPITALS,
    "children, except for a few in ct-ich",
    "after surgery, with drains or metal; old and chronic blood on its own",
    "contrast-enhanced CT, bone kernels, slices thinner than 2.5 mm",
    "a prospective series at natural prevalence; the share of studies with hemorrhage here is far higher",
)


@dataclass(frozen=True)
class BundleName:
    """Name and version of a bundle to be made."""

    name: str
    version: str


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a run knows of its network from patients that it never saw.

    Attributes:
        slices: with logits; what slice figures are measured on.
        slice_logits: of `any` in each of them, calibrated by other patients, (slices,).
        studies: scored; what study figures are measured on.
        calls: by rule, what it says of each of those studies.
        point_calls: by operating point, what `probability` says at it.
        calibration, head, points: fitted on other patients than the studies were scored with.
        default, default_why: the rule to use, and why.
        seen: every slice that the bundle was made from.
        origin: of the figures, in words.
        fitted_on: slices with logits that calibration and head were fitted on.
        left_out: slices of sources that networks of the same experiment never saw, with logits; None where
            there are none.
    """

    slices: pd.DataFrame
    slice_logits: NDArray[np.float64]
    studies: pd.DataFrame
    calls: dict[str, NDArray[np.bool_]]
    point_calls: dict[str, NDArray[np.bool_]]
    calibration: SliceCalibration
    head: StudyHead
    points: tuple[OperatingPoint, ...]
    default: str
    default_why: str
    seen: pd.DataFrame
    origin: str
    fitted_on: pd.DataFrame
    left_out: pd.DataFrame | None = None


def evidence_of_folds(out_of_fold: pd.DataFrame) -> Evidence:
    """Of a cross-validated run: calibration and head are fitted on all folds, figures are cross-fitted."""
    calibration = fit_slice_calibration(out_of_fold)
    studies = cross_fitted_studies(out_of_fold, SLICE_THRESHOLD)
    calls = rule_calls(studies, calls_by_other_folds(studies))
    default = best_rule(studies, calls)
    folds = f"cross-fitted over {studies['fold'].nunique()} folds by patient"
    return Evidence(
        slices=out_of_fold,
        slice_logits=cross_fitted_logits(out_of_fold),
        studies=studies,
        calls=calls,
        point_calls={SENSITIVE_POINT: calls_by_other_folds(studies, sensitive_threshold)},
        calibration=calibration,
        head=fit_study_head(out_of_fold, calibration),
        points=operating_points(studies, folds),
        default=default,
        default_why=explain_default(studies, calls, default, "cross-validated"),
        seen=out_of_fold,
        origin=OUT_OF_FOLD_ORIGIN,
        fitted_on=out_of_fold,
    )


def evidence_of_sides(predictions: pd.DataFrame, index: pd.DataFrame) -> Evidence:
    """Of a run with a split: everything is fitted on the validation side and measured on the test side.

    Args:
        predictions: slices of both sides with logits and `side`.
        index: every slice of the experiment.
    """
    validation = predictions[predictions["side"] == VALIDATION]
    test = predictions[predictions["side"] == TEST]
    calibration = fit_slice_calibration(validation)
    head = fit_study_head(validation, calibration)
    fitted_on = score_studies(validation, calibration, head, SLICE_THRESHOLD)
    points = operating_points(fitted_on, "of the validation side, on which the study head was fitted, too")
    chosen = rule_calls(fitted_on, fitted_on["probability"].to_numpy() >= points[0].threshold)
    default = best_rule(fitted_on, chosen)
    studies = score_studies(test, calibration, head, SLICE_THRESHOLD)
    return Evidence(
        slices=test,
        slice_logits=calibrated_logits(test, calibration),
        studies=studies,
        calls=rule_calls(studies, studies["probability"].to_numpy() >= points[0].threshold),
        point_calls={
            point.name: studies["probability"].to_numpy() >= point.threshold for point in points[1:]
        },
        calibration=calibration,
        head=head,
        points=points,
        default=default,
        default_why=explain_default(fitted_on, chosen, default, "validation"),
        seen=index,
        origin=TEST_ORIGIN,
        fitted_on=validation,
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
    store = STORES[weights]
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
    scale = map_scale(network, heads, experiment)
    make_folder(folder)  # after all that can fail: what stood there before is whole until then
    write_graph(network, experiment, folder / MODEL_FILE, store)
    manifest = make_manifest(
        bundle,
        experiment,
        evidence,
        scale=scale,
        map_kind=network.map_kind,
        members=taken,
        made_by=made_by,
        model=folder / MODEL_FILE,
    )
    write_manifest(manifest, folder / MANIFEST_FILE)
    (folder / CARD_FILE).write_text(render_card(manifest), encoding="utf-8")
    return folder


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


def last_networks(experiment: Experiment, runs: Sequence[Path]) -> list[SliceNetwork]:
    """The networks of `cruor train`, one of each run.

    Raises:
        ExperimentError: a run was not trained to its end, or has no checkpoint.
    """
    for run in runs:
        if not (run / FINISHED_FILE).exists():
            raise ExperimentError(f"{run}: no {FINISHED_FILE}; run `cruor train` on the experiment first")
        if not (run / LAST_CHECKPOINT).exists():
            raise ExperimentError(
                f"{run}: no {LAST_CHECKPOINT}; delete {FINISHED_FILE}, run `cruor train` again"
            )
    return [_network_of(run, run, experiment) for run in runs]


def networks_of_folds(experiment: Experiment, runs: Sequence[Path], folds: int) -> list[SliceNetwork]:
    """The networks of so many first folds, taken from the runs in turn.

    Raises:
        ExperimentError: a fold has no checkpoint.
    """
    places = [runs[number % len(runs)] / f"{FOLD}{number}" for number in range(folds)]
    for fold in places:
        if not (fold / LAST_CHECKPOINT).exists():
            raise ExperimentError(
                f"{fold}: no {LAST_CHECKPOINT}; delete the folder, run `cruor crossval` again"
            )
    return [_network_of(fold, fold.parent, experiment) for fold in places]


def _network_of(place: Path, run: Path, experiment: Experiment) -> SliceNetwork:
    """The network in a folder of a run, by that run's experiment, that takes the channels of the bundle's.

    What lies beyond the windows it knows is clipped at theirs before a slice is made smaller in its training,
    at the bundle's here: pixels half bone are brighter.
    """
    own = load_experiment(run / EXPERIMENT_FILE)
    network = load_network(own, place)
    show_more_windows(network, own.input.windows_hu, experiment.input.windows_hu)
    return network


def check_measurable(scored: pd.DataFrame, run: Path) -> None:
    """Refuse a run of whose studies nothing can be fitted or measured.

    Raises:
        ExperimentError: a side has no complete study with, or none without hemorrhage.
    """
    sides = scored.groupby("side") if "side" in scored else [("out of fold", scored)]
    found = {name: {bool(one["any"].max()) for one in complete_studies(part)} for name, part in sides}
    for side in (VALIDATION, TEST) if "side" in scored else ("out of fold",):
        for kind, word in ((True, "with"), (False, "without")):
            if kind not in found.get(side, set()):
                raise ExperimentError(
                    f"{run}: {side}: no complete study {word} hemorrhage was held out, so no operating point "
                    "can be found or measured; take data with complete series, or another split"
                )


def check_calibration(calibration: SliceCalibration, scored: pd.DataFrame, run: Path) -> None:
    """Refuse a network that ranks held-out slices the wrong way round.

    Raises:
        ExperimentError: an output's logits fall where there is more blood; the sentence names it.
    """
    for output, slope in zip(outputs_of(scored), calibration.slope, strict=True):
        if slope <= 0:
            raise ExperimentError(
                f"{run}: output {output!r} is no higher on held-out slices that have it than on others: it "
                "has learned nothing; train longer or on more data"
            )


def export_command(runs: Sequence[Path], bundle: BundleName, weights: str, folds: int) -> str:
    """The command that makes a bundle of runs again, in a folder called like it."""
    first, *others = runs
    together = f" --folds {folds}" if folds else ""
    beside = "".join(f" --beside runs/{run.name}" for run in others)
    kept = f" --weights {weights}" if weights != HALF else ""
    return f"cruor export runs/{first.name} {bundle.name} --version {bundle.version}{together}{beside}{kept}"


def make_folder(folder: Path) -> None:
    """Make a bundle's folder, or find it.

    Raises:
        ExperimentError: a file stands there.
    """
    if folder.exists() and not folder.is_dir():
        raise ExperimentError(f"{folder}: is a file; name a folder for the bundle")
    folder.mkdir(parents=True, exist_ok=True)


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


def network_name(members: Sequence[Experiment]) -> NetworkName:
    """How networks that read together are called, each given by its experiment."""
    first, sides = members[0].network, tuple(one.network.side for one in members)
    return NetworkName(first.name, first.backbone, len(members), sides if any(sides) else ())


def make_manifest(
    bundle: BundleName,
    experiment: Experiment,
    evidence: Evidence,
    *,
    scale: float,
    map_kind: Literal["grad-cam", "blood"],
    members: Sequence[Experiment],
    made_by: dict[str, object],
    model: Path,
) -> Manifest:
    """Put together what is known of a bundle, and measure it; of each member its experiment is given."""
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
        digest=hashlib.sha256(model.read_bytes()).hexdigest(),
        map_kind=map_kind,
        volume=fit_volume(evidence.fitted_on),
        usual=usual_ranges(experiment.data),
    )


def rule_calls(studies: pd.DataFrame, by_probability: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """What each rule says of each study; the rule `probability` says what is given."""
    calls = {PROBABILITY: by_probability}
    for rule, tenths in PAPER_TENTHS.items():
        needed = np.array([slices_needed(tenths, count) for count in studies["slice_count"]])
        calls[rule] = studies["positive_slices"].to_numpy() >= needed
    return calls


def best_rule(studies: pd.DataFrame, calls: dict[str, NDArray[np.bool_]]) -> str:
    """The rule with the highest balanced accuracy."""
    return max(calls, key=lambda rule: balanced_accuracy(studies, calls[rule]))


def balanced_accuracy(studies: pd.DataFrame, called: NDArray[np.bool_]) -> float:
    """Mean of sensitivity and specificity."""
    labels = studies["label"].to_numpy()
    return (sensitivity(labels, called).value + specificity(labels, called).value) / 2


def explain_default(
    studies: pd.DataFrame, calls: dict[str, NDArray[np.bool_]], default: str, kind: str
) -> str:
    """One sentence with every rule's balanced accuracy."""
    said = ", ".join(f"{rule} {balanced_accuracy(studies, called):.3f}" for rule, called in calls.items())
    return f"{default} has the highest balanced accuracy over {len(studies)} {kind} studies: {said}"


def slice_figures(evidence: Evidence) -> Iterator[Figure]:
    """ROC-AUC and average precision of slices, by source, by subtype and over all."""
    slices, calibration, figure = evidence.slices, evidence.calibration, partial(_figure_of, evidence.origin)
    of_source = slices["source"].to_numpy()
    rows = {"all": np.ones(len(slices), dtype=bool)}
    rows |= {str(name): of_source == name for name in np.unique(of_source.astype(str))}
    for name, own in rows.items():
        part, scores = slices[own], evidence.slice_logits[own]
        labels = part["any"].to_numpy() == 1
        patients = part["patient_id"].to_numpy(dtype=object)
        cases = f"{len(part)} slices ({int(labels.sum())} positive), {part['patient_id'].nunique()} patients"
        yield figure(f"slice.roc_auc[{name}]", bootstrap(roc_auc, labels, scores, patients), cases)
        yield figure(
            f"slice.average_precision[{name}]", bootstrap(average_precision, labels, scores, patients), cases
        )
        called = (1 / (1 + np.exp(-scores)) > SLICE_THRESHOLD).astype(float)
        at = f"@{SLICE_THRESHOLD}[{name}]"
        yield figure(f"slice.sensitivity{at}", bootstrap(called_share, labels, called, patients), cases)
        yield figure(f"slice.specificity{at}", bootstrap(spared_share, labels, called, patients), cases)
    averaged = averaged_logits(slices, calibration)
    for place, label in enumerate(outputs_of(slices)[1:], start=1):
        is_known = slices[label].notna().to_numpy()
        known = slices[is_known]
        labels, scores = known[label].to_numpy() == 1, averaged[is_known, place]
        patients = known["patient_id"].to_numpy(dtype=object)
        cases = f"{len(known)} slices ({int(labels.sum())} positive)"
        yield figure(f"slice.roc_auc[{label}]", bootstrap(roc_auc, labels, scores, patients), cases)


def study_figures(evidence: Evidence) -> Iterator[Figure]:
    """ROC-AUC of studies by source and over all; Brier score, reliability curve; what each rule reaches."""
    studies, calls, figure = evidence.studies, evidence.calls, partial(_figure_of, evidence.origin)
    sources = {"all": studies, **{str(name): part for name, part in studies.groupby("source")}}
    for name, part in sources.items():
        labels = part["label"].to_numpy()
        if labels.all() or not labels.any():
            continue
        patients = part["patient_id"].to_numpy(dtype=object)
        estimate = bootstrap(roc_auc, labels, part["probability"].to_numpy(), patients)
        yield figure(
            f"study.roc_auc[{name}]", estimate, f"{len(part)} studies ({int(labels.sum())} positive)"
        )
    labels = studies["label"].to_numpy()
    cases = f"{len(studies)} studies ({int(labels.sum())} positive)"
    chances, patients = studies["probability"].to_numpy(), studies["patient_id"].to_numpy(dtype=object)
    yield figure("study.brier[all]", bootstrap(brier, labels, chances, patients), cases)
    for part in reliability_curve(Cases(labels, chances, patients)):
        said = f"{part['cases']} studies, mean probability {part['probability']:.2f}"
        yield figure(
            f"study.share_with_hemorrhage[{part['from']:.1f} to {part['to']:.1f}]", part["share"], said
        )
    of_points = {f"{PROBABILITY} at {name}": called for name, called in evidence.point_calls.items()}
    for rule, called in (calls | of_points).items():
        yield figure(f"study.sensitivity[{rule}]", sensitivity(labels, called), cases)
        yield figure(f"study.specificity[{rule}]", specificity(labels, called), cases)


def left_out_figures(left_out: pd.DataFrame, out_of_fold: pd.DataFrame) -> Iterator[Figure]:
    """ROC-AUC of slices and studies of sources that a network of the same experiment never saw.

    Args:
        left_out: slices with logits and `left_out`, the name of the group that was left out.
        out_of_fold: the same of all sources; those that were not left out calibrate.
    """
    for group, held_out in left_out.groupby("left_out"):
        figure = partial(_figure_of, f"network trained without {group}")
        others = out_of_fold[~out_of_fold["source"].isin(held_out["source"].unique())]
        scored = calibrated_by(with_later_columns(others), with_later_columns(held_out))
        for source, part in scored.groupby("source"):
            labels, patients = part["any"].to_numpy() == 1, part["patient_id"].to_numpy(dtype=object)
            cases = f"{len(part)} slices ({int(labels.sum())} positive), {len(set(patients))} patients"
            name = f"[{source}{NEVER_SEEN}]"
            area = bootstrap(roc_auc, labels, part["probability_any"].to_numpy(), patients)
            yield figure(f"slice.roc_auc{name}", area, cases)
            studies = studies_of(part, SLICE_THRESHOLD)
            truths, chances = studies["label"].to_numpy(dtype=bool), studies["probability"].to_numpy()
            if truths.any() and not truths.all() and np.isfinite(chances).all():
                area = bootstrap(roc_auc, truths, chances, studies["patient_id"].to_numpy(dtype=object))
                yield figure(
                    f"study.roc_auc{name}", area, f"{len(studies)} studies ({int(truths.sum())} positive)"
                )


def measured(figures: Iterable[Figure]) -> Iterator[Figure]:
    """Leave out what could not be measured since a class is missing: JSON knows no NaN."""
    return (figure for figure in figures if math.isfinite(figure.value) and math.isfinite(figure.low))


def _figure_of(origin: str, name: str, estimate: Estimate, cases: str) -> Figure:
    return Figure(
        name=name,
        value=round(estimate.value, 4),
        low=round(estimate.low, 4),
        high=round(estimate.high, 4),
        cases=cases,
        origin=origin,
    )


def data_sources(slices: pd.DataFrame) -> Iterator[DataSource]:
    """What the weights were trained on."""
    for name, part in slices.groupby("source"):
        yield DataSource(
            name=str(name),
            terms=TERMS.get(str(name), STRICTEST),
            patients=int(part["patient_id"].nunique()),
            slices=len(part),
            positive_slices=int((part["any"] == 1).sum()),
        )


def strictest_terms(slices: pd.DataFrame) -> str:
    """Terms of the weights: those of the strictest source."""
    strict = sorted(
        source for source in slices["source"].unique() if TERMS.get(source, STRICTEST) == STRICTEST
    )
    if not strict:
        return "CC BY 4.0, attribution as in the card; research use only"
    return (
        f"non-commercial research only, since slices of {', '.join(strict)} were used; not a medical device"
    )


CROP_WORDS = {
    "head": "the head, cut out of a slice and",
    "shown-head": "the head as far as the windows show it, cut out of a slice and",
    "slice": "the whole slice,",
}
"""How the card tells a crop's area."""

STUDY_FEATURE_WORDS = {
    "highest": "the highest slice logit",
    "peak": "the highest slice logit, each averaged once more with the slices before and after",
    "top_mean": "the mean of the highest tenth of slice logits, averaged likewise",
}
"""How the card tells a feature of the study head."""


def render_card(manifest: Manifest) -> str:
    """The model card as Markdown."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cruor.training", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, of our own figures
    )
    network = NETWORK_WORDS[manifest.network.name].format(backbone=manifest.network.backbone)
    card = environment.get_template("card.md.j2")
    never_seen = any(NEVER_SEEN in figure.name for figure in manifest.figures)
    # Older manifests do not tell: several networks were of folds then.
    usual = "crossval" if manifest.network.members > 1 else "train"
    networks_of = str(manifest.made_by.get("networks_of", usual))
    commands = "`cruor train` and `cruor crossval`"
    if "split" in manifest.made_by or "measured_by" in manifest.made_by:
        commands = "`cruor train`"
    elif networks_of == "crossval":
        commands = "`cruor crossval`"
    return card.render(
        manifest=manifest,
        beside=manifest.made_by.get("beside", []),
        networks_of=networks_of,
        sides=[side or manifest.input.crop.size for side in manifest.network.sides],
        network=network,
        plain_head=PLAIN_HEAD,
        area=CROP_WORDS[manifest.input.crop.area],
        features=[STUDY_FEATURE_WORDS[name] for name in manifest.study_head.features],
        never_seen=never_seen,
        commands=commands,
    )
