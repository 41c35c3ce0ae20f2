"""The precision of a graph, decided by what it is traced from.

A float16 graph is traced from a float16 network with a float32 tail (`ExportGraph`): every node
has its type by construction, casts stand at the input and in front of the tail, and no finished
ONNX file is ever rewritten.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from ghost_deploy.core.errors import ExportError

FLOAT16_MAX = torch.finfo(torch.float16).max

N = TypeVar("N", bound=nn.Module)


def to_half(net: N) -> N:
    """Turn the weights of a fused copy into float16, in place, and return it.

    Weights below float16's smallest normal number lose digits or become 0, which costs at most
    6e-8 each; weights above its largest, 65504, would become infinite.

    Raises:
        ExportError: a weight is too large or not a number; the message names its layer.
    """
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        largest = float(tensor.abs().max()) if tensor.numel() else 0.0
        if not largest <= FLOAT16_MAX:
            raise ExportError(
                f"the layer {name.rpartition('.')[0]!r} cannot be computed in fp16",
                got=f"a folded {name.rpartition('.')[2]} of {largest:g}",
                expected=f"at most {FLOAT16_MAX:g}",
                fix="Export fp32 alone; a batch norm with a variance near 0 is the usual cause",
            )
    return net.half()
