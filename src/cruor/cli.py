"""The commands: arguments in, a room called, an exit status out.

Rooms are imported where a command needs them, so that `cruor --help` is quick and reading never
looks for torch.
"""

from __future__ import annotations

import enum
import importlib.util
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cruor import __version__

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from cruor.bundle.model import Bundle
    from cruor.dicom.studies import Found
    from cruor.reader.results import StudyResult
    from cruor.training.explain.explainer import Explainer
    from cruor.training.explain.pointing import Places

_Experiment = Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="What to train, on what.")]
_Runs = Annotated[Path, typer.Option(help="Folder that holds a folder for each run.")]

app = typer.Typer(
    name="cruor",
    help="Reads head CT for intracranial hemorrhage. Research use only: not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Exit(enum.IntEnum):
    """Exit statuses of `cruor`; docs/result.md says the same to users."""

    ALL_DECIDED = 0
    SOME_NOT_DECIDED = 1
    WRONG_USAGE = 2


class RuleName(enum.StrEnum):
    """What `--rule` takes; the names of `bundle.manifest.RULES`."""

    PROBABILITY = "probability"
    PAPER_2_5 = "paper-2.5"
    PAPER_5 = "paper-5"
    PAPER_10 = "paper-10"


NOT_READ_SHOWN = 20
"""Files that `cruor prepare` names on stderr; its not_read.csv names them all."""


class PreparedKind(enum.StrEnum):
    """What `cruor prepare` reads; the names of `training.prepare.KINDS`."""

    CT_ICH = "ct-ich"
    RSNA = "rsna"
    PICTURES = "pictures"
    FOLDER = "folder"
    CQ500 = "cq500"


class WeightsKind(enum.StrEnum):
    """How `cruor export` keeps weights; the names of `training.graph.STORES`."""

    HALF = "half"
    INT8 = "int8"


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"cruor {__version__}")
        raise typer.Exit


