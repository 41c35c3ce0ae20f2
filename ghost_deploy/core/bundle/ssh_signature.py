"""Signatures in the format of OpenSSH, made and verified by its `ssh-keygen`.

The format is that of `PROTOCOL.sshsig` in OpenSSH's sources. Keys, certificates, hardware tokens,
agents, validity periods and the file of allowed signers (`ssh-keygen(1)`, "ALLOWED SIGNERS") are
OpenSSH's; nothing of it is implemented here but the reading of what a signature says of itself.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ghost_deploy.core.errors import BundleError, SignatureError, UnavailableError, UsageError
from ghost_deploy.core.files import read_regular
from ghost_deploy.core.scratch import scratch_folder

MAX_SIGNATURE_BYTES = 64 << 10
"""Largest signature that is read; one with a certificate has about 3 kB."""

MAX_TRUST_BYTES = 4 << 20
"""Largest file of allowed signers that is read."""

_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_MAGIC = b"SSHSIG" + struct.pack(">I", 1)
_VERIFY_S = 60.0


@dataclass(frozen=True)
class SshSignature:
    """What a signature says of itself; nothing of it is verified.

    Attributes:
        armor: the text of the file, ASCII.
        key: fingerprint of the key, `SHA256:` and 43 characters, as `ssh-keygen -l` shows it.
        namespace: what the signature is for.
    """

    armor: bytes
    key: str
    namespace: str

    @classmethod
    def parse(cls, data: bytes, where: str) -> SshSignature:
        """Read the armored form.

        Raises:
            SignatureError: it is none.
        """
        try:
            first, *lines, last = data.decode("ascii").strip().splitlines()
            if (first.strip(), last.strip()) != (_BEGIN, _END):
                raise ValueError("not between the lines of an SSH signature")
            blob = base64.b64decode("".join(lines), validate=True)
            if not blob.startswith(_MAGIC):
                raise ValueError("not an SSH signature of version 1")
            key, rest = _text(blob[len(_MAGIC) :])
            namespace, _ = _text(rest)
            name = namespace.decode("ascii")
        except (ValueError, binascii.Error) as error:
            raise SignatureError(
                f"{where} is not an SSH signature",
                got=str(error),
                fix="Sign the bundle again: ghost-deploy sign BUNDLE --key FILE",
            ) from error
        digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
        return cls(data, f"SHA256:{digest}", name)


def sign(data: bytes, key: str | os.PathLike[str], namespace: str) -> SshSignature:
    """Sign bytes with a private key, or with a public one whose private part an agent holds.

    Args:
        data: what is signed.
        key: file of the key, as for `ssh-keygen -Y sign -f`.
        namespace: what the signature is for.

    Raises:
        UnavailableError: there is no `ssh-keygen`, or one before 8.2.
        UsageError: the key cannot be used.
    """
    path = Path(key)
    if not path.is_file():
        raise UsageError(
            f"there is no key {path}",
            fix="Make one with: ssh-keygen -t ed25519 -f FILE",
        )
    command = [_ssh_keygen(), "-Y", "sign", "-f", str(path.absolute()), "-n", namespace]
    # No limit of time: the key may ask for a passphrase or for a touch.
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode:
        raise UsageError(
            f"ssh-keygen does not sign with {path}",
            got=_last_line(done.stderr),
            fix="Give a private key of SSH that only you may read, e.g. made with: ssh-keygen -t "
            "ed25519 -f FILE",
        )
    return SshSignature.parse(done.stdout, "what ssh-keygen printed")


def verify(data: bytes, signature: SshSignature, trust: Path, namespace: str) -> str:
    """Verify that an allowed signer has signed bytes for that namespace.

    Args:
        data: what is signed.
        signature: of it.
        trust: a file of allowed signers.
        namespace: what the signature must be for.

    Returns:
        The signer's name in the file.

    Raises:
        SignatureError: the data were changed, or the key is not allowed.
        UsageError: `trust` cannot be read.
        UnavailableError: there is no `ssh-keygen`, or one before 8.2.
    """
    try:
        allowed = read_regular(trust, MAX_TRUST_BYTES)
    except OSError as error:
        raise UsageError(
            f"cannot read the trusted signers in {trust}",
            got=error.strerror,
            fix="Give a file of allowed signers: lines of a name and a public key, see "
            "docs/signing.md",
        ) from error
    if signature.namespace != namespace:
        raise _refused(signature, trust, f"a signature for {signature.namespace!r}", namespace)
    with scratch_folder() as folder:
        # Copies: what is verified is what was read, whatever happens to the files meanwhile.
        (folder / "trust").write_bytes(allowed)
        (folder / "signature").write_bytes(signature.armor)
        where = ["-f", str(folder / "trust"), "-s", str(folder / "signature")]
        reason = _MISSING if not _bare_keys(allowed) else _BARE
        for name in _principals(where):
            code, text = _run("verify", *where, "-I", name, "-n", namespace, data=data)
            if not code:
                return name
            reason = text.replace(str(folder / "trust"), str(trust))
    raise _refused(signature, trust, f"the key {signature.key}: {reason}")


_MISSING = "the key is not among them"
_BARE = (
    "the file holds public keys alone; each line of it is a name and a key, such as "
    "`maker@factory ssh-ed25519 AAAA...`"
)


def _bare_keys(allowed: bytes) -> bool:
    """Whether a line of a file of allowed signers starts with a key in place of a name."""
    return re.search(rb"^(?:ssh-|ecdsa-|sk-)[\w@.-]+ AAAA", allowed, re.MULTILINE) is not None


def _principals(where: list[str]) -> list[str]:
    """Names that the file of allowed signers has for the key of a signature."""
    code, out = _run("find-principals", *where)
    names = [name for line in out.splitlines() for name in line.split(",")] if not code else []
    return [name for name in names if name and not name.startswith("!")]


def _run(action: str, *words: str, data: bytes = b"") -> tuple[int, str]:
    """Exit code, and what was printed; of a failure the last line."""
    command = [_ssh_keygen(), "-Y", action, *words]
    try:
        done = subprocess.run(
            command,
            input=data,
            capture_output=True,
            check=False,
            timeout=_VERIFY_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(
            "ssh-keygen does not end", got=f"{_VERIFY_S:g} s", fix="Run it by hand: docs/signing.md"
        ) from error
    if done.returncode and b"option" in done.stderr and b"-Y" in done.stderr:
        raise _unavailable(_last_line(done.stderr))
    text = done.stdout.decode("utf-8", "replace")
    return done.returncode, text if not done.returncode else _last_line(done.stderr or done.stdout)


def _refused(signature: SshSignature, trust: Path, got: str, namespace: str = "") -> SignatureError:
    return SignatureError(
        "the signature is not trusted",
        got=got,
        expected=f"a signature by one of {trust}" + (f" for {namespace!r}" if namespace else ""),
        fix=f"If you trust the key {signature.key}, add its public part to that file; otherwise "
        "get the bundle from where it was signed",
    )


def _ssh_keygen() -> str:
    found = shutil.which("ssh-keygen")
    if found is None:
        raise _unavailable("none")
    return found


def _unavailable(got: str) -> UnavailableError:
    return UnavailableError(
        "signatures need ssh-keygen of OpenSSH 8.2 or newer",
        got=got,
        fix="Install it, e.g. with: apt install openssh-client",
    )


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "no message"


def _text(blob: bytes) -> tuple[bytes, bytes]:
    """The first string of SSH's binary form, and the rest."""
    if len(blob) < 4:
        raise ValueError("it ends too early")
    (length,) = struct.unpack(">I", blob[:4])
    if length > len(blob) - 4:
        raise ValueError("it ends too early")
    return blob[4 : 4 + length], blob[4 + length :]
