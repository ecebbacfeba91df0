"""Opening a bundle: what it says is checked against the model file and against this code, then it runs."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Read by onnxruntime when it is imported: nothing leaves the machine, and no file is written for it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

from cruor.bundle.manifest import BundleError, Manifest, read_manifest
from cruor.preprocessing.channels import PREPROCESSING

SHIPPED = Path(__file__).parent / "shipped"
DEFAULT_BUNDLE = "blood-map"
MANIFEST_FILE, MODEL_FILE, CARD_FILE = "manifest.json", "model.onnx", "README.md"
INPUT, LOGITS, MAPS = "channels", "logits", "maps"
"""Names of the graph's input (n, windows, size, size) and outputs (n, outputs) and (n, outputs, h, w).

A network whose head allows no exact maps has no second output."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A checked manifest and the session that runs its model."""

    manifest: Manifest
    session: onnxruntime.InferenceSession

    @property
    def label(self) -> str:
        """Name and version, as results carry it."""
        return f"{self.manifest.name} {self.manifest.version}"

    @property
    def has_maps(self) -> bool:
        """Whether the graph gives maps beside the logits."""
        return self.manifest.map_scale > 0

    def run(self, channels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Run the network.

        Args:
            channels: (n, windows, size, size) float32, from `preprocessing.to_channels`.

        Returns:
            Raw logits, (n, outputs), and the raw maps of the first output (`any`), (n, h, w), or None.
        """
        if not self.has_maps:
            (logits,) = self.session.run([LOGITS], {INPUT: channels})
            return logits, None
        logits, maps = self.session.run([LOGITS, MAPS], {INPUT: channels})
        return logits, maps[:, 0]

    def slice_probabilities(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities, (n, outputs), of logits averaged as the calibration's `reach_mm` says."""
        calibration = self.manifest.calibration
        scaled = np.asarray(calibration.slope) * logits + np.asarray(calibration.intercept)
        probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-scaled))
        return probabilities


def shipped_bundles() -> list[str]:
    """Names of the bundles that come with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{MANIFEST_FILE}"))


def find_bundle(name_or_folder: str) -> Path:
    """The folder of a shipped bundle by name, or any folder that holds a manifest.

    Raises:
        BundleError: neither; the message lists the names that are known.
    """
    for folder in (SHIPPED / name_or_folder, Path(name_or_folder)):
        if (folder / MANIFEST_FILE).is_file():
            return folder
    known = ", ".join(shipped_bundles()) or "none"
    raise BundleError(
        f"no bundle {name_or_folder!r}: neither a folder with {MANIFEST_FILE} nor a shipped one ({known})"
    )


def open_bundle(name_or_folder: str = DEFAULT_BUNDLE) -> Bundle:
    """Open a bundle for reading.

    Raises:
        BundleError: not found, damaged (digest), of another format, or made for other preprocessing;
            the field that differs is named.
    """
    folder = find_bundle(name_or_folder)
    manifest = read_manifest(folder / MANIFEST_FILE)
    if manifest.preprocessing != PREPROCESSING:
        raise BundleError(
            f"{folder}: field 'preprocessing' is {manifest.preprocessing!r}, "
            f"this cruor does {PREPROCESSING!r}; use the cruor version that the bundle was made with"
        )
    model = folder / MODEL_FILE
    try:
        content = model.read_bytes()
    except OSError as error:
        raise BundleError(f"{model}: cannot be read ({error.strerror}); fetch the bundle again") from error
    if hashlib.sha256(content).hexdigest() != manifest.digest:
        raise BundleError(
            f"{model}: field 'digest' of the manifest differs from the file; fetch the bundle again"
        )
    bundle = Bundle(manifest, _session(content, model))
    _check_graph(bundle, folder)
    return bundle


def _session(content: bytes, model: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    options.log_severity_level = 3
    # Spinning threads would take the cores away from the decoding of the next slices.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise BundleError(f"{model}: onnxruntime cannot load it ({error}); fetch the bundle again") from error


def _check_graph(bundle: Bundle, folder: Path) -> None:
    """Compare the shapes that the manifest states with those of the graph."""
    manifest = bundle.manifest
    shapes = {node.name: node.shape for node in bundle.session.get_inputs() + bundle.session.get_outputs()}
    for name in (INPUT, LOGITS, *((MAPS,) if bundle.has_maps else ())):
        if name not in shapes:
            raise BundleError(f"{folder}: the graph has no {name!r}; export it with `cruor export`")
    if MAPS in shapes and not bundle.has_maps:
        raise BundleError(f"{folder}: field 'map_scale' is 0, but the graph gives maps; export it again")
    outputs, size = len(manifest.outputs), manifest.input.crop.size
    stated = {
        "input.windows_hu": (len(manifest.input.windows_hu), shapes[INPUT][1]),
        "input.crop.size": (size, shapes[INPUT][2]),
        "outputs": (outputs, shapes[LOGITS][1]),
        "calibration.slope": (len(manifest.calibration.slope), outputs),
        "calibration.intercept": (len(manifest.calibration.intercept), outputs),
    }
    for field, (said, found) in stated.items():
        if said != found:
            raise BundleError(
                f"{folder}: field {field!r} says {said}, the model has {found}; export it again"
            )