@app.callback()
def cruor(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Reads head CT for intracranial hemorrhage. Research use only: not a medical device."""


@app.command()
def triage(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Folders, files or zips with DICOM in them.")
    ],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Write result.json, slices.csv and panels per study, and index.html.")
    ] = None,
    bundle: Annotated[
        str | None, typer.Option(metavar="NAME|DIR", help="Model to read with, by name or folder.")
    ] = None,
    rule: Annotated[
        RuleName | None,
        typer.Option(help="How slices decide a study: calibrated probability, or the paper's n % of slices."),
    ] = None,
    operating_point: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Decide by probability, at this operating point of the bundle."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a study and line on stdout, nothing else.")
    ] = False,
) -> None:
    """Read every head CT study under PATH and tell which are suspected of intracranial hemorrhage."""
    for path in paths:
        _check_path(path)
    opened = _open_bundle(bundle)
    if operating_point is not None:
        rule, opened = _at_operating_point(opened, operating_point, rule)
    if out is not None:
        _check_out(out)
    run = _read_all(paths, opened, rule, out, as_json)
    if run.results and not as_json:
        _to_stdout(lambda: _show_table(run, opened.manifest.terms, out), run.not_written)
    for aside in run.found.damaged:
        _say(f"not read: {aside.name}: {aside.why}")
    foreign = len(run.found.put_aside) - len(run.found.damaged)
    if foreign and run.found.studies:
        _say(f"other files put aside: {foreign}; the page of --out lists them")
    for failure in run.not_written:
        _say(failure)
    if not run.found.studies:
        _say(_nothing_found(paths, run.found))
    raise typer.Exit(Exit.ALL_DECIDED if run.all_decided else Exit.SOME_NOT_DECIDED)


@app.command()
def demo(folder: Annotated[Path, typer.Argument(help="Where to write the studies.")]) -> None:
    """Write studies to try cruor with: three of a painted head, three of real ones (ct-ich, CC BY 4.0)."""
    from cruor.demo import write_demo_studies

    try:
        written = write_demo_studies(folder)
    except OSError as error:
        _stop(f"{folder}: cannot be written to ({error.strerror})")
    typer.echo(f"{len(written)} studies in {folder}")


@app.command()
def prepare(
    kind: Annotated[PreparedKind, typer.Argument(help="How the data set is laid out.")],
    *,
    root: Annotated[Path, typer.Option(help="Folder of the data set as published.")],
    out: Annotated[Path, typer.Option(help="Folder of the prepared data.")],
    drawings: Annotated[Path | None, typer.Option(help="Folder of drawn blood, kept beside the HU.")] = None,
    window: Annotated[
        tuple[float, float] | None, typer.Option(metavar="LEVEL WIDTH", help="Of pictures, in HU.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as cores where not given.")
    ] = None,
) -> None:
    """Prepare a data set for training: HU of each study in one file, and an index with the labels.

    Killed, the same command goes on. Exit status 1 when something could not be read.
    """
    _need_training()
    from cruor.training.prepare import NOT_READ, prepare_data, read_not_read
    from cruor.training.prepare.plan import PrepareError, Request
    from cruor.training.prepare.progress import shown_progress

    request = Request(kind.value, root, out, drawings, window, workers or _cores())
    try:
        with shown_progress() as progress:
            prepared, before = prepare_data(request, progress)
        for aside in read_not_read(out)[:NOT_READ_SHOWN]:
            _say(f"not read: {aside.file}: {aside.why}")
    except (PrepareError, OSError) as error:
        _stop(str(error))
    if prepared.not_read > NOT_READ_SHOWN:
        _say(f"not read: {prepared.not_read} in all; {out / NOT_READ} lists them")
    counts = (
        f"{prepared.slices} slices of {prepared.studies} studies of {prepared.patients} patients in {out}"
    )
    typer.echo(f"{counts}{', complete before' if before else ''}")
    raise typer.Exit(Exit.SOME_NOT_DECIDED if prepared.not_read else Exit.ALL_DECIDED)


@app.command()
def split(
    prepared: Annotated[list[Path], typer.Argument(metavar="PREPARED...", help="Prepared folders.")],
    *,
    out: Annotated[Path, typer.Option(help="CSV of patient_id and side; never written over.")],
    shares: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="Percent of patients on the sides train, validation and test, as 90 5 5."),
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Instead: so many equal sides, fold0, fold1, ...")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another one deals the patients another way.")] = 1,
) -> None:
    """Split patients into sides, stratified by source and hemorrhage, and keep the split as a file."""
    _need_training()
    if (shares is None) == (folds is None):
        _stop("name --shares TRAIN VALIDATION TEST, or --folds K; one of them")
    from rich.console import Console

    from cruor.training import splits

    try:
        splits.refuse_existing(out)
        wanted = splits.three_sides(shares) if shares else splits.equal_folds(folds or 0)
        patients = splits.read_patients(prepared)
        sides = splits.split_patients(patients, wanted, seed)
        splits.write_split(sides, out)
    except (splits.SplitError, OSError, ValueError) as error:
        _stop(str(error))
    Console().print(splits.sides_table(splits.count_sides(patients, sides)))
    typer.echo(out)


@app.command()
def train(experiment: _Experiment, runs: _Runs = Path("runs")) -> None:
    """Train, validate and test as the experiment says; the same command goes on after a kill."""
    _need_training()
    from cruor.training.experiment import ExperimentError
    from cruor.training.run import train as train_experiment
    from cruor.training.splits import SplitError

    try:
        typer.echo(train_experiment(experiment, runs))
    except (ExperimentError, SplitError, OSError) as error:
        _stop(str(error))


@app.command()
def crossval(
    experiment: _Experiment,
    *,
    runs: _Runs = Path("runs"),
    beside: Annotated[
        list[Path], typer.Option(help="Cross-validated run; the table is of the mean of their logits.")
    ] = [],  # noqa: B006 (typer reads it, nothing writes to it)
    together: Annotated[list[str], typer.Option(help="Source; those named have a row as one, too.")] = [],  # noqa: B006
    than: Annotated[
        list[Path],
        typer.Option(help="Cross-validated run to compare with, on the same slices; several: their mean."),
    ] = [],  # noqa: B006
    studies: Annotated[
        bool, typer.Option("--studies", help="Also how studies come out of slices: rules, other slices.")
    ] = False,
) -> None:
    """Train a network a fold, by patient, and without each source left out; print how each reads the rest."""
    _need_training()
    from cruor.training.crossval import crossvalidate
    from cruor.training.crossval_table import check_together, crossval_table, difference_table
    from cruor.training.data import sources_of
    from cruor.training.experiment import ExperimentError, load_experiment
    from cruor.training.splits import SplitError
    from cruor.training.study_tables import study_tables
    from cruor.training.together import check_alike, check_cross_validated

    wide = _console_for_table(260)
    try:
        settings = load_experiment(experiment)
        check_alike(settings, beside)
        check_cross_validated(than)
        check_together(sources_of(settings.data), together)
        out_of_fold = crossvalidate(experiment, runs, _say)
        run = out_of_fold.parent
        wide.print(crossval_table(run, beside, together))
        if than:
            wide.print(difference_table([run, *beside], than, together))
        if studies:
            for table in study_tables(run, beside):
                wide.print(table)
    except (ExperimentError, SplitError, OSError) as error:
        _stop(str(error))
    typer.echo(out_of_fold)


@app.command("learning-curve")
def learning_curve(
    crossvalidated: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Cross-validated runs that differ in data: learned_share."),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder of learning_curve.csv and learning_curve.png.")],
    ensemble: Annotated[
        list[Path], typer.Option(help="Cross-validated run; bars are counted from the mean of those named.")
    ] = [],  # noqa: B006 (typer reads it, nothing writes to it)
    together: Annotated[list[str], typer.Option(help="Source; those named have a curve as one, too.")] = [],  # noqa: B006
    bar: Annotated[
        list[str], typer.Option(metavar="CURVE=AUC", help="ROC-AUC asked for, as 'ct-ich slices=.97'.")
    ] = [],  # noqa: B006
) -> None:
    """Show figures against the number of patients who taught, and how many more a bar would need."""
    _need_training()
    from cruor.training.experiment import ExperimentError
    from cruor.training.learning_curve import curve_table, learning_curves, read_bars, write_learning_curve

    wide = _console_for_table(260)
    _check_out(out)
    try:
        curves = learning_curves(crossvalidated, ensemble, together, read_bars(bar))
        wide.print(curve_table(curves))
        write_learning_curve(curves, out)
    except (ExperimentError, OSError) as error:
        _stop(str(error))
    typer.echo(out)


@app.command()
def calibrate(
    prevalence: Annotated[
        float, typer.Option(help="Share of studies with hemorrhage where the bundle shall be used.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the new bundle.")],
    bundle: Annotated[str | None, typer.Option(metavar="NAME|DIR", help="Model to start from.")] = None,
) -> None:
    """Make a bundle whose study probabilities are for another prevalence; decisions stay what they were."""
    from cruor.bundle.manifest import BundleError
    from cruor.bundle.model import DEFAULT_BUNDLE, find_bundle
    from cruor.bundle.prevalence import write_at_prevalence

    try:
        made = write_at_prevalence(find_bundle(bundle or DEFAULT_BUNDLE), prevalence, out)
    except BundleError as error:
        _stop(str(error))
    except OSError as error:
        _stop(f"{error.filename or out}: {error.strerror}; name a bundle that can be read and a new folder")
    typer.echo(f"{out}: {made.name} {made.version}")


@app.command("runs")
def list_runs(
    codes: Annotated[
        list[str] | None,
        typer.Argument(metavar="CODE...", help="Runs to compare; all where none is named."),
    ] = None,
    *,
    runs: _Runs = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="As JSON on stdout, nothing else.")] = False,
) -> None:
    """List runs, or compare those that are named: what they are, how far they are, what came of them."""
    _need_training()
    from cruor.training.runs import find_runs, named_runs, runs_json
    from cruor.training.runs_table import comparison, runs_table

    if not runs.is_dir():
        _stop(f"{runs}: no such folder; name the one that holds the runs with --runs")
    found, foreign, damaged = find_runs(runs)
    try:
        chosen = named_runs(found, codes, runs) if codes else found
    except ValueError as error:
        _stop(str(error))
    if as_json:
        typer.echo(runs_json(chosen, foreign, damaged))
    else:
        _console_for_table(120).print(comparison(chosen) if codes else runs_table(chosen))
        if foreign and not codes:
            _say(f"no runs: {', '.join(foreign)}")
        for sentence in damaged:
            _say(sentence)
    raise typer.Exit(Exit.SOME_NOT_DECIDED if damaged else Exit.ALL_DECIDED)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run, trained and cross-validated.")],
    out: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    *,
    name: Annotated[
        str | None, typer.Option(help="Name of the bundle; the folder's where not given.")
    ] = None,
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = __version__,
    weights: Annotated[
        WeightsKind, typer.Option(help="Keep them in half precision, or in 8 bit: half the size.")
    ] = WeightsKind.HALF,
    folds: Annotated[
        int, typer.Option(min=0, help="Instead of `train`'s network those of N first folds, averaged.")
    ] = 0,
    beside: Annotated[
        list[Path],
        typer.Option(
            help="Further run. The bundle averages a network of each; with --folds, fold by fold in turn."
        ),
    ] = [],  # noqa: B006
    measured_by: Annotated[
        str | None,
        typer.Option(
            help="Bundle (name or folder) of the same experiments: its calibration and figures are taken, "
            "the runs need not be cross-validated."
        ),
    ] = None,
) -> None:
    """Make a bundle of a run: graph, calibration, study head, figures, card."""
    _need_training()
    from cruor.bundle.manifest import BundleError
    from cruor.training.experiment import ExperimentError
    from cruor.training.export.export import export_run
    from cruor.training.export.retrained import export_retrained
    from cruor.training.export.writing import BundleName

    if measured_by is not None and folds:
        _stop("--measured-by takes the networks of `cruor train`; leave out --folds")
    if not version.strip():
        _stop("--version: a bundle without one cannot be told from another; name one, as 1.0.0")
    made = BundleName(name or out.name, version)
    try:
        if measured_by is None:
            typer.echo(export_run(run, out, made, weights, folds=folds, beside=beside))
        else:
            typer.echo(export_retrained([run, *beside], out, made, measured_by, weights))
    except (ExperimentError, BundleError, OSError) as error:
        _stop(str(error))


@app.command()
def evaluate(
    *,
    out: Annotated[Path, typer.Option(help="Folder of figures, tables, curves and the page.")],
    bundle: Annotated[
        str | None, typer.Option(metavar="NAME|DIR", help="Model to evaluate, by name or folder.")
    ] = None,
    data: Annotated[list[Path] | None, typer.Option(help="Prepared folder; may be given again.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Instead: out_of_fold.parquet, or predictions.parquet of before.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Second bundle, or second file of predictions, on the same slices.")
    ] = None,
    split: Annotated[Path | None, typer.Option(help="CSV of patient_id and side.")] = None,
    side: Annotated[str, typer.Option(help="Side of the split to evaluate.")] = "test",
    thresholds: Annotated[str, typer.Option(help="Of Table 1.")] = "0.5,0.7,0.9",
    slice_threshold: Annotated[float, typer.Option(help="Of a positive slice in the patient rule.")] = 0.8,
    prevalence: Annotated[float, typer.Option(help="For PPV and NPV of studies.")] = 0.1,
    rounds: Annotated[int, typer.Option(help="Draws of the bootstrap.")] = 1000,
) -> None:
    """Measure a bundle on prepared data, or predictions: tables of the paper, intervals, curves, a page."""
    _need_training()
    from cruor.bundle.manifest import BundleError
    from cruor.training.evaluation.evaluate import Request, evaluate_request
    from cruor.training.evaluation.predictions import EvaluationError

    _check_out(out)
    request = Request(
        out=out,
        bundle=bundle,
        data=tuple(data or ()),
        predictions=predictions,
        against=against,
        split=split,
        side=side,
        thresholds=thresholds,
        slice_threshold=slice_threshold,
        prevalence=prevalence,
        rounds=rounds,
    )
    try:
        with _progress() as progress:
            bar = progress.add_task("slices read", total=None)
            page = evaluate_request(
                request, lambda done, total: progress.update(bar, completed=done, total=total)
            )
    except (EvaluationError, BundleError, OSError) as error:
        _stop(str(error))
    typer.echo(page)


@app.command()
def explain(
    path: Annotated[
        Path | None, typer.Argument(metavar="PATH", help="Folder, file or zip with DICOM in it.")
    ] = None,
    *,
    bundle: Annotated[
        str | None, typer.Option(metavar="NAME|DIR", help="Model to explain, by name or folder.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for panels, explain.json and explain.csv.")] = Path(
        "explained"
    ),
    layer: Annotated[
        str | None, typer.Option(help="Layer that Grad-CAM looks at; the last features where not given.")
    ] = None,
    slices: Annotated[
        list[int] | None, typer.Option("--slice", metavar="N", help="Number of a slice; may be repeated.")
    ] = None,
    every: Annotated[bool, typer.Option("--every", help="Every slice, not the most suspicious.")] = False,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Prepared data instead of PATH: how often the hottest point lies in the bleed."),
    ] = None,
    boxes: Annotated[Path | None, typer.Option(help="With --data: CSV of boxes round the bleeds.")] = None,
    most: Annotated[int | None, typer.Option(help="With --data: at most as many slices, by chance.")] = None,
    own_map: Annotated[
        bool, typer.Option("--own-map", help="With --data: the bundle's own map alone, which is quick.")
    ] = False,
) -> None:
    """Show where a network looked: Grad-CAM by its library beside the exact map of the forward pass."""
    _need_training()
    if (path is None) == (not data):
        _stop("name a PATH with DICOM in it, or prepared data with --data; one of them")
    if path is not None and (boxes or most is not None or own_map):
        _stop("--boxes, --most and --own-map go with --data; leave them out")
    if path is None and (slices or every):
        _stop("--slice and --every go with a PATH; leave them out")
    from cruor.bundle.manifest import BundleError
    from cruor.bundle.model import DEFAULT_BUNDLE
    from cruor.training.explain.explainer import open_explainer

    _check_out(out)
    try:
        explainer = open_explainer(bundle or DEFAULT_BUNDLE, layer)
        if path is None:
            from cruor.training.explain.pointing import Places, point_at_blood, point_own_map

            _point(
                point_own_map if own_map else point_at_blood, Places(data or [], boxes, most), explainer, out
            )
        else:
            _explain_studies(path, explainer, slices or [], every, out)
    except BundleError as error:
        _stop(str(error))


def _explain_studies(path: Path, explainer: Explainer, slices: list[int], every: bool, out: Path) -> None:
    from cruor.dicom.studies import find_studies
    from cruor.training.explain.study import Asked, explain_study

    _check_path(path)
    found = find_studies([path])
    if not found.studies:
        _say(_nothing_found([path], found))
    explained = bool(found.studies) and not found.damaged
    with _progress() as progress:
        for study in found.studies:
            bar = progress.add_task("explaining", total=None)
            told = partial(_tell, progress, bar)
            try:
                typer.echo(explain_study(study, explainer, Asked(tuple(slices), every), out, told))
            except (ValueError, OSError) as error:
                _say(str(error))
                explained = False
    raise typer.Exit(Exit.ALL_DECIDED if explained else Exit.SOME_NOT_DECIDED)


def _point(point: Callable[..., dict[str, Any]], places: Places, explainer: Explainer, out: Path) -> None:
    from rich.console import Console

    from cruor.training.explain.tables import pointing_tables

    with _progress() as progress:
        told = partial(_tell, progress, progress.add_task("explaining", total=None))
        try:
            record = point(places, explainer, out, told)
        except (ValueError, OSError) as error:
            _stop(str(error))
    console = Console()
    for table in pointing_tables(record):
        console.print(table)
    console.print(record["note"], style="dim", highlight=False)


def _tell(progress: Progress, bar: TaskID, done: int, total: int) -> None:
    progress.update(bar, completed=done, total=total)


@dataclass
class _Run:
    """What `cruor triage` has found and read."""

    found: Found
    results: list[StudyResult]
    not_written: list[str]

    @property
    def all_decided(self) -> bool:
        """Whether every study was decided, on all of its files, and everything was written."""
        decided = all(result.status == "DECIDED" and not result.unread for result in self.results)
        return decided and bool(self.results) and not self.found.damaged and not self.not_written


def _read_all(paths: list[Path], bundle: Bundle, rule: str | None, out: Path | None, as_json: bool) -> _Run:
    """Read study by study, write each before the next is opened, show progress on stderr."""
    from cruor.dicom.studies import find_studies
    from cruor.reader.study import read_study
    from cruor.report.files import write_study
    from cruor.report.page import write_page
    from cruor.report.record import record_json, study_record

    results, cards, not_written = [], [], []
    with _progress() as progress:
        bar = progress.add_task("finding files", total=None)
        found = find_studies(paths, lambda count: progress.update(bar, completed=count))
        for place, study in enumerate(found.studies, start=1):
            progress.reset(bar, description=f"study {place} of {len(found.studies)}")
            result = read_study(
                study, bundle, rule, lambda done, total: progress.update(bar, completed=done, total=total)
            )
            if out is not None:
                try:
                    cards.append(write_study(result, out))
                except OSError as error:
                    not_written.append(
                        f"{error.filename or out}: cannot be written ({error.strerror or error})"
                    )
            if as_json:
                line = record_json(study_record(result))
                _to_stdout(partial(print, line), not_written)
            # Without slices: the maps of every study would fill the memory.
            results.append(replace(result, slices=()))
    if out is not None:
        try:
            manifest = bundle.manifest
            write_page(cards, found.put_aside, out, manifest.rules.slice_threshold, manifest.terms)
        except OSError as error:
            not_written.append(f"{error.filename or out}: cannot be written ({error.strerror or error})")
    return _Run(found, results, not_written)


def _to_stdout(write: Callable[[], object], not_written: list[str]) -> None:
    """Write to stdout; where it is closed or full, say so at the end and go on: files still get written."""
    try:
        write()
        sys.stdout.flush()
    except OSError as error:
        not_written.append(f"standard output: cannot be written ({error.strerror or error})")
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open to the end


def _check_path(path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError:
        _stop(f"{path}: no such file or folder")
    except OSError as error:
        _stop(f"{path}: cannot be looked at ({error.strerror})")


def _check_out(out: Path) -> None:
    """Make the folder and try it before anything is read: what was read must not be lost."""
    if out.exists() and not out.is_dir():
        _stop(f"{out}: is a file; --out needs a folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        _stop(f"{out}: cannot be written to ({error.strerror}); name another folder")


def _nothing_found(paths: list[Path], found: Found) -> str:
    sentence = f"no DICOM study under {', '.join(map(str, paths))}"
    if not found.put_aside:
        return f"{sentence}: there are no files; name the folder that holds the study"
    first = found.put_aside[0]
    return f"{sentence}; files found: {len(found.put_aside)}, the first: {first.name}: {first.why}"


def _console_for_table(width: int) -> Console:
    """Stdout, as wide as it is; in a log, which has no width of its own, as wide as the table wants."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=width)


def _progress() -> Progress:
    """A bar on stderr; where stderr is no terminal it stays silent."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _show_table(run: _Run, terms: str, out: Path | None) -> None:
    from rich.console import Console

    from cruor.report.terminal import study_table

    console = Console()
    console.print(study_table(run.results))
    console.print(f"Terms of the weights: {terms}.", style="dim", highlight=False, markup=False)
    if out is not None:
        console.print(f"Page: {out / 'index.html'}", highlight=False, markup=False, soft_wrap=True)


def _open_bundle(name: str | None) -> Bundle:
    from cruor.bundle.manifest import BundleError
    from cruor.bundle.model import DEFAULT_BUNDLE, open_bundle

    try:
        return open_bundle(name or DEFAULT_BUNDLE)
    except BundleError as error:
        _stop(str(error))


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _at_operating_point(bundle: Bundle, name: str, rule: RuleName | None) -> tuple[RuleName, Bundle]:
    from cruor.bundle.manifest import BundleError

    if rule not in (None, RuleName.PROBABILITY):
        _stop(f"--operating-point goes with --rule probability; {rule} has none")
    try:
        manifest = replace(bundle.manifest, rules=bundle.manifest.rules.at(name))
    except BundleError as error:
        _stop(str(error))
    return RuleName.PROBABILITY, replace(bundle, manifest=manifest)


def _need_training() -> None:
    if importlib.util.find_spec("torch") is None:
        _stop("this command trains networks; install its extra in the checkout: pip install -e '.[train]'")


def _say(sentence: str) -> None:
    from cruor.report.text import printable

    typer.echo(f"cruor: {printable(sentence)}", err=True)


def _stop(sentence: str) -> NoReturn:
    _say(sentence)
    raise typer.Exit(Exit.WRONG_USAGE)


def main() -> None:
    """Entry point of the command."""
    # What matters of a file or a run is said in cruor's own words; libraries' advice is for programmers.
    for library in ("pydicom", "torch", "lightning"):
        warnings.filterwarnings("ignore", module=library)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no "…" must not lose the result
    app()
