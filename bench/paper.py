"""The paper's way on the same series: EffClass in PyTorch, Grad-CAM by back-propagation (sections 2.2, 2.3).

The weights are random: they do not change the time. Reading the files and starting are left out, in the
paper's favour. The library back-propagates into every parameter, as in the published code.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from bench.measures import Measure, seconds_of
from cruor.dicom.instances import Frame, Series
from cruor.dicom.pixels import read_hu
from cruor.preprocessing.channels import InputSettings, to_channels
from cruor.preprocessing.crop import Box, CropSettings, cut_out
from cruor.training.explain.cam import library_cam
from cruor.training.networks.effclass import SIZE, EffClass

SLICES = 3
"""Slices measured, evenly spread over the series; every slice costs the same."""

SETTINGS = InputSettings(CropSettings(size=SIZE))
"""The paper's three windows on the whole slice, normalised by 0.5 and 0.5."""


def measure_paper(series: Series, warm_seconds: float) -> list[Measure]:
    """Decision and heatmaps of the series in the paper's way, and how many times our warm time that is."""
    count = len(series.frames)
    step = count // (SLICES + 1)
    slices = [_whole_slice(series.frames[step * place]) for place in range(1, SLICES + 1)]
    network = EffClass().eval()
    decide = _median_after_first(slices, lambda channels: _decide(network, channels))
    heatmap = _median_after_first(
        slices, lambda channels: library_cam(network, network.cam_layer, channels[0].numpy())
    )
    whole = count * (decide + heatmap)
    ratio = whole / warm_seconds
    return [
        Measure("paper: decision, a slice", decide, "s", None, f"EffClass, {SIZE} x {SIZE}, forward"),
        Measure("paper: heatmap, a slice", heatmap, "s", None, "pytorch-grad-cam, six-fold smoothing"),
        Measure(
            "paper: whole series",
            whole,
            "s",
            None,
            f"median of {SLICES} slices times {count}; files not read",
        ),
        Measure(
            "paper / cruor warm", ratio, "times", None, "decision and heatmaps; cruor reads the files, too"
        ),
    ]


def _whole_slice(frame: Frame) -> Tensor:
    """(1, 3, 512, 512) channels of a slice that is not cropped."""
    hu = read_hu(frame)
    whole = cut_out(hu, Box(0, 0, max(hu.shape)), SIZE, SETTINGS.bounds_hu)
    return torch.from_numpy(to_channels(whole, SETTINGS))[None]


@torch.inference_mode()
def _decide(network: EffClass, channels: Tensor) -> None:
    network.probability(channels)


def _median_after_first(slices: list[Tensor], work: Callable[[Tensor], object]) -> float:
    """Median seconds a slice; the first call of all is not counted."""
    work(slices[0])
    return statistics.median(seconds_of(partial(work, channels)) for channels in slices)
