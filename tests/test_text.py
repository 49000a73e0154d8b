"""Text from others on terminals and in spreadsheets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from files.text import counted, printable, shortened, spreadsheet_cell


@pytest.mark.parametrize(
    "text, shown",
    [
        ("Calanus finmarchicus", "Calanus finmarchicus"),
        ("Copépodes, 浮游 – «é» 100\u00a0%", "Copépodes, 浮游 – «é» 100\u00a0%"),
        ("\x1b]0;x\x07", "\\x1b]0;x\\x07"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("a\u2028b\udc80", "a\\u2028b\\udc80"),
        ("\U000e0041", "\\U000e0041"),
        ("क्\u200dष", "क्\u200dष"),
    ],
)
def test_what_controls_a_screen_is_written_out(text, shown):
    assert printable(text) == shown


def test_a_number_agrees_with_its_noun_and_verb():
    assert [counted(n, "run") for n in (0, 1, 1234)] == ["0 runs", "1 run", "1,234 runs"]
    assert counted(1, "class has", "classes have") == "1 class has"


@given(st.text())
def test_no_control_character_is_left(text):
    found = printable(text)
    assert len(found.splitlines()) <= 1
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in found)
    assert printable(found) == found


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_formulas_are_text_in_a_cell(text):
    assert spreadsheet_cell(text) == f"'{text}"


@pytest.mark.parametrize(
    "text", ["", "Calanus", "-0.25", "+1e-5", "-.5", "nan", "-inf", "a=b", "1"]
)
def test_numbers_and_names_are_cells_as_they_are(text):
    assert spreadsheet_cell(text) == text


def test_long_text_is_shortened():
    assert shortened("abcdef", 6) == "abcdef" and shortened("abcdefg", 6) == "abc..."
