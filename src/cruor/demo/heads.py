"""The three real studies that ship with cruor: where they come from stands in heads/README.md."""

from __future__ import annotations

import io
import zipfile
from importlib import resources
from pathlib import Path

HEADS = ("ct-ich-077", "ct-ich-091", "ct-ich-104")
"""Epidural; intraparenchymal and intraventricular; nothing. In no training, tuning or reported figure."""


def copy_heads(folder: Path) -> list[Path]:
    """Unpack the three studies, a folder each; return the folders. The attribution goes with them."""
    folder.mkdir(parents=True, exist_ok=True)
    shipped = resources.files("cruor.demo").joinpath("heads")
    readme = shipped.joinpath("README.md").read_bytes()
    folders = []
    for name in HEADS:
        target = folder / name
        target.mkdir(exist_ok=True)
        with zipfile.ZipFile(io.BytesIO(shipped.joinpath(f"{name}.zip").read_bytes())) as archive:
            archive.extractall(target)
        (target / "README.md").write_bytes(readme)
        folders.append(target)
    return folders
