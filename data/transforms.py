"""Augmentation of whole batches, reproducible from a generator and independent of the device."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F

from registry import Option, Registry, settle

ROTATION, SHIFT, SCALE, SHEAR = (
    15.0,
    0.1,
    (0.9, 1.1),
    10.0,
)  # degrees, part of the side, factor, degrees

Transform = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


class Augmentation(NamedTuple):
    """A function (images, generator, fill, **options) -> images, and the options that it takes."""

    function: Callable[..., torch.Tensor]
    summary: str = ""
    options: tuple[Option, ...] = ()


def augment(name: str, *, fill: float = 0.0, **options: object) -> Transform:
    """The augmentation of that name: a function (images, generator) -> images of the same shape,
    type and device.

    Images are (B, channels, H, W), uint8 in [0, 255] or float in [0, 1]. All that is random comes
    from the generator, which lives on the CPU, so results do not depend on the device beyond
    rounding; the global random state is untouched.

    Args:
        name: Key of AUGMENTATIONS.
        fill: What appears where an image has been moved away, from 0, black, to 1, white.
        options: What the augmentation takes; None is the default.

    Raises: ValueError: If the name is unknown or fill is outside [0, 1].
    """
    if name not in AUGMENTATIONS:
        raise ValueError(
            f"there is no augmentation {name!r}; choose from {', '.join(AUGMENTATIONS)}"
        )
    if not 0 <= fill <= 1:
        raise ValueError(f"fill must lie in [0, 1], black to white, got {fill}")
    chosen = AUGMENTATIONS[name]
    own = settle(chosen.options, options, f"--aug {name}")

    def apply(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        # of several processes one may have no image of a batch
        return chosen.function(images, generator, fill=fill, **own) if len(images) else images

    return apply


def no_augmentation(
    images: torch.Tensor, generator: torch.Generator, fill: float = 0.0
) -> torch.Tensor:
    """The images themselves."""
    return images


def affine(images: torch.Tensor, generator: torch.Generator, fill: float = 0.0) -> torch.Tensor:
    """Rotates, shears, scales, shifts and mirrors every image on its own, in one bilinear
    resampling of the batch.

    Uniform: rotation within 15 degrees, horizontal shear within 10, shift within a tenth of the
    side, scale 0.9 to 1.1;
    mirrored left to right with probability 1/2.
    Source: Kim et al. 2023, CIFAR-100 and NABirds (torchvision's RandomAffine and flip, there by
    the nearest pixel).
    """
    draws = torch.rand(len(images), 6, generator=generator, dtype=torch.float64)
    spread = 2 * draws - 1
    rotation, shear = torch.deg2rad(ROTATION * spread[:, 0]), torch.deg2rad(SHEAR * spread[:, 1])
    scale = SCALE[0] + (SCALE[1] - SCALE[0]) * draws[:, 2]
    matrices = inverse_matrices(
        rotation, shear, scale, SHIFT * spread[:, 3:5], draws[:, 5] < 0.5, images.shape[2:]
    )
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images
    grid = F.affine_grid(
        matrices.to(pixels.device, pixels.dtype), list(images.shape), align_corners=False
    )
    moved = (
        F.grid_sample(
            pixels - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        + fill
    )
    return _as_bytes(moved) if images.dtype == torch.uint8 else moved


def inverse_matrices(rotation, shear, scale, shift, mirror, image_size) -> torch.Tensor:
    """Where each pixel of a moved image comes from, as affine_grid takes it: (B, 2, 3) in units of
    half the sides.

    The forward map shears horizontally, rotates, scales (about the centre), shifts, then mirrors
    left to right.

    Args:
        rotation, shear: Angles in radians, clockwise on the screen, (B,).
        scale: Factor, (B,).
        shift: Parts of width and height, (B, 2).
        mirror: bool (B,).
        image_size: Height and width, in pixels.
    """
    ones, zeros = torch.ones_like(scale), torch.zeros_like(scale)
    cos, sin = rotation.cos(), rotation.sin()
    turn = torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
    slant = torch.stack([ones, -shear.tan(), zeros, ones], 1).view(-1, 2, 2)
    half = torch.tensor([image_size[1] / 2, image_size[0] / 2], dtype=scale.dtype)
    # forward: p -> F p + t in pixels from the centre; back: q -> F^-1 (q - t), with q mirrored
    # first
    back = torch.linalg.inv(scale.view(-1, 1, 1) * turn @ slant)
    offset = -back @ (shift * 2 * half).unsqueeze(2)
    flip = torch.stack([torch.where(mirror, -ones, ones), ones], 1).unsqueeze(1)
    return torch.cat([back * flip * half, offset], 2) / half.view(1, 2, 1)


def autoaugment(
    images: torch.Tensor, generator: torch.Generator, fill: float = 0.0
) -> torch.Tensor:
    """AutoAugment with the policy learned on ImageNet (Cubuk et al. 2019), for each image on its
    own; uint8 inside.
    """
    from torchvision.transforms import v2

    return _one_by_one(
        v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET, fill=255 * fill), images, generator
    )


def trivialaugment(
    images: torch.Tensor, generator: torch.Generator, fill: float = 0.0
) -> torch.Tensor:
    """TrivialAugment, its wide set (Müller and Hutter 2021), for each image on its own; uint8
    inside.
    """
    from torchvision.transforms import v2

    return _one_by_one(v2.TrivialAugmentWide(fill=255 * fill), images, generator)


def randomresizedcrop(
    images: torch.Tensor, generator: torch.Generator, fill: float = 0.0
) -> torch.Tensor:
    """Stretches 8 % to 100 % of each image to its full size, and mirrors half of them; nothing is
    left to fill.
    """
    from torchvision.transforms import v2

    crop = v2.RandomResizedCrop(tuple(images.shape[2:]), antialias=True)
    return _one_by_one(v2.Compose([crop, v2.RandomHorizontalFlip()]), images, generator)


AUGMENTATIONS = Registry(
    Option(
        "aug",
        default="none",
        help="augmentation of training images; --aug alone is affine, Kim et al.'s: rotated,"
        " sheared, scaled, shifted, mirrored",
        alone="affine",
    ),
    {
        "none": Augmentation(no_augmentation),
        "affine": Augmentation(affine),
        "autoaugment": Augmentation(autoaugment),
        "trivialaugment": Augmentation(trivialaugment),
        "randomresizedcrop": Augmentation(randomresizedcrop),
    },
)


def _one_by_one(
    transform: Callable, images: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    with _seeded(generator):
        if images.dtype == torch.uint8:
            return torch.stack([transform(image) for image in images])
        return (torch.stack([transform(image) for image in _as_bytes(images)]).float() / 255).to(
            images.dtype
        )


@contextlib.contextmanager
def _seeded(generator: torch.Generator) -> Iterator[None]:
    """Lets torchvision, which draws from torch's global state on the CPU, draw from the generator
    instead.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _as_bytes(images: torch.Tensor) -> torch.Tensor:
    return (images * 255).round_().clamp_(0, 255).to(torch.uint8)
