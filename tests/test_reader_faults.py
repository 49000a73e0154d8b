"""Faults in hierarchy files: each is named with its file and line."""

import pytest
from test_readers import WRITTEN, read  # noqa: F401  a fixture

from hierarchies import read_edges


@pytest.mark.parametrize("format", WRITTEN)
@pytest.mark.parametrize("content", [b"", b"\n\n", b" ", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused_by_name(read, format, content):
    with pytest.raises(ValueError, match="tree.some"):
        read(content, format)


@pytest.mark.parametrize("format", WRITTEN)
def test_bytes_that_are_no_text_are_refused_with_their_line(read, format):
    with pytest.raises(ValueError, match="tree.some, line 2: this is not valid UTF-8"):
        read(b"a/x\nb/\xff\xfe\n", format)
    with pytest.raises(ValueError):
        read(WRITTEN[format].encode("utf-16-le"), format)


@pytest.mark.parametrize(
    "format, content, message",
    [
        ("paths", "r/a/b\nr/a//c\n", "line 2: a name is empty"),
        ("paths", "r>a\n>\n", "line 2: '>' has no name beside its separators"),
        ("paths", "r/a\nr/a/b\n", "class 'a' is also an inner node"),
        ("table", "path\n", "the table is empty"),
        ("table", "n,path\n1,a/b\n2,a/b\n", "line 3: the class 'b' comes twice, before in line 2"),
        ("table", "k,s\na,b\na,b,c\n", "line 3: expected 2 cells as in the first row, got 3"),
        ("table", "k,s,class\na,b,c\n,,d\n", "line 3: no level is filled"),
        ("table", "k,k\na,b\n", "line 1: the first row must give every column a name of its own"),
        ("table", "k,\na,b\n", "line 1: the first row must give every column a name of its own"),
        (
            "table",
            "class\na\n",
            "line 1: there is no column for the path .* only 'class'; give a column 'path'.*each"
            " level",
        ),
        (
            "table",
            "group,kind,class\nAnimalia,x,Aves\nAnimalia,x,Mammalia\n",
            "line 1: rows differ only in the column 'class'",
        ),
        (
            "table",
            "Animal,cat\nAnimal,dog\n",
            "line 1: 'Animal' is a column title and also in that column",
        ),
        ("table", "a/b\na/c\na/d\n", "line 1: the only level 'a/b' has a '/' in it"),
        (
            "table",
            "class,group,kind\nAves,f,s\nAves,f,t\n",
            "the names in the column 'class' repeat",
        ),
        ("table", 'path\n"a/b\n', "line 2: this is not a valid table row"),
        ("table", 'path\n"a"b/c\n', "line 2: this is not a valid table row"),
        ("edges", "a 0\nb 0\na b\n", "line 3: 'a' has a second parent 'b'; line 1 has '0'"),
        ("edges", "a 0\nb 1\n", "there are 2 roots, such as '0' and '1'"),
        ("edges", "a b\nb c\nc a\n", "line 1: a -> b -> c -> a is a cycle"),
        ("edges", "x 0\na b\nb a\n", "line 2: a -> b -> a is a cycle"),
        ("edges", "a a\n", "line 1: a -> a is a cycle"),
        ("edges", "a\n", "line 1: expected 'CHILD PARENT', two ids, got 1"),
        ("edges", "a 0\nb 0 c\n", "line 2: expected 'CHILD PARENT', two ids, got 3"),
        ("outline", "r\n", "the tree is empty"),
        (
            "outline",
            "r\n--a\n------b\n",
            "line 3: 'b' is at level 3, directly below one at level 1",
        ),
        ("outline", "r\n--a\n---b\n", "line 3: expected two dashes a level, got 3"),
        ("outline", "--r\n--a\n", "line 1: the first line is the root"),
        ("outline", "r\n--a\ns\n--b\n", "line 3: 's' is a second root"),
        ("outline", "r\n--\n", "line 2: a name is empty"),
        ("outline", "r\n--a\n----x\n--b\n--a\n----y\n", "line 5: 'a' comes twice"),
        ("json", '{"a": \n[}', "line 2: this is not valid JSON"),
        ("json", '{"a": ["x"], "a": ["y"]}', "'a' comes twice in one object"),
        ("json", '{"a": ["x", "x"]}', "'a/x' comes twice"),
        ("json", '{"a": 3}', "3 is not a node"),
        ("json", '{"a": "b"}', '"b" is not a node'),
        ("json", '["a", null]', "null is not a node"),
        ("json", "3", "3 is not a node"),
        ("json", "{}", "the tree is empty"),
        ("json", '{"name": "r"}', "the tree is empty"),
        ("json", '{"name": "r", "children": []}', "the tree is empty"),
        ("json", '{"name": "r", "children": [{"name": " "}]}', "a name is empty"),
        ("json", '{"a": {"\\ud800": {}}}', "is not valid Unicode text"),
        ("json", '{"root": "r", "classes": [["a"], ["a"]], "names": []}', "class 'a' comes twice"),
        ("newick", "(a,b)", "the tree does not end"),
        ("newick", "((a,b);", "line 1: ';' is out of place: fewer"),
        ("newick", "(a,b));", "line 1: '\\)' is out of place: more"),
        ("newick", "a,b;", "line 1: ',' is out of place: a second root"),
        ("newick", "(a,b);\n(c,d);", "line 2: '\\(' is out of place"),
        ("newick", "(a,\n(b)c d 'e');", "line 2: 'e' is out of place: a label comes once"),
        ("newick", "(a,(b)c\nd);", "line 2: 'd' is out of place: a label comes once"),
        ("newick", "(a,\n);", "line 2: a class has no label"),
        ("newick", "();", "line 1: a class has no label"),
        ("newick", "(a,b:);", "'\\)' is out of place"),
        ("newick", "(a,b:x);", "line 1: 'x' is not a branch length"),
        ("newick", "(a,'b);", "a quote that does not end"),
        ("newick", "(a,[b);", "a comment that does not end"),
        ("newick", "(a]);", "unexpected"),
        ("newick", "(a,\na);", "line 2: 'a' comes twice"),
        ("newick", ";", "the tree is empty"),
        ("newick", "a;", "the tree is empty"),
    ],
)
def test_faults_are_named_with_file_and_line(read, format, content, message):
    with pytest.raises(ValueError, match=f"tree.some.*{message}"):
        read(content, format)


@pytest.mark.parametrize(
    "names, message",
    [
        ("1\n", "line 1: expected an id and a name"),
        ("1 a\n1 b\n", "line 2: the id '1' comes twice"),
        ("7 a\n", "names for ids that are not in the tree, such as '7'"),
    ],
)
def test_faults_in_the_names_of_edges_are_named(tmp_path, names, message):
    (tmp_path / "edges.txt").write_text("1 0\n2 0\n")
    (tmp_path / "names.txt").write_text(names)
    with pytest.raises(ValueError, match=message):
        read_edges(tmp_path / "edges.txt", tmp_path / "names.txt")
