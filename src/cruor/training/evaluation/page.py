"""The page of an evaluation: one file that asks nothing of the network and works without script."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cruor.training.evaluation.tables import RESEARCH_ONLY, Table, cell_text, reasons

PAGE_FILE = "index.html"


def write_page(metrics: dict[str, Any], tables: list[Table], pictures: dict[str, Path], out: Path) -> Path:
    """Write index.html with all tables and pictures inside; return its path."""
    css = resources.files("cruor.training").joinpath("templates/evaluation.css").read_text("utf-8").strip()
    environment = Environment(
        loader=PackageLoader("cruor.training"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"reasons": reasons, "cell": cell_text}
    page = environment.get_template("evaluation.html.j2").render(
        css=Markup(f"<style>{css}</style>"),
        style_digest=base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        metrics=metrics,
        tables=tables,
        pictures={title: _data_uri(file) for title, file in pictures.items()},
        research_only=RESEARCH_ONLY,
    )
    (out / PAGE_FILE).write_text(page, encoding="utf-8")
    return out / PAGE_FILE


def _data_uri(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
