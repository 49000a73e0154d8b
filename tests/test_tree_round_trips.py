"""A tree that is written in a format reads as the same tree."""

import csv
import io
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hierarchies import Hierarchy, ranks, read_edges, read_tree, to_newick
from hierarchies.tree import format_path

KEYS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]),
    min_size=1,
    max_size=5,
).filter(lambda key: key == key.strip() and not ranks.is_empty(key) and key[0] not in "-.\ufeff")
PATHS = st.lists(
    st.lists(KEYS, min_size=1, max_size=4).map(tuple), min_size=2, max_size=6, unique=True
)


def as_table(rows):
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue()


def as_parents(tree):
    rows = [
        (f"n{v}", f"n{tree.parent[v]}" if v else "", tree.keys[v]) for v in range(tree.num_nodes)
    ]
    return as_table([("id", "parent", "name"), *rows])


def as_outline(tree):
    return "\n".join("--" * depth + key for depth, key in zip(tree.depth, tree.keys))


def as_edges(tree):
    return "\n".join(f"n{v} n{tree.parent[v]}" for v in range(1, tree.num_nodes))


WRITERS = {
    "paths": lambda tree: "\n".join(map(format_path, tree.class_paths)),
    "table": as_parents,
    "outline": as_outline,
    "json": lambda tree: json.dumps(tree.to_dict()),
    "newick": to_newick,
    "nexus": lambda tree: f"#NEXUS\nbegin trees;\ntree t = [&R] {to_newick(tree)}end;\n",
}


@pytest.mark.parametrize("format", WRITERS)
@given(paths=PATHS)
def test_a_written_tree_is_read_back(tmp_path, format, paths):
    # two groups at the top, so that no common first key becomes the root
    paths = [("one", *path) for path in paths] + [("two",)]
    classes = [path for path in paths if not any(p[: len(path)] == path != p for p in paths)]
    tree = Hierarchy.from_paths(classes)
    assume(format != "table" or "name" not in tree.keys)  # the title of its column: refused
    (tmp_path / "tree.some").write_text(WRITERS[format](tree), encoding="utf-8", newline="")
    found = read_tree(tmp_path / "tree.some", format).hierarchy
    assert sorted(found.class_paths) == sorted(classes)
    if format in ("paths", "json"):
        assert found == tree  # in class order, too
    else:
        assert found.class_paths == tuple(tree.class_paths[c] for c in tree.leaf_order)


@given(paths=PATHS)
def test_edges_with_a_file_of_names_are_read_back(tmp_path, paths):
    classes = [path for path in paths if not any(p[: len(path)] == path != p for p in paths)]
    tree = Hierarchy.from_paths(classes)
    (tmp_path / "t.edges").write_text(as_edges(tree), encoding="utf-8")
    names = "\n".join(f"n{v} {key}" for v, key in enumerate(tree.keys))
    (tmp_path / "t.names").write_text(names, encoding="utf-8", newline="")
    found = read_edges(tmp_path / "t.edges", tmp_path / "t.names")
    assert found.parent.tolist() == tree.parent.tolist() and found.names == tree.keys
