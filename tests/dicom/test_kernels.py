"""Kernels by the names vendors give them."""

from __future__ import annotations

import pytest

from cruor.dicom.kernels import Kernel, kernel_of

SOFT = "SOFT|STANDARD|STD+|ASIR STND|Brain|H31s|H40f|J40s\\3|Hr38h\\2|Hc40f|B30f|Br36d|I31s\\2"
SOFT += "|FC21|FC26|FC64|UA|UB|SB|B"
SHARP = "BONE|BONEPLUS|HD BONE|EDGE|LUNG|H60s|H70h|Hr64h|B70f|J70h\\2|Br69d|FC30|FC35|FC52|FC81|YA|YB|L"
BETWEEN = "|H50s|XYZ|C|?"
NAMES = {Kernel.SOFT: SOFT.split("|"), Kernel.SHARP: SHARP.split("|"), Kernel.UNKNOWN: BETWEEN.split("|")}


@pytest.mark.parametrize(("kernel", "name"), [(kernel, name) for kernel in NAMES for name in NAMES[kernel]])
def test_knows_kernels_of_each_vendor(kernel: Kernel, name: str) -> None:
    assert kernel_of(name) is kernel
    assert kernel_of(name.lower()) is kernel
