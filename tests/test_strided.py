"""Convolutions with strides: which way they go; their numbers and gradients are PyTorch's but for rounding."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from lit_hep.nets.native import use_kernels
from lit_hep.nets.pix2pix import HALVE, REGIONS, SECTOR, SQUARE, SUPERLAYERS, WIRES, Generator, PatchGAN
from lit_hep.nets.strided import StridedConv, StridedConvTranspose, Windows
from lit_hep.nets.winograd import Kernel, WinogradConv, winograd

LAST = torch.channels_last
PAIRS = {StridedConv: nn.Conv2d, StridedConvTranspose: nn.ConvTranspose2d}


def layers(kind, step=HALVE, inputs=128, outputs=160, bias=True):
    """Ours, and PyTorch's with the same weights in double precision."""
    torch.manual_seed(1)
    mine, theirs = (one(inputs, outputs, *step, bias=bias) for one in (kind, PAIRS[kind]))
    theirs.load_state_dict(mine.state_dict())
    use_kernels(mine)
    return mine.to(memory_format=LAST), theirs.double()


def compare(mine, theirs, shape):
    """Answers and gradients, with the weights' channels innermost, and their columns."""
    image = torch.randn(shape).to(memory_format=LAST).requires_grad_()
    exact = image.detach().double().requires_grad_()
    answer, right = mine(image), theirs(exact)
    weight = torch.randn(right.shape)  # of another layout than the answer
    for _ in range(2):
        found = torch.autograd.grad(answer, [image, *mine.parameters()], weight)
        wanted = torch.autograd.grad(right, [exact, *theirs.parameters()], weight.double(), retain_graph=True)
        assert type(answer.grad_fn).__name__ == "ConvolvedBackward" and answer.is_contiguous(memory_format=LAST)
        for ours, other in zip([answer, *found], [right, *wanted], strict=True):
            assert ours.shape == other.shape and (ours - other).norm() < 6e-6 * other.norm()
        answer = mine.to(memory_format=torch.contiguous_format)(image)


@pytest.mark.parametrize(
    ("step", "large", "small"),
    [
        (HALVE, (8, 6), (4, 3)),
        (HALVE, (2, 2), (1, 1)),
        (SUPERLAYERS, (9, 12), (3, 6)),
        (REGIONS, (6, 12), (2, 6)),
        (WIRES, (3, 14), (3, 2)),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", PAIRS)
def test_products_are_pytorchs_but_for_rounding(kind, bias, step, large, small):
    mine, theirs = layers(kind, step, 256, 160, bias)
    sides = large if kind is StridedConv else small
    assert isinstance(mine.way(torch.rand(3, 256, *sides).to(memory_format=LAST), small), Windows)
    compare(mine, theirs, (3, 256, *sides))


@pytest.mark.parametrize(("number", "shared"), [(1, 2**40), (2, 1), (2, 2**40)])  # of threads; whether they share all
@pytest.mark.parametrize("small", [(4, 16, 20), (9, 15, 8)])
@pytest.mark.parametrize("kind", PAIRS)
def test_winograds_way_is_pytorchs_but_for_rounding(kind, small, number, shared, vectors, threads, monkeypatch):
    threads(number)
    monkeypatch.setattr("lit_hep.nets.winograd._SHARED", shared)
    mine, theirs = layers(kind, inputs=32, outputs=64)
    images, *number = small
    sides = [2 * side for side in number] if kind is StridedConv else number
    assert isinstance(mine.way(torch.rand(images, 32, *sides).to(memory_format=LAST), number), Kernel)
    compare(mine, theirs, (images, 32, *sides))


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize(
    "change",
    [
        lambda layer, image: image.contiguous(),
        lambda layer, image: image[:0],
        lambda layer, image: image[0],
        lambda layer, image: setattr(layer, "native", False) or image,
        lambda layer, image: layer.double() and image.double(),
        lambda layer, image: torch.rand(20 if layer.transposed else 80, 128, 6, 8).to(memory_format=LAST),
    ],
    ids=["channels outermost", "none", "no batch", "not native", "double", "pixels between"],
)
def test_pytorchs_way_where_no_other_is_sooner(change, kind):
    layer, _ = layers(kind)
    image = torch.rand(2, 128, 6, 8).to(memory_format=LAST)
    assert type(layer(image).grad_fn).__name__ == "ConvolvedBackward"
    image = change(layer, image)
    assert type(layer(image).grad_fn).__name__ != "ConvolvedBackward"


def test_images_that_do_not_fit_go_pytorchs_way_which_says_what_is_wrong():
    layer, theirs = layers(StridedConv)
    odd = torch.rand(2, 128, 7, 8).to(memory_format=LAST).requires_grad_()
    gradients = [torch.autograd.grad(one.sum(), odd)[0] for one in (layer(odd), theirs(odd.double()))]
    torch.testing.assert_close(*gradients)
    for kind in PAIRS:
        with pytest.raises(RuntimeError, match="to have 128 channels"):
            layers(kind)[0](torch.rand(2, 64, 8, 8).to(memory_format=LAST))
    enlarging, theirs = layers(StridedConvTranspose)
    image = torch.rand(2, 128, 4, 4).to(memory_format=LAST)
    assert enlarging(image, [9, 9]).shape == (2, 160, 9, 9)


def test_few_weights_and_other_steps_are_left_to_pytorch():
    image = torch.rand(2, 32, 8, 8).to(memory_format=LAST)
    assert layers(StridedConv, HALVE, 32, 64)[0].way(image, (4, 4)) is None
    large = torch.rand(4, 64, 36, 40).to(memory_format=LAST)
    assert layers(StridedConv, HALVE, 64, 80)[0].way(large, (18, 20)) is None
    assert layers(StridedConv, REGIONS, 64, 64)[0].way(large, (12, 20)) is None


@pytest.mark.parametrize(("steps", "channels", "sides"), [(SQUARE, 3, (128, 128)), (SECTOR, 1, (36, 112))])
def test_generator_and_discriminator_are_pytorchs_but_for_rounding(steps, channels, sides):
    torch.manual_seed(1)
    image = torch.rand(2, channels, *sides)
    for net in (Generator(channels, channels, steps, width=32, dropout=0), PatchGAN(channels, steps[:3], width=32)):
        answers = []
        for native in (False, True):
            if native:
                net.to(memory_format=LAST)
                use_kernels(net)
                winograd(net)
            answer = net(image.to(memory_format=LAST) if native else image)
            answers.append([answer, *torch.autograd.grad(answer.square().mean(), list(net.parameters()))])
        for ours, other in zip(*answers, strict=True):
            assert (ours - other).norm() <= 1e-3 * other.norm() + 1e-6  # what batch norm makes of rounding


def test_the_discriminators_last_convolution_of_stride_1_goes_winograds_way():
    net = PatchGAN(6, SQUARE[:3], width=32)
    winograd(net)
    assert [type(layer) for layer in net if isinstance(layer, nn.Conv2d)] == [
        *[StridedConv] * 3,
        WinogradConv,
        nn.Conv2d,
    ]


def test_each_step_bounds_the_gain_once():
    """Spectral norm moves on a step whenever it is asked for the weight."""
    torch.manual_seed(1)
    net, image, answers = PatchGAN(2, SECTOR[:3], width=64, spectral=True), torch.rand(2, 2, 36, 112), []
    for native in (False, True):
        mine = deepcopy(net).to(memory_format=LAST)
        if native:
            use_kernels(mine)
        for _ in range(3):
            answer = mine(image.to(memory_format=LAST))
        answers.append(answer)
    torch.testing.assert_close(*answers)
