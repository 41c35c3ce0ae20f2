"""What recorded statistics say of wrong arithmetic: the table of docs/recorded-statistics.md.

    python -m tools.wrong_arithmetic --images images/val best.pt other.pt

Each checkpoint, read rightly, is changed in one of eight ways that change no shape, as a fork could
have done before training. The verdict should be `disagrees`, and the first norm outside the band
should lie directly behind a changed module.
"""

from __future__ import annotations

import argparse
import copy
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ghost_deploy.checkpoints.loading import load_checkpoint
from ghost_deploy.checkpoints.norms.examine import judge_views
from ghost_deploy.checkpoints.norms.norm_verdict import NormVerdict
from ghost_deploy.checkpoints.norms.witness_images import View
from ghost_deploy.judge.witness import witness_of_files
from ghost_deploy.models.conv import Concat
from ghost_deploy.models.csp import C3, C2f
from ghost_deploy.models.ghost import GhostBottleneck, GhostConv
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.processing.images import list_images

_BEHIND = 3
"""Norms that run after a changed module and still lie directly behind it."""


@dataclass(frozen=True)
class Fault:
    """A wrong arithmetic: what is changed, in words, and the modules and their forward."""

    name: str
    modules: Callable[[DetectionNet], Sequence[tuple[str, nn.Module]]]
    forward: Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Finding:
    """The verdict on a changed network, and whether it points at the change."""

    verdict: NormVerdict
    located: bool
    changed: tuple[str, ...]


def _of(kind: type[nn.Module]) -> Callable[[DetectionNet], list[tuple[str, nn.Module]]]:
    return lambda net: [(n, m) for n, m in net.named_modules() if isinstance(m, kind)]


def _identities(net: DetectionNet) -> list[tuple[str, nn.Module]]:
    found = _of(GhostBottleneck)(net)
    return [(name, part) for name, part in found if isinstance(part.shortcut, nn.Identity)]


def _one(net: DetectionNet) -> list[tuple[str, nn.Module]]:
    found = _identities(net)
    return [found[len(found) // 2]]


def _inner(net: DetectionNet) -> list[tuple[str, nn.Module]]:
    inside = tuple(f"{name}." for name, _ in _of(GhostBottleneck)(net))
    return [(name, part) for name, part in _of(GhostConv)(net) if name.startswith(inside)]


def _hosts(net: DetectionNet) -> list[tuple[str, nn.Module]]:
    return [*_of(C3)(net), *_of(C2f)(net)]


def _no_addition(self: Any, x: Tensor) -> Tensor:
    y: Tensor = self.conv(x)
    return y


def _exchanged(self: Any, x: Tensor) -> Tensor:
    y = self.cv1(x)
    return torch.cat((self.cv2(y), y), 1)


def _relu(self: Any, x: Tensor) -> Tensor:
    def run(part: Any, x: Tensor) -> Tensor:
        y: Tensor = part.bn(part.conv(x))
        return functional.relu(y) if isinstance(part.act, nn.SiLU) else y

    y = run(self.cv1, x)
    return torch.cat((y, run(self.cv2, y)), 1)


def _linear_half(self: Any, x: Tensor) -> Tensor:
    y = self.cv1(x)
    return torch.cat((y, self.cv2.bn(self.cv2.conv(y))), 1)


def _reversed_host(self: Any, x: Tensor) -> Tensor:
    if isinstance(self, C3):
        return self.cv3(torch.cat((self.cv2(x), self.m(self.cv1(x))), 1))
    parts = list(torch.split(self.cv1(x), self.c, 1))
    for member in self.m:
        parts.append(member(parts[-1]))
    y: Tensor = self.cv2(torch.cat(parts[::-1], 1))
    return y


def _reversed_concat(self: Any, x: list[Tensor]) -> Tensor:
    return torch.cat(x[::-1], self.d)


def _activated_sum(self: Any, x: Tensor) -> Tensor:
    return functional.silu(self.conv(x) + self.shortcut(x))


FAULTS = (
    Fault("no addition in any bottleneck", _identities, _no_addition),
    Fault("no addition in one bottleneck", _one, _no_addition),
    Fault("halves of the Ghost concatenation exchanged", _of(GhostConv), _exchanged),
    Fault("ReLU for SiLU in the bottlenecks", _inner, _relu),
    Fault("cheap half without activation", _of(GhostConv), _linear_half),
    Fault("order of the concatenation in C3 and C2f", _hosts, _reversed_host),
    Fault("order of the concatenations of the neck", _of(Concat), _reversed_concat),
    Fault("SiLU after the addition of the bottlenecks", _of(GhostBottleneck), _activated_sum),
)


def judge_fault(net: DetectionNet, fault: Fault, view: View) -> Finding:
    """Change a copy of a network, and judge it on images of its kind."""
    changed = copy.deepcopy(net)
    modules = fault.modules(changed)
    for _, module in modules:
        module.forward = types.MethodType(fault.forward, module)
    _, verdict = judge_views(changed, view)
    names = tuple(name for name, _ in modules)
    return Finding(verdict, verdict.departs in _near(verdict, names), names)


def _near(verdict: NormVerdict, changed: Sequence[str]) -> set[str]:
    """The norms in changed modules and directly behind them, in the order in which they run."""
    order = [row.name for row in verdict.rows]
    near: set[str] = set()
    for name in changed:
        inside = [i for i, each in enumerate(order) if each.startswith(f"{name}.")]
        layer = int(name.split(".")[1])
        later = [i for i, each in enumerate(order) if int(each.split(".")[1]) > layer]
        last = inside[-1] if inside else (later[0] - 1 if later else len(order))
        near.update(order[i] for i in inside)
        near.update(order[last + 1 : last + 1 + _BEHIND])
    return near


def table(checkpoint: Path, view: View, net: DetectionNet) -> Iterator[str]:
    """Yield the rows of the table for one checkpoint, in Markdown."""
    _, right = judge_views(net, view)
    rows = [("right", right, True), *(
        (fault.name, finding.verdict, finding.located)
        for fault in FAULTS
        for finding in [judge_fault(net, fault, view)]
    )]  # fmt: skip
    for name, verdict, located in rows:
        sizes = [max(row.mean, row.sd) for row in verdict.rows if row.judged]
        where = f"{verdict.departs}{'' if located else ' (elsewhere)'}"
        yield (f"| {checkpoint.stem} | {name} | {verdict.verdict} | {where} | {max(sizes):.2f} |")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--images", required=True, help="of the kind that they were trained on")
    parser.add_argument("--count", type=int, default=16)
    args = parser.parse_args()
    images = witness_of_files(list_images(args.images)[: args.count])
    assert images is not None
    print("| checkpoint | arithmetic | verdict | first norm outside | largest |")
    print("|---|---|---|---|---|")
    for checkpoint in args.checkpoints:
        loaded = load_checkpoint(checkpoint)
        view = next(images.views(loaded.spec.input.size_hw, loaded.spec.input.stride))
        for line in table(checkpoint, view, loaded.net):
            print(line, flush=True)


if __name__ == "__main__":
    main()
