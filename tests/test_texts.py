"""Text files that the user gives, read at once or line by line, which must come to the same."""

import pytest

from hierarchies import texts
from hierarchies.rows import read_rows
from hierarchies.texts import read_lines, read_text

TABLE = "file,label\na.png,Ä\n\nb.png,日本\n"


def lines_of(file, **options):
    return "".join(read_lines(file, **options))


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode(),
        TABLE.encode("utf-8-sig"),
        TABLE.replace("\n", "\r\n").encode(),
        TABLE.replace("\n", "\r").encode(),
        TABLE.encode("utf-16"),
        "\ufeff\ufeffa,b\n1,2".encode(),
        b"",
    ],
    ids=["plain", "mark", "windows", "mac", "utf-16", "two marks", "empty"],
)
def test_lines_are_those_of_the_whole_text(tmp_path, content):
    file = tmp_path / "t.csv"
    file.write_bytes(content)
    assert lines_of(file) == read_text(file)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"PK\x03\x04", "an Excel workbook"),
        (b"<html>", "XML or HTML"),
        (b"a\0b\n" * 9, "NUL characters"),
        (b"a,b\n" * 30000 + b"\xe9,c\n", "line 30001: this is not valid UTF-8 text"),
    ],
    ids=["zip", "page", "nul", "cp1252"],
)
def test_what_is_no_text_is_refused_alike(tmp_path, content, message):
    file = tmp_path / "t.csv"
    file.write_bytes(content)
    for read in (read_text, lines_of):
        with pytest.raises(ValueError, match=message):
            read(file)


def test_a_file_larger_than_allowed_is_refused_before_it_is_read(tmp_path, monkeypatch):
    file = tmp_path / "t.csv"
    file.write_text(TABLE)
    with pytest.raises(ValueError, match="cut it to the groups that hold your classes"):
        lines_of(file, most=3)
    monkeypatch.setattr(texts, "MAX_BYTES", 1)
    (tmp_path / "t.json").write_text(TABLE)
    for name, words in (("t.csv", "file, class, split"), ("t.json", "write .* as a CSV file")):
        with pytest.raises(ValueError, match=words):
            lines_of(tmp_path / name, most=3)


def test_progress_counts_the_bytes_of_a_long_file(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "_LINES", 100)
    file, counts = tmp_path / "t.csv", []
    file.write_text("file,label\n" * 50000)
    lines_of(file, passed=counts.append)
    assert 0.9 * file.stat().st_size < sum(counts) <= file.stat().st_size
    assert max(counts) < file.stat().st_size / 10


def test_rows_of_lines_keep_the_columns_that_are_wanted():
    def lines():
        yield from ("sep=;\n", "\n", "a;b;c\n", '1;"x\n', 'y";3\n', "4;;6;\n")

    table = read_rows(lines(), "t.csv", lambda header: [header.index("b"), header.index("a")])
    assert table.header == ["b", "a"]
    assert [(row.line, row.cells) for row in table.rows] == [(5, ["x\ny", "1"]), (6, ["", "4"])]
    whole = read_rows("".join(lines()), "t.csv")
    assert [(row.line, row.cells) for row in whole.rows] == [
        (5, ["1", "x\ny", "3"]),
        (6, ["4", "", "6"]),
    ]
    with pytest.raises(ValueError, match="t.csv, line 3: expected 2 cells as in the first row"):
        read_rows(iter(["a,b\n", "1,2\n", "3\n"]), "t.csv")


def test_equal_cells_are_one_string():
    table = read_rows("file,label\n1.png,Acartia tonsa\n2.png,Acartia tonsa\n", "t.csv")
    assert table.rows[0].cells[1] is table.rows[1].cells[1]
