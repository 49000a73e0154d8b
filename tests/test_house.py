"""The structure promised in the README: rooms that import only what they may, described names."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for path in ROOT.rglob("*.py")
    if not any(part.startswith((".", "tests")) for part in path.relative_to(ROOT).parts)
)
# room -> rooms that its modules may import, beside their own
ROOMS = {
    "startup": {"files"},  # text made harmless for terminals
    "files": set(),
    "registry": set(),
    "hierarchies": {"registry", "files"},
    "data": {"hierarchies", "registry", "files"},
    "models": {"hierarchies", "registry", "files"},
    "losses": {"hierarchies", "registry", "files"},
    "metrics": {"hierarchies", "registry", "files"},
    "optimization": {"registry"},
    "figures": {"hierarchies", "metrics", "files"},
    "options": {"hierarchies", "registry", "files", "data", "models", "losses", "metrics"}
    | {"optimization"},
    "runs": {"hierarchies", "registry", "files", "metrics"},
}
ROOMS["training"] = ROOMS["options"] | {"options", "runs", "startup"}
ROOMS["evaluation"] = ROOMS["options"] | {"runs", "training"}
ROOMS["reports"] = ROOMS["options"] | {"runs", "evaluation", "figures"}
SCRIPTS = {path.stem for path in ROOT.glob("*.py")} - {"startup"} | {"scripts", "benchmarks"}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    names = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return frozenset(names)


def room(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_is_in_a_room_and_imports_only_what_that_may(path):
    place = room(path)
    assert place in ROOMS or place in SCRIPTS
    own = {name.split(".")[0] for name in imports(path)} & {*ROOMS, *SCRIPTS} - {place}
    if place in ROOMS:
        assert own <= ROOMS[place], f"{path.name} imports {', '.join(sorted(own - ROOMS[place]))}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_scripts_and_the_options_know_argparse(path):
    assert "argparse" not in imports(path) or room(path) in SCRIPTS | {"options"}


def test_tqdm_comes_from_the_module_that_sets_its_lock():
    own = {path.relative_to(ROOT).as_posix() for path in SOURCES if "tqdm" in imports(path)}
    assert own == {"files/bars.py"}


@pytest.mark.parametrize("place", ["hierarchies", "metrics", "registry", "files", "figures"])
def test_arrays_alone_need_no_torch(place):
    for path in SOURCES:
        if room(path) == place:
            assert not {"torch", "torchvision"} & {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_names_are_described(path):
    tree = parsed(path)
    assert ast.get_docstring(tree), f"{path} has no docstring"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            described = ast.get_docstring(node) or len(node.body) <= 2
            assert described, f"{path.name}: {node.name} has no docstring"
