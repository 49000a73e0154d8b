"""Whatever a file holds, a reader gives a tree or a ValueError that names the file."""

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hierarchies import Hierarchy, to_newick
from hierarchies.export import describe
from hierarchies.readers import TREE_FORMATS, read_edges, read_tree

MARKS = st.text(alphabet="ab01/\\,;:()[]{}'\"- \t\n\r_.\x00é\ufeff\u2028", max_size=40)


def joined(parts, between="", **sizes):
    return st.lists(parts, **sizes).map(between.join)


def lines(*samples):
    return joined(st.sampled_from(samples), "\n", min_size=1, max_size=6)


def objects(inner):
    keys = st.sampled_from(["a", "b", "c", "name", "children", "root", "classes", "names"])
    members = st.tuples(keys, inner).map(lambda member: f'"{member[0]}":{member[1]}')
    return joined(inner, ",", max_size=3).map("[{}]".format) | joined(members, ",", max_size=3).map(
        "{{{}}}".format
    )


def groups(inner):
    label = st.sampled_from(["", "a", "b:2", "'c''s'[n]", ":1", " d e"])
    return st.tuples(joined(inner, ",", min_size=1, max_size=3), label).map("({0[0]}){0[1]}".format)


SHAPED = {
    "paths": lines("a/b", "a/c", "b", "a/b/d", "a", "/", "a\\/b"),
    "table": lines(
        "path", "path,class", "class,k,s", "x,a/b", "x,a,b", "y,a,", "z,,b", "a/b", "a/c,y", '"a,b"'
    ),
    "edges": lines("1 0", "2 1", "3 1", "0 3", "4 2", "a 0", "5 9", "b  a"),
    "outline": st.tuples(
        st.just("r"), lines("--a", "----b", "--c", "----d", "------e", "---", "s")
    ).map("\n".join),
    "json": st.recursive(
        st.sampled_from(["{}", "[]", "null", '"a"', '["a","b"]', "1", "NaN"]), objects, max_leaves=6
    ),
    "newick": st.recursive(
        st.sampled_from(["a", "b", "c:1", "'e'", "", "f g"]), groups, max_leaves=9
    ).map("{};".format),
}
SHAPED["nexus"] = st.tuples(
    st.sampled_from(["", "translate a A, b 'b b';", "translate a;", "[c]"]), SHAPED["newick"]
).map("#NEXUS\nbegin trees;{0[0]}\ntree t = [&R] {0[1]}\nend;".format)
TEXT = st.one_of(st.text(max_size=40), MARKS, *SHAPED.values())


@st.composite
def damaged(draw, texts):
    """A text with a piece of it replaced by a few other characters."""
    text = draw(texts)
    start, stop = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    return text[:start] + draw(st.text(alphabet="ab/,;:()[]{}'\"- \n", max_size=2)) + text[stop:]


def check(tree):
    assert tree.num_classes >= 1 and tree.max_depth >= 1 and tree.n_leaves[0] == tree.num_classes
    assert len(set(tree.class_paths)) == tree.num_classes
    assert Hierarchy.from_dict(tree.to_dict()) == tree
    assert describe(tree)["classes"] == tree.num_classes
    assert to_newick(tree).endswith("\n")


@pytest.mark.parametrize("format", TREE_FORMATS)
@given(data=st.data(), self_leaves=st.booleans())
def test_any_content_is_a_tree_or_a_value_error(tmp_path, format, data, self_leaves):
    text = st.one_of(SHAPED[format], damaged(SHAPED[format]), TEXT).map(
        lambda text: text.encode("utf-8", "replace")
    )
    file = tmp_path / "fuzzed.file"
    file.write_bytes(data.draw(text | st.binary(max_size=40)))
    try:
        tree = read_tree(file, format, self_leaves=self_leaves).hierarchy
    except ValueError as error:
        assert "fuzzed.file" in str(error)
    else:
        check(tree)


@pytest.mark.parametrize("format", TREE_FORMATS)
def test_the_fuzzed_content_has_trees_and_faults(tmp_path, format):
    seen = set()

    @settings(max_examples=400, derandomize=True, phases=[Phase.generate])
    @given(SHAPED[format])
    def try_one(text):
        (tmp_path / "fuzzed.file").write_text(text, encoding="utf-8")
        try:
            seen.add(type(read_tree(tmp_path / "fuzzed.file", format).hierarchy))
        except ValueError:
            seen.add(ValueError)
        if seen == {Hierarchy, ValueError}:
            raise BothSeen

    with pytest.raises(BothSeen):
        try_one()


class BothSeen(Exception):
    """Ends the search."""


@given(
    content=SHAPED["edges"] | MARKS,
    names=lines("1 one", "2 two, (x)", "0 top", "3 c", "1", "7 z") | MARKS,
)
def test_any_names_of_edges_are_a_tree_or_a_value_error(tmp_path, content, names):
    (tmp_path / "fuzzed.edges").write_text(content, encoding="utf-8", newline="")
    (tmp_path / "fuzzed.names").write_text(names, encoding="utf-8", newline="")
    try:
        tree = read_edges(tmp_path / "fuzzed.edges", tmp_path / "fuzzed.names")
    except ValueError as error:
        assert "fuzzed." in str(error)
    else:
        check(tree)
