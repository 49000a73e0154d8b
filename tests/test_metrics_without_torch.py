"""The promise of `metrics`: it neither imports torch nor needs it installed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotInstalled())
import numpy as np
from hierarchies import Hierarchy
from metrics import Outputs, evaluate, suite

def in_threads(tasks, compute=suite.in_threads):
    print("skbio" in sys.modules)
    return compute(tasks)

suite.in_threads = in_threads
tree = Hierarchy.from_paths([("a", "b"), ("a", "c"), ("d", "e"), ("d", "f"), ("g",)])
vectors = np.random.default_rng(0).standard_normal((5, 3))
outputs = Outputs(tree, np.arange(5), vectors @ vectors.T, vectors, vectors, vectors)
table = evaluate(outputs, bootstrap=2)
print("torch" in sys.modules, "W/nj_rf" in set(table["metric"]))
"""


@pytest.mark.parametrize("path", sorted(ROOT.glob("metrics/*.py")), ids=lambda path: path.name)
def test_no_measure_imports_torch(path):
    names = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    assert not [name for name in names if name.partition(".")[0] in ("torch", "torchvision")]


@pytest.fixture(scope="module")
def found():
    return subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True)


def test_measures_are_computed_where_torch_is_not_installed(found):
    assert found.stdout.split()[-2:] == ["False", "True"], found.stderr


def test_scikit_bio_is_imported_before_threads_compute(found):
    # it imports torch, and scipy fails in a thread that finds torch half imported
    assert found.stdout.split()[0] == "True", found.stderr
