"""Sign a bundle, so that machines can ask who made it."""

from __future__ import annotations

from pathlib import Path

from ghost_deploy._version import __version__
from ghost_deploy.api.common import AnyPath, Note, log_note
from ghost_deploy.core.bundle import DOCUMENT, Bundle, BundleWriter
from ghost_deploy.core.bundle.ssh_signature import sign as sign_bytes
from ghost_deploy.core.bundle.statement import (
    DEVICE_FILE,
    DEVICE_NAMESPACE,
    MODEL_FILE,
    MODEL_NAMESPACE,
    SIGNATURE_SUFFIX,
    SIGNING_FILES,
    describe_device,
    describe_model,
)
from ghost_deploy.core.bundle.trust import claimed_signers, signed_model
from ghost_deploy.core.errors import UsageError

_PROGRAM = f"ghost-deploy {__version__}"


def sign(bundle: AnyPath | Bundle, key: AnyPath, *, device: bool = False) -> Bundle:
    """Sign a bundle with an SSH key.

    The model's description, the record of its checkpoint, all artifacts with their hashes and
    sizes, and the evidence that `load` depends on are written to `model.signed.json`, and its
    signature beside it. docs/signing.md says how to verify it by hand.

    Args:
        bundle: its folder, or what `export` returned. All hashes are verified first.
        key: a private key of SSH; or a public one whose private part an agent holds.
        device: sign only what was added since the model was signed (engines, int8 artifacts,
            evidence), as `device.signed.json`. Where trust is asked for, the model's signature is
            verified first.

    Returns:
        The bundle. An older signature is replaced, and with that of the model the device's.

    Raises:
        UsageError: the key cannot be used; for `device`, that no model is signed.
        BundleError: the bundle is damaged; for `device` also that its model was changed.
        UnavailableError: `ssh-keygen` is missing.
    """
    place = bundle.path if isinstance(bundle, Bundle) else Path(bundle)
    opened = Bundle.read_own(place.parent if place.name == DOCUMENT else place)
    name, namespace = (DEVICE_FILE, DEVICE_NAMESPACE) if device else (MODEL_FILE, MODEL_NAMESPACE)
    if device:
        data = describe_device(
            opened.document, signed_model(opened.path, opened.document), _PROGRAM
        )
    else:
        data = describe_model(opened.document, _PROGRAM)
    with BundleWriter(opened.path, overwrite=True) as writer:
        writer.adopt(opened)  # verifies every hash
        signature = sign_bytes(data, key, namespace)
        for old in SIGNING_FILES:
            if not device or old.startswith(DEVICE_FILE):
                (writer.folder / old).unlink(missing_ok=True)  # a link to the old one
        (writer.folder / name).write_bytes(data)
        (writer.folder / (name + SIGNATURE_SUFFIX)).write_bytes(signature.armor)
        document = opened.document
        writer.draft(document.spec, document.source, document.created_with, opened.evidence)
        return writer.finish()


def is_signed(folder: Path) -> bool:
    """Whether a bundle has a signature of its model, valid or not."""
    return any(signer.document == "model" for signer in claimed_signers(folder))


def say_what_became(bundle: Bundle, was_signed: bool, say: Note = log_note) -> None:
    """Say what a change means for the signature of a bundle.

    Args:
        bundle: after the change.
        was_signed: before it; without, nothing is said.
        say: takes the sentence.
    """
    if not was_signed:
        return
    if not is_signed(bundle.path):
        say(
            "the signature of the bundle was dropped: it does not hold for what was changed. Sign "
            f"it again: ghost-deploy sign {bundle.path} --key FILE"
        )
        return
    try:
        signed_model(bundle.path, bundle.document)
    except UsageError:
        say(
            "the signature of the model does not hold any more. Sign it again: ghost-deploy sign "
            f"{bundle.path} --key FILE"
        )
        return
    try:
        signed_model(bundle.path, bundle.document, whole=True)
    except UsageError:
        say(
            "the signature of the model still holds, and does not cover what was added. Sign that "
            f"with a key of this device: ghost-deploy sign {bundle.path} --device --key FILE"
        )
