"""Convolution kernels (0018,1210) by the naming of each vendor: soft for brain, sharp for bone and lung."""

from __future__ import annotations

import re
from enum import Enum


class Kernel(Enum):
    """What a reconstruction kernel is made for."""

    SOFT = "soft"
    SHARP = "sharp"
    UNKNOWN = "unknown"


SIEMENS_SHARP_FROM, SIEMENS_SOFT_BELOW = 55, 49
"""Siemens kernels carry their sharpness as a number (H31s, J40s, Hr69h): below 49 soft, from 55 bone."""

CANON_SHARP = (range(30, 40), range(50, 60), range(80, 90))
"""Canon and Toshiba FC numbers for inner ear and bone, for lung, and for high resolution."""

_SHARP_WORDS = ("BONE", "EDGE", "LUNG", "SHARP", "ULTRA", "INNER EAR", "HIGHRES", "HIRES")
_SOFT_WORDS = ("SOFT", "STAND", "STND", "STD", "BRAIN", "SMOOTH", "DETAIL", "HEAD")
_PHILIPS_SOFT = {"A", "B", "UA", "UB", "UC", "EA", "EB", "EC", "SA", "SB", "SC", "IA", "IB"}
_PHILIPS_SHARP = {"D", "E", "L", "YA", "YB", "YC", "YD", "YE", "IPYA"}


def kernel_of(name: str) -> Kernel:
    """Tell what a kernel is made for.

    Args:
        name: ConvolutionKernel as in the file, several values joined by a backslash; the first counts
            (Siemens writes the strength of iterative reconstruction second).

    Returns:
        UNKNOWN for an empty or foreign name and for those in between (Siemens H50s): pixels must tell.
    """
    kernel = name.split("\\", 1)[0].strip().upper()
    if any(word in kernel for word in _SHARP_WORDS):
        return Kernel.SHARP
    if any(word in kernel for word in _SOFT_WORDS):
        return Kernel.SOFT
    if found := re.match(r"FC(\d{2})", kernel):
        return Kernel.SHARP if any(int(found[1]) in sharp for sharp in CANON_SHARP) else Kernel.SOFT
    if found := re.match(r"[ABHIJTUQ][RVFPCEU]?(\d{2})", kernel):
        return _by_siemens_number(int(found[1]))
    if kernel in _PHILIPS_SHARP:
        return Kernel.SHARP
    return Kernel.SOFT if kernel in _PHILIPS_SOFT else Kernel.UNKNOWN


def _by_siemens_number(sharpness: int) -> Kernel:
    if sharpness >= SIEMENS_SHARP_FROM:
        return Kernel.SHARP
    return Kernel.SOFT if sharpness < SIEMENS_SOFT_BELOW else Kernel.UNKNOWN
