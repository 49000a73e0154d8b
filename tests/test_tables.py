"""Tables for people: what a cell says, which cell is marked, and that every format can be read by
its own reader.
"""

import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from recorded import make_arrays, write_run
from trees import FLAT, TREE
from waiting import PATIENCE

from hierarchies import Hierarchy
from metrics import Outputs, evaluate, suite
from metrics.catalogue import MEASURES, describe, direction, place, split
from metrics.measure import SECTIONS
from metrics.result import Result
from metrics.suite import ON_REQUEST
from reports import formats, page
from reports.formats import COLUMN, LAYOUTS, PAGE, Table, terminal
from reports.measures_shown import select_metrics
from reports.printed import number
from reports.statistics import compare, summarise
from reports.tables_of_run import main_table, run_tables
from reports.tables_over_seeds import comparison_table, summary_tables, wide
from runs.records import read_record

METRICS = ["accuracy", "ahc", "cophenetic"]


@pytest.fixture
def summary(tmp_path):
    for seed, a, b in ((1, 0.5, 0.6), (2, 0.7, 0.8), (3, 0.6, 0.7)):
        write_run(tmp_path, "NormFace-euc", seed, {"accuracy": a, "ahc": 2.0, "cophenetic": 0.1})
        write_run(
            tmp_path,
            "DR-euc",
            seed,
            {"accuracy": b, "ahc": 2.0 if seed > 1 else np.nan, "cophenetic": 0.2},
        )
    write_run(tmp_path, "DR-euc-ema", 1, {"accuracy": 0.65, "ahc": 3.0}, ema=True)
    return summarise(read_record(tmp_path).values)


def test_a_cell_is_mean_and_deviation_with_the_seeds_that_have_a_value(summary):
    (table,) = summary_tables(summary, METRICS)
    assert table.columns == ("method", "seeds", "accuracy ↑", "ahc ↓", "cophenetic")
    assert table.rows == (
        ("NormFace", "3", "0.600 ±0.100", "2.000 ±0.000", "0.100 ±0.000"),
        ("DR", "3", "0.700 ±0.100", "2.000 ±0.000 (2/3)", "0.200 ±0.000"),
        ("DR-ema", "1", "0.650", "3.000", "– (0/1)"),
    )
    assert "(k/n)" in " ".join(table.notes)


def test_the_best_mean_is_marked_by_its_direction_and_ties_are_marked_together(summary):
    (table,) = summary_tables(summary, METRICS)
    assert table.best == {(1, 2), (0, 3), (1, 3)}  # cophenetic only describes
    assert "best mean" in " ".join(table.notes)


def test_a_single_row_is_not_best_of_anything(tmp_path):
    write_run(tmp_path, "DR-euc", 1, {"accuracy": 0.5})
    (table,) = summary_tables(summarise(read_record(tmp_path).values), ["accuracy"])
    assert not table.best and table.rows == (("DR-euc", "1", "0.500"),)


def test_each_dataset_and_tree_has_its_own_table_and_best(tmp_path):
    write_run(tmp_path / "a", "DR-euc", 1, {"accuracy": 0.5})
    write_run(tmp_path / "b", "NormFace-euc", 1, {"accuracy": 0.6}, tree=FLAT)
    tables = list(summary_tables(summarise(read_record(tmp_path).values), ["accuracy"]))
    assert {table.title for table in tables} == {
        f"demo, tree {tree.digest[:8]}" for tree in (TREE, FLAT)
    }
    assert not any(table.best for table in tables)


def test_a_measure_that_no_run_has_is_named_below(summary):
    (table,) = summary_tables(summary, ["accuracy", "wtd"])
    assert (
        table.columns == ("method", "seeds", "accuracy ↑")
        and "in no run of this table: wtd" in table.notes
    )


@pytest.mark.parametrize(
    "value, text",
    [
        (0.12345, "0.123"),
        (-12.346, "-12.35"),
        (123.456, "123.5"),
        (np.nan, "–"),
        (0.0, "0.000"),
        (np.inf, "inf"),
    ],
)
def test_numbers_have_few_digits(value, text):
    assert number(value) == text


