"""Which thresholds a graph with its own NMS, or without any, can take."""

from __future__ import annotations

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.spec import ModelSpec, Thresholds


def require_own_nms(spec: ModelSpec, thresholds: Thresholds) -> None:
    """Require that `thresholds` do not ask for another NMS than the graph has.

    Raises:
        UsageError: an IoU or `agnostic` that differs from the NMS inside the graph, or `agnostic`
            for a one2one head, which has no NMS.
    """
    own = spec.thresholds
    if spec.head.decoder == "one2one" and thresholds.agnostic:
        raise UsageError(
            "this model has no NMS that could be class-agnostic",
            got="a one2one head, whose output is final",
            fix="Leave out --agnostic, or export the head's other branch, without --one2one",
        )
    if not spec.head.embedded_nms:
        return
    for what, got, expected in (
        ("overlap limit", thresholds.iou, own.iou),
        ("choice of --agnostic", thresholds.agnostic, own.agnostic),
    ):
        if got != expected:
            raise UsageError(
                f"the NMS is part of this model, its {what} cannot be changed",
                got=got,
                expected=expected,
                fix="Leave it as it is, or export the model without --nms",
            )
