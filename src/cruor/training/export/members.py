"""The networks that a bundle holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cruor.bundle.manifest import NetworkName
from cruor.training.experiment import Experiment, ExperimentError, load_experiment
from cruor.training.graph import load_network
from cruor.training.networks.base import SliceNetwork
from cruor.training.networks.windows import show_more_windows
from cruor.training.runs import EXPERIMENT_FILE, FINISHED_FILE, FOLD, LAST_CHECKPOINT


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


def network_name(members: Sequence[Experiment]) -> NetworkName:
    """How networks that read together are called, each given by its experiment."""
    first, sides = members[0].network, tuple(one.network.side for one in members)
    return NetworkName(first.name, first.backbone, len(members), sides if any(sides) else ())