def table_of(cells, best=frozenset()):
    return Table(
        "t",
        ("name", "x"),
        tuple((name, x) for name, x in cells),
        frozenset(best),
        ("{mark}: best",),
    )


def test_a_table_wider_than_a_page_says_that_it_scrolls():
    assert "scroll" not in page.table(table_of([("a", "1.0")]))
    assert "goes on to the right: scroll it" in page.table(table_of([("a" * 200, "1.0")]))


def test_terminal_columns_are_aligned_and_marked():
    text = terminal(table_of([("a", "1.0"), ("longer", "10.0")], {(1, 1)}))
    assert text.splitlines()[1:5] == [
        "name       x",
        "─────────────",
        "a        1.0",
        "longer  10.0*",
    ]
    assert text.splitlines()[-1] == "  *: best"


def test_terminal_columns_that_do_not_fit_follow_below():
    table = Table("t", ("name", "first", "second", "third"), (("row", "1", "2", "3"),))
    lines = terminal(table, width=22).splitlines()
    assert (
        all(len(line) <= 22 for line in lines)
        and sum(line.startswith("row") for line in lines) == 2
    )
    assert terminal(table, width=1).count("row") == 3  # one value a block is the least


def test_markdown_escapes_what_would_break_a_table():
    text = LAYOUTS["markdown"](table_of([("a|b*c_d", "1.0")], {(0, 1)}))
    line = next(line for line in text.splitlines() if "a" in line and "1.0" in line)
    assert line == r"| a\|b\*c\_d | **1.0** |" and "- bold: best" in text


def test_latex_escapes_what_would_break_a_table():
    text = LAYOUTS["latex"](table_of([(r"a_b&50%#$~^\{}", "0.1 ±0.2"), ("–", "x ↑")], {(0, 1)}))
    assert (
        r"a\_b\&50\%\#\$\textasciitilde{}\textasciicircum{}\textbackslash{}\{\}"
        r" & \textbf{0.1{\tiny$\pm$.2}} \\" in text
    )
    assert r"-- & x $\uparrow$ \\" in text and text.count(r"\begin") == text.count(r"\end") == 2
    assert all(
        line.count("&") - line.count(r"\&") == 1
        for line in text.splitlines()
        if line.endswith(r"\\")
    )


def test_names_with_braces_are_left_alone():
    table = comparison_table(pd.DataFrame(columns=["metric"]), "{a}", "{0}", "{title}", ["{note}"])
    for layout in LAYOUTS.values():
        assert "note" in layout(table)


def test_the_wide_table_has_the_numbers_of_the_summary(summary):
    table = wide(summary, ["accuracy", "cophenetic"]).set_index("options")
    assert table.loc["DR-euc", ["accuracy", "accuracy std"]].tolist() == pytest.approx([0.7, 0.1])
    assert table.loc["DR-euc-ema", "cophenetic n_seeds"] == 0 and np.isnan(
        table.loc["DR-euc-ema", "cophenetic"]
    )


def test_a_comparison_says_difference_interval_and_p(tmp_path):
    for seed, a, b in ((1, 0.50, 0.52), (2, 0.60, 0.66), (3, 0.55, 0.59)):
        write_run(tmp_path, "NormFace-euc", seed, {"accuracy": a})
        write_run(tmp_path, "DR-euc", seed, {"accuracy": b})
    numbers = compare(
        read_record(tmp_path).values, "NormFace-euc", "DR-euc", ["accuracy", "absent"]
    )
    table = comparison_table(numbers, "NormFace-euc", "DR-euc", "title", ["paired seeds: 1, 2, 3"])
    assert table.rows[0] == (
        "accuracy ↑",
        "3",
        "0.550",
        "0.590",
        "0.040",
        "[-0.010, 0.090]",
        "0.074",
        "0.250",
    )
    assert table.rows[1] == ("absent", "0", "–", "–", "–", "–", "–", "–")
    assert table.notes[0] == "paired seeds: 1, 2, 3"
    assert not any("Holm" in note for note in table.notes)  # one test needs no correction
    numbers = pd.concat([numbers.head(1)] * 2).assign(p_t_holm=0.148, p_wilcoxon_holm=0.5)
    two = comparison_table(numbers, "a", "b", "title", [])
    assert two.rows[0][-2:] == ("0.074 (0.148)", "0.250 (0.500)")
    assert two.notes[-1] == "(p): corrected by Holm for the number of measures in this table"


