"""Readers of hierarchy files: each format, its faults, and the check against the classes of the
data.
"""

import json

import pytest
from trees import PATHS, TREE

from hierarchies import Hierarchy, check_same_classes, read_edges, read_tree

SMALL = (("a", "x"), ("a", "y"), ("b",))
WRITTEN = {
    "paths": "a/x\na/y\nb\n",
    "table": "path\na/x\na/y\nb\n",
    "edges": "x a\ny a\na 0\nb 0\n",
    "outline": "top\n--a\n----x\n----y\n--b\n",
    "json": '{"a": ["x", "y"],\n "b": {}}\n',
    "newick": "((x,\ny)a,b)top;\n",
    "nexus": "#NEXUS\nbegin trees;\ntree t = ((x,\ny)a,b)top;\nend;\n",
}
SUFFIX = {
    "paths": "txt",
    "table": "csv",
    "edges": "edges",
    "outline": "outline",
    "json": "json",
    "newick": "nwk",
    "nexus": "nex",
}


@pytest.fixture
def read(tmp_path):
    def read(content, format, **options):
        file = tmp_path / "tree.some"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_tree(file, format, **options).hierarchy

    return read


@pytest.mark.parametrize("format", WRITTEN)
def test_every_format_gives_the_same_small_tree(read, format):
    assert read(WRITTEN[format], format).class_paths == SMALL


@pytest.mark.parametrize("format", WRITTEN)
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: "\ufeff" + text,
        lambda text: text + "\n\n",
    ],
    ids=["no final newline", "CRLF", "CR", "byte order mark", "blank lines"],
)
def test_line_ends_and_byte_order_marks_do_not_matter(read, format, change):
    assert read(change(WRITTEN[format]), format).class_paths == SMALL


@pytest.mark.parametrize("format", WRITTEN)
def test_the_suffix_tells_the_format(tmp_path, format):
    file = tmp_path / f"tree.{SUFFIX[format].upper()}"
    file.write_text(WRITTEN[format])
    assert read_tree(file).hierarchy.class_paths == SMALL


def test_unknown_formats_and_suffixes_are_refused(tmp_path):
    (tmp_path / "tree.xyz").write_text("a\nb\n")
    with pytest.raises(
        ValueError, match="tree.xyz: the suffix tells no format.*--hierarchy_format: paths, table"
    ):
        read_tree(tmp_path / "tree.xyz")
    with pytest.raises(ValueError, match="format must be one of paths, .* got 'xml'"):
        read_tree(tmp_path / "tree.xyz", "xml")
    with pytest.raises(FileNotFoundError):
        read_tree(tmp_path / "none.txt")


def test_a_text_file_of_edges_or_an_outline_is_not_taken_for_paths(tmp_path):
    (tmp_path / "hierarchy.txt").write_text("a 0\nb 0\n")
    with pytest.raises(ValueError, match="no line has a '/'.*--hierarchy_format"):
        read_tree(tmp_path / "hierarchy.txt")
    assert read_tree(tmp_path / "hierarchy.txt", "edges").hierarchy.class_paths == (("a",), ("b",))
    assert read_tree(tmp_path / "hierarchy.txt", "paths").hierarchy.num_classes == 2
    (tmp_path / "hierarchy.txt").write_text("10 0\n9 0\n")
    assert read_tree(tmp_path / "hierarchy.txt").hierarchy.class_paths == (("9",), ("10",))


def test_paths_share_their_first_key_as_the_root_or_have_none(read):
    tree = read("animal/bird/owl\nanimal/cat\n", "paths")
    assert tree.class_paths == (("bird", "owl"), ("cat",)) and tree.names[0] == "animal"
    assert read("animal\nplant/tree\n", "paths").names[0] == "root"
    assert read("a\na/b\n", "paths", self_leaves=True).class_paths == (("a", "."), ("a", "b"))
    assert read("a\n", "paths").class_paths == (("a",),)


