"""Workflows, templates and metadata: they are valid and claim nothing that does not exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from ghost_deploy import __version__
from ghost_deploy.cli.main import COMMANDS, build_parser

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
RULES = re.findall(r"^([a-z][\w -]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
TARGETS = {target for rule in RULES for target in rule.split()}


def load(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text())
    assert isinstance(document, dict)
    # YAML 1.1 reads the key `on` as true.
    return {("on" if key is True else key): value for key, value in document.items()}


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


def test_there_are_workflows_and_templates() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "nightly.yml"]
    assert {path.name for path in TEMPLATES} == {"bug.yml", "config.yml", "feature.yml"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_make_and_nothing_else(path: Path) -> None:
    document = load(path)
    assert document["on"]
    assert document["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] and job["runs-on"] for job in document["jobs"].values())
    for step in steps(path):
        assert ("run" in step) != ("uses" in step)
        if "run" in step:
            program, *targets = shlex.split(step["run"])
            assert program == "make"
            assert targets
            assert set(targets) <= TARGETS
        else:
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])


def test_ci_runs_what_a_change_needs() -> None:
    runs = {step["run"] for step in steps(WORKFLOWS[0]) if "run" in step}
    assert {run.removeprefix("make ") for run in runs} == {
        *("check", "test", "docs", "packages"),
        *("constraints", "test-oldest", "jetson"),
    }


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_of_issues(path: Path) -> None:
    document = load(path)
    if path.name == "config.yml":
        assert document == {"blank_issues_enabled": False}
        return
    assert document["name"]
    assert document["description"]
    kinds = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    ids = [each["id"] for each in document["body"] if each["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    for each in document["body"]:
        assert each["type"] in kinds
        assert each["attributes"].get("label" if each["type"] != "markdown" else "value")


def test_a_report_of_a_bug_has_what_is_needed() -> None:
    text = (ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text()
    commands = [
        shlex.split(words) for words in re.findall(r"`ghost-deploy ([^`]+)`", text) if words
    ]
    assert [words[0] for words in commands] == ["doctor", "inspect"]
    for words in commands:
        build_parser(COMMANDS).parse_args(words)
    assert "--skeleton" in commands[1]


def test_the_citation() -> None:
    document = load(ROOT / "CITATION.cff")
    assert document["version"] == __version__
    assert document["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license"} <= set(document)


def test_hooks_before_a_commit_are_the_checks_of_make() -> None:
    hooks = [
        hook for repo in load(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]
    ]
    make = (ROOT / "Makefile").read_text()
    for hook in hooks:
        words = shlex.split(hook["entry"])
        assert words[0].startswith(".venv/bin/")
        for word in words[1:]:
            if word.startswith("tests/"):
                assert (ROOT / word).is_file()
                assert word in make


NO_ADDRESS = ("SECURITY.md", "CONTRIBUTING.md", "README.md", "pyproject.toml", "CITATION.cff")


@pytest.mark.parametrize("name", NO_ADDRESS)
def test_no_address_is_made_up(name: str) -> None:
    """The project has no public address yet: none is named, and no state of a service."""
    text = (ROOT / name).read_text()
    assert not re.search(r"[\w.]+@[\w-]+\.[a-z]{2,}", text.replace("user@host", ""))
    assert not re.search(
        r"github\.com/[\w-]+/ghost-deploy|pypi\.org|badge|shields\.io|ghcr\.io", text
    )


def test_metadata_of_the_package() -> None:
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for address in project.get("urls", {}).values():
        assert address in (ROOT / "README.md").read_text()
    assert project["license"] == "Apache-2.0"