def test_columns_are_chosen_by_name_or_pattern_and_unknown_ones_refused():
    known = ["accuracy", "W/corr", "W/corr_p", "P/corr", "accuracy"]
    assert select_metrics(["W/*", "accuracy", "W/corr"], known) == [
        "W/corr",
        "W/corr_p",
        "accuracy",
    ]
    assert select_metrics(None, known) == ["accuracy", "W/corr", "P/corr"]
    # 247 test images have 246 neighbours
    assert select_metrics(None, ["ahs@246", "ahc"]) == ["ahc", "ahs@246"]
    assert select_metrics(None, ["mine"]) == ["mine"]
    with pytest.raises(ValueError, match=r"--metrics acuracy: .* accuracy"):
        select_metrics(["acuracy"], known)


def six_methods(tmp_path) -> pd.DataFrame:
    """A summary of six methods with eight measures over three seeds."""
    measures = ["accuracy", "prototype/accuracy", "accuracy@5", "ahc", "ahd@5", "hp@5", "ahs@250"]
    names = ["NormFace-euc", "DR-euc", "DR-euc-ema", "DR-euc-mds", "DR-euc-dynamic", "DR-euc-hxe"]
    for row, name in enumerate(names):
        for seed in (1, 2, 3):
            values = {m: 0.5 + 0.01 * row + 0.001 * seed for m in [*measures, "wtd"]}
            write_run(tmp_path, name, seed, values, mark=name)
    return summarise(read_record(tmp_path).values)


def test_a_table_for_a_paper_has_the_papers_names_and_says_once_what_all_rows_share(tmp_path):
    (table,) = summary_tables(six_methods(tmp_path), ["accuracy", "prototype/accuracy"], paper=True)
    assert table.columns == ("method", "Acc. ↑", "Acc. (NC) ↑")
    assert [row[0] for row in table.rows][:3] == ["NormFace", "ProxyDR", "ProxyDR + dynamic"]
    assert "every row: 3 seeds" in table.notes and "every row: Euclidean distance" in table.notes
    assert not any("--compare" in note for note in table.notes)  # no flags in a caption
    assert len(table.best) == 2 and {column for _, column in table.best} == {1, 2}


def test_a_table_of_six_methods_and_eight_measures_fits_a_column_of_a_paper(tmp_path):
    summary = six_methods(tmp_path)
    (table,) = summary_tables(summary, list(dict.fromkeys(summary["metric"])), paper=True)
    assert formats.width_in_paper(table) <= COLUMN
    text = LAYOUTS["latex"](table)
    assert text.count(r"\begin{tabular}") > 1 and text.count(r"ProxyDR + EMA &") == text.count(
        r"\begin{tabular}"
    )
    widths, column = measured_widths(text, tmp_path)
    assert all(width <= column for width in widths), (widths, column)
    assert max(widths) - 0.5 <= formats.width_in_paper(table) <= 1.04 * max(widths)


def test_a_table_too_long_for_a_column_goes_over_both(tmp_path):
    options = ("", "-ema", "-mds", "-dynamic", "-ema-dynamic", "-mds-dynamic", "-mds-corr")
    names = [f"{head}-euc{option}" for head in ("NormFace", "DR") for option in options]
    for name in names:
        values = {f"accuracy@{k}": 0.5 for k in range(1, 12)}
        write_run(tmp_path, name, 1, values, mark=name)
    summary = summarise(read_record(tmp_path).values)
    (table,) = summary_tables(summary, list(dict.fromkeys(summary["metric"])), paper=True)
    assert COLUMN < formats.width_in_paper(table) <= PAGE
    text = LAYOUTS["latex"](table)
    assert text.count(r"{table*}") == 2 and len(text.splitlines()) < 60
    widths, column = measured_widths(text, tmp_path)
    assert column < max(widths) <= 2 * column + 10
    assert max(widths) - 0.5 <= formats.width_in_paper(table) <= 1.04 * max(widths)


