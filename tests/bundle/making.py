"""Small bundles on disk, with a graph of one convolution."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cruor.bundle.manifest import write_manifest
from cruor.bundle.model import INPUT, LOGITS, MANIFEST_FILE, MAPS, MODEL_FILE
from tests.reader.fakes import manifest


def tiny_graph(outputs: int = 6, windows: int = 3, size: int = 64, *, maps: bool = True) -> bytes:
    """maps = an 8 x 8 convolution of the channels, given out where asked for; logits = their mean."""
    weights = np.full((outputs, windows, 8, 8), 1 / 192, dtype=np.float32)
    nodes = [
        helper.make_node("Conv", [INPUT, "w"], [MAPS], strides=[8, 8]),
        helper.make_node("ReduceMean", [MAPS, "axes"], [LOGITS], keepdims=0),
    ]
    side = size // 8
    given = [
        helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["n", outputs]),
        helper.make_tensor_value_info(MAPS, TensorProto.FLOAT, ["n", outputs, side, side]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", windows, size, size])],
        given if maps else given[:1],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([2, 3], dtype=np.int64), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def write_bundle(folder: Path, graph: bytes | None = None, **changes: object) -> Path:
    """A whole bundle; `changes` are fields of the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    content = tiny_graph() if graph is None else graph
    (folder / MODEL_FILE).write_bytes(content)
    said = {"digest": hashlib.sha256(content).hexdigest(), **changes}
    write_manifest(manifest(**said), folder / MANIFEST_FILE)
    return folder
