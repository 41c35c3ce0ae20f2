"""Hooks of mkdocs: pages that are built from the package, so that no one copies them by hand.

`reference/cli/*` comes from the parser of the command line, `reference/python/*` from the public
names, whose docstrings mkdocstrings reads. Some documents of the root are pages too.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import re
import textwrap
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OF_THE_ROOT = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Documents of the root that are pages."""

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\*_{}[]<>|#"})
_BRACKETS = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]")
_DOCUMENT = re.compile(r"`docs/([\w-]+)\.md`|(?<![\w`(/])docs/([\w-]+)\.md(?!`)")
_ROOT_DOCUMENT = re.compile(r"`(CHANGELOG|CONTRIBUTING|SECURITY)\.md`")
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./(?!docs/)([^)#]+)\)")


def command_pages() -> dict[str, str]:
    """The page of each command and of their table, by path."""
    from ghost_deploy.cli.main import COMMANDS, EXIT_CODES, build_parser

    parser = build_parser(COMMANDS)
    rows = [f"| [`{name}`]({name}.md) | {escaped(line)} |" for name, line in COMMANDS.items()]
    table = "\n".join(["| command | what it does |", "|---|---|", *rows])
    codes = EXIT_CODES.partition("\n\nResults")[0].removeprefix("exit codes:\n")
    index = "\n\n".join(
        [
            f"# Commands\n\n    {parser.prog} COMMAND ...",
            table,
            "Every command has `--help` with examples, and `--debug`, which shows the traceback of "
            "an error. Results go to standard output, progress and messages to standard error.",
            f"## Exit codes\n\n```text\n{codes}\n```\n",
        ]
    )
    commands = next(
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    made = commands.choices.items()
    pages = {f"reference/cli/{name}.md": command_page(each) for name, each in made}
    return {"reference/cli/index.md": index, **pages}


def command_page(parser: argparse.ArgumentParser) -> str:
    """One command as Markdown: what it does, its usage, its arguments by group, its examples."""
    name = parser.prog.rpartition(" ")[2]
    examples = (parser.epilog or "").partition("\nexit codes:")[0]
    words = " ".join(parser.format_usage().removeprefix("usage: ").split())
    # An option stays with its value.
    kept = _BRACKETS.sub(lambda match: match[0].replace(" ", "\0"), words)
    lines = textwrap.wrap(kept, 76, subsequent_indent="    ", break_on_hyphens=False)
    usage = "\n".join(lines).replace("\0", " ")
    parts = [f"# {name}", paragraphs(parser.description or ""), f"```text\n{usage}\n```"]
    for group in parser._action_groups:
        shown = [a for a in group._group_actions if a.help is not argparse.SUPPRESS]
        if shown:
            title = (group.title or "").capitalize()
            about = [paragraphs(group.description)] if group.description else []
            rows = [f"| {flags(action)} | {help_of(action, parser)} |" for action in shown]
            parts += [
                f"## {title}",
                *about,
                "\n".join(["| argument | meaning |", "|---|---|", *rows]),
            ]
    blocks = [block for block in examples.strip("\n").split("\n\n") if block.strip()]
    for block in blocks:
        if block.startswith("examples:"):
            commands = "\n".join(line.strip() for line in block.splitlines()[1:])
            parts.append(f"## Examples\n\n```console\n{commands}\n```")
        else:
            parts.append(paragraphs(block))
    return "\n\n".join(parts) + "\n"


def flags(action: argparse.Action) -> str:
    """An argument as it is typed, e.g. `-o`, `--out DIR`."""
    value = "" if action.nargs == 0 else metavar(action)
    if not action.option_strings:
        return f"`{value}`"
    names = [*action.option_strings[:-1], f"{action.option_strings[-1]} {value}".strip()]
    return ", ".join(f"`{name}`" for name in names)


def metavar(action: argparse.Action) -> str:
    """What stands for the value of an argument."""
    if action.metavar is None and action.choices:
        text = "\\|".join(map(str, action.choices))
    elif isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    else:
        text = str(action.metavar or action.dest.upper())
    many = {"+": f"{text} [{text} ...]", "*": f"[{text} ...]", "?": f"[{text}]"}
    return many.get(str(action.nargs), text)


def help_of(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """The help of an argument, as the command prints it, as Markdown."""
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    return escaped(" ".join(text.split()))


def paragraphs(text: str) -> str:
    """Plain text as Markdown."""
    return "\n\n".join(escaped(" ".join(part.split())) for part in text.split("\n\n"))


def escaped(text: str) -> str:
    """A line of plain text as Markdown; what stands between backquotes is code."""
    parts = text.split("`")
    code = (f"`{part}`".replace("|", "\\|") for part in parts[1::2])
    plain = (part.translate(_SPECIAL) for part in parts[::2])
    return "".join(each for pair in zip_longest(plain, code, fillvalue="") for each in pair)


PAGES = {
    "verbs": "Functions",
    "results": "Detections, models, streams",
    "reports": "Reports",
    "errors": "Errors",
}
"""The pages of the public names and their titles."""

_REPORTS = ("ghost_deploy.core.evidence", "ghost_deploy.report", "ghost_deploy.api")


def python_pages() -> dict[str, str]:
    """The pages of the public names, by path; each name is on one of them."""
    homes = public_homes()
    return {
        f"reference/python/{page}.md": f"# {title}\n\n"
        + "".join(
            f"::: {module}.{name}\n\n"
            for name, (module, kind) in sorted(homes.items(), key=lambda item: item[0].lower())
            if kind == page
        )
        for page, title in PAGES.items()
    }


def public_homes() -> dict[str, tuple[str, str]]:
    """For each public name the module that defines it and the page that it belongs to.

    Read from the source: the site is built without torch and the runtimes.
    """
    import ghost_deploy

    found = {}
    for name, room in ghost_deploy._HOME.items():
        module, node = definition(f"ghost_deploy.{room}", name)
        if isinstance(node, ast.FunctionDef):
            kind = "verbs"
        elif name.endswith("Error"):
            kind = "errors"
        elif module.startswith(_REPORTS):
            kind = "reports"
        else:
            kind = "results"
        found[name] = module, kind
    return found


def definition(module: str, name: str) -> tuple[str, ast.AST]:
    """The module that defines a name, found through imports, and its statement."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    body = ast.parse(Path(spec.origin).read_text()).body
    # What is imported when it is first used stands below `if TYPE_CHECKING`.
    body += [each for node in body if isinstance(node, ast.If) for each in node.body]
    for node in body:
        if isinstance(node, ast.ImportFrom) and any(each.name == name for each in node.names):
            return definition(str(node.module), name)
        if name in defined(node):
            return module, node
    raise LookupError(f"{module} does not define {name}")


def defined(node: ast.stmt) -> Iterator[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        yield node.name
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id
    elif isinstance(node, ast.Assign):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def with_links(text: str, page: str) -> str:
    """Names of documents become links, and links of a document of the root those of the site.

    Args:
        text: Markdown; code blocks stay as they are.
        page: its path in the site.
    """
    up = "../" * page.count("/")
    own = {name.removesuffix(".md"): f"{up}{target}" for name, target in OF_THE_ROOT.items()}

    def link(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        known = (ROOT / "docs" / f"{name}.md").is_file()
        return f"[{name}]({up}{name}.md)" if known else match[0]

    def of_the_root(match: re.Match[str]) -> str:
        return f"[{match[1].capitalize()}]({own[match[1]]})"

    def linked(line: str) -> str:
        inside = _OUTSIDE.sub(r"`\2`", line) if "/" not in page else line
        return _ROOT_DOCUMENT.sub(of_the_root, _DOCUMENT.sub(link, inside))

    lines, is_code = [], False
    for line in text.splitlines():
        is_code ^= line.startswith("```")
        lines.append(line if is_code or line.startswith("    ") else linked(line))
    return "\n".join(lines) + "\n"


# What mkdocs calls.


def on_config(config: Any, **_: Any) -> Any:
    """Fill the parts of the navigation that are made here."""
    made = {"Commands": sorted(command_pages()), "Python": [*python_pages()]}
    listed = {page for each in config.nav for page in listed_pages(each)}
    own = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    # A new document needs no line in mkdocs.yml.
    made["Guides"] = [*guides(config.nav), *(name for name in own if name not in listed)]
    index = "reference/cli/index.md"
    made["Commands"] = [index, *(path for path in made["Commands"] if path != index)]
    config.nav = [
        {name: made.get(name, entry) for name, entry in each.items()} if is_part else each
        for each in config.nav
        for is_part in [isinstance(each, dict)]
    ]
    return config


def listed_pages(entry: Any) -> Iterator[str]:
    """The pages below an entry of the navigation."""
    if isinstance(entry, str):
        yield entry
    else:
        for each in entry.values() if isinstance(entry, dict) else entry:
            yield from listed_pages(each)


def guides(nav: Any) -> list[str]:
    """The pages that the part `Guides` lists."""
    return next(each["Guides"] for each in nav if isinstance(each, dict) and "Guides" in each)


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Add the pages that are made here."""
    from mkdocs.structure.files import File

    pages = {**command_pages(), **python_pages()}
    for name, target in OF_THE_ROOT.items():
        pages[target] = (ROOT / name).read_text()
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Link the documents that a page names."""
    return with_links(markdown, page.file.src_uri)
