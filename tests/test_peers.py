"""The script that compares with other libraries, on what the suite has of them."""

import numpy as np
import pytest
import torch

from benchmarks import peers


@pytest.fixture(autouse=True)
def threads():
    """The script sets the number of threads; puts it back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


SIZES = "--images 80 --classes 12 --dim 8 --repeats 1".split()


def test_values_equal_those_of_the_libraries_that_are_installed(capsys, recwarn):
    assert peers.main([*SIZES, "--only", "formulas", "scipy", "scikit-learn", "scikit-bio"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("| ")][1:]
    assert {row[0].strip() for row in rows} == {"formulas", "scipy", "scikit-learn", "scikit-bio"}
    assert len(rows) == 12
    for *_, ours, theirs, ratio in rows:
        assert float(ours) >= 0 and float(theirs) >= 0 and float(ratio) >= 0
    assert lines[-1] == "values that differ by no named convention: none"


def test_a_value_that_differs_is_told_and_one_that_does_so_by_a_convention_is_none(
    capsys, monkeypatch
):
    def of_two(made):
        ours, theirs = {"a": 1.0, "b": 2.0}, {"a": 1.5, "b": 2.5}
        yield peers.Comparison("two", lambda: ours, lambda: theirs, {"b": "another base"})

    monkeypatch.setitem(peers.PEERS, "scipy", of_two)
    assert peers.main([*SIZES, "--only", "scipy"]) == 1
    out = capsys.readouterr().out
    assert "a 1, 1.5: DIFFERS; b 2, 2.5: another base" in out
    assert out.splitlines()[-1].endswith("convention: scipy, two: a")


def test_a_library_that_is_not_installed_is_named_and_left_out(capsys, monkeypatch):
    def absent(made):
        import no_such_library  # noqa: F401

        yield

    monkeypatch.setitem(peers.PEERS, "hiclass", absent)
    assert peers.main([*SIZES, "--only", "hiclass", "scipy"]) == 0
    out = capsys.readouterr().out
    assert "cannot be imported: hiclass (No module named 'no_such_library')" in out
    assert "| scipy |" in out


def test_undefined_on_both_sides_is_equal():
    nothing = {"a": np.nan}
    rows = peers.compare_values(peers.Comparison("nothing", lambda: nothing, lambda: nothing))
    assert rows[0][-1] == "equal"
