"""The losses that are one kernel on a GPU: interpreted without one, compiled for some, and what
happens where they cannot be had.
"""

import os
import subprocess
import sys
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
UNEQUAL = Hierarchy.from_paths([("a", "b", "c", "one"), ("two",), ("a", "three"), ("a", "b", "x")])
BATCH = 6


def cases():
    """(name of the loss, tree, scores, targets): ordinary ones, and those at the ends of what
    scores can be.
    """
    noise = torch.Generator().manual_seed(0)
    for tree in (UNEQUAL, TREE, random_tree(70, 5, 0)):
        classes = tree.num_classes
        scores = torch.randn(BATCH, classes, generator=noise)
        targets = torch.arange(BATCH) * 5 % classes
        inner = classes + 1 + torch.arange(BATCH) % (tree.num_nodes - 1)
        never, far = scores.clone(), scores * 3000  # of a class, or all but one; 10,000 nats away
        never[:2, 1:], never[2:, 0] = -torch.inf, -torch.inf
        for name in NAMES:
            for drawn in (scores, scores.double() * 20, scores - 5e4, far, never):
                yield name, tree, drawn, targets
            yield name, tree, scores, inner


def results(device="cpu"):
    """Losses and gradients of all cases."""
    found = []
    for name, tree, scores, targets in cases():
        loss = build_loss(name, tree).to(device)
        loss.coarse = bool((targets >= tree.num_classes).any())
        scores = scores.detach().to(device, copy=True).requires_grad_()
        value = loss(scores, targets.to(device))
        value.backward()
        found.append((value.detach().cpu(), scores.grad.cpu()))
    return found


def compare(ours, others, rtol=2e-6):
    assert len(ours) == len(others) == 72
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
@pytest.mark.parametrize("works", [True, False])
def test_on_a_gpu_the_numbers_are_those_of_the_cpu(works, monkeypatch):
    kernels = []
    if works:
        from losses import kernels as module

        monkeypatch.setattr(module, "_call", noting(module._call, kernels))
    else:
        monkeypatch.setattr(Fused, "fits", lambda self, scores: False)
    compare(results("cuda"), results(), rtol=1e-5)  # its exponential is a little less exact
    assert bool(kernels) == works


def noting(function, calls):
    """The function, which notes that it was called."""

    def noted(*given, **more):
        calls.append(given)
        return function(*given, **more)

    return noted


def scores_and_targets():
    return torch.randn(4, 7, generator=torch.Generator().manual_seed(1)), torch.arange(4)


@pytest.fixture
def anywhere(monkeypatch):
    """Kernels that are asked of the CPU's tensors, too; what there is of them."""

    def put(path_losses):
        found = Fused("path_losses")
        monkeypatch.setattr("losses.hierarchical.fused_path_losses", found)
        monkeypatch.setattr(Fused, "fits", lambda self, scores: self.works)
        stub = SimpleNamespace(path_losses=path_losses)
        monkeypatch.setattr("losses.kernels", stub, raising=False)
        monkeypatch.setitem(sys.modules, "losses.kernels", stub)
        return found

    return put


def test_what_cannot_be_compiled_is_said_once_and_computed_otherwise(anywhere, recwarn):
    expected = build_loss("hxe", TREE)(*scores_and_targets())

    def fail(*given):
        raise RuntimeError("no C compiler\nset CC")

    found = anywhere(fail)
    for _ in range(2):
        assert build_loss("hxe", TREE)(*scores_and_targets()) == expected
    assert not found.works
    (warning,) = recwarn
    assert "kernel by kernel" in str(warning.message)
    assert "(RuntimeError: no C compiler)" in str(warning.message)


def test_without_triton_nothing_is_said(anywhere, recwarn):
    expected = build_loss("hxe", TREE)(*scores_and_targets())
    anywhere(lambda *given: None)
    sys.modules["losses.kernels"] = None  # importing it fails
    delattr(sys.modules["losses"], "kernels")
    assert build_loss("hxe", TREE)(*scores_and_targets()) == expected
    assert not recwarn


def test_a_gpu_without_memory_is_not_taken_for_a_compiler_that_fails(anywhere):
    def fail(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    found = anywhere(fail)
    with pytest.raises(torch.OutOfMemoryError):
        build_loss("hxe", TREE)(*scores_and_targets())
    assert found.works


def test_rows_that_are_too_long_and_other_devices_are_left_to_the_many_kernels():
    gpu = SimpleNamespace(is_cuda=True, shape=(2, fused.LONGEST))
    longer = SimpleNamespace(is_cuda=True, shape=(2, fused.LONGEST + 1))
    assert Fused("any").fits(gpu) and not Fused("any").fits(longer)
    assert not Fused("any").fits(torch.zeros(2, 3))


def test_soft_labels_whose_rows_have_factors_are_left_to_them(anywhere, monkeypatch):
    monkeypatch.setattr(Fused, "__call__", lambda self, *given: pytest.fail("it was asked"))
    build_loss("soft_labels", TREE, soft_labels_variant="urbani")(*scores_and_targets())


if __name__ == "__main__":
    Fused.fits = lambda self, scores: self.works
    with np.errstate(all="ignore"):
        torch.save(results(), sys.argv[1])
