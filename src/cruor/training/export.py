"""A run becomes a bundle: graph with maps, calibration and study head, figures, card."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import onnx
import pandas as pd
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from cruor.bundle.manifest import (
    FORMAT,
    DataSource,
    Figure,
    Manifest,
    Rules,
    SliceCalibration,
    write_manifest,
)
from cruor.bundle.model import CARD_FILE, INPUT, LOGITS, MANIFEST_FILE, MAPS, MODEL_FILE
from cruor.preprocessing.channels import PREPROCESSING
from cruor.reader.rules import PAPER_TENTHS, PROBABILITY, slices_needed
from cruor.training.calibration import (
    calibrated_logits,
    calls_by_other_folds,
    cross_fitted_studies,
    fit_slice_calibration,
    fit_study_head,
    operating_point,
)
from cruor.training.crossval import OUT_OF_FOLD
from cruor.training.data import Heads, channels_of, load_heads
from cruor.training.evaluation.metrics import (
    Estimate,
    average_precision,
    bootstrap,
    called_share,
    roc_auc,
    sensitivity,
    spared_share,
    specificity,
)
from cruor.training.experiment import Experiment, ExperimentError, load_experiment
from cruor.training.module import SliceModule
from cruor.training.networks.base import SliceNetwork
from cruor.training.prepare.store import LABELS
from cruor.training.run import EXPERIMENT_FILE, FINISHED_FILE, LAST_CHECKPOINT, MADE_BY_FILE

SLICE_THRESHOLD = 0.8
"""The paper's (section 2.4)."""

FIGURE_ORIGIN = (
    "out of fold, `cruor crossval`; 95 % intervals: exact binomial for shares of studies, "
    "else 1,000 bootstrap draws of patients"
)

HALF_FROM = 1024
"""Tensors of at least as many values are stored in half precision; the rest is too small to matter."""

TERMS = {
    "ct-ich": "CC BY 4.0",
    "rsna": "non-commercial research",
    "rsna-sample": "non-commercial research",
    "rsna-train": "non-commercial research",
}
"""Terms of each source's slices; what is not listed is taken to be the strictest."""

STRICTEST = "non-commercial research"

