"""Hierarchy files that would hang a start or fill the memory are refused at once."""

import os
import tracemalloc

import pytest

from data import inaturalist
from hierarchies import draft, read_edges, read_tree, readers
from options.folder_name import _content_digest

DEEP = 50_000


@pytest.mark.parametrize(
    "name, text",
    [
        ("tree.nwk", "(" * 2_000_000 + "a" + ")" * 2_000_000 + ";"),
        ("tree.edges", "\n".join(f"{i + 1} {i}" for i in range(DEEP))),
        ("tree.csv", "child,parent\n" + "\n".join(f"n{i + 1},n{i}" for i in range(5_000))),
        ("tree.txt", "a/" * 5_000_000 + "b\nc/d\n"),
        ("one.txt", "a/b\n" + "x" * 10_000_000 + "/c\n"),
        ("path.csv", "path\na/b\n" + "x" * 10_000_000 + "/c\n"),
        ("tree.outline", "r\n" + "\n".join("--" * d + "n" for d in range(1, 2_500))),
        ("tree.json", '{"a":' * 1_000_000 + "1" + "}" * 1_000_000),
    ],
    ids=lambda value: value if "." in value and len(value) < 20 else "",
)
def test_depth_and_names_without_end_are_refused_in_bounded_memory(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    size = len(text)
    del text
    tracemalloc.start()
    try:
        with pytest.raises(
            ValueError, match=f"{name}.*(levels|characters|limit|too deeply)"
        ) as stop:
            read_tree(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(str(stop.value)) < 3000 and peak < 10 * size + 100_000_000


def test_the_deepest_tree_allowed_is_read_and_one_level_more_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(draft, "MAX_DEPTH", 5)
    for extra in (0, 1):
        texts = {
            "t.nwk": "(" * (5 + extra) + "x" + ")" * (5 + extra) + ";",
            "t.edges": "\n".join(f"n{d + 1} n{d}" for d in range(5 + extra)),
            "t.outline": "r\n" + "\n".join("--" * d + f"n{d}" for d in range(1, 6 + extra)),
        }
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
            if extra:
                with pytest.raises(ValueError, match="deeper than 5 levels"):
                    read_tree(tmp_path / name)
            else:
                assert read_tree(tmp_path / name).hierarchy.max_depth == 5


def test_too_many_nodes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(draft, "MAX_NODES", 10)
    for name, text in {
        "t.nwk": f"({','.join(f'a{i}' for i in range(12))});",
        "t.csv": "k,s\n" + "\n".join(f"a,{i}" for i in range(12)),
        "t.edges": "\n".join(f"{i + 1} 0" for i in range(12)),
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match="more than 10 nodes; cut it"):
            read_tree(tmp_path / name)


def test_a_file_larger_than_any_tree_is_refused_unread(tmp_path):
    file = tmp_path / "tree.json"
    file.touch()
    os.truncate(file, 10**10)  # takes no space
    with pytest.raises(ValueError, match="tree.json has 9537 MB, more than any class tree needs"):
        read_tree(file)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes that have names")
def test_pipes_devices_and_folders_are_refused_without_being_opened(tmp_path):
    pipe = tmp_path / "tree.json"
    os.mkfifo(pipe)
    for path, kind in ((pipe, "a pipe"), ("/dev/zero", "a device"), (tmp_path, "a folder")):
        for reader in (read_tree, read_edges, inaturalist.read_categories):
            with pytest.raises(
                ValueError, match=f"is {kind}.*name (a file that is saved on disk|one in it)"
            ):
                reader(path)
        with pytest.raises(ValueError, match=f"--hierarchy: .* is {kind}"):
            _content_digest("hierarchy", path)
    (tmp_path / "edges").write_text("1 0\n2 0\n")
    with pytest.raises(ValueError, match="is a pipe"):
        read_edges(tmp_path / "edges", pipe)
    (tmp_path / "link.txt").symlink_to(tmp_path / "edges")
    assert readers.read_text(tmp_path / "link.txt") == "1 0\n2 0\n"
