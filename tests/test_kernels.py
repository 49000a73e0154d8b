"""The losses that are one kernel on a GPU: interpreted without one, compiled for some, and what
happens where they cannot be had.
"""

import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from trees import TREE

from benchmarks.losses import random_tree
from hierarchies import Hierarchy
from losses import build_loss, fused
from losses.fused import Fused

NAMES = ("hierarchical", "hxe", "soft_labels", "label_smoothing")
OF_EACH_KERNEL = ("hierarchical", "soft_labels")  # the others differ in its tables alone
UNEQUAL = Hierarchy.from_paths([("a", "b", "c", "one"), ("two",), ("a", "three"), ("a", "b", "x")])
BATCH = 4


def cases():
    """(name of the loss, tree, scores, targets): ordinary ones, and those at the ends of what
    scores can be.
    """
    noise = torch.Generator().manual_seed(0)
    for tree in (UNEQUAL, TREE, random_tree(30, 5, 0)):
        classes = tree.num_classes
        scores = torch.randn(BATCH, classes, generator=noise)
        targets = torch.arange(BATCH) * 5 % classes
        inner = classes + 1 + torch.arange(BATCH) % (tree.num_nodes - 1)
        never, far = scores.clone(), scores * 3000  # of a class, or all but one; 10,000 nats away
        never[:2, 1:], never[2:, 0] = -torch.inf, -torch.inf
        for name in NAMES:
            ends = (scores.double() * 20, scores - 5e4, far, never)
            for drawn in (scores, *(ends if name in OF_EACH_KERNEL else ())):
                yield name, tree, drawn, targets
            yield name, tree, scores, inner


def results(device="cpu", fused=False):
    """Losses and gradients of all cases, where asked for by one kernel each."""
    found = []
    for name, tree, scores, targets in cases():
        loss = build_loss(name, tree).to(device)
        if fused:
            loss.fuse()
        loss.coarse = bool((targets >= tree.num_classes).any())
        scores = scores.detach().to(device, copy=True).requires_grad_()
        value = loss(scores, targets.to(device))
        value.backward()
        found.append((value.detach().cpu(), scores.grad.cpu()))
    return found


def compare(ours, others, rtol=2e-6):
    assert len(ours) == len(others) == 48
    for case, one, other in zip(cases(), ours, others):
        said = f"{case[0]}, {case[1].num_classes} classes, {case[2][:1]}"
        for mine, theirs in zip(one, other):
            torch.testing.assert_close(mine, theirs, rtol=rtol, atol=1e-7, equal_nan=True, msg=said)


def test_interpreted_they_have_the_numbers_of_the_cpu(tmp_path):
    pytest.importorskip("triton")
    found = tmp_path / "found.pt"
    place = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, __file__, str(found)], env=place, check=True)
    compare(torch.load(found), results())


@pytest.mark.parametrize("kind", ["fp32", "fp64"])
@pytest.mark.parametrize("target", [("cuda", 75, 32), ("cuda", 90, 32), ("hip", "gfx942", 64)])
def test_they_compile_without_a_gpu(target, kind, tmp_path, monkeypatch):
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from losses import kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    tables = {"floors": kind, "weights": "fp64", "q": "fp64", "mass": "fp64", "losses": "fp64"}
    fixed = {"DEPTH": 3, "BLOCK": 64, "IN_ORDER": False}
    for kernel in (kernels._path_losses, kernels._soft_target_losses):
        kinds = {}
        for name in kernel.arg_names:
            if name in fixed:
                kinds[name] = "constexpr"
            elif name in ("columns", "share_of_row", "tiny", "impossible", "lowest"):
                kinds[name] = "i32" if name == "columns" else "fp32"
            elif name in ("scores", "gradient"):
                kinds[name] = f"*{kind}"
            else:
                kinds[name] = f"*{tables.get(name, 'i64')}"
        source = ASTSource(
            kernel, kinds, {(kernel.arg_names.index(n),): v for n, v in fixed.items()}
        )
        compiled = triton.compile(source, target=GPUTarget(*target), options={"num_warps": 1})
        assert "ptx" in compiled.asm or "amdgcn" in compiled.asm


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("fused", [True, False])
def test_on_a_gpu_the_numbers_are_those_of_the_cpu(fused, recwarn):
    compare(results("cuda", fused), results(), rtol=1e-5)  # its exponential is a little less exact
    assert not [warning for warning in recwarn if "fused_loss" in str(warning.message)]


def value_of(loss):
    scores = torch.randn(4, 7, generator=torch.Generator().manual_seed(1))
    return loss(scores.requires_grad_(), torch.arange(4))


@pytest.fixture
def anywhere(monkeypatch):
    """Of a kernel, a loss that asks for it on the CPU, too."""
    monkeypatch.setattr(Fused, "fits", lambda self, scores: self.works)

    def put(path_losses):
        stub = SimpleNamespace(path_losses=path_losses)
        monkeypatch.setattr("losses.kernels", stub, raising=False)
        monkeypatch.setitem(sys.modules, "losses.kernels", stub)
        loss = build_loss("hxe", TREE)
        loss.fuse()
        return loss

    return put


def fail(error):
    def path_losses(*given):
        raise error

    return path_losses


def other(*given):
    return torch.ones(4, dtype=torch.float64), torch.zeros(4, 7)


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        (fail(RuntimeError("no C compiler\nset CC")), "(RuntimeError: no C compiler)"),
        (fail(ImportError("No module named 'triton'")), "(ImportError: No module named 'triton')"),
        (other, "gives other numbers"),
    ],
)
def test_a_kernel_that_cannot_be_had_or_trusted_is_said_once_and_left(
    anywhere, kernel, words, recwarn
):
    expected, loss = value_of(build_loss("hxe", TREE)), anywhere(kernel)
    for _ in range(2):
        assert value_of(loss) == expected
    (warning,) = recwarn
    assert "by many kernels" in str(warning.message) and words in str(warning.message)


def test_a_kernel_is_compared_once_and_then_trusted(anywhere):
    plain, asked = build_loss("hxe", TREE), []

    def same(scores, *given):
        asked.append(scores)
        classes = torch.arange(4)
        return plain.rows(scores, classes, plain.tree.cut(classes), True)

    loss = anywhere(same)
    loss.rows = noting(loss.rows, rows := [])
    for _ in range(3):
        assert value_of(loss) == value_of(plain)
    assert len(asked) == 3 and len(rows) == 1


def noting(function, calls):
    """The function, which notes that it was called."""

    def noted(*given):
        calls.append(given)
        return function(*given)

    return noted


def test_a_gpu_without_memory_is_not_taken_for_a_compiler_that_fails(anywhere):
    loss = anywhere(fail(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        value_of(loss)
    assert loss.kernel.works


def test_rows_that_are_too_long_and_other_devices_are_left_to_the_many_kernels():
    gpu = SimpleNamespace(is_cuda=True, shape=(2, fused.LONGEST))
    longer = SimpleNamespace(is_cuda=True, shape=(2, fused.LONGEST + 1))
    assert Fused("any").fits(gpu) and not Fused("any").fits(longer)
    assert not Fused("any").fits(torch.zeros(2, 3))


def test_losses_that_are_not_one_kernel_are_left_alone():
    loss = build_loss("soft_labels", TREE, soft_labels_variant="urbani")
    loss.fuse()
    assert loss.kernel is None and value_of(loss) > 0


if __name__ == "__main__":
    Fused.fits = lambda self, scores: self.works
    with np.errstate(all="ignore"), warnings.catch_warnings(action="error"):
        torch.save(results(fused=True), sys.argv[1])
