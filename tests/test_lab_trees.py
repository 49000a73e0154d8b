"""Class trees as people have them: words in the place of ranks, numbered rows, repeated lines."""

import unicodedata

import pytest
from images import make_folder

from data.folder import living_classes
from hierarchies import read_tree, scan_folders
from hierarchies.naming import node_named


@pytest.fixture
def tree_of(tmp_path):
    def read(content, name="tree.csv", **options):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_tree(tmp_path / name, self_leaves=True, **options)

    return read


@pytest.mark.parametrize("word", ["-", "?", "#N/A", "Unknown", "incertae  sedis", "not_assigned"])
def test_a_word_for_a_rank_that_is_not_known_makes_no_group(tree_of, word):
    tree, notes = tree_of(
        f"order,family,genus,label\nCalanoida,{word},{word},a\nCalanoida,{word},{word},b\n"
        f"Cyclopoida,Oithonidae,{word},c\nunassigned,F,G,d\n"
    )
    assert tree.class_paths == (
        ("Calanoida", "a"),
        ("Calanoida", "b"),
        ("Cyclopoida", "Oithonidae", "c"),
        ("F", "G", "d"),
    )
    assert any("'unassigned'" in note and "counts as empty" in note for note in notes)


def test_a_class_may_be_called_unknown_and_so_may_a_group_that_is_no_rank(tree_of):
    tree = tree_of("order,genus\nCalanoida,unknown\nCalanoida,Calanus\nx,y\n").hierarchy
    assert tree.class_paths[0] == ("Calanoida", "unknown")
    tree = tree_of("group,kind\nunknown,dark\nunknown,blurred\nalive,Calanus\n").hierarchy
    assert tree.class_paths[:2] == (("unknown", "dark"), ("unknown", "blurred"))


def test_a_first_column_without_a_title_that_numbers_the_rows_is_no_level(tree_of):
    tree = tree_of(",group,kind\n0,A,a\n1,A,b\n2,B,c\n").hierarchy
    assert tree.class_paths == (("A", "a"), ("A", "b"), ("B", "c"))
    with pytest.raises(ValueError, match="every column a name"):
        tree_of(",group,kind\nx,A,a\ny,A,b\n")


@pytest.mark.parametrize(
    "name, text",
    [
        ("t.csv", "order,genus\nA,a\nA,b\nA,a\nB,c\n"),
        ("t.paths", "A/a\nA/b\nA/a\nB/c\n"),
        ("t.csv", "child,parent\nA,r\na,A\nb,A\na,A\nB,r\nc,B\n"),
        ("t.edges", "A r\na A\nb A\na A\nB r\nc B\n"),
    ],
)
def test_a_line_that_says_the_same_again_counts_once(tree_of, name, text):
    tree, notes = tree_of(text, name)
    assert tree.class_paths == (("A", "a"), ("A", "b"), ("B", "c"))
    assert name == "t.edges" or any(note.endswith("count once") for note in notes)


def test_ids_of_parents_that_pandas_wrote_as_floats_are_those_of_the_nodes(tree_of):
    tree = tree_of("id,parent_id,name\n1,,A\n2,1.0,a\n3,1.0,b\n4,,B\n5,4.0,c\n").hierarchy
    assert tree.class_paths == (("A", "a"), ("A", "b"), ("B", "c"))


def test_the_first_row_of_untitled_edges_counts_though_its_child_is_no_child_again(tree_of):
    tree = tree_of("Copepoda;living\nCalanus;Copepoda\nOithona;Copepoda\nDiatom;living\n").hierarchy
    assert tree.class_paths == (("Copepoda", "Calanus"), ("Copepoda", "Oithona"), ("Diatom",))


def test_paths_as_find_and_people_write_them(tree_of):
    assert tree_of("A/a/\nA/b/\n/B/c\n", "t.txt").hierarchy.class_paths == (
        ("A", "a"),
        ("A", "b"),
        ("B", "c"),
    )
    tree = tree_of("x -> A -> a\nx -> A -> b\nx -> B -> c-\n", "t.txt").hierarchy
    assert tree.class_paths == (("A", "a"), ("A", "b"), ("B", "c-"))


@pytest.mark.parametrize(
    "text",
    [
        "life\n  A\n    a\n    b\n  B\n    c\n",
        "life\n\tA\n\t\ta\n\t\tb\n\tB\n\t\tc\n",
        "A\n  a\n  b\nB\n  c\n",
        "- life\n  - A\n    - a\n    - b\n  - B\n    - c\n",
        "life:\n  A:\n  - a\n  - b\n  B:\n  - c\n",
        ".\n├── A\n│   ├── a\n│   └── b\n└── B\n    └── c\n\n3 directories, 0 files\n",
        "life\n|-- A\n|   |-- a\n|   `-- b\n`-- B\n    `-- c\n",
        "life [kingdom]\n A [class]\n  a [species]\n   =x, 1872 [species]\n  b [species]\n"
        " B [class]\n  c [species]\n",
        "life -> A\nlife -> B\nA -> a\nA -> b\nB -> c\n",
        "B > c\nA > a\nA > b\n",  # paths
    ],
)
def test_indented_lists_and_arrows_are_trees(tree_of, text):
    paths = tree_of(text, "t.txt").hierarchy.class_paths
    assert sorted(paths) == [("A", "a"), ("A", "b"), ("B", "c")]


