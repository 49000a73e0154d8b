"""How image files become pixels, as one value: its rules, where it comes from, and the names of
caches that follow from it.
"""

from dataclasses import FrozenInstanceError, asdict

import pytest
from recorded import write_run

import data
from data.options import SHARED
from data.reading import DEFAULTS, Reading
from evaluation.images import recorded_reading
from runs.files import RunError


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"resize": -1}, "resize must be a number of pixels, from 0 .*, got -1"),
        ({"resize": 2.5}, "resize must be a number of pixels"),
        ({"resize": True}, "resize must be a number of pixels"),
        ({"resize": (4, 0)}, "resize must be a side, or width and height"),
        ({"resize": (4, 5, 6)}, "resize must be a side, or width and height"),
        ({"fit": "fill"}, "fit must be one of stretch, pad, crop, got 'fill'"),
        ({"grey_range": 0}, "grey_range must be a whole number from 1 to 65535"),
        ({"truncated_images": True}, "truncated_images must be one of refuse, use, got True"),
        ({"decoder": "opencv"}, "decoder must be one of pillow, torchvision"),
        ({"gray": "yes"}, "gray: 'yes' is neither True nor False"),
    ],
)
def test_a_value_without_meaning_is_refused_with_its_rule(wrong, message):
    with pytest.raises(ValueError, match=message):
        Reading(**wrong)


def test_a_reading_is_a_value():
    reading = Reading(resize=16.0, gray=1)
    assert reading == Reading.of({"resize": 16, "gray": True, "fit": None, "epochs": 3})
    assert hash(reading) == hash(Reading(resize=16, gray=True)) and reading.key == "16 True"
    with pytest.raises(FrozenInstanceError):
        reading.fit = "pad"
    assert (reading.size, reading.channels) == ((16, 16), 1)
    assert (Reading().size, Reading().channels) == (None, 3)
    assert Reading(resize=(9, 5)).size == (9, 5)


def test_its_fields_are_the_options_with_their_defaults():
    assert asdict(Reading()) == DEFAULTS == {name: SHARED[name].default for name in DEFAULTS}
    for dataset in data.DATASETS:  # None of these values breaks a rule
        Reading.of(data.defaults(dataset))


@pytest.mark.parametrize(
    "options, key",
    [
        ({}, "0 False"),
        ({"resize": 128}, "128 False"),
        ({"resize": 24, "gray": True, "fit": "stretch", "decoder": "pillow"}, "24 True"),
        ({"resize": 24, "fit": "pad"}, "24 False fit pad"),
        ({"fit": "pad"}, "0 False"),  # which says nothing without a side
        (
            {"resize": 24, "grey_range": 4095, "truncated_images": "use", "fit": "crop"},
            "24 False grey_range 4095 truncated True fit crop",
        ),
        (
            {"resize": 24, "truncated_images": "use", "decoder": "torchvision"},
            "24 False truncated True decoder torchvision",
        ),
    ],
)
def test_caches_of_earlier_versions_keep_their_names(options, key):
    """Another key would have every collection decoded once more."""
    assert Reading(**options).key == key


def test_a_run_is_read_as_it_says_and_damage_is_named(tmp_path):
    run = write_run(tmp_path, "DR", 1, {"accuracy": 1.0}, resize=24, fit=None, gray=True)
    assert recorded_reading(run) == Reading(resize=24, gray=True)
    run = write_run(tmp_path, "DR", 2, {"accuracy": 1.0}, resize=24, decoder="opencv")
    with pytest.raises(RunError, match="config.json is damaged: option decoder must be one of"):
        recorded_reading(run)
