"""Signed bundles: what a trusted signature covers, and everything that must be refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ghost_deploy.api.common import open_bundle
from ghost_deploy.api.sign import sign
from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.core.bundle.statement import (
    DEVICE_FILE,
    DEVICE_NAMESPACE,
    MODEL_FILE,
    MODEL_NAMESPACE,
    SIGNING_FILES,
)
from ghost_deploy.core.bundle.trust import claimed_signers
from ghost_deploy.core.errors import BundleError, SignatureError, UnavailableError, UsageError
from ghost_deploy.core.trusted_signers import VARIABLE, trusting
from tests.core.test_bundle import write
from tests.support.parity_reports import parity_row, small_parity_report

pytestmark = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="no ssh-keygen: apt install openssh-client"
)
SIGNATURE = f"{MODEL_FILE}.sig"


class Keys:
    """Keys of a maker, a device and a stranger, and the file that trusts the first two."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("maker", "device", "stranger"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name]
            subprocess.run([*command, "-f", str(folder / name)], check=True)
        self.trust = folder / "trusted"
        self.trust.write_text(
            f'maker@factory namespaces="{MODEL_NAMESPACE}" {self.public("maker")}'
            f'device@box namespaces="{DEVICE_NAMESPACE}" {self.public("device")}'
        )

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def public(self, name: str) -> str:
        return (self.folder / f"{name}.pub").read_text()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def signed(tmp_path: Path, keys: Keys) -> Path:
    write(tmp_path / "b")
    sign(tmp_path / "b", keys / "maker")
    return tmp_path / "b"


def add_engine(folder: Path, content: bytes = b"engine") -> Bundle:
    """Add an engine and evidence, as `build` does."""
    bundle = Bundle.read_own(folder)
    with BundleWriter(folder, overwrite=True) as writer:
        writer.adopt(bundle)
        (writer.folder / "m.engine").write_bytes(content)
        path = writer.folder / "m.engine"
        writer.add(format="tensorrt", precision="fp16", path=path, parent="", tools={})
        document = bundle.document
        writer.draft(
            document.spec,
            document.source,
            "test",
            bundle.evidence.having(small_parity_report(parity_row(status="passed"))),
        )
        return writer.finish()


def test_without_trust_an_unsigned_bundle_is_read(tmp_path: Path, keys: Keys) -> None:
    write(tmp_path)
    assert Bundle.read(tmp_path).signers == ()
    with pytest.raises(SignatureError, match=r"is not signed.*No such file"):
        Bundle.read(tmp_path, trust=keys.trust)


def test_a_folder_without_a_bundle_is_no_bundle(tmp_path: Path, keys: Keys) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        Bundle.read(tmp_path / "none", trust=keys.trust)


def test_what_was_signed_is_read_and_names_its_signer(signed: Path, keys: Keys) -> None:
    bundle = Bundle.read(signed, verify=True, trust=keys.trust)
    (signer,) = bundle.signers
    listed = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(keys / "maker.pub")],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert (signer.document, signer.name, signer.key) == (
        "model",
        "maker@factory",
        listed.split()[1],
    )
    assert Bundle.read(signed / "bundle.json", trust=keys.trust).signers == bundle.signers
    (claimed,) = claimed_signers(signed)
    assert (claimed.key, claimed.name) == (signer.key, "")
    assert "not verified" in str(claimed)


def test_ssh_keygen_alone_verifies_it(signed: Path, keys: Keys) -> None:
    command = ["ssh-keygen", "-Y", "verify", "-f", str(keys.trust), "-I", "maker@factory"]
    command += ["-n", MODEL_NAMESPACE, "-s", str(signed / SIGNATURE)]
    subprocess.run(command, input=(signed / MODEL_FILE).read_bytes(), check=True)


def edit(name: str, *places: object) -> Callable[[Path], None]:
    """Change one value of a JSON document of a bundle."""
    *above, last, value = places

    def change(folder: Path) -> None:
        document = json.loads((folder / name).read_text())
        inner = document
        for place in above:
            inner = inner[place]
        inner[last] = value
        (folder / name).write_text(json.dumps(document))

    return change


