"""Every text of the interface has its Marathi in `assets/marathi.json`, with the same fields, and nothing there is unused."""

import ast
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Formatter

import pytest

from engine.home import REPOSITORY
from pages.shared.language import CATALOGUE

PAGES = (REPOSITORY / "app.py", *sorted((REPOSITORY / "pages").rglob("*.py")))
DRAWN = sorted(
    path for path in (REPOSITORY / "engine").rglob("*.py") if "import altair" in path.read_text(encoding="utf-8")
)
"""Modules of the engine that draw: their titles are looked up as a chart goes out."""
NAMING = (*DRAWN, *(REPOSITORY / "engine" / name for name in ("comparison/frames.py", "inside/tables.py")))
"""These, and the modules that name the series of their frames."""


def calls(path: Path, name: str) -> Iterator[ast.Call]:
    """Yield the calls of a function in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if called == name:
                yield node


@cache
def catalogue() -> dict[str, str]:
    """Return the catalogue that ships."""
    found: dict[str, str] = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    return found


@cache
def said() -> dict[str, str]:
    """Return every text of the interface and the file it stands in."""
    found: dict[str, str] = {}
    for path in PAGES:
        for call in calls(path, "say"):
            first = call.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found[first.value] = path.name
    return found


@cache
def titles() -> dict[str, str]:
    """Return every title that stands in a drawing module as it is, and the module."""
    found: dict[str, str] = {}
    for path in DRAWN:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            value = node.value if isinstance(node, ast.keyword) and node.arg == "title" else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[value.value] = path.name
    return found


def constants() -> set[str]:
    """Return all strings of the modules that charts come from: titles and names of series also stand there as constants."""
    return {
        node.value
        for path in NAMING
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def fields(text: str) -> list[str]:
    """Return the names in braces, sorted."""
    return sorted(name for _, name, _, _ in Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_first_argument_of_say_is_a_literal(path: Path) -> None:
    loose = [call.lineno for call in calls(path, "say") if not isinstance(call.args[0], ast.Constant)]
    assert not loose, f"{path.name}: lines {loose}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_say_gets_the_fields_that_its_text_has(path: Path) -> None:
    for call in calls(path, "say"):
        first = call.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            given = {keyword.arg for keyword in call.keywords}
            if None not in given:  # fields that are handed on as a dictionary are known only when it runs
                assert given == set(fields(first.value)), f"{path.name}:{call.lineno}: {first.value!r}"


def test_every_text_of_the_pages_has_its_marathi() -> None:
    missing = {text: where for text, where in said().items() if text not in catalogue()}
    assert not missing


def test_every_title_of_a_chart_has_its_marathi() -> None:
    missing = {text: where for text, where in titles().items() if text not in catalogue()}
    assert not missing


def test_both_sides_have_the_same_fields() -> None:
    wrong = {english: marathi for english, marathi in catalogue().items() if fields(english) != fields(marathi)}
    assert not wrong


def test_nothing_in_the_catalogue_is_unused() -> None:
    unused = set(catalogue()) - set(said()) - constants()
    assert not unused


def test_the_catalogue_is_sorted_and_says_something_in_every_entry() -> None:
    assert list(catalogue()) == sorted(catalogue())
    assert all(marathi.strip() for marathi in catalogue().values())


def test_signs_of_markdown_are_the_same_on_both_sides() -> None:
    """Bold stays bold, and what is code stays code."""
    wrong = [
        english
        for english, marathi in catalogue().items()
        if any(english.count(sign) != marathi.count(sign) for sign in ("**", "`", "\n"))
    ]
    assert not wrong
