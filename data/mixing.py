"""Two images in one: mixup and cutmix. A mixture has two classes, each with its share, and its loss
is the same mean of the losses of both.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from registry import Need, Option, nonnegative


class Mixture(NamedTuple):
    """A batch of images, and what they are of.

    Fields:
        images: (B, channels, H, W).
        targets: (B,) int64.
        partners: (B,) int64, the classes of what was mixed in.
        share: Of the targets, in [0, 1]; the partners have the rest.
    """

    images: Tensor
    targets: Tensor
    partners: Tensor
    share: float = 1.0

    def loss(self, of: Callable[[Tensor], Tensor]) -> Tensor:
        """share of(targets) + (1 - share) of(partners); of images that are none, of(targets)."""
        if self.share == 1:
            return of(self.targets)
        return self.share * of(self.targets) + (1 - self.share) * of(self.partners)


Mixer = Callable[[Tensor, Tensor, torch.Generator], Mixture]


def unmixed(images: Tensor, targets: Tensor, generator: torch.Generator) -> Mixture:
    """The images as they are."""
    return Mixture(images, targets, targets)


def mixup(images: Tensor, partners: Tensor, share: float, random: np.random.Generator) -> tuple:
    """share of each image and the rest of its partner, pixel by pixel, and the share.

    Source: Zhang et al. 2018.
    """
    mixed = torch.lerp(partners.float(), images.float(), share)
    return (mixed.round_() if images.dtype == torch.uint8 else mixed).to(images.dtype), share


def cutmix(images: Tensor, partners: Tensor, share: float, random: np.random.Generator) -> tuple:
    """Each image with a rectangle of its partner, of the same proportions and in the same place for
    the batch, and the share of pixels that are left. The rectangle has 1 - share of the image's
    area, less what of it lies outside.

    Source: Yun et al. 2019.
    """
    sides = np.array(images.shape[2:])
    half = np.sqrt(1 - share) * sides / 2
    centre = random.uniform(0, sides)
    (top, left), (bottom, right) = (
        np.clip(np.rint(centre + sign * half), 0, sides).astype(int).tolist() for sign in (-1, 1)
    )
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = partners[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / int(sides.prod())


def _option(name: str, what: str) -> Option:
    needs = Need(
        lambda options: not (options["ema"] or options["dynamic"] or options["size_inform"]),
        "a run without --ema and --dynamic, which follow the embeddings of each class, and without"
        " --size_inform: an image of two classes is of neither, and has no size",
    )
    help = f"{what}, whose share of the image and of the loss is drawn from Beta(ALPHA, ALPHA)"
    return Option(name, nonnegative, 0, "ALPHA", help, off=0, needs=needs, rebuilt=None)


class Mixing(NamedTuple):
    """A way to mix, and the option that asks for it and is its alpha."""

    function: Callable[..., tuple[Tensor, float]]
    option: Option


MIXINGS = (
    Mixing(mixup, _option("mixup", "train on mixtures of two images")),
    Mixing(
        cutmix,
        _option(
            "cutmix",
            "train on images with a rectangle of another one in them (with --mixup one of the two"
            " for each batch)",
        ),
    ),
)


def mixes(options: Mapping[str, object]) -> bool:
    """Whether a run with these options trains on mixtures."""
    return any(options.get(mixing.option.name) for mixing in MIXINGS)


def mixer(options: Mapping[str, object]) -> Mixer:
    """What a run mixes its training batches with: a function (images, targets, generator) ->
    `Mixture`. For each batch one of the ways asked for, one share, and a partner for each image
    from the same batch. All that is random comes from the generator, which lives on the CPU.
    """
    asked = [
        (mixing.function, float(options[mixing.option.name]))
        for mixing in MIXINGS
        if options.get(mixing.option.name)
    ]
    if not asked:
        return unmixed

    def apply(images: Tensor, targets: Tensor, generator: torch.Generator) -> Mixture:
        if len(images) < 2:  # there is nothing to mix with
            return unmixed(images, targets, generator)
        # torch draws from no beta distribution of a given generator
        random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        function, alpha = asked[random.integers(len(asked))]
        order = torch.from_numpy(random.permutation(len(images))).to(images.device)
        share = float(random.beta(alpha, alpha))
        mixed, share = function(images, images[order], share, random)
        return Mixture(mixed, targets, targets[order], share)

    return apply
