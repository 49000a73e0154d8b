"""Statistics over seeds: hand-worked values, what belongs to one row, and damage that harms no
other run.
"""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from recorded import write_run
from scipy import stats
from trees import FLAT

from files.exact_tables import read_exactly
from options import folder_name
from reports.statistics import (
    against,
    compare,
    holm,
    paired_seeds,
    signed_rank_p,
    summarise,
)
from reports.tables_over_seeds import unlike_measures
from runs.folder import FORMAT
from runs.records import FILES, find_rows, read_record, run_folders


def of_metric(table, metric, options="DR-euc"):
    return table[(table["metric"] == metric) & (table["options"] == options)].iloc[0]


def test_mean_deviation_and_interval_are_those_worked_out_by_hand(tmp_path):
    for seed, accuracy in ((1, 0.70), (2, 0.80), (3, 0.75)):
        write_run(tmp_path, "DR-euc", seed, {"accuracy": accuracy})
    row = of_metric(summarise(read_record(tmp_path).values), "accuracy")
    # deviations -0.05, 0.05, 0: variance 0.005 / 2; t(0.975, 2) = 4.302653
    half = 4.302653 * math.sqrt(0.0025) / math.sqrt(3)
    found = row[["mean", "std", "lower", "upper"]].astype(float)
    np.testing.assert_allclose(found, [0.75, 0.05, 0.75 - half, 0.75 + half], rtol=1e-6)
    assert row["n_seeds"] == 3 and row["undefined"] == 0


def test_one_seed_has_neither_deviation_nor_interval(tmp_path):
    write_run(tmp_path, "DR-euc", 1, {"accuracy": 0.7})
    row = of_metric(summarise(read_record(tmp_path).values), "accuracy")
    assert (
        row["n_seeds"] == 1 and row["mean"] == 0.7 and row[["std", "lower", "upper"]].isna().all()
    )


def test_undefined_and_missing_values_are_counted_not_averaged(tmp_path):
    write_run(tmp_path, "DR-euc", 1, {"severity": np.nan, "old": 1.0, "never": np.nan})
    write_run(tmp_path, "DR-euc", 2, {"severity": 2.0, "never": np.nan})
    write_run(tmp_path, "DR-euc", 3, {"severity": 4.0, "never": np.nan})
    summary = summarise(read_record(tmp_path).values)
    assert of_metric(summary, "severity")[["n_seeds", "mean", "undefined"]].tolist() == [2, 3.0, 1]
    assert of_metric(summary, "old")[["n_seeds", "undefined"]].tolist() == [1, 0]
    never = of_metric(summary, "never")
    assert never[["n_seeds", "undefined"]].tolist() == [0, 3] and np.isnan(never["mean"])


def test_runs_of_other_trees_options_and_datasets_are_other_rows(tmp_path):
    write_run(tmp_path / "a", "DR-euc", 1, {"accuracy": 0.1})
    write_run(tmp_path / "b", "DR-euc", 2, {"accuracy": 0.2}, tree=FLAT)
    write_run(tmp_path / "c", "DR-euc", 3, {"accuracy": 0.3}, dataset="MicroS")
    write_run(tmp_path / "d", "DR-euc", 4, {"accuracy": 0.4}, lr=0.01)
    write_run(tmp_path / "e", "DR-euc", 5, {"accuracy": 0.5})
    summary = summarise(read_record(tmp_path).values)
    # the first 0.3 is the mean of seeds 1 and 5
    assert sorted(summary["mean"].round(6)) == [0.2, 0.3, 0.3, 0.4]
    assert sorted(summary["n_seeds"]) == [1, 1, 1, 2]
    assert len(summary.groupby(["dataset", "hierarchy", "options"])) == 4


def test_rows_of_one_name_are_told_apart_by_the_options_that_differ(tmp_path):
    write_run(tmp_path / "a", "DR-euc", 1, {"accuracy": 0.1})
    write_run(tmp_path / "b", "DR-euc", 1, {"accuracy": 0.2}, amp=True, nonliving=["a", "b"])
    names = set(read_record(tmp_path).values["options"])
    assert names == {"DR-euc [no amp, no nonliving]", "DR-euc [amp=True, nonliving=a+b]"}


