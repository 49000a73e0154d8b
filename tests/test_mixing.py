"""Augmentation beyond one choice, and mixtures of two images: what they do to pixels, the loss of a
mixture by hand, what refuses them, and that training uses them.
"""

from collections import Counter

import numpy as np
import pytest
import torch
from images import make_learnable_folder
from trained import train_small
from trees import TREE

import data
from data.mixing import MIXINGS, Mixture, cutmix, mixer, mixup, unmixed
from data.transforms import OPTIONS, augment, augmenter, augments
from losses import LOSSES, build_loss
from losses.base import Loss
from runs.folder import Run

PLAIN = {"aug": "none", "color_jitter": None, "erasing": None, "mixup": None, "cutmix": None}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=16, channels=3, side=8):
    return torch.randint(256, (count, channels, side, side), generator=seeded(1), dtype=torch.uint8)


def test_dihedral_gives_each_of_the_eight_symmetries_of_a_square_and_no_other():
    one = torch.arange(9, dtype=torch.uint8).reshape(1, 1, 3, 3)
    wanted = {
        bytes(torch.rot90(image, turns, (2, 3)).flatten().tolist())
        for image in (one, one.flip(3))
        for turns in range(4)
    }
    found = augment("dihedral")(one.expand(400, 1, 3, 3), seeded())
    counts = {}
    for image in found:
        key = bytes(image.flatten().tolist())
        counts[key] = counts.get(key, 0) + 1
    assert set(counts) == wanted and len(wanted) == 8
    assert min(counts.values()) > 25  # of 50


def test_dihedral_keeps_the_sides_of_what_is_no_square():
    one = torch.arange(6, dtype=torch.uint8).reshape(1, 1, 2, 3)
    found = augment("dihedral")(one.expand(100, 1, 2, 3), seeded())
    assert found.shape == (100, 1, 2, 3)
    assert len({bytes(image.flatten().tolist()) for image in found}) == 4


def test_erasing_changes_one_rectangle_of_a_share_of_the_images():
    images = torch.full((300, 1, 16, 16), 77, dtype=torch.uint8)
    found = augmenter({**PLAIN, "erasing": 0.5})(images, seeded())
    changed = found[:, 0] != 77
    assert 110 < int(changed.flatten(1).any(1).sum()) < 190
    for image in changed:
        rows, columns = (image.any(1 - axis).nonzero().ravel() for axis in (0, 1))
        if len(rows):  # noise is rarely 77, so nearly all of the rectangle is changed
            area = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
            assert image.sum() > 0.8 * area and area <= 0.4 * 256


def test_crop_shifts_by_whole_pixels_and_mirrors_half_of_the_images():
    image = torch.arange(1, 257, dtype=torch.uint8).reshape(1, 1, 16, 16)
    margin = torch.nn.functional.pad(image, (2, 2, 2, 2), value=51)
    wanted = [
        bytes(one.flatten().tolist())
        for row in range(5)
        for column in range(5)
        for part in [margin[..., row : row + 16, column : column + 16]]
        for one in (part, part.flip(3))
    ]
    found = augment("crop", fill=0.2)(image.expand(2000, 3, 16, 16), seeded())
    assert torch.equal(found[:, 0], found[:, 2])
    counts = Counter(bytes(one.flatten().tolist()) for one in found[:, 0])
    assert set(counts) == set(wanted) and len(wanted) == 50
    assert min(counts.values()) > 10  # of 40 expected
    small = torch.rand(3, 1, 7, 9)  # nothing to shift on one side
    assert augment("crop")(small, seeded()).shape == small.shape


def test_jitter_scales_brightness_and_keeps_hue_and_grey():
    images = pictures(4)
    found = augmenter({**PLAIN, "color_jitter": 0.5})(images, seeded())
    assert found.shape == images.shape and (found != images).any()
    grey = augmenter({**PLAIN, "color_jitter": 0.5})(images[:, :1], seeded())
    assert grey.shape == (4, 1, 8, 8) and (grey != images[:, :1]).any()


def test_what_is_asked_for_twice_comes_after_the_other_and_is_reproducible():
    options = {**PLAIN, "aug": "dihedral", "color_jitter": 0.3, "erasing": 1.0}
    first, again, other = (augmenter(options)(pictures(), seeded(s)) for s in (3, 3, 4))
    torch.testing.assert_close(first, again)
    assert (first != other).any()
    torch.testing.assert_close(augmenter(PLAIN)(pictures(), seeded()), pictures())


@pytest.mark.parametrize("name", [option.name for option in OPTIONS])
def test_every_option_says_that_images_are_no_longer_the_same(name):
    assert not augments(PLAIN)
    assert augments({**PLAIN, name: "affine" if name == "aug" else 0.5})


def test_the_loss_of_a_mixture_is_the_mean_of_both_by_its_share():
    targets, partners = torch.tensor([0, 1]), torch.tensor([1, 1])
    batch = Mixture(torch.zeros(2, 1, 1, 1), targets, partners, 0.75)
    assert float(batch.loss(lambda y: y.float().sum())) == pytest.approx(0.75 * 1 + 0.25 * 2)
    assert unmixed(batch.images, targets, seeded()).loss(lambda y: y.sum()) == 1


