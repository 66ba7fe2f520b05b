"""Batch normalisation over several processes, stood in for by parts of a batch that are added up in turn."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import Tensor, nn

from nesy_gedi.networks.shared_statistics import SharedBatchNorm, own_statistics, share_statistics


class Adder:
    """Adds up what several threads bring, as processes would."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count)
        self.lock = threading.Lock()
        self.total: Tensor | None = None

    def __call__(self, tensor: Tensor) -> Tensor:
        with self.lock:
            self.total = tensor.clone() if self.total is None else self.total + tensor
        self.barrier.wait(20)
        assert self.total is not None
        tensor.copy_(self.total)
        if self.barrier.wait(20) == 0:
            self.total = None
        self.barrier.wait(20)
        return tensor

    def __deepcopy__(self, _: object) -> Adder:
        return self


def in_parts(network: nn.Module, sizes: list[int], x: Tensor, weight: Tensor) -> tuple[Tensor, list[Tensor], nn.Module]:
    """Output, summed gradients (of the input, then of the parameters), and the first part's network, of parts of a batch."""
    adder = Adder(len(sizes))
    networks = [copy.deepcopy(network) for _ in sizes]
    parts = [part.clone().requires_grad_() for part in x.split(sizes)]
    outputs: list[Tensor] = [torch.empty(0)] * len(sizes)

    def work(number: int) -> None:
        share_statistics(networks[number], adder)
        outputs[number] = networks[number](parts[number])
        (outputs[number] * weight.split(sizes)[number]).sum().backward()

    # Backward passes on the CPU run in the thread that asks for them.
    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(sizes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    of_parameters = [
        torch.stack([p.grad for p in each if p.grad is not None]).sum(0)
        for each in zip(*(network.parameters() for network in networks), strict=True)
    ]
    of_input = torch.cat([part.grad for part in parts if part.grad is not None])
    return torch.cat([output.detach() for output in outputs]), [of_input, *of_parameters], networks[0]


@pytest.mark.parametrize("sizes", [[4, 4], [1, 7], [3, 3, 2]])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.BatchNorm1d(5), (8, 5)),
        (nn.BatchNorm2d(3, momentum=None), (8, 3, 4, 2)),
        (nn.BatchNorm1d(5, affine=False), (8, 5, 6)),
        (nn.BatchNorm2d(3, track_running_stats=False), (8, 3, 2, 2)),
    ],
    ids=["1d", "2d cumulative", "1d plain", "2d untracked"],
)
def test_parts_are_normalised_as_the_whole(layer: nn.Module, shape: tuple[int, ...], sizes: list[int]) -> None:
    torch.manual_seed(3)
    x = (3.0 + 2.0 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    weight = torch.randn(shape, dtype=torch.float64)
    whole = nn.Sequential(copy.deepcopy(layer)).double()
    for parameter in whole.parameters():
        nn.init.normal_(parameter)
    parts = copy.deepcopy(whole)
    expected = whole(x)
    (expected * weight).sum().backward()
    found, gradients, after = in_parts(parts, sizes, x.detach(), weight)
    torch.testing.assert_close(found, expected.detach())
    assert x.grad is not None
    reference = [x.grad, *(p.grad for p in whole.parameters() if p.grad is not None)]
    for one, other in zip(gradients, reference, strict=True):
        torch.testing.assert_close(one, other)
    for name, buffer in whole.named_buffers():
        torch.testing.assert_close(after.state_dict()[name], buffer)


def test_tensors_stay_the_same_there_and_back() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm1d(3), nn.ReLU()))
    before = dict(network.named_parameters()) | dict(network.named_buffers())
    keys = list(network.state_dict())
    share_statistics(network, lambda tensor: tensor)
    assert sum(isinstance(each, SharedBatchNorm) for each in network.modules()) == 2
    for _ in range(2):
        now = dict(network.named_parameters()) | dict(network.named_buffers())
        assert all(now[name] is tensor for name, tensor in before.items())
        assert list(network.state_dict()) == keys
        own_statistics(network)
    assert type(network[1]) is nn.BatchNorm1d


def test_evaluation_asks_nobody() -> None:
    def never(_: Tensor) -> Tensor:
        raise AssertionError("asked")

    network = nn.Sequential(nn.BatchNorm1d(3))
    expected = network.eval()(torch.ones(2, 3))
    share_statistics(network, never)
    assert torch.equal(network(torch.ones(2, 3)), expected)
    with pytest.raises(AssertionError, match="asked"):
        network.train()(torch.ones(2, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    """A sum of 3000 ones does not fit into bfloat16, nor one of 70,000 into float16."""
    x = (100.0 + torch.randn(3000, 2)).to(dtype)
    network = nn.Sequential(nn.BatchNorm1d(2))
    expected = network(x.float())
    shared = nn.Sequential(nn.BatchNorm1d(2))
    share_statistics(shared, lambda tensor: tensor)
    found = shared(x)
    assert found.dtype == dtype or found.dtype == torch.float32
    torch.testing.assert_close(found.float(), expected, atol=0.02, rtol=0.02)


def test_a_single_value_leaves_numbers() -> None:
    layer = nn.Sequential(nn.BatchNorm1d(2))
    share_statistics(layer, lambda tensor: tensor)
    assert layer(torch.ones(1, 2)).tolist() == [[0.0, 0.0]]
    assert bool(layer[0].running_var.isfinite().all())


def test_what_is_only_measured_is_not_added_up() -> None:
    def refused(_: Tensor) -> Tensor:
        raise AssertionError("nobody answers")

    layer = nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False)).eval()
    share_statistics(layer, refused)
    assert layer(torch.randn(5, 2)).shape == (5, 2)
