"""torch's own layers, built from the attributes in a checkpoint.

`TORCH_LAYERS` is the table: class, a check of each attribute that the constructor takes, and
defaults of attributes that old versions of torch did not write.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from ghost_deploy.models.fields import (
    MAX_CHANNELS,
    Check,
    either,
    flag,
    integer,
    none,
    number,
    one_of,
    pair,
    row,
)
from ghost_deploy.models.torch_layer import TorchLayer

_CHANNELS = integer(1, MAX_CHANNELS)
_KERNEL = pair(integer(1, 63))
_STRIDE = pair(integer(1, 32))
_PADDING = pair(integer(0, 63))
_DILATION = pair(integer(1, 32))
_OUTPUT_SIZE = pair(either(integer(1, 64), none))
_OUTPUT_SIZE_1D = row(1, either(integer(1, 64), none))
_SCALE = pair(number(1 / 32, 32))
_AXIS = integer(-4, 3)
_EPS = number(1e-12, 1.0)
_BOUND = number(-1e4, 1e4)

_CONV: dict[str, Check] = {
    "in_channels": _CHANNELS,
    "out_channels": _CHANNELS,
    "kernel_size": _KERNEL,
    "stride": _STRIDE,
    "padding": either(_PADDING, one_of("same", "valid")),
    "dilation": _DILATION,
    "groups": _CHANNELS,
    "padding_mode": one_of("zeros", "reflect", "replicate", "circular"),
}
_POOL: dict[str, Check] = {
    "kernel_size": _KERNEL,
    "stride": _STRIDE,
    "padding": _PADDING,
    "ceil_mode": flag,
}
_UPSAMPLE: dict[str, Check] = {
    "size": either(none, pair(integer(1, 4096))),
    "scale_factor": either(none, _SCALE),
    "mode": one_of("nearest", "bilinear", "bicubic", "nearest-exact"),
    "align_corners": either(none, flag),
    "recompute_scale_factor": either(none, flag),
}
_SIZES = ("size", "scale_factor")
_RESIZED = frozenset(_UPSAMPLE) - frozenset(_SIZES) | {"name"}
_INPLACE: dict[str, Check] = {"inplace": flag}
_CONV_1D: dict[str, Check] = {
    **_CONV,
    "kernel_size": row(1, integer(1, 255)),
    "stride": row(1, integer(1, 32)),
    "padding": either(row(1, integer(0, 127)), one_of("same", "valid")),
    "dilation": row(1, integer(1, 32)),
}
_CONV_3D: dict[str, Check] = {
    **_CONV,
    "kernel_size": row(3, integer(1, 31)),
    "stride": row(3, integer(1, 32)),
    "padding": either(row(3, integer(0, 31)), one_of("same", "valid")),
    "dilation": row(3, integer(1, 32)),
}
_BATCH_NORM: dict[str, Check] = {
    "num_features": _CHANNELS,
    "eps": _EPS,
    "momentum": either(none, number(0, 1)),
    "affine": flag,
    # Without running statistics the result depends on the other images of a batch.
    "track_running_stats": one_of(True),
}
# Statistics of each image: the running ones, if any, are not used in the original by default.
_INSTANCE_NORM: dict[str, Check] = {**_BATCH_NORM, "track_running_stats": one_of(False)}
_PADDED: dict[str, Check] = {"padding": row(4, integer(-63, 63))}
_DROPOUT: dict[str, Check] = {"p": number(0, 1), "inplace": flag}
_OLD_POOL = {"dilation": 1, "return_indices": False, "ceil_mode": False}


def _pool(size: int, **more: Check) -> dict[str, Check]:
    """Fields of a pooling of one or three dimensions."""
    return {
        "kernel_size": row(size, integer(1, 63)),
        "stride": row(size, integer(1, 63)),
        "padding": row(size, integer(0, 31)),
        "ceil_mode": flag,
        **more,
    }


def _max_pool(size: int) -> dict[str, Check]:
    dilation = row(size, integer(1, 32))
    return _pool(size, dilation=dilation, return_indices=one_of(False))


def _conv(kind: type[nn.Module], fields: Mapping[str, Check]) -> TorchLayer:
    derived = frozenset({"transposed", "output_padding"} - fields.keys())
    return TorchLayer(kind, fields, derived=derived, has_bias=True, on_meta=True)


_TABLE = (
    _conv(nn.Conv1d, _CONV_1D),
    _conv(nn.Conv2d, _CONV),
    _conv(nn.Conv3d, _CONV_3D),
    _conv(
        nn.ConvTranspose1d,
        {**_CONV_1D, "padding_mode": one_of("zeros"), "output_padding": row(1, integer(0, 31))},
    ),
    _conv(
        nn.ConvTranspose2d,
        {**_CONV, "padding_mode": one_of("zeros"), "output_padding": _PADDING},
    ),
    TorchLayer(nn.BatchNorm1d, _BATCH_NORM, on_meta=True),
    TorchLayer(nn.BatchNorm2d, _BATCH_NORM, on_meta=True),
    TorchLayer(nn.BatchNorm3d, _BATCH_NORM, on_meta=True),
    TorchLayer(nn.InstanceNorm1d, _INSTANCE_NORM, on_meta=True),
    TorchLayer(nn.InstanceNorm2d, _INSTANCE_NORM, on_meta=True),
    TorchLayer(
        nn.GroupNorm,
        {"num_groups": _CHANNELS, "num_channels": _CHANNELS, "eps": _EPS, "affine": flag},
        on_meta=True,
    ),
    TorchLayer(
        nn.LayerNorm,
        {"normalized_shape": row(None, _CHANNELS), "eps": _EPS, "elementwise_affine": flag},
        has_bias=True,
        on_meta=True,
    ),
    TorchLayer(
        nn.Linear,
        {"in_features": _CHANNELS, "out_features": _CHANNELS},
        has_bias=True,
        on_meta=True,
    ),
    TorchLayer(nn.SiLU, _INPLACE),
    TorchLayer(nn.ReLU, _INPLACE),
    TorchLayer(nn.ReLU6, _INPLACE, derived=frozenset({"min_val", "max_val"})),
    TorchLayer(nn.Hardswish, _INPLACE),
    TorchLayer(nn.Hardsigmoid, _INPLACE),
    TorchLayer(nn.Mish, _INPLACE),
    TorchLayer(nn.SELU, _INPLACE),
    TorchLayer(nn.CELU, {"alpha": number(1e-3, 10), "inplace": flag}),
    TorchLayer(nn.Hardtanh, {"min_val": _BOUND, "max_val": _BOUND, "inplace": flag}),
    TorchLayer(nn.PReLU, {"num_parameters": _CHANNELS}, derived=frozenset({"init"}), on_meta=True),
    TorchLayer(nn.Softplus, {"beta": number(1e-3, 100), "threshold": number(0, 1000)}),
    TorchLayer(nn.Softsign),
    TorchLayer(nn.LogSigmoid),
    TorchLayer(nn.GLU, {"dim": _AXIS}),
    TorchLayer(nn.LeakyReLU, {"negative_slope": number(0, 10), "inplace": flag}),
    TorchLayer(nn.ELU, {"alpha": number(0, 10), "inplace": flag}),
    TorchLayer(nn.GELU, {"approximate": one_of("none", "tanh")}, defaults={"approximate": "none"}),
    TorchLayer(nn.Sigmoid),
    TorchLayer(nn.Tanh),
    TorchLayer(nn.Softmax, {"dim": _AXIS}),
    TorchLayer(nn.Softmax2d),
    TorchLayer(nn.Identity),
    TorchLayer(nn.Dropout, _DROPOUT),
    TorchLayer(nn.Dropout1d, _DROPOUT),
    TorchLayer(nn.Dropout2d, _DROPOUT),
    TorchLayer(nn.Dropout3d, _DROPOUT),
    TorchLayer(nn.AlphaDropout, _DROPOUT),
    TorchLayer(nn.Flatten, {"start_dim": _AXIS, "end_dim": _AXIS}),
    TorchLayer(
        nn.MaxPool2d,
        {**_POOL, "dilation": _DILATION, "return_indices": one_of(False)},
        defaults=_OLD_POOL,
    ),
    TorchLayer(nn.MaxPool1d, _max_pool(1), defaults=_OLD_POOL),
    TorchLayer(nn.MaxPool3d, _max_pool(3), defaults=_OLD_POOL),
    TorchLayer(nn.AvgPool1d, _pool(1, count_include_pad=flag)),
    TorchLayer(
        nn.AvgPool3d, _pool(3, count_include_pad=flag, divisor_override=either(none, _CHANNELS))
    ),
    TorchLayer(nn.AdaptiveAvgPool1d, {"output_size": _OUTPUT_SIZE_1D}),
    TorchLayer(
        nn.AdaptiveMaxPool1d, {"output_size": _OUTPUT_SIZE_1D, "return_indices": one_of(False)}
    ),
    TorchLayer(
        nn.AvgPool2d,
        {
            **_POOL,
            "count_include_pad": flag,
            "divisor_override": either(none, integer(1, 1 << 16)),
        },
        defaults={"ceil_mode": False, "count_include_pad": True, "divisor_override": None},
    ),
    TorchLayer(nn.AdaptiveAvgPool2d, {"output_size": _OUTPUT_SIZE}),
    TorchLayer(
        nn.AdaptiveMaxPool2d, {"output_size": _OUTPUT_SIZE, "return_indices": one_of(False)}
    ),
    TorchLayer(
        nn.Upsample,
        _UPSAMPLE,
        defaults={"size": None, "align_corners": None, "recompute_scale_factor": None},
        derived=frozenset({"name"}),
    ),
    TorchLayer(nn.UpsamplingNearest2d, {k: _UPSAMPLE[k] for k in _SIZES}, derived=_RESIZED),
    TorchLayer(nn.UpsamplingBilinear2d, {k: _UPSAMPLE[k] for k in _SIZES}, derived=_RESIZED),
    TorchLayer(nn.PixelShuffle, {"upscale_factor": integer(1, 16)}),
    TorchLayer(nn.PixelUnshuffle, {"downscale_factor": integer(1, 16)}),
    TorchLayer(nn.ZeroPad2d, _PADDED, derived=frozenset({"value"})),
    TorchLayer(nn.ConstantPad2d, {**_PADDED, "value": number(-1e4, 1e4)}),
    TorchLayer(nn.ReflectionPad2d, _PADDED),
    TorchLayer(nn.ReplicationPad2d, _PADDED),
    TorchLayer(nn.Sequential),
    TorchLayer(nn.ModuleList),
    TorchLayer(nn.ModuleDict),
)

TORCH_LAYERS: Mapping[str, TorchLayer] = {leaf.kind.__name__: leaf for leaf in _TABLE}
"""By class name; applied only to classes of `torch.nn`."""
