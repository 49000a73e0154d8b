"""Directions and angles, safe at the ends of their domain."""

from contextlib import AbstractContextManager, nullcontext

import torch

SHORTEST = 1e-12  # a shorter vector has no direction
SHRINK = 0.999999  # keeps acos off 1, where its gradient is infinite: angles are at least 1.41e-3


def widen(embeddings: torch.Tensor) -> torch.Tensor:
    """The embeddings in float32, or float64 if they are: half precision cannot tell small angles
    apart.
    """
    return embeddings if embeddings.dtype == torch.float64 else embeddings.float()


def unit(vectors: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """Rows of length 1. A zero row stays zero, with a zero gradient; a row with NaN stays NaN.

    Args:
        out: Where to put them, the vectors themselves, say, where there is no gradient.
    """
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return torch.div(vectors, torch.where(length <= SHORTEST, torch.inf, length), out=out)


def angle(cosines: torch.Tensor) -> torch.Tensor:
    """acos(0.999999 clip(cos, -1, 1)), in radians, in [1.41e-3, pi - 1.41e-3]; its gradient is
    finite everywhere.
    """
    return torch.acos(SHRINK * cosines.clamp(-1, 1))


def without_autocast(device: torch.device) -> AbstractContextManager:
    """A region that computes in the precision of its tensors, also under autocast, and on devices
    that know no autocast.
    """
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    if not torch.is_autocast_enabled(device.type):  # which costs less than to disable it
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
