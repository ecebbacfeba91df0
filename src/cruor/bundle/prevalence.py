"""A bundle for a place where hemorrhage is rarer, or more common, than where its study head was fitted."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from cruor.bundle.manifest import BundleError, Manifest, OperatingPoint, read_manifest, write_manifest
from cruor.bundle.model import CARD_FILE, MANIFEST_FILE, MODEL_FILE

OF_ONE_PREVALENCE = ("study.brier", "study.share_with_hemorrhage")
"""Figures that hold at the prevalence of the fit alone; a bundle for another one leaves them out."""

LEAST_PREVALENCE = 1e-4
"""One study in ten thousand: rarer than in any place that scans heads for bleeding."""


def at_prevalence(manifest: Manifest, prevalence: float) -> Manifest:
    """Shift the study probability to another prevalence; decisions stay what they were.

    The log odds move by the difference of the log odds of both prevalences (Bayes' rule with the same
    likelihood ratio). The operating points move along, so that sensitivity and specificity are kept: what
    changes is what a probability means.

    Args:
        manifest: of a bundle with a fitted study head.
        prevalence: share of studies with hemorrhage where it shall be used, between 0 and 1.

    Raises:
        BundleError: the prevalence is none, or that of the bundle's own fit is not known.
    """
    if not LEAST_PREVALENCE <= prevalence <= 1 - LEAST_PREVALENCE:
        raise BundleError(
            f"a prevalence is a share between 0 and 1, here from {LEAST_PREVALENCE:g} to "
            f"{1 - LEAST_PREVALENCE:g}, not {prevalence}"
        )
    before = manifest.study_head.prevalence
    if before is None:
        raise BundleError(
            f"bundle {manifest.name} {manifest.version} does not tell the prevalence of its own fit"
        )
    shift = _log_odds(prevalence) - _log_odds(before)
    head = replace(
        manifest.study_head, intercept=manifest.study_head.intercept + shift, prevalence=prevalence
    )
    rules = replace(
        manifest.rules,
        operating_point=_moved(manifest.rules.operating_point, shift),
        other_points=tuple(_moved(point, shift) for point in manifest.rules.other_points),
    )
    # The command of `export` makes the other bundle.
    kept = {name: value for name, value in manifest.made_by.items() if name != "export"}
    made_by = {
        **kept,
        "fitted_at_prevalence": manifest.made_by.get("fitted_at_prevalence", before),
    }
    version = f"{manifest.version.partition('+')[0]}+prevalence.{prevalence:g}"
    figures = tuple(one for one in manifest.figures if not one.name.startswith(OF_ONE_PREVALENCE))
    return replace(manifest, study_head=head, rules=rules, version=version, made_by=made_by, figures=figures)


def write_at_prevalence(bundle: Path, prevalence: float, folder: Path) -> Manifest:
    """Write the bundle of a folder anew for another prevalence; the network is copied as it is.

    Raises:
        BundleError: as `at_prevalence`, or the folder holds a bundle already.
    """
    if (folder / MANIFEST_FILE).exists():
        raise BundleError(f"{folder} holds a bundle already; name another folder")
    manifest = at_prevalence(read_manifest(bundle / MANIFEST_FILE), prevalence)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes((bundle / MODEL_FILE).read_bytes())
    card = (bundle / CARD_FILE).read_text(encoding="utf-8") if (bundle / CARD_FILE).exists() else ""
    (folder / CARD_FILE).write_text(_preface(manifest, prevalence) + card, encoding="utf-8")
    write_manifest(manifest, folder / MANIFEST_FILE)  # last: a folder that has it is complete
    return manifest


def _preface(manifest: Manifest, prevalence: float) -> str:
    points = (manifest.rules.operating_point, *manifest.rules.other_points)
    thresholds = ", ".join(f"{point.name} {point.threshold:.3f}" for point in points)
    return (
        f"# {manifest.name} {manifest.version}\n\nStudy probabilities are for a prevalence of {prevalence:g} "
        f"(`cruor calibrate`). Thresholds moved along: {thresholds}. So sensitivity and specificity below "
        "still hold; thresholds, Brier score and reliability table below are those before.\n\n"
        "What follows is the card of the bundle that it was made of.\n\n"
    )


def _moved(point: OperatingPoint, shift: float) -> OperatingPoint:
    return replace(point, threshold=1 / (1 + math.exp(-(_log_odds(point.threshold) + shift))))


def _log_odds(share: float) -> float:
    return math.log(share / (1 - share))
