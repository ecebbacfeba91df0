"""A bundle is the whole model: manifest, ONNX graph, study head, card. `shipped/` holds those of the package."""
