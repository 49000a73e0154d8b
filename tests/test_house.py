"""The structure promised in the README: layers that import only downwards, small modules, described flags."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for path in ROOT.rglob("*.py") if not any(part.startswith((".", "tests")) for part in path.relative_to(ROOT).parts))
LAYERS = {
    **dict.fromkeys(("hierarchies", "openmp"), 0),
    **dict.fromkeys(("data", "losses", "metrics", "models", "provenance", "devices", "distributed"), 1),
    **dict.fromkeys(("recording", "flags", "tally", "assembly"), 2),
    **dict.fromkeys(("aggregation", "engine", "tables", "arguments", "figures", "tracking", "bystander"), 3),
    **dict.fromkeys(("experiment", "evaluation", "answers"), 4),
    **dict.fromkeys(("overview", "prediction"), 5),
}
SCRIPT = 6


def layer_of(module: str) -> tuple[int, str]:
    top = module.split(".")[0]
    return LAYERS.get(top, SCRIPT), top


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return names


def own_modules() -> set[str]:
    return {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in SOURCES}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_import_only_from_layers_below(path):
    layer, top = layer_of(path.relative_to(ROOT).with_suffix("").parts[0])
    for name in sorted(imports(path)):
        other_layer, other = layer_of(name)
        if other in own_modules() and other != top:
            assert other_layer < layer or layer == SCRIPT, f"{path.name} (layer {layer}) imports {name} (layer {other_layer})"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_scripts_and_arguments_know_argparse(path):
    if "argparse" in imports(path):
        assert layer_of(path.relative_to(ROOT).with_suffix("").parts[0])[0] == SCRIPT or path.name in ("arguments.py", "flags.py")


def test_the_hierarchies_and_metrics_need_no_torch():
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] in ("hierarchies", "metrics"):
            assert not any(name.split(".")[0] in ("torch", "torchvision") for name in imports(path)), path


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_functions_and_signatures_stay_small(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 300, f"{path} has over 300 lines"
    assert max(map(len, text.splitlines()), default=0) <= 130, f"{path} has a line over 130 characters"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            arguments = len(node.args.args) + len(node.args.kwonlyargs)
            assert length <= 50, f"{path.name}: {node.name} has {length} lines"
            assert arguments <= 9, f"{path.name}: {node.name} takes {arguments} parameters"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_names_are_described(path):
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), f"{path} has no docstring"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node) or len(node.body) <= 2, f"{path.name}: {node.name} has no docstring"
