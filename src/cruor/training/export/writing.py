"""A bundle's folder: graph, manifest, card; how it is called, and the command that makes it again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cruor.bundle.manifest import Manifest, write_manifest
from cruor.bundle.model import CARD_FILE, MANIFEST_FILE, MODEL_FILE
from cruor.training.experiment import Experiment, ExperimentError
from cruor.training.export.card import render_card
from cruor.training.graph import HALF, STORES, write_graph
from cruor.training.networks.base import SliceNetwork


@dataclass(frozen=True)
class BundleName:
    """Name and version of a bundle to be made."""

    name: str
    version: str


def export_command(runs: Sequence[Path], bundle: BundleName, weights: str, folds: int) -> str:
    """The command that makes a bundle of runs again, in a folder called like it."""
    first, *others = runs
    together = f" --folds {folds}" if folds else ""
    beside = "".join(f" --beside runs/{run.name}" for run in others)
    kept = f" --weights {weights}" if weights != HALF else ""
    return f"cruor export runs/{first.name} {bundle.name} --version {bundle.version}{together}{beside}{kept}"


def write_bundle(
    folder: Path, network: SliceNetwork, experiment: Experiment, manifest: Manifest, weights: str
) -> Path:
    """Write a bundle, with the graph's digest in its manifest.

    The last thing to do: what stood in the folder before is whole until nothing else can fail.

    Args:
        folder: made if missing.
        network: what the graph is made of.
        experiment: how its input is made.
        manifest: all but the digest.
        weights: how they are kept in the graph, a name of `graph.STORES`.

    Raises:
        ExperimentError: a file stands where the folder would be.
    """
    if folder.exists() and not folder.is_dir():
        raise ExperimentError(f"{folder}: is a file; name a folder for the bundle")
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / MODEL_FILE
    write_graph(network, experiment, model, STORES[weights])
    manifest = replace(manifest, digest=hashlib.sha256(model.read_bytes()).hexdigest())
    write_manifest(manifest, folder / MANIFEST_FILE)
    (folder / CARD_FILE).write_text(render_card(manifest), encoding="utf-8")
    return folder
