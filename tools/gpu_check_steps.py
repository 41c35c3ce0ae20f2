"""The parts of a check on a GPU that are no command: its facts, and latency on the device."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.table import open_file
from tools.gpu_check_parts import text_of

_RUNS = (50, 300)
"""On the device alone, of each engine: to warm up, and to measure."""

_L4T = Path("/etc/nv_tegra_release")
_PLUGIN = "EfficientNMS_TRT"


def device_latency(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Milliseconds on the device alone, without copies, of every engine of a bundle."""
    opened, found = Bundle.read(args.model), []
    warm_up, runs = (1, 10) if args.dry_run else _RUNS
    for artifact in opened.artifacts:
        if artifact.format != "tensorrt":
            continue
        options = RuntimeOptions(device=args.device, precision=artifact.precision)
        with open_file("trt", opened.verified_path(artifact), options) as runtime:
            measure: Any = runtime
            measure.device_ms(warm_up)
            found.append(
                {
                    "artifact": artifact.id,
                    "device": runtime.info.device,
                    "notes": runtime.info.notes,
                    "ms": measure.device_ms(runs),
                }
            )
    return found


def machine_facts() -> dict[str, Any]:
    """What is not known of this TensorRT without asking it here."""
    from ghost_deploy.runtimes.tensorrt import compat
    from ghost_deploy.runtimes.tensorrt.cudart import describe_gpu, open_cudart
    from ghost_deploy.runtimes.tensorrt.logger import TensorrtLog

    api, log = compat.load(), TensorrtLog()
    logger = log.listen(api)
    cuda = open_cudart()
    compat.load_plugins(api, logger)
    registry = api.module.get_plugin_registry()
    find = getattr(registry, "get_creator", None) or registry.get_plugin_creator
    runtime = compat.new_runtime(api, logger, log.last)
    return {
        "tensorrt": api.text,
        "cuda": {"library": cuda.library, "runtime_and_driver": cuda.versions()},
        "gpus": [asdict(describe_gpu(index)) for index in range(cuda.device_count())],
        "dla_cores": compat.num_dla_cores(runtime),
        "l4t": text_of(_L4T).partition("\n")[0],
        "container": Path("/.dockerenv").exists(),
        _PLUGIN: find(_PLUGIN, "1", "") is not None,
        "warnings": list(log.warnings),
    }
