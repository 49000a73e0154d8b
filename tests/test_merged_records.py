"""Runs trained on several machines, each into a record folder of its own: merged by copying, they
are one record.
"""

import shutil

import pandas as pd
import pytest
from images import make_folder

import evaluate
import train
from reports import statistics
from runs import records
from training import start

OPTIONS = (
    "--dataset folder --GPU cpu --resize 16 --gray --backbone conv4 --dim 4 --batch_size 8 --epochs"
    " 1".split()
)
RUNS = [(method, seed) for seed in ("1", "2") for method in ("softmax", "DR")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three records of the same images: of all runs, and of two machines that share the runs out
    and both have one.
    """
    place = tmp_path_factory.mktemp("records")
    images = make_folder(place / "images", {"a/b": 8, "a/c": 8, "d": 8})
    for name, runs in {"one": RUNS, "hostA": RUNS[:2], "hostB": RUNS[1:]}.items():
        for method, seed in runs:
            places = ["--data_dir", str(images), "--record", str(place / name)]
            assert (
                start.main(
                    "", train.DATASETS, [*OPTIONS, *places, "--method", method, "--seed", seed]
                )
                == 0
            )
    return place


def tables(record):
    """The numbers over seeds, and what `python evaluate.py` writes of them."""
    found = records.read_record(record)
    assert evaluate.main(["--record", str(record), "--format", "markdown"]) == 0
    return statistics.summarise(found.values), (record / "summary.md").read_text(), found


def test_records_merged_by_copying_give_the_tables_of_one(folders, tmp_path):
    for host in ("hostA", "hostB"):
        # as rsync -a host:record/ record/
        shutil.copytree(folders / host, tmp_path / "record", dirs_exist_ok=True)
    numbers, text, found = tables(tmp_path / "record")
    expected, expected_text, _ = tables(folders / "one")
    pd.testing.assert_frame_equal(numbers, expected, check_exact=True)
    assert text == expected_text and not found.warnings
    assert found.finished == 4 and numbers["n_seeds"].max() == 2


def test_a_run_that_two_machines_have_counts_once_where_their_folders_lie_side_by_side(
    folders, tmp_path
):
    for host in ("hostA", "hostB"):
        shutil.copytree(folders / host, tmp_path / host)
    numbers, text, found = tables(tmp_path)
    pd.testing.assert_frame_equal(numbers, tables(folders / "one")[0], check_exact=True)
    assert found.finished == 4
    assert [line.split(" is left out: ")[0] for line in found.warnings] == [
        str(next(tmp_path.glob("hostB/*/DR*/seed1")))
    ]
