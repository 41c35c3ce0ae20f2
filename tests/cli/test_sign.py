"""`ghost-deploy sign` and `--trust`, on a real model."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

import ghost_deploy as gd
from ghost_deploy.api.sign import say_what_became
from ghost_deploy.cli.main import main
from ghost_deploy.core.bundle import BundleWriter
from ghost_deploy.core.trusted_signers import VARIABLE
from tests.core.test_signing import Keys, add_engine
from tests.support.constant_model import write_constant_bundle
from tests.support.images import solid_image, write_image

pytestmark = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="no ssh-keygen: apt install openssh-client"
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_constant_bundle(tmp_path / "b")
    return tmp_path / "b"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    write_image(path, solid_image((64, 64), 99))
    return path


def test_from_the_key_to_detections(
    bundle: Path, image: Path, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    trust = ["--trust", str(keys.trust)]
    assert main(["infer", str(bundle), str(image), *trust]) == 2
    assert "is not signed" in capsys.readouterr().err
    assert main(["sign", str(bundle), "--key", str(keys / "maker")]) == 0
    assert "signed model with key SHA256:" in capsys.readouterr().out
    assert main(["infer", str(bundle), str(image), *trust]) == 0
    assert main(["inspect", str(bundle), *trust]) == 0
    assert "maker@factory, key SHA256:" in capsys.readouterr().out
    assert main(["inspect", str(bundle)]) == 0
    assert "not verified" in capsys.readouterr().out


COMMANDS = {
    "infer": ["infer", "B", "I"],
    "live": ["infer", "B", "V"],
    "check": ["check", "B", "--no-speed"],
    "bench": ["bench", "B", "--duration", "0.1", "--rounds", "2"],
    "baseline": ["bench", "OK", "--baseline", "B", "--duration", "0.1", "--rounds", "2"],
    "compare": ["compare", "OK", "B", "--data", "none.json"],
    "compared with a file": ["compare", "OK", "B/F", "--data", "none.json"],
    "validate": ["validate", "B", "--data", "none.json"],
    "parity": ["parity", "none.pt", "B"],
    "calibrate": ["calibrate", "B", "--calib", "I"],
    "build": ["build", "B", "--trt"],
    "inspect": ["inspect", "B"],
    "report": ["report", "B", "-o", "R"],
    "triton": ["export", "B", "--triton", "R"],
    "deepstream": ["export", "B", "--deepstream", "R"],
    "a file of it": ["infer", "B/F", "I"],
    "a file of it, timed": ["bench", "B/F"],
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("by", ["option", "environment"])
def test_every_command_that_opens_a_bundle_asks(
    name: str,
    by: str,
    bundle: Path,
    image: Path,
    tmp_path: Path,
    keys: Keys,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = next(iter(gd.Bundle.read(bundle).artifacts)).path
    shutil.copytree(bundle, tmp_path / "ok")
    gd.sign(tmp_path / "ok", keys / "maker")
    places = {"B": bundle, "B/F": bundle / file, "I": image, "OK": tmp_path / "ok"}
    places |= {"V": tmp_path / "v.mp4", "R": tmp_path / "r"}
    (tmp_path / "v.mp4").write_bytes(b"")
    words = [str(places.get(word, word)) for word in COMMANDS[name]]
    if by == "option":
        words += ["--trust", str(keys.trust)]
    else:
        monkeypatch.setenv(VARIABLE, str(keys.trust))
    assert main(words) == 2
    assert "signed" in (said := capsys.readouterr().err) or "signature" in said
    assert not (tmp_path / "r").exists()


def test_trust_ends_with_the_command(bundle: Path, keys: Keys) -> None:
    assert main(["inspect", str(bundle), "--trust", str(keys.trust)]) == 2
    assert gd.Bundle.read(bundle).signers == ()


def test_load_takes_trust(bundle: Path, keys: Keys) -> None:
    with pytest.raises(gd.SignatureError):
        gd.load(bundle, trust=keys.trust)
    signed = gd.sign(bundle, keys / "maker")
    gd.load(signed, trust=keys.trust).close()
    with pytest.raises(gd.SignatureError, match="no bundle"):
        gd.load(bundle / signed.artifacts[0].path, trust=keys.trust)


def test_it_is_said_what_becomes_of_a_signature(
    bundle: Path, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    signed = gd.sign(bundle, keys / "maker")
    with caplog.at_level(logging.WARNING, "ghost_deploy"):
        say_what_became(signed, True)
        assert caplog.messages == []
        say_what_became(add_engine(bundle), True)
        assert "does not cover what was added" in caplog.messages[-1]
        say_what_became(gd.sign(bundle, keys / "device", device=True), True)
        assert len(caplog.messages) == 1
        spec = msgspec.structs.replace(signed.spec, name="other")
        document = msgspec.structs.replace(gd.Bundle.read(bundle).document, spec=spec)
        say_what_became(gd.Bundle(bundle, document), True)
        assert "does not hold any more" in caplog.messages[-1]
        with BundleWriter(bundle, overwrite=True) as writer:
            writer.draft(signed.spec, signed.document.source, "test")
            emptied = writer.finish()
        say_what_became(emptied, False)
        assert len(caplog.messages) == 2
        say_what_became(emptied, True)
        assert "was dropped" in caplog.messages[-1]


def test_a_report_names_the_signer(bundle: Path, keys: Keys, tmp_path: Path) -> None:
    gd.sign(bundle, keys / "maker")
    made = gd.report(bundle, markdown=tmp_path / "r.md")
    assert "not verified" in made.bundles[0].signed_by[0]
    assert "SHA256:" in (tmp_path / "r.md").read_text()


def test_a_passphrase_that_is_not_given(bundle: Path, tmp_path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(tmp_path / "k")]
    subprocess.run(command, check=True)
    with pytest.raises(gd.UsageError, match="does not sign"):
        gd.sign(bundle, tmp_path / "k")
