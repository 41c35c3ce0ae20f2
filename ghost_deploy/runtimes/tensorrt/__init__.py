"""TensorRT from 8.5 to 11 with `tensorrt` and numpy alone: engines are built where neither torch
nor onnx is installed, on the device that runs them.

`compat` is the only file that knows how versions differ. Nothing here opens a CUDA library: what
is known of the GPU is passed in as `fingerprint.Gpu`.
"""
