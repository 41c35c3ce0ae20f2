"""DLA: which layers it takes is known before the build, and said."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from ghost_deploy.core.errors import DeviceError, UsageError
from ghost_deploy.runtimes.tensorrt import compat
from ghost_deploy.runtimes.tensorrt.compat import Api

__all__ = ["DlaLayer", "DlaReport", "use_dla"]


class DlaLayer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A layer that falls back to the GPU."""

    name: str
    type: str


class DlaReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a DLA core takes of a network.

    Attributes:
        core: its number.
        layers: of the whole network.
        switches: how often the data goes from one processor to the other, in network order.
        fallbacks: layers that the GPU has to run.
    """

    core: int
    layers: int
    switches: int
    fallbacks: tuple[DlaLayer, ...]

    def summary(self) -> str:
        """One sentence for a person."""
        kinds = sorted({layer.type for layer in self.fallbacks})
        names = f" ({', '.join(kinds)})" if kinds else ""
        return (
            f"DLA {self.core} takes {self.layers - len(self.fallbacks)} of {self.layers} layers; "
            f"{len(self.fallbacks)} fall back to the GPU{names}, {self.switches} switches"
        )


def use_dla(api: Api, builder: Any, config: Any, network: Any, core: int) -> DlaReport:
    """Let a build run on a DLA core where it can, on the GPU elsewhere.

    Precision flags must be set before: the DLA takes FP16 and INT8 only.

    Raises:
        DeviceError: this machine has no such core.
        UsageError: the DLA takes no layer at all.
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
