"""The .onnx files of encoders and linear models: graph, export, quantization, parity."""
