"""Every difference between TensorRT 8.5 and 11.4, and nothing else.

Flags are looked up by name: their integers shift between versions (bit 0 of the creation flags is
EXPLICIT_BATCH up to 10 and STRONGLY_TYPED on 11), so that none is written down here. What a
version can do is asked of the package itself, by the presence of a name.
"""

from __future__ import annotations

from ghost_deploy.runtimes.tensorrt.compat.api import TensorrtApi, derive, load, process_logger
from ghost_deploy.runtimes.tensorrt.compat.builder import (
    ParserFault,
    calibrator,
    drop_external_tactics,
    load_plugins,
    new_builder,
    new_network,
    parser_faults,
    pin_layer,
    release_quantization_types,
    set_calibrator,
    set_flag,
    set_hardware_level,
    set_optimization_level,
)
from ghost_deploy.runtimes.tensorrt.compat.engine import (
    deserialize,
    io_tensors,
    new_runtime,
    num_dla_cores,
    profile_shapes,
    sizes,
)

__all__ = [
    "ParserFault",
    "TensorrtApi",
    "calibrator",
    "derive",
    "deserialize",
    "drop_external_tactics",
    "io_tensors",
    "load",
    "load_plugins",
    "new_builder",
    "new_network",
    "new_runtime",
    "num_dla_cores",
    "parser_faults",
    "pin_layer",
    "process_logger",
    "profile_shapes",
    "release_quantization_types",
    "set_calibrator",
    "set_flag",
    "set_hardware_level",
    "set_optimization_level",
    "sizes",
]
