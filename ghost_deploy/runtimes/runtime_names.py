"""The names of the table of runtimes, for `--help`, which imports neither NumPy nor the table.

A test holds them equal to the table's.
"""

FILE_RUNTIMES = ("openvino", "trt", "ort", "litert", "rknn", "ncnn", "eager")
"""Those that open files, in order of preference."""

SERVER_RUNTIMES = ("kserve",)
"""Those of servers, which are only taken by name."""
