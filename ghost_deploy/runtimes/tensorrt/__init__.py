"""TensorRT from 8.5 to 11 with `tensorrt` and numpy alone: engines are built where neither torch
nor onnx is installed, on the device that runs them.

`compat` is the only package that knows how versions differ. CUDA is reached through `cudart` alone.
"""
