"""Samples of an energy-based model by stochastic gradient Langevin dynamics, with a replay buffer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from nesy_gedi.errors import RunError, UsageError
from nesy_gedi.objectives.objective import check_number

BUFFER_SIZE = 10_000
STEPS = 20
STEP_SIZE = 1.0
NOISE = 0.01
REINITIALISE = 0.05
CLIP = True
"""Defaults of :class:`SgldSampler`, and of the recipes that make one."""


class SgldSampler(nn.Module):
    """x <- x - α ∇E(x) + σ ε from starting points that persist between calls.

    Source: Grathwohl et al., "Your classifier is secretly an energy based model and you should treat it like one", ICLR
    2020, arXiv 1912.03263, and its released code; persistent chains after Du and Mordatch, NeurIPS 2019, arXiv
    1903.08689. As there, α and σ are set apart, so that the samples' temperature is not exactly one.

    The buffer is part of the state, and all randomness comes from torch's global generator: a continued run draws the
    same samples. The energy should not depend on the other images of its batch (no batch norm in training mode).

    Args:
        shape: of one sample, (channels, height, width) or any other.
        size: samples in the buffer; 10,000 in JEM.
        steps: a call; 20 in JEM (1 is enough on toy data).
        step_size: α; 1 in JEM.
        noise: σ; .01 in JEM.
        reinitialise: probability that a chain starts anew; .05 in JEM.
        bounds: of the uniform distribution that chains start from; the range of the images.
        clip: whether chains are kept within the bounds. JEM's are not; but an energy that falls without end away from the
            data, as that of a ReLU network on points does, draws them off for good.

    Raises:
        UsageError: a number out of range.
    """

    buffer: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        *,
        size: int = BUFFER_SIZE,
        steps: int = STEPS,
        step_size: float = STEP_SIZE,
        noise: float = NOISE,
        reinitialise: float = REINITIALISE,
        bounds: tuple[float, float] = (0.0, 1.0),
        clip: bool = CLIP,
    ) -> None:
        super().__init__()
        for length in shape:
            check_number("sgld", "shape", length, minimum=1, whole=True)
        check_number("sgld", "size", size, minimum=1, whole=True)
        check_number("sgld", "steps", steps, minimum=1, whole=True)
        check_number("sgld", "step_size", step_size, above=0.0)
        check_number("sgld", "noise", noise, minimum=0.0)
        check_number("sgld", "reinitialise", reinitialise, minimum=0.0, maximum=1.0)
        check_number("sgld", "lower bound", bounds[0])
        check_number("sgld", "upper bound", bounds[1], above=bounds[0])
        self.steps = steps
        self.step_size = step_size
        self.noise = noise
        self.reinitialise = reinitialise
        self.bounds = bounds
        self.clip = clip
        self.register_buffer("buffer", torch.empty(size, *shape).uniform_(*bounds))

    def sample(self, energy: Callable[[Tensor], Tensor], count: int) -> Tensor:
        """Continue ``count`` chains of the buffer and keep where they end.

        Args:
            energy: (count, *shape) -> (count,), differentiable; low where p(x) is high. No gradient reaches its
                parameters.
            count: how many, at most the buffer's size.

        Returns:
            (count, *shape) without gradient.

        Raises:
            UsageError: more samples than the buffer holds, or an energy of another shape.
            RunError: energies or samples that are not finite; the buffer is left as it was.
        """
        chosen = self._choose(count)
        x = self._start(chosen)
        sound = torch.ones((), dtype=torch.bool, device=x.device)
        for _ in range(self.steps):
            with torch.enable_grad():
                x.requires_grad_(True)
                energies = energy(x)
                if tuple(energies.shape) != (count,):
                    raise UsageError(
                        f"energies of shape {tuple(energies.shape)}, expected ({count},), one a sample",
                        where="sgld",
                        hint="do not average the energy over the batch",
                    )
                (gradient,) = torch.autograd.grad(energies.sum(), x)
            x = x.detach() - self.step_size * gradient + self.noise * torch.randn_like(x)
            if self.clip:
                sound &= x.isfinite().all()
                x.clamp_(*self.bounds)
            sound &= energies.detach().isfinite().all()
        if not bool(sound & x.isfinite().all()):
            raise RunError(
                "the sampler diverged: energies or samples are not finite",
                where="sgld",
                hint="lower the step size, the learning rate or the weight of the generative term",
            )
        self.buffer[chosen] = x
        return x

    def grid(self, count: int) -> Tensor:
        """The buffer's first ``count`` samples as they are, (count, *shape), for pictures.

        Raises:
            UsageError: more than the buffer holds.
        """
        self._check_count(count)
        return self.buffer[:count].clone()

    def _choose(self, count: int) -> Tensor:
        """Distinct places in the buffer, so that what is written back does not depend on the order of writing."""
        self._check_count(count)
        return torch.randperm(len(self.buffer), device=self.buffer.device)[:count]

    def _start(self, chosen: Tensor) -> Tensor:
        kept = self.buffer[chosen]
        fresh = torch.empty_like(kept).uniform_(*self.bounds)
        anew = torch.rand(len(chosen), device=kept.device) < self.reinitialise
        return torch.where(anew.view(-1, *[1] * (kept.dim() - 1)), fresh, kept)

    def _check_count(self, count: int) -> None:
        check_number("sgld", "count", count, minimum=1, maximum=len(self.buffer), whole=True)