UNTRIED = (
    "scanners and reconstructions other than those of the sources above, and other hospitals at all",
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


def export_run(run: Path, folder: Path, bundle: BundleName) -> Path:
    """Make a bundle of a trained and cross-validated run.

    Args:
        run: `runs/<code>/` after `cruor train` and `cruor crossval` of the same experiment.
        folder: made if missing; the bundle's files are written into it.
        bundle: how it is called.

    Raises:
        ExperimentError: the run was not trained to its end, or not cross-validated.
    """
    experiment = load_experiment(run / EXPERIMENT_FILE)
    for file, command in ((FINISHED_FILE, "train"), (OUT_OF_FOLD, "crossval")):
        if not (run / file).exists():
            raise ExperimentError(f"{run}: no {file}; run `cruor {command}` on the experiment first")
    network = load_network(experiment, run / LAST_CHECKPOINT)
    folder.mkdir(parents=True, exist_ok=True)
    write_graph(network, experiment, folder / MODEL_FILE)
    out_of_fold = pd.read_parquet(run / OUT_OF_FOLD)
    scale = map_scale(network, load_heads(experiment.data, experiment.input), experiment)
    manifest = make_manifest(
        bundle,
        experiment,
        out_of_fold,
        scale=scale,
        made_by=ancestry(run, experiment),
        model=folder / MODEL_FILE,
    )
    write_manifest(manifest, folder / MANIFEST_FILE)
    (folder / CARD_FILE).write_text(render_card(manifest), encoding="utf-8")
    return folder


def ancestry(run: Path, experiment: Experiment) -> dict[str, object]:
    """What the bundle comes from: the run, what made it, and what the card must tell of the experiment."""
    return {
        "run": run.name,
        "seed": experiment.training.seed,
        "folds": experiment.data.folds,
        "left_out_patients": list(experiment.data.left_out_patients),
        "first_weights": experiment.network.weights,
        "drawn_blood": experiment.training.place_weight > 0,
        **json.loads((run / MADE_BY_FILE).read_text(encoding="utf-8")),
    }


def load_network(experiment: Experiment, checkpoint: Path) -> SliceNetwork:
    """The trained network of a run, ready to be read from."""
    module = SliceModule(experiment, steps_per_epoch=1)
    module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    return module.network.eval()


class _Exported(nn.Module):
    """Gives the graph its two outputs."""

    def __init__(self, network: SliceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, channels: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.network.logits_and_maps(channels)


def write_graph(network: SliceNetwork, experiment: Experiment, file: Path) -> None:
    """Write model.onnx: large weights in half precision, computed in single precision."""
    size, windows = experiment.input.crop.size, len(experiment.input.windows_hu)
    torch.onnx.export(
        _Exported(network).eval(),
        (torch.zeros(2, windows, size, size),),
        str(file),
        input_names=[INPUT],
        output_names=[LOGITS, MAPS],
        dynamic_shapes={"channels": {0: torch.export.Dim("slices")}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    model = onnx.load(str(file))
    store_in_half(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(file))


def store_in_half(model: onnx.ModelProto) -> None:
    """Keep large float32 weights as float16 with a cast behind each; the runtime folds the casts at load."""
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < HALF_FROM:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + ".half"))
        casts.append(helper.make_node("Cast", [name + ".half"], [name], to=TensorProto.FLOAT))
    for place, cast in enumerate(casts):
        model.graph.node.insert(place, cast)


@torch.inference_mode()
def map_scale(network: SliceNetwork, heads: Heads, experiment: Experiment) -> float:
    """Median over the positive slices of the map's hottest value (of `any`): shown as the hottest colour."""
    rows = np.flatnonzero(heads.labels[:, 0] == 1)
    hottest: list[float] = []
    for start in range(0, len(rows), 32):
        hu = torch.from_numpy(heads.hu[rows[start : start + 32]].astype(np.float32))[:, None]
        _, maps = network.logits_and_maps(channels_of(hu, experiment.input))
        assert maps is not None
        hottest.extend(maps[:, 0].amax((1, 2)).tolist())
    return float(np.median(hottest))


def make_manifest(
    bundle: BundleName,
    experiment: Experiment,
    out_of_fold: pd.DataFrame,
    *,
    scale: float,
    made_by: dict[str, object],
    model: Path,
) -> Manifest:
    """Fit calibration, study head and operating point on out-of-fold logits, and measure."""
    calibration = fit_slice_calibration(out_of_fold)
    studies = cross_fitted_studies(out_of_fold, SLICE_THRESHOLD)
    calls = rule_calls(studies)
    default = max(calls, key=lambda rule: balanced_accuracy(studies, calls[rule]))
    return Manifest(
        format=FORMAT,
        name=bundle.name,
        version=bundle.version,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        preprocessing=PREPROCESSING,
        input=experiment.input,
        outputs=LABELS,
        map_scale=scale,
        calibration=calibration,
        study_head=fit_study_head(out_of_fold, calibration),
        rules=Rules(
            default, explain_default(studies, calls, default), SLICE_THRESHOLD, operating_point(studies)
        ),
        data=tuple(data_sources(out_of_fold)),
        terms=strictest_terms(out_of_fold),
        figures=tuple(measured([*slice_figures(out_of_fold, calibration), *study_figures(studies, calls)])),
        untried=UNTRIED,
        made_by=made_by,
        digest=hashlib.sha256(model.read_bytes()).hexdigest(),
    )


def rule_calls(studies: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """What each rule says of each study; the probability's threshold comes from the other folds."""
    calls = {PROBABILITY: calls_by_other_folds(studies)}
    for rule, tenths in PAPER_TENTHS.items():
        needed = np.array([slices_needed(tenths, count) for count in studies["slice_count"]])
        calls[rule] = studies["positive_slices"].to_numpy() >= needed
    return calls


def balanced_accuracy(studies: pd.DataFrame, called: NDArray[np.bool_]) -> float:
    """Mean of sensitivity and specificity."""
    labels = studies["label"].to_numpy()
    return (sensitivity(labels, called).value + specificity(labels, called).value) / 2


def explain_default(studies: pd.DataFrame, calls: dict[str, NDArray[np.bool_]], default: str) -> str:
    """One sentence with every rule's balanced accuracy."""
    said = ", ".join(f"{rule} {balanced_accuracy(studies, called):.3f}" for rule, called in calls.items())
    return f"{default} has the highest balanced accuracy over {len(studies)} cross-validated studies: {said}"


def slice_figures(slices: pd.DataFrame, calibration: SliceCalibration) -> Iterator[Figure]:
    """ROC-AUC and average precision of slices, by source, by subtype and over all."""
    sources = {"all": slices, **{str(name): part for name, part in slices.groupby("source")}}
    for name, part in sources.items():
        labels, scores = part["any"].to_numpy() == 1, calibrated_logits(part, calibration)
        patients = part["patient_id"].to_numpy(dtype=object)
        cases = f"{len(part)} slices ({int(labels.sum())} positive), {part['patient_id'].nunique()} patients"
        yield _figure(f"slice.roc_auc[{name}]", bootstrap(roc_auc, labels, scores, patients), cases)
        yield _figure(
            f"slice.average_precision[{name}]", bootstrap(average_precision, labels, scores, patients), cases
        )
        called = (1 / (1 + np.exp(-scores)) > SLICE_THRESHOLD).astype(float)
        at = f"@{SLICE_THRESHOLD}[{name}]"
        yield _figure(f"slice.sensitivity{at}", bootstrap(called_share, labels, called, patients), cases)
        yield _figure(f"slice.specificity{at}", bootstrap(spared_share, labels, called, patients), cases)
    for label in LABELS[1:]:
        known = slices[slices[label].notna()]
        labels, scores = known[label].to_numpy() == 1, known[f"logit_{label}"].to_numpy(dtype=float)
        patients = known["patient_id"].to_numpy(dtype=object)
        cases = f"{len(known)} slices ({int(labels.sum())} positive)"
        yield _figure(f"slice.roc_auc[{label}]", bootstrap(roc_auc, labels, scores, patients), cases)


def study_figures(studies: pd.DataFrame, calls: dict[str, NDArray[np.bool_]]) -> Iterator[Figure]:
    """ROC-AUC of studies by source and over all; sensitivity and specificity of each rule."""
    sources = {"all": studies, **{str(name): part for name, part in studies.groupby("source")}}
    for name, part in sources.items():
        labels = part["label"].to_numpy()
        if labels.all() or not labels.any():
            continue
        patients = part["patient_id"].to_numpy(dtype=object)
        estimate = bootstrap(roc_auc, labels, part["probability"].to_numpy(), patients)
        yield _figure(
            f"study.roc_auc[{name}]", estimate, f"{len(part)} studies ({int(labels.sum())} positive)"
        )
    labels = studies["label"].to_numpy()
    cases = f"{len(studies)} studies ({int(labels.sum())} positive)"
    for rule, called in calls.items():
        yield _figure(f"study.sensitivity[{rule}]", sensitivity(labels, called), cases)
        yield _figure(f"study.specificity[{rule}]", specificity(labels, called), cases)


def measured(figures: Iterable[Figure]) -> Iterator[Figure]:
    """Leave out what could not be measured since a class is missing: JSON knows no NaN."""
    return (figure for figure in figures if math.isfinite(figure.value) and math.isfinite(figure.low))


def _figure(name: str, estimate: Estimate, cases: str) -> Figure:
    return Figure(
        name=name,
        value=round(estimate.value, 4),
        low=round(estimate.low, 4),
        high=round(estimate.high, 4),
        cases=cases,
        origin=FIGURE_ORIGIN,
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
    return environment.get_template("card.md.j2").render(manifest=manifest)
