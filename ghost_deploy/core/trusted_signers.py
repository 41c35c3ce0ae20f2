"""Who may have made a bundle: asked for by option, by argument or for a whole machine.

The file of trusted signers holds for the whole process and its children, like the limit of
pixels, so that no way of opening a bundle is forgotten.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ghost_deploy.core.errors import SignatureError

VARIABLE = "GHOST_DEPLOY_TRUST"
"""The environment variable that names a file of trusted signers for all bundles."""


def trusted_signers() -> Path | None:
    """The file of trusted signers of this process; None where signatures are not asked for."""
    text = os.environ.get(VARIABLE)
    return Path(text) if text else None


@contextlib.contextmanager
def trusting(signers: str | os.PathLike[str] | None) -> Iterator[None]:
    """Ask for signatures inside the block; None leaves it as it is."""
    before = os.environ.get(VARIABLE)
    if signers is not None:
        os.environ[VARIABLE] = os.path.abspath(signers)
    try:
        yield
    finally:
        if signers is not None:
            os.environ.pop(VARIABLE)
            os.environ.update({} if before is None else {VARIABLE: before})


def refuse_if_trust_is_asked(what: str) -> None:
    """Raise for a model that cannot be signed, where signatures are asked for.

    Args:
        what: the model, e.g. a file that is no bundle.

    Raises:
        SignatureError: signatures are asked for.
    """
    signers = trusted_signers()
    if signers is not None:
        raise SignatureError(
            f"{what} has no signature",
            got="a file that is no bundle",
            expected=f"a bundle signed by one of {signers}",
            fix="Export it into a bundle and sign that: ghost-deploy sign BUNDLE --key FILE",
        )
