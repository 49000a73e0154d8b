"""What runs of several class trees are called in one report."""

from recorded import run_main, write_run
from trees import TREE

import evaluate
from hierarchies import Hierarchy
from reports.compared import read_comparison
from reports.titles import group_titles
from runs.records import read_record, run_folders

PAIRS = Hierarchy.from_paths([("a", "x"), ("a", "y"), ("b", "z"), ("b", "u")])
OTHER_PAIRS = Hierarchy.from_paths([("a", "x"), ("a", "z"), ("b", "y"), ("b", "u")])
FLAT = Hierarchy.from_paths([("x",), ("y",), ("z",), ("u",)])


def titles(record):
    found = read_record(record)
    named = group_titles(found.values, found.options)
    return {digest: title for (_, digest), title in named.items()}


def test_a_tree_is_called_by_its_size_and_by_what_tells_it_apart(tmp_path):
    write_run(tmp_path / "a", "DR-euc", 1, {"accuracy": 0.5}, tree=PAIRS)
    alone = titles(tmp_path)[PAIRS.digest]
    assert alone == ("demo, 4 classes, 2 superclasses, 2 levels", "demo")
    write_run(tmp_path / "b", "DR-euc", 1, {"accuracy": 0.5}, tree=FLAT, hierarchy="/far/flat.txt")
    both = titles(tmp_path)
    assert both[PAIRS.digest] == (alone.full, "demo, 2 superclasses, 2 levels")
    assert both[FLAT.digest].full == ("demo, 4 classes, 0 superclasses, 1 level, from flat.txt")
    assert both[FLAT.digest].short == "demo, 0 superclasses, 1 level, from flat.txt"


def test_a_digest_tells_only_what_nothing_else_tells(tmp_path):
    for name, tree in (("a", PAIRS), ("b", OTHER_PAIRS)):
        write_run(tmp_path / name, "DR-euc", 1, {"accuracy": 0.5}, tree=tree)
    for digest, title in titles(tmp_path).items():
        assert title.short == f"demo, tree {digest[:8]}"
        assert title.full == f"demo, 4 classes, 2 superclasses, 2 levels, tree {digest[:8]}"
    run = write_run(tmp_path / "c", "DR-euc", 1, {"accuracy": 0.5})
    (run.folder / "hierarchy.json").unlink()
    assert titles(tmp_path)[TREE.digest].full == f"demo, tree {TREE.digest[:8]}"


def test_an_option_names_a_tree_only_where_all_its_rows_have_it(tmp_path):
    options = {"collapse": True, "levels": ["order", "genus"]}
    write_run(tmp_path, "DR-euc", 1, {"accuracy": 0.5}, tree=PAIRS, **options)
    full = titles(tmp_path)[PAIRS.digest].full
    assert full.endswith("2 levels, --levels order genus, --collapse")
    write_run(tmp_path, "NormFace-euc", 1, {"accuracy": 0.5}, tree=PAIRS)
    assert titles(tmp_path)[PAIRS.digest].full.endswith("2 levels")


def test_pages_and_tables_are_titled_so(tmp_path, capsys):
    for name, tree in (("a", PAIRS), ("b", FLAT)):
        write_run(tmp_path / name, "DR-euc", 1, {"accuracy": 0.5}, tree=tree)
        write_run(tmp_path / name, "NormFace-euc", 1, {"accuracy": 0.5}, tree=tree)
    compared = read_comparison(tmp_path, run_folders(tmp_path), None)
    assert {group.title.short for group in compared.groups} == {
        "demo, 2 superclasses, 2 levels",
        "demo, 0 superclasses, 1 level",
    }
    argv = ("--record", tmp_path, "--compare", "NormFace", "DR")
    _, out, _ = run_main(evaluate.main, capsys, *argv)
    assert "demo, 4 classes, 2 superclasses, 2 levels\n" in out
    assert "demo, 0 superclasses, 1 level: DR against NormFace\n" in out
    assert PAIRS.digest[:8] not in out