def test_an_option_that_is_off_is_one_that_an_old_run_did_not_know(tmp_path):
    write_run(tmp_path, "DR-euc", 1, {"accuracy": 0.1}, smoothing=None, new_switch=False)
    write_run(tmp_path, "DR-euc", 2, {"accuracy": 0.2})
    assert summarise(read_record(tmp_path).values)["n_seeds"].tolist() == [2]


def test_a_copy_of_a_run_is_counted_once_and_named(tmp_path):
    write_run(tmp_path / "a", "DR-euc", 1, {"accuracy": 0.1})
    write_run(tmp_path / "b", "DR-euc", 1, {"accuracy": 0.1})
    found = read_record(tmp_path)
    assert found.finished == 1 and summarise(found.values)["n_seeds"].tolist() == [1]
    assert str(tmp_path / "b") in found.warnings[0] and str(tmp_path / "a") in found.warnings[0]


def test_rows_stand_by_method_then_name(tmp_path):
    methods = {
        "DR-euc": "DR",
        "softmax": "softmax",
        "NormFace-euc": "normface",
        "DR-arccos": "DR",
        "new": "new",
    }
    for name, method in methods.items():
        write_run(tmp_path, name, 1, {"accuracy": 0.1}, method=method, distance=name[3:])
    names = list(dict.fromkeys(read_record(tmp_path).values["options"]))
    assert names == ["softmax", "NormFace-euc", "DR-arccos", "DR-euc", "new"]


def test_an_unfinished_run_is_listed_with_its_epochs(tmp_path):
    write_run(tmp_path, "DR-euc", 1, None, epochs=3)
    found = read_record(tmp_path)
    assert found.unfinished == (f"{tmp_path}/demo/DR-euc/seed1: 3 of 20 epochs",)
    assert not found.finished and not found.damaged


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("metrics.csv", b"", "metrics.csv"),
        ("metrics.csv", b"metric,value,n,undefined\n", "metrics.csv"),
        ("metrics.csv", b"metric,value,n,undefined\naccuracy,0.5,3,0\nahc,1", "line 3"),
        ("metrics.csv", b"metric,value,n,undefined\naccuracy,zero,3,0\n", "line 2"),
        ("metrics.csv", b"metric,value,n,undefined\na,0.5,3,0\na,0.5,3,0\n", "line 3"),
        (
            "metrics.csv",
            b"metric,value,n,undefined\nahc,0.5,3,0\naccuracy,-inf,3,0\n",
            "metrics.csv: accuracy",
        ),
        ("metrics.csv", b"\x00\xff\x00", "metrics.csv"),
        ("config.json", b"{", "config.json"),
        ("config.json", b'{"format": 99, "options": {}}', "format 99"),
        (
            "config.json",
            f'{{"format": {FORMAT}, "options": {{"dataset": "demo"}}}}'.encode(),
            "method",
        ),
        ("config.json", None, "not a run"),
    ],
)
def test_a_damaged_run_is_named_and_the_others_are_read(tmp_path, name, content, reason):
    write_run(tmp_path, "DR-euc", 1, {"accuracy": 0.1})
    run = write_run(tmp_path, "DR-euc", 2, {"accuracy": 0.2})
    (run.folder / name).unlink()
    if content is not None:
        (run.folder / name).write_bytes(content)
    found = read_record(tmp_path)
    assert found.finished == 1 and len(found.damaged) == 1
    assert "seed2" in found.damaged[0] and reason in found.damaged[0]


def test_an_empty_folder_of_a_seed_is_named(tmp_path):
    (tmp_path / "demo" / "DR-euc" / "seed7").mkdir(parents=True)
    assert "seed7 is not a run" in read_record(tmp_path).damaged[0]
    (tmp_path / "demo" / "DR-euc" / "seed7" / ".lock").touch()  # as a refused run leaves it
    assert not read_record(tmp_path).damaged


