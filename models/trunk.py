"""The trunk of a classifier as a thing of its own: frozen, it is the same for all runs that start
from it.
"""

import hashlib
from collections.abc import Mapping

import torch

from models.classifier import Classifier

PREFIX = "backbone.network."  # of its entries in a classifier's state dict


def has_frozen_trunk(model: Classifier) -> bool:
    """Whether the trunk has weights and none of them trains (`models.freeze`)."""
    parameters = list(model.backbone.network.parameters())
    return bool(parameters) and not any(one.requires_grad for one in parameters)


def split_state(
    state: Mapping[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A classifier's state dict as that of its trunk and all the rest, under the same names."""
    trunk = {name: value for name, value in state.items() if name.startswith(PREFIX)}
    return trunk, {name: value for name, value in state.items() if name not in trunk}


def trunk_digest(trunk: Mapping[str, torch.Tensor]) -> str:
    """Hash of a trunk's state, 32 hexadecimal digits: of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(trunk):
        value = trunk[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]
