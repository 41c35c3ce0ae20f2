"""Whether a bundle is what a trusted signer signed, and whose signatures lie in it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ghost_deploy.core.bundle.manifest import BundleDocument
from ghost_deploy.core.bundle.ssh_signature import MAX_SIGNATURE_BYTES, SshSignature, verify
from ghost_deploy.core.bundle.statement import (
    DEVICE_FILE,
    DEVICE_NAMESPACE,
    MODEL_FILE,
    MODEL_NAMESPACE,
    SIGNATURE_SUFFIX,
    DeviceStatement,
    ModelStatement,
    model_changes,
    other_changes,
)
from ghost_deploy.core.errors import SignatureError, SpecError, UsageError
from ghost_deploy.core.files import MAX_TEXT_BYTES, read_regular
from ghost_deploy.core.spec import decode_json
from ghost_deploy.core.trusted_signers import trusted_signers

S = TypeVar("S", ModelStatement, DeviceStatement)

_AGAIN = "Get the bundle from where it was signed, or sign it: ghost-deploy sign BUNDLE --key FILE"


@dataclass(frozen=True)
class Signer:
    """Who signed a document of a bundle.

    Attributes:
        document: `model` or `device`.
        key: fingerprint of the key.
        name: in the file of trusted signers; empty where nothing was verified.
    """

    document: str
    key: str
    name: str = ""

    def __str__(self) -> str:
        who = f"{self.name}, key {self.key}" if self.name else f"key {self.key}, not verified"
        return f"{self.document}: {who}"


@dataclass(frozen=True)
class SignedStatements:
    """The statements of a bundle whose signatures were verified."""

    folder: Path
    model: ModelStatement
    device: DeviceStatement | None
    signers: tuple[Signer, ...]

    def require(self, document: BundleDocument) -> None:
        """Raise unless the statements cover all of a bundle.

        Raises:
            SignatureError: something was changed, added or removed after it was signed.
        """
        changes = list(model_changes(document, self.model))
        others = [] if changes else list(other_changes(document, self.model, self.device))
        if changes or others:
            raise SignatureError(
                f"{self.folder} is not what was signed",
                got="; ".join((changes or others)[:4]),
                fix=_AGAIN
                if changes
                else "If this device added it, sign it with a key of the device: ghost-deploy sign "
                "BUNDLE --device --key FILE. Otherwise get the bundle from where it was signed",
            )


def signed_statements(folder: Path, signers: Path) -> SignedStatements:
    """Verify the signatures of a bundle; of its other files nothing is read.

    Args:
        folder: of the bundle.
        signers: the file of trusted signers.

    Raises:
        SignatureError: there is no signature, or not one by a trusted key.
        UsageError, UnavailableError: as `ssh_signature.verify`.
    """
    data, signer = _verified(folder, MODEL_FILE, MODEL_NAMESPACE, signers)
    model = _decode(data, ModelStatement, folder / MODEL_FILE)
    if not _is_there(folder, DEVICE_FILE):
        return SignedStatements(folder, model, None, (signer,))
    added, other = _verified(folder, DEVICE_FILE, DEVICE_NAMESPACE, signers)
    device = _decode(added, DeviceStatement, folder / DEVICE_FILE)
    if device.model != hashlib.sha256(data).hexdigest():
        raise SignatureError(
            f"{folder / DEVICE_FILE} belongs to another bundle or another signature of the model",
            fix="Sign what this device added again: ghost-deploy sign BUNDLE --device --key FILE",
        )
    return SignedStatements(folder, model, device, (signer, other))


def signed_model(folder: Path, document: BundleDocument, *, whole: bool = False) -> bytes:
    """The statement of the model's signature, which must hold for a bundle.

    Where trust is asked for, the signature is verified too.

    Args:
        folder: of the bundle.
        document: its document.
        whole: require that the statements cover all that the bundle holds.

    Returns:
        The bytes that were signed.

    Raises:
        UsageError: there is none, or it does not hold or cover all.
        SignatureError: it is not by a trusted signer, or damaged.
    """
    if not _is_there(folder, MODEL_FILE):
        raise UsageError(
            f"the model in {folder} is not signed",
            fix="Sign it first, without --device, or get the bundle that its maker signed",
        )
    signers = trusted_signers()
    if signers is None:
        data, _ = _read(folder, MODEL_FILE)
    else:
        data, _ = _verified(folder, MODEL_FILE, MODEL_NAMESPACE, signers)
    model = _decode(data, ModelStatement, folder / MODEL_FILE)
    changes = list(model_changes(document, model))
    if whole and not changes:
        device = None
        if _is_there(folder, DEVICE_FILE):
            added, _ = _read(folder, DEVICE_FILE)
            device = _decode(added, DeviceStatement, folder / DEVICE_FILE)
        changes = list(other_changes(document, model, device))
    if changes:
        raise UsageError(
            f"the signature of the model in {folder} does not hold",
            got="; ".join(changes[:4]),
            fix="Sign the model again, without --device, or get the bundle that its maker signed",
        )
    return data


def claimed_signers(folder: Path) -> tuple[Signer, ...]:
    """Whose signatures lie in a bundle, without any being verified; damaged ones are left out."""
    found = []
    for name in (MODEL_FILE, DEVICE_FILE):
        with contextlib.suppress(SignatureError):
            if _is_there(folder, name):
                _, signature = _read(folder, name)
                found.append(Signer(name.partition(".")[0], signature.key))
    return tuple(found)


def _is_there(folder: Path, name: str) -> bool:
    return any(os.path.lexists(folder / (name + end)) for end in ("", SIGNATURE_SUFFIX))


def _verified(folder: Path, name: str, namespace: str, signers: Path) -> tuple[bytes, Signer]:
    data, signature = _read(folder, name)
    who = verify(data, signature, signers, namespace)
    return data, Signer(name.partition(".")[0], signature.key, who)


def _read(folder: Path, name: str) -> tuple[bytes, SshSignature]:
    """A document and its signature, as bytes that were read once."""
    place = folder / name
    try:
        armor = read_regular(folder / (name + SIGNATURE_SUFFIX), MAX_SIGNATURE_BYTES)
        data = read_regular(place, MAX_TEXT_BYTES)
    except OSError as error:
        raise SignatureError(
            f"{folder} is not signed" if name == MODEL_FILE else f"{place} is not signed",
            got=f"{error.strerror} for {Path(error.filename or place).name}",
            fix=_AGAIN,
        ) from error
    return data, SshSignature.parse(armor, str(place) + SIGNATURE_SUFFIX)


def _decode(data: bytes, kind: type[S], place: Path) -> S:
    try:
        return decode_json(data, kind, where=str(place))
    except SpecError as error:
        raise SignatureError(
            f"{place} cannot be used",
            got=error.got,
            fix="It was signed by another version: sign the bundle again",
        ) from error