@pytest.mark.parametrize(
    "rows",
    [
        "order,family\nA,\n,a\n,b\nB,\n,a\n",  # names may come again elsewhere
        "depth,name\n0,A\n1,a\n1,b\n0,B\n1,a\n",
        "taxon,Level\nlife,1\nA,2\na,3\nb,3\nB,2\na,3\n",
        "one,Baum\nx,A > a\ny,A > b\nz,B > a\n",
        "Feature ID\tTaxon\nx\tk__A; p__a\ny\tk__A; p__b\nz\tk__B; p__a\n",
        "class,lineage\na,life>A\nb,life>A\na,life>B\n",
    ],
)
def test_tables_of_steps_or_of_paths_under_any_title_are_trees(tree_of, rows):
    paths = tree_of(rows).hierarchy.class_paths
    keys = [tuple(key.split("__")[-1] for key in path) for path in paths]
    assert keys == [("A", "a"), ("A", "b"), ("B", "a")]


def test_sizes_with_a_sign_before_them_are_no_paths(tree_of):
    rows = "size,thing\n>200 um,a\n>60 um,b\n<60 um,c\n"
    assert tree_of(rows).hierarchy.class_paths[0] == (">200 um", "a")


def test_steps_that_skip_a_column_are_none(tree_of):
    assert tree_of("a,b,c\nA,,\n,,x\n,,y\n").hierarchy.max_depth == 1
    for depths in ("131", "112"):  # these are of groups, one after the other
        rows = "".join(f"{depth},{name}\n" for depth, name in zip(depths, "xyz"))
        assert tree_of(f"level,name\n{rows}").hierarchy.class_paths[0] == ("1", "x")
    with pytest.raises(
        ValueError, match="'A/B' comes twice.* title the column of its name 'label'"
    ):
        tree_of("path,x\nA/B,1\nA/B,2\nC,3\n")


@pytest.mark.parametrize("titles", ["Source,Target,Type", "From,To,Weight"])
def test_tables_of_edges_may_have_other_columns(tree_of, titles):
    rows = "life,A,1\nlife,B,1\nA,a,1\nA,b,1\nB,c,1\n"
    assert tree_of(f"{titles}\n{rows}").hierarchy.class_paths == (
        ("A", "a"),
        ("A", "b"),
        ("B", "c"),
    )


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("t.dot", b'digraph G {\n  "A" -> "a";\n}\n', "parent -> child"),
        ("t.txt", b"life\n    A\n  b\n    c\n", "line 3: 'b' stands further in"),
        ("t.nwk", b"<?xml version='1.0'?><phyloxml/>", "is XML or HTML"),
        ("t.csv", b"\n<!DOCTYPE html><html>", "a download that failed"),
        ("t.csv", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("t.csv", "family,species\nA,a\nA,b\n".encode("utf-16-le"), "UTF-16 without its mark"),
        ("t.csv", b"# my tree\nfamily,genus\nA,a\n", "line 2: .* must be the titles"),
        ("t.edges", b"Calanus f Copepoda\n", "names with blanks need a tab"),
        ("t.json", b'[{"id": 1, "parent": null, "name": "a"}]', "columns id, parent and name"),
        ("t.json", b'{"images": [], "annotations": [], "categories": []}', "give it as --table"),
        ("t.json", b'{"Calanus": "Copepoda"}', "a table .CSV. with a column for each rank"),
        ("t.nwk", b"((a:0,1,b:0,2)x,c);", "'1' behind a ',' .* decimals written with commas"),
        ("t.nwk", b"((M\xc3\xbcller's_x,b)x,c);", "a name with an apostrophe"),
        ("t.nwk", b"((a,b),c)", "if the file is whole, add it"),
        ("t.nwk", b"", "the file is empty"),
        ("t.txt", b"{\\rtf1 A/a}", "save it as plain text"),
        ("t.csv", b"SQLite format 3\0", "export the table as CSV UTF-8"),
        ("t.mat", b"MATLAB 5.0 MAT-file, Platform", "a file of MATLAB: save the table as CSV"),
        ("t.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file: save the table as CSV"),
        ("t.csv", b"PAR1\x15", "scripts/unpack.py makes files and a table"),
        (
            "t.json",
            b"family,species\nA,a\n",
            "does not begin as a file of json .*--hierarchy_format",
        ),
        ("t.nwk", b"family,species\nA,a\n", "does not begin as a file of newick"),
    ],
)
def test_files_of_another_kind_are_refused_with_a_way_out(tree_of, name, content, message):
    with pytest.raises(ValueError, match=message):
        tree_of(content, name)


def test_numbers_as_names_are_no_decimals_where_all_are_in_quotes_or_with_lengths(tree_of):
    assert tree_of("((1:1,2:1)x:1,3:1);", "t.nwk").hierarchy.num_classes == 3
    assert tree_of("((a:1,'2':1)x:1,b);", "t.nwk").hierarchy.num_classes == 3
    assert tree_of("((a:1,2:1)x:1,b:1);", "t.nwk").hierarchy.num_classes == 3  # has a length


