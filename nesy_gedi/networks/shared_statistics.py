"""Batch normalisation over the batches of several processes.

``torch.nn.SyncBatchNorm`` does the same on CUDA alone; this works wherever processes can add up tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Add = Callable[[Tensor], Tensor]
"""Adds up a tensor over all processes, in place; all of them call it, and all get the sum."""

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Normalises by mean and variance over what all processes see, while training; see :func:`share_statistics`.

    The gradients of ``weight`` and ``bias`` are this process's share: those of all processes must be added up, as the
    losses are whose sum is trained.
    """

    def __init__(self, own: nn.modules.batchnorm._BatchNorm, add: Add) -> None:
        super().__init__(own.num_features, own.eps, own.momentum, own.affine, own.track_running_stats)
        self.own = (type(own), add)
        _take_over(own, self)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions: the layer that this one stands for knows its own."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:  # one process may measure while the others wait
            return super().forward(input)
        normalised: Tensor
        normalised, mean, variance, count = _Normalise.apply(input, self.weight, self.bias, self.eps, self.own[1])
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                assert self.num_batches_tracked is not None
                self.num_batches_tracked.add_(1)
                share: Any = 1.0 / self.num_batches_tracked if self.momentum is None else self.momentum
                # A single value has no spread; without a limit it would be NaN from here on.
                unbiased = variance * (count / (count - 1.0).clamp_min(1.0))
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)
        return normalised


def share_statistics(module: nn.Module, add: Add) -> None:
    """Let all batch normalisation inside ``module`` be over the batches of all processes; its tensors stay the same."""
    _replace(module, lambda layer: SharedBatchNorm(layer, add) if type(layer) in _KINDS else None)


def own_statistics(module: nn.Module) -> None:
    """Undo :func:`share_statistics`."""

    def undo(layer: Any) -> nn.Module | None:
        if not isinstance(layer, SharedBatchNorm):
            return None
        kind: Any = layer.own[0]
        made: nn.Module = kind(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        _take_over(layer, made)
        return made

    _replace(module, undo)


def _replace(module: nn.Module, make: Callable[[Any], nn.Module | None]) -> None:
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if (made := make(child)) is not None:
                setattr(parent, name, made)


def _take_over(own: nn.Module, made: nn.Module) -> None:
    """The same parameters and buffers, not copies: an optimiser may hold them already."""
    made._parameters.update(own._parameters)
    made._buffers.update(own._buffers)
    made.train(own.training)


class _Normalise(torch.autograd.Function):
    """(n, C, ...) to the same with mean zero and variance one for each channel over all processes, times weight, plus bias.

    In two sums, as squares less the square of the mean would lose digits; in float32 at least. Ioffe and Szegedy, "Batch
    Normalization", 2015.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, add: Add
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        full = x if x.dtype == torch.float64 else x.float()
        others = [0, *range(2, x.dim())]
        shape = (1, -1, *[1] * (x.dim() - 2))
        size = full.new_full((1,), x.numel() // x.shape[1])
        sums = add(torch.cat([full.sum(others), size]))
        count = sums[-1]
        mean = sums[:-1] / count
        centred = full - mean.view(shape)
        variance = add(centred.square().sum(others)) / count
        scale = (variance + eps).rsqrt()
        standard = centred * scale.view(shape)
        ctx.save_for_backward(standard, scale, weight, count)
        ctx.add, ctx.others, ctx.shape, ctx.dtype = add, others, shape, x.dtype
        ctx.mark_non_differentiable(mean, variance, count)
        result = standard if weight is None else standard * weight.view(shape)
        result = result if bias is None else result + bias.view(shape)
        return result.to(x.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        standard, scale, weight, count = ctx.saved_tensors
        gradient = gradient.to(standard.dtype)
        straight, along = gradient.sum(ctx.others), (gradient * standard).sum(ctx.others)
        # Copies, as they are added up in place.
        both = ctx.add(torch.stack([straight, along])) / count
        inner = gradient - both[0].view(ctx.shape) - standard * both[1].view(ctx.shape)
        slope = scale if weight is None else scale * weight
        dx = (inner * slope.view(ctx.shape)).to(ctx.dtype)
        return (
            dx,
            None if weight is None else along.to(weight.dtype),
            straight if weight is not None else None,
            None,
            None,
        )
