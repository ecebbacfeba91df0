"""A bundle whose network is a sum: how much of the crop shines like blood. Nothing is learned."""

from __future__ import annotations

import numpy as np

from cruor.bundle.manifest import (
    FORMAT,
    Manifest,
    NetworkName,
    OperatingPoint,
    Rules,
    SliceCalibration,
    StudyHead,
)
from cruor.bundle.model import LOGITS, MAPS, Bundle
from cruor.preprocessing.channels import PREPROCESSING, InputSettings
from cruor.preprocessing.crop import CropSettings

OUTPUTS = ("any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")


class BrightBlood:
    """Stands in for onnxruntime's session: blood of 55 to 90 HU shines in the second window."""

    LOW, HIGH = (55 + 20) / 200 * 2 - 1, (90 + 20) / 200 * 2 - 1

    def run(self, names, feeds):
        assert names == [LOGITS, MAPS]
        wide = feeds["channels"][:, 1]
        blood = ((wide > self.LOW) & (wide < self.HIGH)).astype(np.float32)
        n, side = len(wide), wide.shape[-1] // 8
        cells = blood.reshape(n, 8, side, 8, side).mean(axis=(2, 4))
        maps = np.repeat((100 * cells**3)[:, None], len(OUTPUTS), axis=1).astype(np.float32)
        return [maps.mean((2, 3)) * 60 - 4, maps]


class NoNumbers(BrightBlood):
    """A session that gives NaN."""

    def run(self, names, feeds):
        logits, maps = super().run(names, feeds)
        return [logits * np.nan, maps]


class NoBlood(BrightBlood):
    """A session whose maps are cold."""

    def run(self, names, feeds):
        logits, maps = super().run(names, feeds)
        return [logits, maps * 0]


class AnyAlone(BrightBlood):
    """Tells of any hemorrhage alone, and gives no maps."""

    def run(self, names, feeds):
        assert names == [LOGITS]
        logits, _ = super().run([LOGITS, MAPS], feeds)
        return [logits[:, :1]]


class Broken:
    """A session that fails."""

    def run(self, names, feeds):
        raise RuntimeError("Doe^Jane stands in the message of this error")


def manifest(**changes: object) -> Manifest:
    fields: dict[str, object] = {
        "format": FORMAT,
        "name": "bright-blood",
        "version": "1",
        "created": "2026-01-01",
        "preprocessing": PREPROCESSING,
        "network": NetworkName("lite0"),
        "input": InputSettings(CropSettings(size=64)),
        "outputs": OUTPUTS,
        "map_scale": 50.0,
        "calibration": SliceCalibration((1.0,) * 6, (0.0,) * 6),
        "study_head": StudyHead(("peak", "top_mean"), (1.0, 1.0), 0.0),
        "rules": Rules("probability", "no choice", 0.8, OperatingPoint("balanced", 0.5, "by hand")),
        "data": (),
        "terms": "none",
        "figures": (),
        "untried": (),
        "made_by": {},
        "digest": "",
    }
    return Manifest(**{**fields, **changes})  # type: ignore[arg-type]


def bundle(session: object | None = None, **changes: object) -> Bundle:
    return Bundle(manifest(**changes), session or BrightBlood())  # type: ignore[arg-type]
