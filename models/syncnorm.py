"""Batch norm over the images of all processes that train together."""

import torch
from torch import distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


class AllReduce(torch.autograd.Function):
    """Sum of a tensor over all processes. Each one's result depends on all inputs, so the gradient
    is such a sum, too.
    """

    @staticmethod
    def forward(context, input: torch.Tensor) -> torch.Tensor:
        output = input.clone()
        distributed.all_reduce(output)
        return output

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> torch.Tensor:
        return AllReduce.forward(context, gradient.contiguous())


class SyncBatchNorm(_BatchNorm):
    """Batch norm with the mean and variance of the images of all processes; torch's own is for GPUs
    only.

    Shape: (B, channels, ...) -> the same; a process may have no image, as long as another one has.
    Raises: ValueError: As torch's, while training on one value of each channel in all.
    """

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm needs (B, channels, ...), got {tuple(input.shape)}")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(input)
        dims, shape = [0, *range(2, input.ndim)], [1, -1, *[1] * (input.ndim - 2)]
        count = input.new_full((1,), input.numel() // input.shape[1])
        *sums, count = AllReduce.apply(torch.cat([input.sum(dims), count])).split(
            [input.shape[1], 1]
        )
        if count < 2:  # in all processes alike
            raise ValueError(
                "Expected more than 1 value per channel when training, got input size"
                f" {input.shape}"
            )
        mean = sums[0] / count
        centred = input - mean.view(shape)
        variance = AllReduce.apply(centred.square().sum(dims)) / count
        self._follow(mean.detach(), variance.detach() * (count / (count - 1)).detach())
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        return normal * self.weight.view(shape) + self.bias.view(shape) if self.affine else normal

    @torch.no_grad()
    def _follow(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        if self.track_running_stats:
            self.num_batches_tracked += 1
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance, share)


class SyncBatchNormAct(SyncBatchNorm):
    """The same with the dropout and activation that timm has inside its batch norms."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.act(self.drop(super().forward(input)))


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> None:
    """Makes every batch norm inside a model one over all processes, with the weights and averages
    it has.
    """
    for name, module in model.named_children():
        if isinstance(module, _BatchNorm):
            setattr(model, name, _synchronised(module, device))
        else:
            synchronise_batch_norm(module, device)


def _synchronised(module: _BatchNorm, device: torch.device) -> nn.Module:
    activates = hasattr(module, "act")  # of timm
    if device.type == "cuda":
        if not activates:
            return nn.SyncBatchNorm.convert_sync_batchnorm(module)
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(module)
    options = {
        name: getattr(module, name) for name in ("eps", "momentum", "affine", "track_running_stats")
    }
    kind = SyncBatchNormAct if activates else SyncBatchNorm
    other = kind(module.num_features, **options)
    for name in (*module._parameters, *module._buffers, *module._modules):
        setattr(other, name, getattr(module, name))
    return other.train(module.training)
