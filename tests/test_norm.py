"""Batch norm and the rectifier after it as one kernel: PyTorch's numbers, gradients and averages but for rounding."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from lit_hep.nets.native import use_kernels
from lit_hep.nets.norm import Normed

LAST = torch.channels_last


def nets(rectifier, channels=48, **options):
    """Ours, and PyTorch's in double precision."""
    torch.manual_seed(1)
    mine = Normed(nn.BatchNorm2d(channels, **options), rectifier)
    for weight in mine.parameters():
        nn.init.normal_(weight)
    theirs = deepcopy(mine).double()
    use_kernels(mine)
    return mine, theirs


def images(*shape):
    """Of channels with means up to ten times as large as their spread."""
    return (
        (torch.randn(shape) + 10 * torch.randn(shape[1], 1, 1))
        .mul(torch.rand(shape[1], 1, 1) * 5)
        .to(memory_format=LAST)
    )


def used(answer):
    return "_Normed" in str(answer.grad_fn)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("shape", [(6, 48, 9, 13), (3, 48, 1, 6), (9, 48, 5, 30)])
@pytest.mark.parametrize("rectifier", [nn.ReLU(), nn.LeakyReLU(0.2)], ids=["ReLU", "leaky"])
def test_numbers_gradients_and_averages_are_pytorchs_but_for_rounding(rectifier, shape, parts, vectors):
    mine, theirs = nets(rectifier, momentum=0.3)
    for _ in range(2):
        image = images(*shape).requires_grad_()
        exact = image.detach().double().requires_grad_()
        answer, right = mine(image, parts), theirs(exact, parts)
        assert used(answer)
        weight = torch.randn(right.shape)  # of another layout
        found = torch.autograd.grad(answer, [image, *mine.parameters()], weight)
        wanted = torch.autograd.grad(right, [exact, *theirs.parameters()], weight.double())
        for ours, other in zip([answer, *found], [right, *wanted], strict=True):
            assert (ours - other).norm() < 2e-5 * other.norm()
    for ours, other in zip(mine.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(ours.double(), other.double(), rtol=1e-5, atol=1e-6)


def test_a_channel_that_is_constant_gives_its_bias(vectors):
    mine, _ = nets(nn.LeakyReLU(0.2))
    answer = mine(torch.full((4, 48, 3, 3), 1e6).to(memory_format=LAST))
    bias = mine[1](mine[0].bias)
    assert used(answer) and torch.equal(answer, bias[:, None, None].expand_as(answer))


def test_the_same_with_any_number_of_threads(threads):
    image, answers = images(5, 48, 9, 13).requires_grad_(), []
    for number in (1, 2, 5):
        threads(number)
        mine, _ = nets(nn.ReLU())
        answer = mine(image)
        answers.append([answer, *torch.autograd.grad(answer.square().sum(), [image, *mine.parameters()])])
    for one, *others in zip(*answers, strict=True):
        assert all(torch.equal(one, other) for other in others)


@pytest.mark.parametrize(
    "change",
    [
        lambda net, image: image.contiguous(),
        lambda net, image: net.eval() and image,
        lambda net, image: net.double() and image.double(),
        lambda net, image: setattr(net, "native", False) or image,
        lambda net, image: setattr(net[0], "momentum", None) or image,
        lambda net, image: setattr(net[0], "__class__", type("Other", (nn.BatchNorm2d,), {})) or image,
    ],
    ids=["channels outermost", "evaluation", "double", "not native", "plain averages", "another norm"],
)
def test_pytorchs_way_elsewhere(change):
    mine, theirs = nets(nn.ReLU())
    image = change(mine, images(4, 48, 3, 3))
    theirs.train(mine.training)
    theirs[0].momentum = mine[0].momentum
    answer = mine(image)
    assert not used(answer)
    torch.testing.assert_close(answer.double(), theirs(image.double()), rtol=1e-4, atol=1e-4)


def test_other_channels_and_a_single_pixel_are_left_to_pytorch():
    narrow, _ = nets(nn.ReLU(), 20)
    assert not used(narrow(images(4, 20, 3, 3)))
    mine, _ = nets(nn.ReLU())
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        mine(torch.rand(2, 48, 1, 1).to(memory_format=LAST), parts=2)
    with pytest.raises(RuntimeError, match="should contain 32 elements not 48"):
        mine(torch.rand(2, 32, 3, 3).to(memory_format=LAST))


def test_norm_of_all_processes_stays():
    mine, _ = nets(nn.LeakyReLU(0.2))
    shared = nn.SyncBatchNorm.convert_sync_batchnorm(mine).eval()
    answer = shared(images(4, 48, 3, 3))
    assert type(shared[0]) is nn.SyncBatchNorm and not used(answer) and (answer < 0).any()