def measured_widths(text: str, folder) -> tuple[list[float], float]:
    """Points of each tabular of a LaTeX table, and of the column of a two-column article, by
    pdflatex.
    """
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed, so no width can be measured")
    head, *parts = re.split(r"(?=\\begin\{tabular\})", text)
    boxes = [part[: part.index(r"\end{tabular}")] + r"\end{tabular}" for part in parts]
    size = r"\footnotesize" + re.search(r"\\setlength\{\\tabcolsep\}\{.*?\}", head)[0]
    rules = r"\let\toprule\hline\let\midrule\hline\let\bottomrule\hline"
    lines = [
        r"\documentclass[twocolumn]{article}",
        rf"\IfFileExists{{booktabs.sty}}{{\usepackage{{booktabs}}}}{{{rules}}}",
        r"\begin{document}\typeout{column=\the\columnwidth}",
        *(rf"\setbox0=\hbox{{{size} {box}}}\typeout{{width=\the\wd0}}\box0\par" for box in boxes),
        text,
        r"\end{document}",
    ]
    (folder / "table.tex").write_text("\n".join(lines), "utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "table.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout[-2000:]
    found = [float(width) for width in re.findall(r"width=([\d.]+)pt", done.stdout)]
    assert len(found) == len(boxes) and "Overfull" not in done.stdout
    return found, float(re.search(r"column=([\d.]+)pt", done.stdout)[1])


def test_names_that_leave_no_room_are_wider_than_a_column():
    table = table_of([("W" * 60, "1.0")])
    assert formats.width_in_paper(table) > COLUMN
    assert formats.room_in_paper(table) == PAGE
    assert formats.width_in_paper(table_of([("W" * 90, "1.0")])) > PAGE


def test_two_pairs_are_shown_as_differences_and_no_interval(tmp_path):
    for seed, a, b in ((1, 0.50, 0.52), (2, 0.60, 0.66)):
        write_run(tmp_path, "NormFace-euc", seed, {"accuracy": a})
        write_run(tmp_path, "DR-euc", seed, {"accuracy": b})
    numbers = compare(read_record(tmp_path).values, "NormFace-euc", "DR-euc", ["accuracy"])
    table = comparison_table(numbers, "a", "b", "title", [])
    assert table.rows[0][5] == "0.020, 0.060" and "[" not in " ".join(table.rows[0])
    assert any("fewer than 3 pairs" in note for note in table.notes)


def test_notes_go_on_in_the_next_line_of_a_terminal():
    table = Table("t", ("name", "x"), (("a", "1"),), notes=("a sentence of several words " * 5,))
    lines = terminal(table, width=40).splitlines()
    assert max(map(len, lines)) <= 40 and " ".join(" ".join(lines).split()).count("sentence") == 5


def test_metrics_with_brackets_are_found_by_their_name():
    assert select_metrics(["a[1]"], ["a[1]", "a1"]) == ["a[1]"]


@pytest.fixture(scope="module")
def measured():
    arrays = make_arrays()
    arrays.pop("files")
    outputs = Outputs(TREE, **arrays, living=np.arange(7) < 5)
    return evaluate(outputs, bootstrap=20, temperature=2.0, on_request=list(ON_REQUEST))


def test_every_value_is_of_exactly_one_registered_measure(measured):
    for metric in measured["metric"]:
        name = split(metric)[-1]
        assert [row.name for row in MEASURES if row.matches(name)] == [describe(metric).name]


def test_every_registered_measure_is_computed(measured):
    found = {describe(metric).name for metric in measured["metric"]}
    assert found == {row.name for row in MEASURES}


def test_registered_measures_say_what_they_are():
    assert len({row.name for row in MEASURES}) == len(MEASURES)
    for row in MEASURES:
        assert row.direction in ("higher", "lower", None) and row.section in SECTIONS
        assert row.range and row.meaning.endswith(".") and len(row.meaning) > 20


def test_a_measure_that_is_not_registered_reaches_no_table(monkeypatch):
    with pytest.raises(ValueError, match="'my_own' is not registered: add its direction"):
        describe("my_own")
    strange = {"my_own": lambda outputs: Result(0.0, 1)}
    monkeypatch.setattr(suite, "METRICS", strange)
    labels = np.arange(7)
    vectors = np.random.default_rng(0).standard_normal((7, 3))
    outputs = Outputs(TREE, labels, np.eye(7), vectors, vectors, vectors)
    with pytest.raises(ValueError, match="'my_own' is not registered"):
        suite.evaluate(outputs)


@pytest.mark.parametrize(
    "metric, way",
    [
        ("accuracy", "higher"),
        ("prototype/accuracy@5", "higher"),
        ("crm/ahc", "lower"),
        ("severity_lca_height", "lower"),
        ("hp@5", "higher"),
        ("hp@5_set_size", None),
        ("ahs@250", "higher"),
        ("W/corr", "higher"),
        ("W/corr_p", None),
        ("P/corr_published_living", "higher"),
        ("W/upgma_rf", "lower"),
        ("W/rf_published", "lower"),
        ("wtd_macro", "lower"),
        ("ece_level@1", "lower"),
        ("majority/depth", None),
        ("prototype/majority/depth_excess", "lower"),
        ("my_own", None),
    ],
)
def test_directions_are_right(metric, way):
    assert direction(metric) == way


def test_one_runs_tables_show_every_measure_once(measured):
    tables = list(run_tables(measured))
    cells = sum(1 for table in tables for row in table.rows for cell in row[1:-1] if cell)
    assert cells == len(measured) and len({table.title for table in tables}) == len(tables)


def test_one_runs_tables_show_intervals_and_what_is_undefined(measured):
    accuracy = next(iter(run_tables(measured)))
    row = next(row for row in accuracy.rows if row[0].startswith("accuracy "))
    part = pd.DataFrame({"metric": ["accuracy"], "value": [2 / 3], "n": [3], "undefined": [0]})
    shown = next(run_tables(part.assign(lower=2 / 3, upper=2 / 3))).rows[0][1]
    assert shown == "0.6667 [0.6667, 0.6667]"  # not [0.667, 0.667], which does not hold it
    assert accuracy.columns[:2] == ("measure", "value") and row[-1] == "120"
    assert re.fullmatch(r"0\.\d{4} \[\d\.\d{4}, \d\.\d{4}\]", row[1])
    macro = next(row for row in accuracy.rows if row[0].startswith("macro_accuracy"))
    assert "(-1)" in macro[1] and macro[-1] == "6"  # class 0 does not occur


def test_a_measure_nobody_knows_is_shown_too():
    table = next(
        run_tables(
            pd.DataFrame({"metric": ["x/y/z"], "value": [np.nan], "n": [0], "undefined": [3]})
        )
    )
    assert table.rows == (("y/z", "– (-3)", "0"),)


def test_sections_follow_the_kind_of_measure():
    assert place("prototype/ahc") == ("distance in the tree", "prototype", "ahc")
    assert place("crm/hp@5")[1:] == ("crm", "hp@5") and place("ahp@250")[0] == "retrieval of images"
    assert place("calibrated/majority/depth") == ("backing off: majority", "calibrated", "depth")
    assert place("nc/W_deviation") == ("geometry", "value", "nc/W_deviation")


def test_a_tree_of_one_class_has_tables_too():
    arrays = make_arrays(Hierarchy.from_paths([("a",), ("b",)]), samples=3)
    arrays.pop("files")
    metrics = evaluate(Outputs(Hierarchy.from_paths([("a",), ("b",)]), **arrays))
    assert all(terminal(table) for table in run_tables(metrics))


def test_the_best_is_marked_only_among_rows_on_the_same_splits(tmp_path):
    for seed in (1, 2):
        write_run(tmp_path, "NormFace-euc", seed, {"accuracy": 0.5})
        write_run(tmp_path, "DR-euc", seed, {"accuracy": 0.6})
    write_run(tmp_path, "DR-euc-ema", 1, {"accuracy": 0.9}, split="other", ema=True)
    (table,) = summary_tables(summarise(read_record(tmp_path).values), ["accuracy"])
    assert table.best == {(1, 2)}
    notes = "\n".join(table.notes)
    assert "the seeds have different splits" in notes and ": NormFace, DR | DR-ema" in notes


def test_nothing_is_said_of_splits_that_all_rows_share(tmp_path):
    for name, accuracy in (("NormFace-euc", 0.5), ("DR-euc", 0.6)):
        for seed in (1, 2):
            write_run(tmp_path, name, seed, {"accuracy": accuracy}, split="same")
    (table,) = summary_tables(summarise(read_record(tmp_path).values), ["accuracy"])
    assert table.best == {(1, 2)} and not any("split" in note for note in table.notes)


def test_similarities_of_different_distances_have_no_best(tmp_path):
    for name, distance, value in (("DR-euc", "euc", 0.5), ("DR-arccos", "arccos", 0.6)):
        write_run(
            tmp_path,
            name,
            1,
            {"accuracy": value, "ahs@250": value},
            distance=distance,
            split="same",
        )
    summary = summarise(read_record(tmp_path).values)
    (table,) = summary_tables(summary, ["accuracy", "ahs@250"])
    assert table.best == {(0, 2)} and "DR-arccos: arccos, beta 1.0" in table.notes[-1]
    (table,) = summary_tables(summary, ["accuracy"])
    assert not any("HS" in note for note in table.notes)


def test_latex_keeps_comparison_signs_hyphens_and_brackets():
    text = LAYOUTS["latex"](
        Table("t", ("name", "x"), (('[a] <b>|"c"', "--d"),), notes=("use --compare A",))
    )
    assert (
        r"{[}a] \textless{}b\textgreater{}\textbar{}''c'' & -{}-d \\" in text
        and "Use -{}-compare A" in text
    )


def test_latex_has_minus_signs_before_numbers_and_hyphens_elsewhere():
    row = ("epochs-3 lr=1e-3", "-0.129 ±0.116", "[-0.948, -0.1]", "8.4e-04 (-0.5)", "–")
    columns = ("name", "a", "b", "p", "none")
    notes = ("p: two-sided", "n - 1 seeds", "mean of seeds")
    text = LAYOUTS["latex"](Table("t", columns, (row,), frozenset({(0, 1)}), notes))
    assert r"epochs-3 lr=1e-3 & \textbf{$-$0.129{\tiny$\pm$.116}} & {[}$-$0.948, $-$0.1] " in text
    assert r" & 8.4e-04 ($-$0.5) & -- \\" in text
    assert "t. p: two-sided. n - 1 seeds. Mean of seeds." in text


def test_a_number_that_rounds_to_nothing_has_no_sign():
    assert [number(value) for value in (-0.0004, 0.0, -0.0006)] == ["0.000", "0.000", "-0.001"]


def test_long_names_go_on_in_the_next_line_of_a_terminal_and_lose_nothing():
    name = "DR-euc-hierarchical-decay=0.9-mds_targets=path"
    lines = terminal(Table("t", ("method", "x"), ((name, "1.0"), ("b", "2.0"))), 50).splitlines()
    assert max(map(len, lines)) <= 50 and lines[3].startswith("DR-euc-hierarchical-")
    assert "".join(line[:22].strip() for line in lines[3:-1] if "b" not in line) == name
    assert lines[3].endswith("1.0") and lines[-1].split() == ["b", "2.0"]


@pytest.mark.parametrize(
    ("ends", "said"), [({}, ""), ({"lower": 0.4}, "95 % boot"), ({"lower": np.nan}, "of one group")]
)
def test_a_run_without_the_intervals_that_were_asked_for_says_why(ends, said):
    row = {"metric": "accuracy", "value": 0.5, "n": 9, "undefined": 0, **ends, "upper": 0.6}
    notes = " ".join(main_table(pd.DataFrame([row]), ["accuracy"]).notes)
    assert said in notes and ("interval" in notes) == bool(said)