# random_cut draws another cut each time that it is called
ON_SCORES = [n for n, loss in LOSSES.items() if loss.inputs == ("scores",) and n != "random_cut"]


@pytest.mark.parametrize("name", ON_SCORES)
def test_every_loss_of_a_mixture_lies_between_those_of_its_two_classes(name):
    loss = build_loss(name, TREE)
    scores = torch.randn(6, TREE.num_classes, generator=seeded())
    targets = torch.arange(6) % TREE.num_classes
    partners = targets.flip(0)
    ends = loss(scores, targets), loss(scores, partners)
    for share in (0.0, 0.3, 1.0):
        found = Mixture(scores, targets, partners, share).loss(lambda y: loss(scores, y))
        torch.testing.assert_close(found, share * ends[0] + (1 - share) * ends[1])


def test_mixup_mixes_pixels_and_cutmix_keeps_them():
    black = torch.zeros(2, 1, 10, 10, dtype=torch.uint8)
    white = torch.full_like(black, 200)
    mixed, share = mixup(white, black, 0.3, None)
    assert share == 0.3 and mixed.dtype == torch.uint8 and (mixed == 60).all()
    random = np.random.default_rng(0)
    for wanted in (0.0, 0.2, 0.5, 0.9, 1.0):
        cut, share = cutmix(white, black, wanted, random)
        assert set(cut.unique().tolist()) <= {0, 200}
        assert share == pytest.approx(float((cut[0] == 200).float().mean()))
        # what reaches beyond the image is not cut out, but for pixels
        assert share >= wanted - 0.11


def test_mixtures_are_of_the_batch_and_reproducible():
    images, targets = pictures(), torch.arange(16)
    mix = mixer({**PLAIN, "mixup": 1.0, "cutmix": 1.0})
    batches = [mix(images, targets, seeded(seed)) for seed in range(20)]
    again = mix(images, targets, seeded(0))
    torch.testing.assert_close(batches[0].images, again.images)
    assert batches[0].share == again.share
    assert all(sorted(batch.partners.tolist()) == list(range(16)) for batch in batches)
    by_pixels = [
        bool(((batch.images == images) | (batch.images == images[batch.partners])).all())
        for batch in batches
    ]
    assert 0 < sum(by_pixels) < 20  # either way
    lone = mix(images[:1], targets[:1], seeded())
    torch.testing.assert_close(lone.images, images[:1])
    assert mixer(PLAIN) is unmixed and len(MIXINGS) == 2


class OfPairs(Loss):
    """A loss over pairs of images."""

    mixes = "it compares pairs of images, and a mixture has no class to compare"


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--mixup", "0.2", "--method", "normface", "--ema"], "--mixup has no meaning here"),
        (["--cutmix", "1", "--method", "normface", "--dynamic"], "without --ema and --dynamic"),
        (["--mixup", "0.2", "--method", "softmax", "--size_inform"], "and has no size"),
        (["--mixup", "0.2", "--method", "softmax", "--batch_size", "1"], "must be 2 or more"),
        (["--mixup", "-1", "--method", "softmax"], "argument --mixup"),
        (
            ["--method", "DR", "--aug", "affine", "--randaugment_ops", "3"],
            "(randaugment does: --aug randaugment)",
        ),
        (["--mixup", "0.2", "--method", "softmax", "--loss", "pairs"], "it compares pairs"),
    ],
)
def test_what_has_no_meaning_for_mixtures_is_refused(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.setitem(LOSSES, "pairs", OfPairs)
    with pytest.raises(SystemExit):
        train_small(tmp_path, tmp_path, *flags)
    assert message in capsys.readouterr().err


def test_training_mixes_and_goes_on_as_if_it_had_not_stopped(tmp_path, capsys, monkeypatch):
    images = make_learnable_folder(tmp_path / "images", ("A/a", "A/b", "B/c"), 8)
    flags = ["--gray", "--method", "softmax", "--aug", "dihedral", "--mixup", "0.4"]
    flags += ["--cutmix", "1", "--color_jitter", "0.2", "--erasing", "0.3", "--batch_size", "8"]
    status, whole = train_small(images, tmp_path / "whole", *flags, "--epochs", "2")
    assert status == 0
    epochs = whole.epochs
    assert epochs["train_accuracy"].isna().all() and epochs["P/corr"].isna().all()
    assert epochs["train_loss"].notna().all() and epochs["W/corr"].notna().all()
    plain = [flag for flag in flags if flag not in ("--mixup", "0.4", "--cutmix", "1")]
    status, other = train_small(images, tmp_path / "plain", *plain, "--epochs", "2")
    assert other.epochs["train_accuracy"].notna().all()
    assert (other.epochs["train_loss"] != epochs["train_loss"]).all()

    saved = Run.write_epochs

    def stop(run, rows):
        saved(run, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write_epochs", stop)
    status, _ = train_small(images, tmp_path / "stopped", *flags, "--epochs", "2")
    assert status == 130
    monkeypatch.undo()
    status, resumed = train_small(images, tmp_path / "stopped", *flags, "--epochs", "2", "--resume")
    for name in ("epochs.csv", "metrics.csv"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_the_data_room_offers_what_the_loop_calls():
    assert {"augmenter", "augments", "mixer", "mixes"} <= set(data.__all__)