def test_a_comma_behind_the_last_entry_of_translate_is_passed_over(tree_of):
    text = (
        "#NEXUS\nbegin trees;\ntranslate\n1 Calanus,\n2 Oithona,\n;\ntree t = ((1,2)x,c);\nend;\n"
    )
    assert tree_of(text, "t.nex").hierarchy.class_names == ("Calanus", "Oithona", "c")


@pytest.mark.parametrize(
    "title, cells",
    [("lineage", ["A>X", "A>X", "A>Y"]), ("higherClassification", "A|X A|Y A|Z".split())],
)
def test_a_lineage_that_ends_above_the_taxon_is_followed_by_its_name(tree_of, title, cells):
    rows = "".join(f"{name},{cell}\n" for name, cell in zip("abc", cells))
    tree = tree_of(f"scientificName,{title}\n{rows}").hierarchy
    assert [path[-1] for path in tree.class_paths] == ["a", "b", "c"] and tree.names[0] == "A"


def test_a_lineage_that_ends_with_the_taxon_is_not_followed_by_its_name(tree_of):
    rows = "a,R|A|a\nb,R|A|b\nc,R|C\n"
    tree = tree_of(f"scientificName,higherClassification\n{rows}").hierarchy
    assert tree.class_paths == (("A", "a"), ("A", "b"), ("C", "c"))


def test_a_path_may_begin_with_a_bracket_and_a_list_of_nested_nodes_name_their_parent(tree_of):
    tree = tree_of("[A]/a\n[A]/b\n[B]/[c]\n", "t.paths").hierarchy
    assert tree.class_paths[2] == ("[B]", "[c]")
    nested = (
        '[{"name": "A", "parent": null, "children": ["a", "b"]}, {"name": "c", "parent": null}]'
    )
    assert tree_of(nested, "t.json").hierarchy.class_names == ("a", "b", "c")


def test_two_ranks_say_more_than_a_lineage_beside_them(tree_of):
    tree = tree_of("lineage,family,genus\nx>a,F,a\nx>b,F,b\ny>c,G,c\n").hierarchy
    assert tree.class_paths == (("F", "a"), ("F", "b"), ("G", "c"))


def test_strains_are_called_by_numbers(tree_of):
    tree = tree_of("genus,species,strain\nA,x,1335\nA,x,1336\nB,y,7\n").hierarchy
    assert tree.class_names == ("1335", "1336", "7")


def test_a_column_order_of_numbers_is_no_rank(tree_of):
    tree = tree_of("order,family,species\n1,A,a\n2,A,b\n3,B,c\n").hierarchy
    assert tree.class_paths == (("A", "a"), ("A", "b"), ("B", "c"))


def test_names_that_are_typed_fit_folders_of_a_mac(tmp_path):
    mac = unicodedata.normalize("NFD", "Zoé")
    for name in (f"{mac}/a", f"{mac}/b", "x/c"):
        make_folder(tmp_path, {name: 4})
    tree = scan_folders(tmp_path).hierarchy
    assert tree.path(node_named(tree, "Zoé", "--hold_out")) == (mac,)
    assert tree.path(node_named(tree, "Zoé/b", "--hold_out")) == (mac, "b")
    assert scan_folders(tmp_path, exclude=["Zoé/a"]).hierarchy.num_classes == 2
    assert living_classes(tree, ["Zoé"]).tolist() == [False, False, True]


def test_an_error_of_a_formula_is_an_empty_cell(tree_of):
    tree = tree_of("order,family,species\nA,#REF!,a\nA,F,b\nB,#N/A,c\n").hierarchy
    assert tree.class_paths == (("A", "a"), ("A", "F", "b"), ("B", "c"))


@pytest.mark.parametrize(
    "text",
    [
        "((a,b)A,c);",
        '{"A": ["a", "b"], "B": ["c"]}',
        "#NEXUS\nbegin trees; tree t=((a,b)A,c); end;",
    ],
)
def test_what_a_file_is_counts_before_what_it_is_called(tree_of, text):
    tree = tree_of(text, "t.csv").hierarchy
    assert tree.class_names == ("a", "b", "c") and tree.class_paths[0] == ("A", "a")


def test_letters_that_nobody_sees_do_not_count(tree_of):
    tree = tree_of("\ufeff\ufefffamily,species\nA\u200b,a\nA,\u2060b\nB,c\n").hierarchy
    assert tree.class_paths == (("A", "a"), ("A", "b"), ("B", "c"))
    assert tree.rank_names == ("family", "species")


def test_a_parent_without_a_row_beside_tops_that_have_one_is_noted(tree_of):
    tree, notes = tree_of("name,parent\nCop,\na,Cop\nb,Copp\nc,Cop\n")
    assert tree.num_classes == 3 and any("'Copp'" in note for note in notes)
    assert not any("no row" in note for note in tree_of("child,parent\na,A\nb,A\nc,B\n").notes)