def swap_artifact(folder: Path) -> None:
    import hashlib

    document = json.loads((folder / "bundle.json").read_text())
    artifact = document["artifacts"][0]
    data = b"other weights"
    (folder / artifact["path"]).write_bytes(data)
    artifact["files"][artifact["path"]] = hashlib.sha256(data).hexdigest()
    artifact["sizes"] = {}
    (folder / "bundle.json").write_text(json.dumps(document))


def put(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink() or (folder / name).write_bytes(data) or None


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def fifo(folder: Path) -> None:
    (folder / SIGNATURE).unlink()
    os.mkfifo(folder / SIGNATURE)


def link_to(target: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / SIGNATURE).unlink()
        (folder / SIGNATURE).symlink_to(target)

    return change


def drop_artifact(folder: Path) -> None:
    document = json.loads((folder / "bundle.json").read_text())
    document["artifacts"] = []
    (folder / "bundle.json").write_text(json.dumps(document))


ATTACKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a changed description": (
        edit("bundle.json", "spec", "class_names", 0, "other"), "description was changed"),
    "a changed threshold": (
        edit("bundle.json", "spec", "thresholds", "conf", 0.9), "description was changed"),
    "another checkpoint": (
        edit("bundle.json", "source", "sha256", "1" * 64), "record of the checkpoint"),
    "a swapped artifact with its hash": (swap_artifact, "onnx-fp32 was changed"),
    "a removed artifact": (drop_artifact, "onnx-fp32 was removed"),
    "an added artifact": (lambda folder: add_engine(folder) and None, "tensorrt-fp16 was added"),
    "a changed statement": (
        edit(MODEL_FILE, "source", "sha256", "1" * 64), "incorrect signature"),
    "a stripped signature": (remove(SIGNATURE), "is not signed.*No such file"),
    "a stripped statement": (remove(MODEL_FILE), "is not signed"),
    "an empty signature": (put(SIGNATURE, b""), "is not an SSH signature"),
    "a damaged signature": (
        put(SIGNATURE, b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"),
        "is not an SSH signature"),
    "a signature that ends within": (
        put(SIGNATURE, b"-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAf//\n"
            b"-----END SSH SIGNATURE-----\n"), "ends too early"),
    "a huge signature": (put(SIGNATURE, b"A" * (1 << 20)), "is not signed.*1048576 bytes"),
    "a pipe as signature": (fifo, "not a regular file"),
    "a device as signature": (link_to("/dev/zero"), "not a regular file"),
    "a circle as signature": (link_to(SIGNATURE), "symbolic links"),
    "an unsigned statement of a device": (
        lambda folder: (folder / DEVICE_FILE).write_text("{}") and None, "is not signed"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused(name: str, signed: Path, keys: Keys) -> None:
    attack, message = ATTACKS[name]
    attack(signed)
    with pytest.raises(SignatureError, match=f"(?s){message}"):
        Bundle.read(signed, trust=keys.trust)


def test_a_swapped_artifact_is_refused_by_its_signed_hash(signed: Path, keys: Keys) -> None:
    bundle = Bundle.read(signed, trust=keys.trust)
    (signed / bundle.artifacts[0].path).write_bytes(b"other")
    with pytest.raises(BundleError, match="was changed after it was written"):
        bundle.verified_path(bundle.artifacts[0])


def test_the_document_is_not_parsed_before_the_signature_holds(signed: Path, keys: Keys) -> None:
    (signed / "bundle.json").write_text("no JSON")
    (signed / SIGNATURE).unlink()
    with pytest.raises(SignatureError, match="is not signed"):
        Bundle.read(signed, trust=keys.trust)


def test_a_link_to_the_right_signature_is_followed(signed: Path, keys: Keys) -> None:
    (signed / SIGNATURE).rename(signed.parent / "elsewhere")
    (signed / SIGNATURE).symlink_to(signed.parent / "elsewhere")
    assert Bundle.read(signed, trust=keys.trust).signers


def test_a_signature_of_another_bundle_is_refused(signed: Path, tmp_path: Path, keys: Keys) -> None:
    write(tmp_path / "other", content=b"other")
    sign(tmp_path / "other", keys / "maker")
    shutil.copy(tmp_path / "other" / SIGNATURE, signed)
    with pytest.raises(SignatureError, match="incorrect signature"):
        Bundle.read(signed, trust=keys.trust)
    shutil.copy(tmp_path / "other" / MODEL_FILE, signed)
    with pytest.raises(SignatureError, match="onnx-fp32 was changed"):
        Bundle.read(signed, trust=keys.trust)


def test_a_strange_key_is_refused(tmp_path: Path, keys: Keys) -> None:
    write(tmp_path / "b")
    sign(tmp_path / "b", keys / "stranger")
    with pytest.raises(SignatureError, match=r"not trusted: got the key SHA256:.*not among them"):
        Bundle.read(tmp_path / "b", trust=keys.trust)


def test_a_public_key_alone_names_no_signer(tmp_path: Path, keys: Keys) -> None:
    write(tmp_path / "b")
    sign(tmp_path / "b", keys / "maker")
    with pytest.raises(SignatureError, match="each line of it is a name and a key"):
        Bundle.read(tmp_path / "b", trust=keys.folder / "maker.pub")


def test_the_key_of_a_device_signs_no_model(tmp_path: Path, keys: Keys) -> None:
    write(tmp_path / "b")
    sign(tmp_path / "b", keys / "device")
    with pytest.raises(SignatureError, match="not trusted"):
        Bundle.read(tmp_path / "b", trust=keys.trust)


def test_a_signature_for_another_purpose_is_refused(signed: Path, keys: Keys) -> None:
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(keys / "maker"), "-n", "git"]
    (signed / SIGNATURE).unlink()
    subprocess.run([*command, str(signed / MODEL_FILE)], check=True, capture_output=True)
    with pytest.raises(SignatureError, match=r"for 'git'.*for 'ghost-deploy-model'"):
        Bundle.read(signed, trust=keys.trust)


@pytest.mark.parametrize("text", ["", "no key at all", "maker@factory ssh-ed25519 AAAA"])
def test_a_file_of_no_signers_trusts_none(
    signed: Path, tmp_path: Path, keys: Keys, text: str
) -> None:
    (tmp_path / "t").write_text(text)
    with pytest.raises(SignatureError, match="not trusted"):
        Bundle.read(signed, trust=tmp_path / "t")


def test_a_missing_file_of_signers_is_an_error(signed: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError, match="cannot read the trusted signers"):
            Bundle.read(signed, trust=path)


def test_a_pattern_of_names_and_an_expired_key(signed: Path, tmp_path: Path, keys: Keys) -> None:
    trust = tmp_path / "t"
    trust.write_text(f"a@b,*@factory {keys.public('maker')}")
    assert Bundle.read(signed, trust=trust).signers[0].name == "a@b"
    trust.write_text(f'a valid-before="20200101" {keys.public("maker")}')
    with pytest.raises(SignatureError, match="not trusted"):
        Bundle.read(signed, trust=trust)


def test_accuracy_may_change_and_parity_may_not(signed: Path, keys: Keys) -> None:
    from ghost_deploy.core.evidence.latency import BenchReport

    text = '{"schema":1}'
    document = json.loads((signed / "bundle.json").read_text())
    document["evidence"] = {BenchReport.KIND: json.loads(text)}
    (signed / "bundle.json").write_text(json.dumps(document))
    assert Bundle.read(signed, trust=keys.trust).signers
    Bundle.read(signed).with_evidence(small_parity_report(parity_row(status="passed"))).save()
    with pytest.raises(SignatureError, match="evidence of parity was added"):
        Bundle.read(signed, trust=keys.trust)
    sign(signed, keys / "maker")
    Bundle.read(signed, trust=keys.trust)
    document = json.loads((signed / "bundle.json").read_text())
    del document["evidence"]["parity"]
    (signed / "bundle.json").write_text(json.dumps(document))
    with pytest.raises(SignatureError, match="evidence of parity was removed"):
        Bundle.read(signed, trust=keys.trust)


def test_what_a_device_adds_has_a_signature_of_its_own(signed: Path, keys: Keys) -> None:
    before = (signed / SIGNATURE).read_bytes()
    add_engine(signed)
    with pytest.raises(SignatureError, match=r"tensorrt-fp16 was added.*--device"):
        Bundle.read(signed, trust=keys.trust)
    sign(signed, keys / "device", device=True)
    bundle = Bundle.read(signed, verify=True, trust=keys.trust)
    assert [signer.name for signer in bundle.signers] == ["maker@factory", "device@box"]
    assert (signed / SIGNATURE).read_bytes() == before
    edit("bundle.json", "artifacts", 1, "options", {"a": "b"})(signed)
    with pytest.raises(SignatureError, match="tensorrt-fp16 was changed"):
        Bundle.read(signed, trust=keys.trust)


def test_a_device_signature_of_another_model_is_refused(
    signed: Path, tmp_path: Path, keys: Keys
) -> None:
    write(tmp_path / "other", content=b"other")
    sign(tmp_path / "other", keys / "maker")
    for folder in (signed, tmp_path / "other"):
        add_engine(folder)
        sign(folder, keys / "device", device=True)
    for name in SIGNING_FILES[2:]:
        shutil.copy(tmp_path / "other" / name, signed)
    with pytest.raises(SignatureError, match="belongs to another bundle"):
        Bundle.read(signed, trust=keys.trust)


def test_a_device_signs_nothing_on_a_strange_model(tmp_path: Path, keys: Keys) -> None:
    write(tmp_path / "b")
    with pytest.raises(UsageError, match="is not signed"):
        sign(tmp_path / "b", keys / "device", device=True)
    sign(tmp_path / "b", keys / "stranger")
    with trusting(keys.trust), pytest.raises(SignatureError, match="not trusted"):
        sign(tmp_path / "b", keys / "device", device=True)
    edit("bundle.json", "spec", "class_names", 0, "other")(tmp_path / "b")
    with pytest.raises(UsageError, match="does not hold"):
        sign(tmp_path / "b", keys / "device", device=True)


def test_a_signature_that_no_longer_holds_is_dropped(signed: Path, keys: Keys) -> None:
    bundle = add_engine(signed)
    sign(signed, keys / "device", device=True)
    with BundleWriter(signed, overwrite=True) as writer:  # another engine
        writer.adopt(bundle, without=["tensorrt-fp16"])
        (writer.folder / "n.engine").write_bytes(b"x")
        path = writer.folder / "n.engine"
        writer.add(format="tensorrt", precision="fp16", path=path, parent="", tools={})
        writer.draft(bundle.spec, bundle.document.source, "test")
        writer.finish()
    assert [name for name in SIGNING_FILES if (signed / name).exists()] == [MODEL_FILE, SIGNATURE]
    with BundleWriter(signed, overwrite=True) as writer:  # another model
        writer.adopt(Bundle.read_own(signed), without=["onnx-fp32"])
        writer.draft(bundle.spec, bundle.document.source, "test")
        writer.finish()
    assert [name for name in SIGNING_FILES if (signed / name).exists()] == []


def test_signing_again_leaves_the_old_files_alone(signed: Path, tmp_path: Path, keys: Keys) -> None:
    os.link(signed / MODEL_FILE, tmp_path / "linked")
    before = (tmp_path / "linked").read_bytes()
    add_engine(signed)
    sign(signed, keys / "maker")
    assert (tmp_path / "linked").read_bytes() == before
    assert (signed / MODEL_FILE).read_bytes() != before
    assert Bundle.read(signed, trust=keys.trust).signers


def test_a_damaged_bundle_is_not_signed(tmp_path: Path, keys: Keys) -> None:
    bundle = write(tmp_path / "b")
    (bundle.path / bundle.artifacts[0].path).write_bytes(b"other")
    with pytest.raises(BundleError, match="was changed"):
        sign(tmp_path / "b", keys / "maker")
    assert not (tmp_path / "b" / MODEL_FILE).exists()


def test_keys_that_cannot_be_used(tmp_path: Path, keys: Keys) -> None:
    write(tmp_path / "b")
    (tmp_path / "text").write_text("no key")
    for path, message in (
        (tmp_path / "none", "there is no key"),
        (tmp_path / "text", "ssh-keygen"),
    ):
        with pytest.raises(UsageError, match=message):
            sign(tmp_path / "b", path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "text"]


def test_without_ssh_keygen(
    signed: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match=r"openssh-client"):
        Bundle.read(signed, trust=keys.trust)
    assert claimed_signers(signed)


def test_a_whole_machine_asks_for_trust(
    signed: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Bundle.read(signed)
    monkeypatch.setenv(VARIABLE, str(keys.trust))
    assert Bundle.read(signed).signers
    assert open_bundle(made).signers
    (signed / SIGNATURE).unlink()
    with pytest.raises(SignatureError, match="is not signed"):
        open_bundle(made)
