"""Builds for a DLA core; the layers that fall back to the GPU are listed before the build."""

from __future__ import annotations

import itertools
from typing import Any

from ghost_deploy.core.errors import DeviceError, UsageError
from ghost_deploy.core.evidence.build import DlaLayer, DlaReport
from ghost_deploy.runtimes.tensorrt import compat
from ghost_deploy.runtimes.tensorrt.compat import TensorrtApi


def use_dla(api: TensorrtApi, builder: Any, config: Any, network: Any, core: int) -> DlaReport:
    """Configure a build for a DLA core, with the GPU for the layers that it cannot run.

    Set precision flags first: a DLA runs FP16 and INT8 only.

    Raises:
        DeviceError: this machine has no such core.
        UsageError: the DLA can run no layer.
    """
    cores = compat.num_dla_cores(builder)
    if not 0 <= core < cores:
        raise DeviceError(
            f"there is no DLA core {core}",
            got=f"{cores} DLA cores" if cores else "no DLA on this machine",
            fix="Leave out --dla (Orin Nano and Thor have none)"
            if not cores
            else f"Name one from 0 to {cores - 1}",
        )
    config.default_device_type = api.module.DeviceType.DLA
    config.DLA_core = core
    compat.set_flag(api, config, "GPU_FALLBACK")
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    taken = [bool(config.can_run_on_DLA(layer)) for layer in layers]
    if not any(taken):
        raise UsageError(
            "the DLA takes no layer of this model",
            fix="Build for the GPU: leave out --dla; fp32 never runs on a DLA",
        )
    return DlaReport(
        core=core,
        layers=len(layers),
        switches=sum(a != b for a, b in itertools.pairwise(taken)),
        fallbacks=tuple(
            DlaLayer(layer.name, layer.type.name)
            for layer, on_dla in zip(layers, taken, strict=True)
            if not on_dla
        ),
    )
