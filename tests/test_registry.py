"""Options and registries by themselves: values, what is taken, what is refused."""

from types import SimpleNamespace

import pytest

from registry import (
    Option,
    Registry,
    factor,
    filled,
    fraction,
    natural,
    nonnegative,
    one_of,
    pixels,
    positive,
    positive_int,
    possible,
    refuse_unneeded,
    seed,
    settle,
    switch,
    taken,
    untaken_reason,
    with_flag,
    with_value,
)

SIZE = Option("size", positive, 2.0, "M", "size of a tail")
COLOUR = Option("colour", one_of(("red", "blue")), "red", needs=with_flag("painted"))
TAILS = Registry(
    Option("tail", default="long"),
    {"long": SimpleNamespace(options=(SIZE,)), "none": SimpleNamespace()},
)
ANIMALS = Registry(
    Option("animal", default="cat"),
    {
        "cat": SimpleNamespace(options=(TAILS.option,), aliases=("Cat", "puss"), summary="purrs"),
        "frog": SimpleNamespace(
            options=(COLOUR, Option("painted", switch, False)), summary="croaks"
        ),
        "stone": SimpleNamespace(),
    },
    spoken="the animal",
)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (positive_int, ["1", 7, 2**31 - 1], ["0", "-1", 2**31, "1.5", 1.5, "x", None, True]),
        (natural, ["0", 3.0], ["-1", 0.5, "", float("inf"), float("nan")]),
        (pixels, ["0", 2**15 - 1], [2**15, -1]),
        (seed, ["0", 2**63 - 1], [2**63, -1]),
        (positive, ["1e-3", 2], ["0", "nan", "inf", -1, "1,5"]),
        (nonnegative, ["0", 0.0], ["-1e-9", "inf", "nan"]),
        (factor, ["1", 2.5], ["0.99", "inf"]),
        (fraction, ["0", "1", 0.5], ["1.01", "-0.1", "nan"]),
        (one_of(("a", "b")), ["a"], ["c", "", None]),
        (switch, [True, False], ["yes", 2]),
        (filled, ["x"], ["", "  "]),
    ],
)
def test_values_of_the_command_line_and_of_constructors_obey_one_rule(check, good, bad):
    for value in good:
        assert check(value) == (type(check(value))(value) if isinstance(value, str) else value)
    for value in bad:
        with pytest.raises(ValueError):
            check(value)


def test_a_message_names_the_option_the_rule_and_the_value():
    with pytest.raises(ValueError, match="size must be a finite number above 0, got -1"):
        SIZE.check(-1)
    with pytest.raises(ValueError, match="colour must be one of red, blue, got 'green'"):
        COLOUR.check("green")
    with pytest.raises(ValueError, match="'' is empty"):
        Option("names", several=True).check(["a", ""])
    assert Option("names", several=True).check(("a", "b")) == ["a", "b"]


def names(options):
    return [option.name for option in options]


def test_a_choice_brings_the_options_of_what_is_chosen_however_deep():
    top = [ANIMALS.option]
    assert names(taken(top, {})) == ["animal", "tail", "size"]
    assert names(taken(top, {"tail": "none"})) == ["animal", "tail"]
    assert names(taken(top, {"animal": "puss"})) == ["animal", "tail", "size"]
    assert names(taken(top, {"animal": "frog"})) == ["animal", "colour", "painted"]
    assert list(possible(top)) == ["animal", "tail", "size", "colour", "painted"]
    with pytest.raises(ValueError, match="the animal must be one of cat, frog, stone, Cat, puss"):
        list(taken(top, {"animal": "dog"}))


def test_options_are_settled_by_defaults_and_checks():
    options = ANIMALS["cat"].options
    assert settle(options, {}, "a cat") == {"tail": "long", "size": 2.0}
    assert settle(options, {"size": "3", "tail": None}, "a cat") == {"tail": "long", "size": 3.0}
    with pytest.raises(ValueError, match="a cat takes only --tail; leave out --size 3"):
        settle(options, {"tail": "none", "size": 3}, "a cat")
    with pytest.raises(ValueError, match="a stone takes no option; leave out --size 3"):
        settle((), {"size": 3}, "a stone")


def test_a_refusal_says_which_choice_does_not_take_an_option_and_which_does():
    top = [ANIMALS.option]
    assert untaken_reason("size", top, {"animal": "stone"}) == (
        "the animal stone does not take it (cat does: --animal cat)"
    )
    assert (
        untaken_reason("size", top, {"tail": "none"})
        == "--tail none does not take it (long does: --tail long)"
    )
    assert untaken_reason("fur", top, {}) == "nothing takes it"


def test_an_option_that_is_given_needs_what_it_needs():
    options = ANIMALS["frog"].options
    refuse_unneeded(options, {"colour": None})
    refuse_unneeded(options, {"colour": "red", "painted": True})
    with pytest.raises(ValueError, match="--colour has no meaning here: it needs --painted"):
        refuse_unneeded(options, {"colour": "red", "painted": False})
    need = with_value("tail", "long")
    assert need.holds({"tail": "long"}) and not need.holds({}) and need.words == "--tail long"


def test_a_registry_knows_aliases_and_describes_its_parts():
    assert ANIMALS.resolve("puss") == "cat" and ANIMALS.find("Cat") is ANIMALS["cat"]
    assert ANIMALS.summaries() == "cat (also Cat, puss): purrs; frog: croaks"
    run = {"animal": "cat", "size": 3, "colour": "red", "lr": 1}
    assert ANIMALS.select(run) == {"size": 3}


def test_a_row_that_is_added_later_can_be_chosen(monkeypatch):
    choice = TAILS.option
    monkeypatch.setitem(TAILS, "bushy", SimpleNamespace())
    assert choice.check("bushy") == "bushy" and "bushy" in choice.values.names
