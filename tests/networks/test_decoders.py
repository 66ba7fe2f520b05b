"""Images from symbols: the expected loss by hand, its unit, its gradient, and what it asks symbols to say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from nesy_gedi.errors import UsageError
from nesy_gedi.networks.decoders import COMBINATIONS, SymbolDecoder

SHAPE = 2, 3, 4


def pictures(count: int = 50, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def perceived(rows: int, *sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(rows, size, generator=generator).mul(2.0).log_softmax(1) for size in sizes]


@pytest.mark.parametrize(("sizes", "shape"), [((4,), SHAPE), ((2, 3), SHAPE), ((3, 1, 2), (1, 5, 5)), ((3,), (2,))])
def test_the_loss_is_the_expected_unexplained_share(sizes: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Image by image and symbols by symbols, in NumPy, through nothing but ``forward``."""
    images = pictures(shape=shape)
    decoder = SymbolDecoder(sizes, images)
    some, log_p = images[:6], perceived(6, *sizes)
    with torch.no_grad():
        found = decoder.loss(log_p, some).item()
    pool = images.double().numpy()
    variance = np.square(pool - pool.mean(0)).mean()
    expected = 0.0
    for row, image in enumerate(some.double().numpy()):
        for symbols in itertools.product(*map(range, sizes)):
            with torch.no_grad():
                decoded = decoder(torch.tensor([symbols]))[0].double().numpy()
            p = np.prod([log_p[k][row, symbol].exp().item() for k, symbol in enumerate(symbols)])
            expected += p * np.square(image - decoded).mean() / variance / len(some)
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_mean_image_leaves_everything_unexplained() -> None:
    images = pictures()
    decoder = SymbolDecoder([3], images)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.zero_()
    torch.testing.assert_close(decoder(torch.tensor([[0], [2]])), images.mean(0).expand(2, *SHAPE))
    assert decoder.loss(perceived(50, 3), images).item() == pytest.approx(1.0, rel=1e-5)
    brighter = SymbolDecoder([3], 0.1 * images + 0.5)  # of another contrast
    brighter.layers.load_state_dict(decoder.layers.state_dict())
    assert brighter.loss(perceived(50, 3), 0.1 * images + 0.5).item() == pytest.approx(1.0, rel=1e-4)


def test_images_of_two_kinds_are_explained_by_their_names_and_not_by_others() -> None:
    kinds = torch.arange(40) % 2
    images = torch.stack([pictures(1, 3)[0], pictures(1, 4)[0]])[kinds]
    decoder = SymbolDecoder([2], images)
    one_hot = torch.nn.functional.one_hot(kinds, 2)
    right, blind = one_hot.float().log(), torch.full((40, 2), 0.5).log()
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        decoder.loss([right], images).backward()
        optimizer.step()
    with torch.no_grad():
        assert decoder.loss([right], images).item() < 1e-3
        torch.testing.assert_close(decoder(kinds[:, None]), images, atol=0.02, rtol=0.0)
        # In the other's place a picture is twice as far as the mean, and half the time it is in its place.
        assert decoder.loss([blind], images).item() == pytest.approx(2.0, rel=0.02)
        assert decoder.loss([right.flip(1)], images).item() == pytest.approx(4.0, rel=0.02)


def test_blends_explain_no_more_than_their_symbols_do() -> None:
    """Half of this and half of that costs as much as the two on average, though an average picture would fit better."""
    images = pictures(20)
    decoder = SymbolDecoder([2], images)
    certain = [torch.tensor([[row]], dtype=torch.float64).log() for row in (1.0, 0.0)]
    first = torch.cat([certain[0], certain[1]], 1).float().expand(20, 2)
    with torch.no_grad():
        half = decoder.loss([torch.full((20, 2), 0.5).log()], images).item()
        both = [decoder.loss([log_p], images).item() for log_p in (first, first.flip(1))]
    assert half == pytest.approx(sum(both) / 2, rel=1e-5)


def test_its_gradient_is_that_of_differences() -> None:
    images = pictures(8).double()
    decoder = SymbolDecoder([2, 3], images).double()
    log_p = [each.double().requires_grad_() for each in perceived(4, 2, 3)]
    assert torch.autograd.gradcheck(lambda *given: decoder.loss(given, images[:4]), log_p)
    weights = tuple(decoder.layers.parameters())

    def by_weights(*given: Tensor) -> Tensor:
        named = dict(zip([name for name, _ in decoder.layers.named_parameters(prefix="layers")], given, strict=True))
        found: Tensor = torch.func.functional_call(_Loss(decoder), {f"decoder.{k}": v for k, v in named.items()}, ())
        return found

    class _Loss(torch.nn.Module):
        def __init__(self, inner: SymbolDecoder) -> None:
            super().__init__()
            self.decoder = inner

        def forward(self) -> Tensor:
            return self.decoder.loss([each.detach() for each in log_p], images[:4])

    # ReLUs are straight where no unit is near its kink.
    assert torch.autograd.gradcheck(by_weights, weights, eps=1e-7, atol=1e-5)


def test_impossible_symbols_have_finite_gradients() -> None:
    images = pictures(3)
    decoder = SymbolDecoder([2, 2], images)
    p = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], requires_grad=True)
    log_p = p.clamp_min(torch.finfo(p.dtype).tiny).log().masked_fill(p <= 0.0, -torch.inf)
    loss = decoder.loss([log_p, log_p], images)
    loss.backward()
    assert loss.isfinite()
    assert p.grad is not None
    assert bool(p.grad.isfinite().all())


def test_images_that_are_all_the_same() -> None:
    images = torch.full((5, *SHAPE), 0.25)
    decoder = SymbolDecoder([2], images)
    assert bool(decoder(torch.tensor([[0], [1]])).isfinite().all())
    assert bool(decoder.loss(perceived(5, 2), images).isfinite())


def test_what_is_kept_is_all_that_there_is() -> None:
    one, other = SymbolDecoder([2, 3], pictures(seed=1)), SymbolDecoder([2, 3], pictures(seed=2))
    other.load_state_dict(one.state_dict())
    some, log_p = pictures(4, 5), perceived(4, 2, 3)
    assert torch.equal(one.loss(log_p, some), other.loss(log_p, some))


def test_too_many_combinations_are_refused() -> None:
    assert len(SymbolDecoder([64, COMBINATIONS // 64], pictures(2)).combinations) == COMBINATIONS
    with pytest.raises(UsageError, match="4160 combinations of symbols are too many"):
        SymbolDecoder([64, COMBINATIONS // 64 + 1], pictures(2))