def test_slashes_within_names_and_blanks_around_them(read):
    assert read("a\\/b / c \\\\ \nd\n", "paths").class_paths == (("a/b", "c \\"), ("d",))


def test_a_table_of_levels_leaves_the_last_cells_of_shallow_classes_empty(read):
    tree = read('kingdom,class,order,species\nA,B,C,"d, e"\nA,B,f,\nG,,,\n', "table")
    assert tree.class_paths == (("A", "B", "C", "d, e"), ("A", "B", "f"), ("G",))


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_column_class_gives_names_to_show_and_no_keys(read, mark):
    rows = [["class", "path"], ["Cat (tame)", "A/n01"], ["", "A/n02"], ["Fern", "P/n01"]]
    tree = read("\n".join(mark.join(row) for row in rows), "table")
    assert tree.class_paths == (("A", "n01"), ("A", "n02"), ("P", "n01"))
    assert tree.class_names == ("Cat (tame)", "n02", "Fern")
    rows = [["top", "low", "class"], ["A", "1", "one"], ["B", "2", "two"]]
    levels = read("\n".join(mark.join(row) for row in rows), "table")
    assert levels.class_paths == (("A", "1"), ("B", "2")) and levels.class_names == ("one", "two")


def test_names_follow_when_the_common_root_is_taken_off(read):
    tree = read("path,class\nr/a,one\nr/b/c,two\n", "table")
    assert tree.class_paths == (("a",), ("b", "c")) and tree.class_names == ("one", "two")


def test_nabirds_files_give_ids_as_keys_in_the_order_of_numbers(tmp_path):
    (tmp_path / "hierarchy.txt").write_text("10 2\n9 2\n2 0\n1 0\n295 1\n")
    (tmp_path / "classes.txt").write_text(
        "0 Birds\n1 Ducks, Geese, and Swans\n2 Hawks\n9 Black-legged Kittiwake (Adult)\n10 Wilson's"
        " X/Y\n295 A\n"
    )
    tree = read_edges(tmp_path / "hierarchy.txt", tmp_path / "classes.txt")
    assert tree.class_paths == (("2", "9"), ("2", "10"), ("1", "295"))
    assert tree.class_names == ("Black-legged Kittiwake (Adult)", "Wilson's X/Y", "A")
    assert (
        tree.names[0] == "Birds"
        and tree.names[tree.parent[tree.leaves[2]]] == "Ducks, Geese, and Swans"
    )
    collapsed = read_edges(tmp_path / "hierarchy.txt").collapse()
    assert (
        collapsed.class_paths == (("2", "9"), ("2", "10"), ("1/295",))
        and collapsed.class_names[0] == "9"
    )


def test_edges_with_other_ids_keep_the_order_of_their_lines(read):
    assert read("z r\n10 r\n9 r\n", "edges").class_paths == (("z",), ("10",), ("9",))


@pytest.mark.parametrize(
    "content, paths, root",
    [
        ({"r": {"a": {"x": {}, "y": None}, "b": []}}, (("a", "x"), ("a", "y"), ("b",)), "r"),
        ({"a": {"x": {}}, "b": {}}, (("a", "x"), ("b",)), "root"),
        (
            {"name": "r", "n": 3, "children": [{"name": "a", "children": ["x"]}, {"name": "b"}]},
            (("a", "x"), ("b",)),
            "r",
        ),
        ([{"a": ["x", {"z": ["q"]}]}, "b"], (("a", "x"), ("a", "z", "q"), ("b",)), "root"),
        ({"name": {"children": {}}, "children": {}}, (("name", "children"), ("children",)), "root"),
        ({"a": {}}, (("a",),), "root"),
        (TREE.to_dict(), tuple(PATHS), "root"),
    ],
)
def test_json_of_all_forms(read, content, paths, root):
    tree = read(json.dumps(content), "json")
    assert tree.class_paths == paths and tree.names[0] == root


def test_the_json_of_a_run_keeps_its_shown_names(read):
    tree = Hierarchy.from_paths(PATHS, names={("A",): "Animals", ("C",): "Cells"}, root="life")
    assert read(json.dumps(tree.to_dict()), "json").names == tree.names


