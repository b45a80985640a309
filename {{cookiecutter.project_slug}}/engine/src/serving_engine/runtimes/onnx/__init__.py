"""The runtime `onnx`: models in the format of ONNX, run by ONNX Runtime, without scikit-learn."""
