"""Augmentation of whole batches, reproducible from a generator and independent of the device."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F

from data.mixing import MIXINGS
from registry import Number, Option, Registry, fraction, positive_int, settle

# degrees, part of the side, factor, degrees
ROTATION, SHIFT, SCALE, SHEAR = 15.0, 0.1, (0.9, 1.1), 10.0

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


def crop(images: torch.Tensor, generator: torch.Generator, fill: float = 0.0) -> torch.Tensor:
    """Each image shifted by whole pixels, each way by at most an eighth of its side, and mirrored
    left to right with probability 1/2: 4 of 32 pixels, as is usual for CIFAR. No pixel changes its
    value.
    """
    count, _, height, width = images.shape
    margins = height // 8, width // 8
    rows, columns = (
        torch.randint(2 * margin + 1, (count, 1), generator=generator) + torch.arange(side)
        for margin, side in zip(margins, (height, width))
    )
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    margin = (margins[1], margins[1], margins[0], margins[0])
    value = round(255 * fill) if images.dtype == torch.uint8 else fill
    padded = F.pad(images, margin, value=value)
    places = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
    places = places.flatten(1)[:, None].expand(-1, images.shape[1], -1).to(images.device)
    return padded.flatten(2).gather(2, places).view_as(images)


def dihedral(images: torch.Tensor, generator: torch.Generator, fill: float = 0.0) -> torch.Tensor:
    """Each image turned by 0, 90, 180 or 270 degrees and mirrored or not, all eight equally often:
    for objects that lie any way round. No pixel changes its value. Images that are not squares are
    turned by 0 or 180 degrees.
    """
    draws = torch.randint(8, (len(images),), generator=generator)
    square = images.shape[2] == images.shape[3]
    turned = images.clone()
    for number in range(8):
        rows = torch.nonzero(draws == number).ravel().to(images.device)
        part = images.index_select(0, rows)
        part = part.flip(3) if number & 1 else part
        part = part.flip(2, 3) if number & 2 else part
        part = part.transpose(2, 3) if number & 4 and square else part
        turned.index_copy_(0, rows, part)
    return turned


def randaugment(
    images: torch.Tensor,
    generator: torch.Generator,
    fill: float = 0.0,
    randaugment_ops: int = 2,
    randaugment_magnitude: int = 9,
) -> torch.Tensor:
    """RandAugment (Cubuk et al. 2020), for each image on its own; uint8 inside."""
    from torchvision.transforms import v2

    return _one_by_one(
        v2.RandAugment(randaugment_ops, randaugment_magnitude, fill=255 * fill), images, generator
    )


def jitter(
    images: torch.Tensor, generator: torch.Generator, fill: float = 0.0, color_jitter: float = 0.0
) -> torch.Tensor:
    """Brightness, contrast and, of colour images, saturation of each image times a factor from
    1 - color_jitter to 1 + color_jitter, each its own, in any order; uint8 inside. Hue, which tells
    stained or pigmented objects apart, stays.
    """
    from torchvision.transforms import v2

    saturation = color_jitter if images.shape[1] == 3 else None
    return _one_by_one(v2.ColorJitter(color_jitter, color_jitter, saturation), images, generator)


def erase(
    images: torch.Tensor, generator: torch.Generator, fill: float = 0.0, erasing: float = 0.0
) -> torch.Tensor:
    """With probability `erasing` a rectangle of 2 to 33 % of an image, of any proportions from 0.3
    to 3.3, becomes noise of all its values (Zhong et al. 2020); uint8 inside.
    """
    from torchvision.transforms import v2

    size = (images.shape[1], *images.shape[2:])
    eraser = v2.RandomErasing(p=erasing, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0)

    def with_noise(image: torch.Tensor) -> torch.Tensor:
        noise = torch.randint(256, size, dtype=torch.uint8).to(image.device)
        # what the eraser takes out of a mask of ones
        kept = eraser(torch.ones_like(image[:1]))
        return torch.where(kept > 0, image, noise)

    return _one_by_one(with_noise, images, generator)


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
        "crop": Augmentation(crop, "shifted by up to an eighth of the side and mirrored"),
        "dihedral": Augmentation(dihedral, "turned by right angles and mirrored"),
        "randaugment": Augmentation(
            randaugment,
            "some of torchvision's fourteen changes",
            (
                Option(
                    "randaugment_ops",
                    positive_int,
                    2,
                    "N",
                    "changes that each image undergoes",
                    rebuilt=None,
                ),
                Option(
                    "randaugment_magnitude",
                    Number(int, lambda n: 0 <= n <= 30, "a whole number from 0 to 30"),
                    9,
                    "N",
                    "how strong they are, of 30",
                    rebuilt=None,
                ),
            ),
        ),
    },
)
# what goes with any of them, one after another; the option that asks for it is its strength
ADDED = (
    Augmentation(
        jitter,
        options=(
            Option(
                "color_jitter",
                fraction,
                0,
                "STRENGTH",
                "change brightness, contrast and saturation of training images by up to this share,"
                " 0 to 1",
                off=0,
                rebuilt=None,
            ),
        ),
    ),
    Augmentation(
        erase,
        options=(
            Option(
                "erasing",
                fraction,
                0,
                "PROBABILITY",
                "overwrite a rectangle of so many training images with noise",
                off=0,
                rebuilt=None,
            ),
        ),
    ),
)
OPTIONS = (
    AUGMENTATIONS.option,
    *(option for added in ADDED for option in added.options),
    *(mixing.option for mixing in MIXINGS),
)


def augmenter(options: Mapping[str, object]) -> Transform:
    """Everything that a run's options ask for: a function (images, generator) -> images, see
    `augment`; what is mixed comes after it, see `data.mixing`.
    """
    steps = [augment(options["aug"], **AUGMENTATIONS.select(options))]
    for added in ADDED:
        own = {option.name: options.get(option.name) for option in added.options}
        if any(own.values()):
            steps.append(partial(added.function, **own))

    def apply(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        for step in steps if len(images) else ():
            images = step(images, generator)
        return images

    return apply


def augments(options: Mapping[str, object]) -> bool:
    """Whether the network sees other images in every epoch, so that nothing it makes of them can be
    kept.
    """
    chosen = options.get("aug") not in (None, AUGMENTATIONS.option.default)
    return chosen or any(options.get(option.name) for option in OPTIONS[1:])


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
