"""onnxruntime: what a graph reads, and a session. Alone imports onnxruntime."""
