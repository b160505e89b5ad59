"""The .onnx files of specialists: their wire form, their parts, what they remember."""