def test_newick_with_quotes_comments_lengths_and_nodes_without_names(read):
    first = "('it''s; (quoted)':1e-3[&&NHX:S=x],Homo sapiens:2.,under_score)[c]:0.1"
    tree = read(f"[first]({first},(b,(node1))node3:-1)\n'the root':0;\n", "newick")
    assert tree.class_paths == (
        ("node2", "it's; (quoted)"),
        ("node2", "Homo sapiens"),
        ("node2", "under_score"),
        ("node3", "b"),
        ("node3", "node4", "node1"),
    )
    assert tree.names[0] == "the root"


def test_deep_trees_hit_no_recursion_limit(read):
    depth = 1900  # the limit of recursion is 1000
    for format, text in [
        ("newick", "(" * depth + "x" + ")" * depth + ";"),
        ("outline", "r\n" + "\n".join("--" * d + f"n{d}" for d in range(1, depth + 1))),
        ("paths", "r/" + "/".join(f"n{d}" for d in range(depth)) + "\nr/x"),
        ("edges", "\n".join(f"{d + 1} {d}" for d in range(depth))),
    ]:
        assert read(text, format).max_depth == depth
    assert read('{"n": ' * 300 + "{}" + "}" * 300, "json").max_depth == 299
    with pytest.raises(ValueError, match="nested too deeply"):
        read('{"n": ' * 200000 + "{}" + "}" * 200000, "json")


@pytest.mark.parametrize("format", WRITTEN)
def test_collapsing_while_reading_is_collapsing_afterwards(read, format):
    chain = {
        "paths": "r/a/b/x\nr/c\n",
        "table": "k,l,m\na,b,x\nc,,\n",
        "edges": "x b\nb a\na 0\nc 0\n",
        "outline": "r\n--a\n----b\n------x\n--c\n",
        "json": '{"a": {"b": ["x"]}, "c": {}}',
        "newick": "(((x)b)a,c);",
        "nexus": "#NEXUS begin trees; tree t = (((x)b)a,c); end;",
    }[format]
    assert read(chain, format).collapse().class_paths == (("a/b/x",), ("c",))


def test_the_same_classes_are_matched_by_path_or_by_last_key():
    found = check_same_classes(TREE, ["x", "C", "A2a", "A1", "A2b", "z", "y"], "the folders")
    assert found.tolist() == [2, 0, 1, 3, 4, 6, 5]
    found = check_same_classes(TREE, [list(path) for path in PATHS[::-1]], "the folders")
    assert found.tolist() == [6, 5, 4, 3, 2, 1, 0]
    own = Hierarchy.from_paths([("T", "furca"), ("T", "furca", "two")], self_leaves=True)
    assert check_same_classes(own, ["two", "furca"], "the folders").tolist() == [1, 0]
    assert check_same_classes(
        own, [("T", "furca", "two"), ("T", "furca")], "the folders"
    ).tolist() == [1, 0]


def test_classes_missing_on_either_side_are_listed():
    with pytest.raises(
        ValueError, match="only in the hierarchy: 'z'; only in train/: 'Q'; rename them"
    ):
        check_same_classes(TREE, ["C", "A2a", "x", "A1", "A2b", "y", "Q"], "train/")
    with pytest.raises(
        ValueError,
        match=r"only in the hierarchy: 'A/A2/A2a', .* and 3 more; only in train/: none",
    ):
        check_same_classes(TREE, [("C",)], "train/")
    with pytest.raises(ValueError, match="'C' comes more than once in train/"):
        check_same_classes(TREE, ["C", "C"], "train/")
    twice = Hierarchy.from_paths([("a", "x"), ("b", "x")])
    with pytest.raises(
        ValueError, match="'x' comes more than once in the hierarchy; tell the classes apart"
    ):
        check_same_classes(twice, ["x"], "train/")
    assert check_same_classes(twice, [("b", "x"), ("a", "x")], "train/").tolist() == [1, 0]
