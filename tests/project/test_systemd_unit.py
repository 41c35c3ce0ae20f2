"""deploy/ghost-deploy.service: read here, and verified by systemd where that is installed."""

from __future__ import annotations

import configparser
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from ghost_deploy.cli import access_token, main
from ghost_deploy.stream.sources.uri import parse_sources

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "ghost-deploy.service"
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def read() -> dict[str, list[str]]:
    """The values of each setting of the service, with continued lines joined."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in UNIT.read_text().replace("\\\n", "").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#") and section == "Service":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


SERVICE = read()


def command() -> list[str]:
    return shlex.split(SERVICE["ExecStart"][0])


def test_no_setting_is_given_twice_by_mistake() -> None:
    assert {name for name, values in SERVICE.items() if len(values) > 1} == {"LoadCredential"}
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(UNIT.read_text().replace("\\\n", ""))
    assert parser.sections() == ["Unit", "Service", "Install"]


def test_the_command_parses() -> None:
    args = main.build_parser(main.COMMANDS).parse_args(command()[1:])
    assert args.command == "infer"
    assert args.keep == 20 << 30  # lines would fill the disk
    assert args.serve == "127.0.0.1:8080"


def test_secrets_are_credentials_that_the_program_finds(tmp_path: Path) -> None:
    names = dict(value.split(":") for value in SERVICE["LoadCredential"])
    assert all(path.startswith("/etc/ghost-deploy/") for path in names.values())
    (tmp_path / "ghost-deploy-token").write_text("0123456789abcdef\n")
    (tmp_path / "sources").write_text("rtsp://user:password@camera/1\n")
    assert set(names) == {path.name for path in tmp_path.iterdir()}
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert access_token.read_token(environment) == "0123456789abcdef"
    listed = next(word for word in command() if word.startswith("@"))
    (camera,) = parse_sources([listed.replace("${CREDENTIALS_DIRECTORY}", str(tmp_path))])
    assert camera.is_live
    assert "password" not in camera.label
    for path in names.values():
        assert UNIT.read_text().count(path) >= 2  # the steps at the top make it


def test_what_it_writes_is_where_it_may() -> None:
    folder = f"/var/lib/{SERVICE['StateDirectory'][0]}"
    assert command()[command().index("--jsonl") + 1].startswith(f"{folder}/")
    assert SERVICE["WorkingDirectory"] == [folder]
    assert SERVICE["Environment"] == [f"XDG_CACHE_HOME=/var/cache/{SERVICE['CacheDirectory'][0]}"]


def test_the_end_that_it_is_asked_for_is_a_success() -> None:
    assert SERVICE["KillSignal"] == ["SIGTERM"]
    assert SERVICE["SuccessExitStatus"] == [str(main._SIGNALED + signal.SIGTERM)]
    assert SERVICE["Type"] == ["notify"]
    assert int(SERVICE["WatchdogSec"][0]) > 10


def with_a_program_that_is_there(tmp_path: Path, changed: tuple[str, str] = ("", "")) -> Path:
    target = tmp_path / UNIT.name
    text = UNIT.read_text().replace(command()[0], "/bin/true")
    target.write_text(text.replace(*changed) if changed[0] else text)
    return target


def verify(unit: Path) -> subprocess.CompletedProcess[str]:
    words = ["systemd-analyze", "verify", "--man=no", str(unit)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@needs_systemd
def test_systemd_takes_every_line(tmp_path: Path) -> None:
    found = verify(with_a_program_that_is_there(tmp_path))
    assert (found.returncode, found.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize(
    "changed",
    [
        ("WatchdogSec=60", "WatchdogSeconds=60"),
        ("ProtectProc=invisible", "ProtectProc=unseen"),
        ("Type=notify", "Type=notified"),
    ],
)
def test_the_check_sees_a_wrong_line(changed: tuple[str, str], tmp_path: Path) -> None:
    assert verify(with_a_program_that_is_there(tmp_path, changed)).stderr


@needs_systemd
def test_what_the_service_may_do_is_little(tmp_path: Path) -> None:
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=40"]
    words.append(str(with_a_program_that_is_there(tmp_path)))
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    if "unrecognized option" in found.stderr:
        pytest.skip("this systemd-analyze is older than 250")
    assert found.returncode == 0, found.stdout[-400:]
