"""A bundle is the whole model: manifest, ONNX graph, study head, card. Those in `shipped/` come along."""
