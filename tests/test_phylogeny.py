"""Newick and NEXUS as tree programs write them: supports, repeated names, quotes, annotations."""

import pytest
from test_readers import read  # noqa: F401

from hierarchies import read_tree

NEXUS = """\
#NEXUS
[written by a tree program]
Begin taxa;
  Dimensions ntax=3;
  Taxlabels Calanus_f 'Oithona s' "Temora";
End;
BEGIN TREES;
  Translate
    1 Calanus_f,
    2 'Oithona s',
    3 "Temora longicornis"
    ;
  tree TREE1 [&lnP=-34.5] = [&R] ((1[&rate=1.0,height_95%_HPD={0.1,0.2}]:0.1,2:2.0E-1)
    [&posterior=1.0]:[&r=2]0.3,3:1e-5);
End;
"""


@pytest.fixture
def tree_of(tmp_path):
    def tree_of(text, name="tree.nwk"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_tree(tmp_path / name)

    return tree_of


def written(tree):
    return ["/".join(path) for path in tree.class_paths]


@pytest.mark.parametrize(
    "text",
    [
        "((a,b)100,(c,d)100);",
        "((a:1,b:2)0.98:0.1,(c,d)1e-2:3)1;",
        "((a,b)95/0.99,(c,d)/87.5);".replace("/87", "87"),
        "((a,b)100,(c,d)7)100.0:0;",
    ],
)
def test_supports_are_not_names(tree_of, text):
    tree, notes = tree_of(text)
    assert written(tree) == ["node1/a", "node1/b", "node2/c", "node2/d"]
    assert tree.names[0] == "root"
    assert "inner nodes are labelled with a number" in notes[0]


def test_numbers_are_names_where_classes_are_numbers_too(tree_of):
    assert tree_of("((1,2)9605,(3,4)9606);")[0].class_paths[0] == ("9605", "1")
    assert tree_of("((a,b)'9605',(c,d)9606);")[0].class_paths[::2] == (
        ("9605", "a"),
        ("node1", "c"),
    )


def test_numbers_of_the_open_tree_are_not_parts_of_names(tree_of):
    text = "((C_f_ott12,C_h_ott13)Calanus_ott1,('O s ott3',T_ott4)mrcaott3ott4)Life_ott5;"
    tree, (note,) = tree_of(text)
    assert written(tree) == ["Calanus/C_f", "Calanus/C_h", "node1/O s", "node1/T"]
    assert tree.names[0] == "Life" and "such as in 'C_f_ott12'" in note
    for text in ("((a_ott1,a_ott2)b,c_ott3);", "((a_ott1,b)c_ott2,d_ott3);"):  # one name, or none
        assert "a_ott1" in written(tree_of(text)[0])[0]


def test_repeated_inner_names_are_told_apart(tree_of):
    tree, (note,) = tree_of("((a,b)Unknown,(c,d)Unknown,(e,f)Unknown,(g,h)'Unknown 2');")
    assert written(tree)[::2] == ["Unknown/a", "Unknown 3/c", "Unknown 4/e", "Unknown 2/g"]
    assert "2 inner nodes with the name of a sibling" in note and "'Unknown 3'" in note
    tree, notes = tree_of("(a,(b,c)a);")
    assert written(tree) == ["a", "a 2/b", "a 2/c"]
    tree, (note,) = tree_of("(((a,b)X)p,((c,d)X)q);")  # not siblings: told apart by their paths
    assert tree.class_paths[2] == ("q", "X", "c") and "'X' is 'p/X' and 'q/X'" in note


def test_double_quotes_hold_a_name_together(tree_of):
    tree, notes = tree_of('(("A b","C, d")x,(e,"f ""g"" (h)")y);')
    assert tree.class_paths == (("x", "A b"), ("x", "C, d"), ("y", "e"), ("y", 'f "g" (h)'))
    assert notes == ()


@pytest.mark.parametrize("name", ["tree.nex", "tree.tre", "tree.txt", "tree.nexus", "tree"])
def test_nexus_is_known_by_its_first_word(tree_of, name):
    tree, _ = tree_of(NEXUS, name)
    assert tree.class_paths == (
        ("node1", "Calanus_f"),
        ("node1", "Oithona s"),
        ("Temora longicornis",),
    )


@pytest.mark.parametrize("name", ["tree.txt", "tree.dat", "tree"])
def test_newick_is_known_by_its_brackets(tree_of, name):
    assert written(tree_of("[&R] ((a,b)x,(c,d)y);\n", name)[0])[3] == "y/d"


@pytest.mark.parametrize(
    "text, message",
    [
        ("#NEXUS\nbegin data; matrix x; end;", "there is no tree in this NEXUS file"),
        ("#NEXUS\nbegin trees;\ntree a=(b,c);\ntree d=(b,c);\nend;", "line 4: a second tree; .* 2"),
        ("#NEXUS\nbegin trees;\ntree a (b,c);\nend;", "line 3: expected 'tree name ="),
        ("#NEXUS\nbegin trees;\ntree a=((b,c);\nend;", "line 3: ';' is out of place: fewer"),
        ("#NEXUS\nbegin trees;\ntranslate a b c, d;\nend;", "line 3: TRANSLATE: expected a label"),
        ("#NEXUS\nbegin trees;\ntree 'a=(b,c);\nend;", "line 3: a quote or a comment"),
    ],
)
def test_faults_of_nexus_are_named(tree_of, text, message):
    with pytest.raises(ValueError, match=f"tree.nex.*{message}"):
        tree_of(text, "tree.nex")


def test_a_second_tree_in_newick_says_so(tree_of):
    with pytest.raises(
        ValueError,
        match="line 2: '\\(' is out of place: .*quote a name that has one, .* keep one in the file",
    ):
        tree_of("(a,b);\n(c,d);")
