"""A tiny encoder of lossless JPEG (ITU-T T.81 annex H), for tests: one component, one fixed Huffman table."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

CATEGORIES = 17
"""Sizes of difference, 0 to 16 bits: each gets a code of five bits, its own number."""


def encode(samples: NDArray[np.integer], precision: int, predictor: int = 1) -> bytes:
    """Encode unsigned samples, (rows, columns), of 2 to 16 bits by predictor 1 (left) or 2 (above)."""
    rows, columns = samples.shape
    frame = struct.pack(">BHHBBBB", precision, rows, columns, 1, 1, 0x11, 0)
    table = bytes([0x00, *([0] * 4), CATEGORIES, *([0] * 11), *range(CATEGORIES)])
    scan = bytes([1, 1, 0x00, predictor, 0, 0])
    header = b"\xff\xd8" + _segment(0xC3, frame) + _segment(0xC4, table) + _segment(0xDA, scan)
    return header + _entropy_coded(_differences(samples.astype(np.int64), precision, predictor)) + b"\xff\xd9"


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _differences(samples: NDArray[np.int64], precision: int, predictor: int) -> NDArray[np.int64]:
    """Sample minus prediction, modulo 65536, as -32767 to 32768 (H.1.2.1)."""
    predicted = np.empty_like(samples)
    predicted[0, 0] = 1 << (precision - 1)
    predicted[0, 1:] = samples[0, :-1]
    predicted[1:, 0] = samples[:-1, 0]
    predicted[1:, 1:] = samples[1:, :-1] if predictor == 1 else samples[:-1, 1:]
    difference = (samples - predicted) & 0xFFFF
    return np.where(difference > 32768, difference - 65536, difference).ravel()


def _entropy_coded(differences: NDArray[np.int64]) -> bytes:
    bits: list[str] = []
    for difference in differences.tolist():
        category = abs(difference).bit_length()
        bits.append(f"{category:05b}")
        if 0 < category < 16:
            bits.append(f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    packed = int(text, 2).to_bytes(len(text) // 8, "big")
    return packed.replace(b"\xff", b"\xff\x00")
