"""A trunk on a GPU that is not CUDA's, such as that of a Mac: all behind it, which is small and
wants float64, stays on the CPU.

Such GPUs have given wrong numbers without a word, so the first batch is computed by the CPU, too.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models import Classifier
from models.sphere import without_autocast
from training.devices import Devices

IMAGES = 8  # of the first batch, that the CPU computes, too
TOLERANCE = 0.01  # of the length of features or gradients; rounding alone makes about 1e-5 of it


def place(model: Classifier, devices: Devices, layout: torch.memory_format | None = None) -> None:
    """Moves a model to its devices.

    Args:
        layout: Of its kernels, on the device of all but such a trunk; None: as they are.
    """
    model.to(devices.main, memory_format=layout or torch.preserve_format)
    if devices.of_trunk != devices.main:
        model.backbone.move_trunk(devices.of_trunk)
        model.backbone.network.register_forward_pre_hook(_CheckedOnce())


class _CheckedOnce:
    """Before a network's first batch: compares what the CPU makes of it."""

    def __init__(self):
        self.done = False

    def __call__(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if not self.done:
            self.done = True
            check(network, inputs[0][:IMAGES].detach())


def check(network: nn.Module, images: Tensor) -> None:
    """Compares features of images (B, channels, H, W), and in training the gradients, too, with
    those of the CPU. Neither weights nor averages of batch norms move, and nothing is drawn.

    Raises: RuntimeError: If they differ by more than rounding.
    """
    device, gradients = images.device, torch.is_grad_enabled()
    with without_autocast(device):
        found = _compute(network, images, gradients)
        expected = _compute(copy.deepcopy(network).cpu(), images.cpu(), gradients)
    for what, here, there in zip(("features", "gradients"), found, expected):
        if not there.isfinite().all():  # weights without meaning, which the run will find
            continue
        distance = float((here - there).norm() / there.norm().clamp(min=torch.finfo().tiny))
        if not distance <= TOLERANCE:
            raise RuntimeError(
                f"--GPU {device.type}: torch {torch.__version__} computes this network wrongly on"
                f" this GPU: for {len(images)} images its {what} differ by {distance:.1%} from what"
                " the CPU computes, where rounding would make less than 0.1%. Use --GPU cpu,"
                " another version of torch, or another --backbone"
            )


def _compute(network: nn.Module, images: Tensor, gradients: bool) -> tuple[Tensor, ...]:
    """Features and the gradients of all weights that train, each in one row on the CPU, with batch
    norms as in training where they are in it.
    """
    twin = copy.deepcopy(network)
    norms = [one for one in twin.modules() if isinstance(one, _BatchNorm) and one.training]
    twin.eval()
    for norm in norms:
        norm.train()
    features = twin(images).float()
    rows = [features.detach().flatten().cpu()]
    weights = [weight for weight in twin.parameters() if weight.requires_grad]
    if gradients and weights:
        wanted = torch.autograd.grad(features.square().sum(), weights, allow_unused=True)
        rows.append(torch.cat([one.flatten().float().cpu() for one in wanted if one is not None]))
    return tuple(rows)
