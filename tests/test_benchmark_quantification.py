"""The script that measures counts of samples with shifted shares."""

import re

import numpy as np
import pytest
from recorded import make_arrays, write_whole_run
from trees import TREE

from benchmarks import quantification
from metrics.quantification import COLUMNS


def test_the_script_prints_errors_and_coverages_of_a_run(tmp_path, capsys):
    run = write_whole_run(tmp_path, val=True)
    argv = [str(run.folder), "--images", "40", "--samples", "2", "--draws", "20"]
    assert quantification.main(argv) == 0
    out = capsys.readouterr().out
    assert f"{run.folder}: 120 test images" in out and "120 validation images" in out
    rows = re.findall(r"^\| 40 \| (\w+) \| (.*) \|$", out, re.MULTILINE)
    assert [name for name, _ in rows] == ["classes", "superclasses"]
    for _, cells in rows:
        values = [float(cell) for cell in cells.split("|")]
        assert len(values) == 7 and all(0 <= v <= 1 for v in values[3:])


def test_counts_that_are_the_truth_have_no_error_and_lie_in_their_intervals(monkeypatch, tmp_path):
    labels = make_arrays()["labels"]
    posterior = np.eye(TREE.num_classes)[labels]

    def perfect(tree, p, validation, draws, seed):
        import pandas as pd

        from metrics.posterior import node_probabilities

        counts = node_probabilities(tree, p.mean(axis=0, keepdims=True))[0] * len(p)
        return pd.DataFrame({name: counts for name in COLUMNS})

    monkeypatch.setattr(quantification, "count_nodes", perfect)
    args = type("Args", (), {"samples": 3, "concentration": 0.5, "draws": 5})
    rows = quantification.measure(TREE, posterior, labels, None, 30, args)
    for values in rows.values():
        assert values[:3] == pytest.approx([0, 0, 0], abs=1e-9) and values[3:5] == [1, 1]
        assert max(values[5:]) < 1  # the shares drawn are not those of the sample
