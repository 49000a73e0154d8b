"""Augmentation: agreement with torchvision, reproducibility, types, and what each must leave
alone.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as V

from data.transforms import AUGMENTATIONS, augment, inverse_matrices

RANDOM = [name for name in AUGMENTATIONS if name != "none"]


def pictures(count=8, channels=3, height=16, width=16):
    """Smooth random images in [0, 1]."""
    noise = torch.rand(count, channels, 5, 5, generator=torch.Generator().manual_seed(0))
    return F.interpolate(noise, (height, width), mode="bilinear")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def move(images, rotation=0.0, shear=0.0, scale=1.0, shift=(0.0, 0.0), mirror=False):
    """One affine map for all images; angles in degrees, shift in parts of the sides."""
    one = torch.ones(len(images), dtype=torch.float64)
    angles = math.radians(rotation) * one, math.radians(shear) * one
    offsets = torch.tensor(shift, dtype=torch.float64).expand(len(images), 2)
    matrices = inverse_matrices(
        *angles, scale * one, offsets, mirror * one > 0, images.shape[2:]
    ).float()
    return F.grid_sample(
        images,
        F.affine_grid(matrices, list(images.shape), align_corners=False),
        align_corners=False,
    )


@pytest.mark.parametrize("height, width", [(16, 16), (12, 20)])
@pytest.mark.parametrize(
    "rotation, shear, scale, shift",
    [(0, 0, 1, (2, 0)), (10, 0, 1, (0, 0)), (0, 8, 1, (0, 0)), (-12, 5, 1.08, (1, -1))],
)
def test_the_affine_map_is_torchvisions(height, width, rotation, shear, scale, shift):
    images = pictures(2, height=height, width=width)
    found = move(images, rotation, shear, scale, (shift[0] / width, shift[1] / height))
    expected = V.affine(
        images, rotation, list(shift), scale, [shear, 0.0], InterpolationMode.BILINEAR
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_no_motion_is_the_image_and_a_mirror_is_its_flip():
    images = pictures(width=11)
    torch.testing.assert_close(move(images), images)
    torch.testing.assert_close(move(images, mirror=True), images.flip(3))


def test_the_mirror_comes_last():
    images = pictures()
    torch.testing.assert_close(
        move(images, 10, 5, 1.1, (0.1, 0.0), mirror=True),
        move(images, 10, 5, 1.1, (0.1, 0.0)).flip(3),
    )


def test_affine_treats_every_image_on_its_own():
    image = pictures(1)
    moved = augment("affine")(image.expand(16, -1, -1, -1), seeded())
    assert len({tuple(one.flatten().tolist()) for one in moved}) == 16


def test_affine_mirrors_about_half_of_the_images():
    ramp = torch.linspace(0, 1, 32).expand(400, 1, 32, 32)
    moved = augment("affine")(ramp, seeded())
    mirrored = moved[:, 0, 16, 8] > moved[:, 0, 16, 24]
    assert 150 < int(mirrored.sum()) < 250


def test_affine_fills_with_black_or_what_is_asked_for():
    images = torch.full((64, 1, 16, 16), 0.5)
    assert augment("affine")(images, seeded()).min() == 0
    torch.testing.assert_close(augment("affine", fill=0.5)(images, seeded()), images)
    assert augment("affine", fill=1.0)((images * 255).to(torch.uint8), seeded()).max() == 255


def test_bytes_and_floats_are_moved_alike():
    images = (pictures() * 255).round().to(torch.uint8)
    as_bytes, as_floats = (
        augment("affine")(images, seeded()),
        augment("affine")(images / 255, seeded()),
    )
    assert (as_bytes.float() - 255 * as_floats).abs().max() <= 0.5001


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shape_type_and_range_stay(name, channels, dtype):
    images = pictures(4, channels, 12, 20)
    images = (images * 255).to(dtype) if dtype == torch.uint8 else images
    before = images.clone()
    moved = augment(name)(images, seeded())
    assert moved.shape == images.shape and moved.dtype == dtype
    assert 0 <= moved.min() and moved.max() <= (255 if dtype == torch.uint8 else 1)
    torch.testing.assert_close(images, before)


@pytest.mark.parametrize("name", RANDOM)
def test_the_generator_alone_decides(name):
    images = (pictures(16) * 255).to(torch.uint8)
    generator = seeded(3)
    torch.manual_seed(1)
    first, second = augment(name)(images, generator), augment(name)(images, generator)
    torch.manual_seed(2)
    torch.testing.assert_close(augment(name)(images, seeded(3)), first)
    assert not torch.equal(first, second) and not torch.equal(first, images)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_global_random_state_is_untouched(name):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    augment(name)(pictures(4), seeded())
    torch.testing.assert_close(torch.rand(3), expected)


def test_none_is_the_same_images():
    images = pictures()
    assert augment("none")(images, seeded()) is images


def test_an_unknown_name_and_an_impossible_fill_are_refused():
    with pytest.raises(ValueError, match="no augmentation 'afine'; choose from none, affine"):
        augment("afine")
    with pytest.raises(ValueError, match="fill must lie in"):
        augment("affine", fill=255)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_device_makes_no_difference(name):
    images = (pictures(32) * 255).to(torch.uint8)
    here, there = augment(name)(images, seeded(1)), augment(name)(images.cuda(), seeded(1)).cpu()
    assert ((here.int() - there.int()).abs() > 2).float().mean() < 0.02