@pytest.mark.parametrize("damage", ["version", "truncated", "pickle", "empty pickle"])
def test_damaged_results_are_named_and_the_measures_still_count(tmp_path, damage):
    run = write_run(tmp_path, "DR-euc", 1, {"accuracy": 0.1})
    run.write_arrays("test", {"labels": np.arange(1000)})
    run.save_checkpoint("last.pt", {"model": {"w": torch.zeros(10_000)}})
    assert not read_record(tmp_path).warnings
    name = "last.pt" if damage in ("version", "truncated") else "test.pkl"
    content = (run.folder / name).read_bytes()
    if damage == "version":
        torch.save({"format": 99}, run.folder / name)
    else:
        (run.folder / name).write_bytes(
            b"" if damage == "empty pickle" else content[: len(content) // 2]
        )
    found = read_record(tmp_path)
    assert found.finished == 1 and len(found.warnings) == 1 and name in found.warnings[0]


def test_runs_are_found_at_and_below_a_folder_but_not_in_hidden_ones(tmp_path):
    run = write_run(tmp_path, "DR-euc", 1, {"accuracy": 0.1})
    write_run(tmp_path / ".trash", "DR-euc", 1, {"accuracy": 0.1})
    assert run_folders(tmp_path) == run_folders(run.folder) == [run.folder]
    assert run_folders(tmp_path / "nothing") == []
    assert read_record(tmp_path / "nothing").values.empty


def make_pairs(record, a, b, metric="accuracy", **options):
    for name, values in (("NormFace-euc", a), ("DR-euc", b)):
        for seed, value in values.items():
            write_run(record, name, seed, {metric: value}, **options)
    return read_record(record).values


def test_the_paired_test_is_the_t_test_of_the_differences_worked_out_by_hand(tmp_path):
    values = make_pairs(
        tmp_path, {1: 0.50, 2: 0.60, 3: 0.55, 9: 0.0}, {1: 0.52, 2: 0.66, 3: 0.59, 8: 1.0}
    )
    row = compare(values, "NormFace-euc", "DR-euc", ["accuracy"]).iloc[0]
    # differences 0.02, 0.06, 0.04 of seeds 1 to 3: mean 0.04, std 0.02, 2 degrees of freedom
    t = 0.04 / (0.02 / math.sqrt(3))
    assert row["pairs"] == 3 and row["difference"] == pytest.approx(0.04)
    assert row["p_t"] == pytest.approx(2 * stats.t.sf(t, 2))
    half = 4.302653 * 0.02 / math.sqrt(3)
    assert row[["lower", "upper"]].tolist() == pytest.approx([0.04 - half, 0.04 + half], rel=1e-6)
    assert row["p_wilcoxon"] == pytest.approx(2 / 2**3)  # all three of one sign
    assert row["a_mean"] == pytest.approx(0.55) and row["b_mean"] == pytest.approx(0.59)


def test_the_correction_of_holm_is_as_worked_out_by_hand():
    # sorted: .01 * 4, .02 * 3, .03 * 2 raised to .06 before it, .6 * 1; NaN is no test
    corrected = holm(np.array([0.03, 0.01, np.nan, 0.6, 0.02]))
    np.testing.assert_allclose(corrected, [0.06, 0.04, np.nan, 0.6, 0.06])
    np.testing.assert_allclose(holm(np.array([0.7, 0.8])), [1.0, 1.0])
    np.testing.assert_allclose(holm(np.array([0.3])), [0.3])
    assert holm(np.array([])).shape == (0,) and np.isnan(holm(np.array([np.nan]))).all()


def test_a_comparison_corrects_its_p_over_the_measures(tmp_path):
    for seed, a, b in ((1, 0.50, 0.52), (2, 0.60, 0.66), (3, 0.55, 0.59)):
        write_run(tmp_path, "NormFace-euc", seed, {"accuracy": a, "hp@5": a})
        write_run(tmp_path, "DR-euc", seed, {"accuracy": b, "hp@5": b - 0.2})
    values = read_record(tmp_path).values
    table = compare(values, "NormFace-euc", "DR-euc", ["accuracy", "hp@5", "absent"])
    for name in ("p_t", "p_wilcoxon"):
        np.testing.assert_array_equal(table[f"{name}_holm"], holm(table[name].to_numpy()))
    assert table["p_t_holm"].max() == pytest.approx(table["p_t"].max())
    assert table["p_t_holm"].min() == pytest.approx(2 * table["p_t"].min())


def test_a_comparison_with_the_sides_changed_changes_only_its_sign(tmp_path):
    values = make_pairs(tmp_path, {1: 0.5, 2: 0.6, 3: 0.4}, {1: 0.52, 2: 0.55, 3: 0.49})
    names = ["NormFace-euc", "DR-euc"]
    there, back = (compare(values, *pair, ["accuracy"]).iloc[0] for pair in (names, names[::-1]))
    assert there["difference"] == -back["difference"] and there["lower"] == -back["upper"]
    assert there["p_t"] == pytest.approx(back["p_t"]) and there["p_wilcoxon"] == pytest.approx(
        back["p_wilcoxon"]
    )


@pytest.mark.parametrize("seeds", [{}, {1: 0.6}])
def test_fewer_than_two_common_seeds_give_no_interval_and_no_p(tmp_path, seeds):
    values = make_pairs(tmp_path, {1: 0.5, 2: 0.5}, {**seeds, 7: 0.6})
    row = compare(values, "NormFace-euc", "DR-euc", ["accuracy"]).iloc[0]
    assert row["pairs"] == len(seeds) and row[["lower", "upper", "p_t", "p_wilcoxon"]].isna().all()


@pytest.mark.parametrize("shift, p_wilcoxon", [(0.0, np.nan), (0.1, 0.25)])
def test_differences_without_spread_are_not_tested_against_it(tmp_path, shift, p_wilcoxon):
    values = make_pairs(
        tmp_path, {1: 0.1, 2: 0.2, 3: 0.3}, {1: 0.1 + shift, 2: 0.2 + shift, 3: 0.3 + shift}
    )
    row = compare(values, "NormFace-euc", "DR-euc", ["accuracy"]).iloc[0]
    assert row["difference"] == pytest.approx(shift) and np.isnan(row["p_t"])
    assert row["p_wilcoxon"] == pytest.approx(p_wilcoxon, nan_ok=True)


def test_pairs_with_an_undefined_side_are_left_out(tmp_path):
    values = make_pairs(tmp_path, {1: 0.5, 2: np.nan, 3: 0.4}, {1: 0.6, 2: 0.5, 3: np.nan})
    row = compare(values, "NormFace-euc", "DR-euc", ["accuracy", "absent"])
    assert row["pairs"].tolist() == [1, 0] and row["difference"][0] == pytest.approx(0.1)


def test_paired_seeds_and_those_on_other_images_are_known(tmp_path):
    for seed in (1, 2, 3):
        write_run(tmp_path, "NormFace-euc", seed, {"accuracy": 0.5})
        write_run(
            tmp_path, "DR-euc", seed + 1, {"accuracy": 0.5}, split="other" if seed == 2 else None
        )
    assert paired_seeds(read_record(tmp_path).values, "DR-euc", "NormFace-euc") == ([2, 3], [3])


def test_a_row_is_found_by_its_name_or_its_method(tmp_path):
    for name in ("NormFace-euc", "DR-euc", "DR-euc-ema"):
        write_run(tmp_path, name, 1, {"accuracy": 0.5}, ema=name.endswith("ema"))
    values = read_record(tmp_path).values
    assert find_rows(values, "NormFace") == find_rows(values, "normface") == ["NormFace-euc"]
    assert find_rows(values, "DR-euc") == ["DR-euc"] and find_rows(values, "softmax") == []
    assert find_rows(values, "DR") == ["DR-euc", "DR-euc-ema"]


def test_files_of_other_machines_make_no_other_row(tmp_path):
    write_run(
        tmp_path, "DR-euc", 1, {"accuracy": 0.5}, hierarchy="/home/a/tree.csv", weights="w.pt"
    )
    write_run(
        tmp_path, "DR-euc", 2, {"accuracy": 0.5}, hierarchy=r"D:\b\tree.csv", weights="/x/w.pt"
    )
    write_run(
        tmp_path, "DR-euc", 3, {"accuracy": 0.5}, hierarchy="/home/a/other.csv", weights="w.pt"
    )
    assert sorted(summarise(read_record(tmp_path).values)["n_seeds"]) == [1, 2]
    assert set(FILES) == folder_name.file_options()


def test_a_summary_names_the_splits_and_the_similarity_of_a_row(tmp_path):
    for seed, split in ((1, "b" * 64), (2, "a" * 64), (3, "b" * 64)):
        write_run(tmp_path, "DR-euc", seed, {"accuracy": 0.5, "ahc": 1.0}, split=split, beta=2.0)
    summary = summarise(read_record(tmp_path).values)
    assert set(summary["splits"]) == {"aaaaaaaa+bbbbbbbb"} and set(summary["similarity"]) == {
        "euc, beta 2.0"
    }


def test_summaries_come_back_from_csv_to_the_last_digit(tmp_path):
    for seed in (1, 2, 3):
        run = write_run(tmp_path, "DR-euc", seed, {"accuracy": seed / 7, "W/corr": np.nan})
    summary = summarise(read_record(tmp_path).values)
    run.write_table("summary.csv", summary)
    back = read_exactly((run.folder / "summary.csv").read_text())
    pd.testing.assert_frame_equal(back, summary, check_exact=True, check_dtype=False)


@pytest.mark.parametrize("kinds, pairs", [("xx", [3, 3]), ("xy", [0, 3])])
def test_measures_over_another_similarity_of_classes_are_not_compared(kinds, pairs):
    metrics = ["prototype/ahs@250", "accuracy"]
    rows = [
        {"metric": metric, "options": name, "seed": seed, "value": 0.1 * seed, "similarity": kind}
        for metric in metrics
        for name, kind in zip("ab", kinds)
        for seed in (1, 2, 3)
    ]
    table = compare(pd.DataFrame(rows), "a", "b", metrics)
    assert table["pairs"].tolist() == pairs
    assert np.isnan(table["difference"]).tolist() == [not n for n in pairs]
    notes = unlike_measures(pd.DataFrame(rows), "a", "b", metrics)
    assert [note[-8:] for note in notes] == [" (x | y)"] * (kinds == "xy")


def test_differences_of_rates_that_are_equal_tie_in_the_rank_test():
    # .74 - .71 and .69 - .65 differ in the last digit from 3/100 and 4/100; rounding must not rank
    a = [0.74, 0.68, 0.74, 0.63, 0.67, 0.75, 0.76, 0.65, 0.69, 0.71]
    b = [0.77, 0.70, 0.75, 0.62, 0.68, 0.73, 0.78, 0.69, 0.71, 0.74]
    rows = [
        {"metric": "accuracy", "options": name, "seed": seed, "value": value}
        for name, values in (("a", a), ("b", b))
        for seed, value in enumerate(values)
    ]
    row = compare(pd.DataFrame(rows), "a", "b", ["accuracy"]).iloc[0]
    assert row["p_wilcoxon"] == pytest.approx(0.046875)
    whole = np.round((np.array(b) - a) * 100)
    assert row["p_t"] == pytest.approx(stats.ttest_1samp(whole, 0).pvalue)


def test_the_signed_rank_test_of_equally_large_differences_is_the_sign_test():
    # 15 of 20 up: 2 P(15 or more heads of 20) = .0414; by the normal distribution .0254
    differences = np.where(np.arange(20) < 15, 0.25, -0.25)
    assert signed_rank_p(differences) == pytest.approx(0.0413895, rel=1e-4)
    assert signed_rank_p(-differences) == pytest.approx(0.0413895, rel=1e-4)
    assert signed_rank_p(np.array([1.0, -1.0])) == pytest.approx(1.0)


def test_every_row_against_one_has_the_numbers_of_the_comparison_of_two():
    rng = np.random.default_rng(3)
    cube = rng.random((4, 2, 5))
    cube[1, 0, 3:] = np.nan  # three common seeds
    cube[2, 1] = cube[0, 1] + 0.25  # equal differences have no t
    cube[3, 0, 1:] = np.nan  # one common seed
    rows = [
        (f"row{i}", seed, metric, cube[i, j, seed])
        for i in range(4)
        for j, metric in enumerate("xy")
        for seed in range(5)
    ]
    values = pd.DataFrame(rows, columns=["options", "seed", "metric", "value"])
    found = against(cube, 0)
    for i in (1, 2, 3):
        expected = compare(values, "row0", f"row{i}", ["x", "y"])
        for name, of_row in (("difference", "mean"), ("lower", "lower"), ("p_t", "p")):
            np.testing.assert_allclose(getattr(found, of_row)[i], expected[name], atol=1e-9)
        assert found.pairs[i].tolist() == expected["pairs"].tolist()
    assert np.isnan(found.p[0]).all() and np.isnan(found.p[2, 1])
    np.testing.assert_allclose(found.holm[:, 0], holm(found.p[:, 0]))
