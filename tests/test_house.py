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


def test_every_module_is_in_a_room_and_imports_only_what_that_may():
    assert {room(path) for path in SOURCES} <= {*ROOMS, *SCRIPTS}
    wrong = []
    for path in SOURCES:
        place = room(path)
        own = {name.split(".")[0] for name in imports(path)} & {*ROOMS, *SCRIPTS} - {place}
        wrong += [f"{path} imports {name}" for name in own - ROOMS.get(place, own)]
    assert not wrong


def test_only_scripts_and_the_options_know_argparse():
    known = {room(path) for path in SOURCES if "argparse" in imports(path)}
    assert known <= SCRIPTS | {"options"}


def test_each_script_imports_first_what_heeds_ctrl_c():
    for path in ROOT.glob("*.py"):
        imported = [node for node in parsed(path).body if isinstance(node, ast.Import)]
        froms = [node for node in parsed(path).body if isinstance(node, ast.ImportFrom)]
        ours = [node for node in froms if node.module != "__future__"]
        assert path.stem == "startup" or imported[0].names[0].name == "startup", path
        assert all(node.lineno > imported[0].lineno for node in ours), path


def test_tqdm_comes_from_the_module_that_sets_its_lock():
    own = {path.relative_to(ROOT).as_posix() for path in SOURCES if "tqdm" in imports(path)}
    assert own == {"files/bars.py"}


@pytest.mark.parametrize("place", ["hierarchies", "metrics", "registry", "files", "figures"])
def test_arrays_alone_need_no_torch(place):
    for path in SOURCES:
        if room(path) == place:
            assert not {"torch", "torchvision"} & {name.split(".")[0] for name in imports(path)}


def test_public_names_are_described():
    wrong = []
    for path in SOURCES:
        tree = parsed(path)
        wrong += [] if ast.get_docstring(tree) else [str(path)]
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                described = ast.get_docstring(node) or len(node.body) <= 2
                wrong += [] if described else [f"{path}: {node.name}"]
    assert not wrong
