"""Trained students in use: folders, prediction, ONNX, attribution."""
