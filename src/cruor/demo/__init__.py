"""Studies to try cruor with: a synthetic phantom, and three real heads that may be passed on."""

from __future__ import annotations

from pathlib import Path

from cruor.demo.heads import copy_heads
from cruor.demo.phantom import write_phantom_studies

__all__ = ["copy_heads", "write_demo_studies", "write_phantom_studies"]


def write_demo_studies(folder: Path) -> list[Path]:
    """Write the phantom's studies and the real ones under `folder`; return a folder for each study."""
    return [*write_phantom_studies(folder), *copy_heads(folder)]
