"""Where the project's files are, and how the tidy tests read them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = (ROOT / "src", ROOT / "loadtest")
_ALL_PYTHON = (*SOURCES, ROOT / "tests")


def python_files(*folders: Path) -> list[Path]:
    """Return the Python files below these folders, or below all that hold any."""
    return sorted(path for folder in folders or _ALL_PYTHON for path in folder.rglob("*.py"))


def documents() -> list[Path]:
    """Return the project's own documents."""
    folders = ("docs", "lua", "deploy", "loadtest", "tests/simulation")
    return sorted([*ROOT.glob("*.md"), *(path for folder in folders for path in (ROOT / folder).rglob("*.md"))])


def name_of(path: Path) -> str:
    """Return how a message names a file: by its path in the project."""
    return str(path.relative_to(ROOT))


def tree_of(path: Path) -> ast.Module:
    """Parse a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def calls_in(path: Path) -> Iterator[ast.Call]:
    """Yield every call in a Python file."""
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call))


def texts_in(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every string of a Python file, but for docstrings."""
    tree = tree_of(path)
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value
