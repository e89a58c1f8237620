"""What may know of what: the lines that keep the app quick to open and the engine free of its screen."""

import ast
import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from engine.home import REPOSITORY

ENGINE = sorted((REPOSITORY / "engine").glob("**/*.py"))
FOLDERS = sorted({path.parent for path in ENGINE})
PAGES = [REPOSITORY / "app.py", *sorted((REPOSITORY / "pages").glob("**/*.py"))]
HEAVY = ("torch", "transformers", "datasets", "accelerate", "sklearn", "codecarbon", "streamlit")
LIGHT = (
    "config",
    "errors",
    "events",
    "store",
    "jobs",
    "charts",
    "paper",
    "home",
    "runs.run",
    "shapes",
    "precision",
    "measuring.grids",
    "emissions",
    "worker",
    "files.bases",
    "cli",
    "methods.dropping",
    "before.prediction",
    "views.sentences",
    "comparison.frames",
    "comparison.page",
    "views.export",
    "views.html_page",
    "views.pictures",
    "views.report_page",
    "comparison.sweep",
    "before.sweep_plan",
    "comparison.trade",
    "lab.plan",
    "lab.charts",
    "lab.memory",
    "lab.process",
    "replay",
)


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the whole name of every module that is imported, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(ast.parse(path.read_text(encoding="utf-8")))}


def package(folder: Path) -> ModuleType:
    return importlib.import_module(".".join(folder.relative_to(REPOSITORY).parts))


def short(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def test_the_scan_sees_imports_wherever_they_are() -> None:
    source = "import a.b as c\nfrom d import e\ndef f():\n    from g.h import i\n    if f:\n        import j\n"
    assert set(imports(ast.parse(source))) == {"a.b", "d", "d.e", "g.h", "g.h.i", "j"}
    assert len(ENGINE) > 40
    assert len(PAGES) > 5
    assert "torch" in packages(REPOSITORY / "engine" / "training.py")
    assert "streamlit" in packages(REPOSITORY / "app.py")


@pytest.mark.parametrize("path", ENGINE, ids=short)
def test_the_engine_knows_no_screen(path: Path) -> None:
    assert not packages(path) & {"streamlit", "pages", "app"}


@pytest.mark.parametrize("path", PAGES, ids=short)
def test_pages_hold_no_sql_no_torch_and_no_tables(path: Path) -> None:
    assert not packages(path) & {"sqlite3", "torch", "transformers", "datasets", "pandas", "numpy", "sklearn"}


def test_the_light_modules_import_nothing_heavy() -> None:
    program = (
        "import importlib, json, sys\n"
        "heavy, light = json.loads(sys.argv[1]), json.loads(sys.argv[2])\n"
        "found = {}\n"
        "for name in light:\n"
        "    importlib.import_module(f'engine.{name}')\n"
        "    loaded = [module for module in heavy if module in sys.modules]\n"
        "    if loaded:\n"
        "        found[name] = loaded\n"
        "        break\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(HEAVY), json.dumps(LIGHT)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {}


def appends(tree: ast.AST) -> Iterator[str]:
    """Yield what each call of ``.append`` with two arguments is made on: a list takes one, the store takes two."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append":
            owner = ast.unparse(node.func.value)
            if len(node.args) + len(node.keywords) > 1 or owner.lower().endswith("store"):
                yield owner


def test_only_the_worker_writes_events() -> None:
    assert list(appends(ast.parse("rows.append(1)\nmy_store.append(run, [event])\nx.y.append(a, b)"))) == [
        "my_store",
        "x.y",
    ]
    trees = {short(path): ast.parse(path.read_text(encoding="utf-8")) for path in [*ENGINE, *PAGES]}
    assert {path for path, tree in trees.items() if list(appends(tree))} == {"engine/runs/event_writer.py"}
    writers = {path for path, tree in trees.items() if "engine.runs.event_writer.EventWriter" in imports(tree)}
    assert writers == {"engine/worker.py"}  # jobs writes only what a dead one left behind


def test_no_module_is_called_utils() -> None:
    assert not [short(path) for path in [*ENGINE, *PAGES] if path.stem in ("utils", "helpers", "common")]


def placed(text: str) -> list[str]:
    """Return what the map in a docstring names: on each line with a wide gap, the words before it."""
    lines = [line.strip().split("  ") for line in text.splitlines()]
    return sorted(word.rstrip("/") for line in lines if len(line) > 1 for word in line[0].split())


def test_the_map_is_read_as_it_is_written() -> None:
    assert placed("Of a b.\n\n    a -> b\n\n    one two   words here\n    three/    more\n") == ["one", "three", "two"]
    assert len(FOLDERS) > 5


@pytest.mark.parametrize("folder", FOLDERS, ids=short)
def test_each_package_places_its_modules_and_no_others(folder: Path) -> None:
    found = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert placed(inspect.getdoc(package(folder)) or "") == sorted(found - {"__init__", "__main__"})


@pytest.mark.parametrize("folder", FOLDERS, ids=short)
def test_a_package_is_its_map_and_passes_nothing_on(folder: Path) -> None:
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert not {name for name in imports(tree) if name != "os"}
