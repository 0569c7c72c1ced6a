"""Convolutions with strides: which way they go; their numbers and gradients are PyTorch's but for rounding."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from lit_hep.nets.amx import MatrixUnit, has_matrix_unit
from lit_hep.nets.convolution import Step
from lit_hep.nets.native import use_kernels
from lit_hep.nets.pix2pix import HALVE, REGIONS, SECTOR, SQUARE, SUPERLAYERS, WIRES, Generator, PatchGAN
from lit_hep.nets.strided import LastConv, StridedConv, StridedConvTranspose, Windows
from lit_hep.nets.winograd import Kernel

LAST = torch.channels_last
PAIRS = {StridedConv: nn.Conv2d, StridedConvTranspose: nn.ConvTranspose2d}
NEXT = Step((4, 4), (1, 1), (1, 1))
MATRIX_UNIT = pytest.mark.skipif(not has_matrix_unit(), reason="the processor has none, or there is no C++ compiler")


@pytest.fixture(params=[False, pytest.param(True, marks=MATRIX_UNIT)], ids=["vectors", "matrix unit"])
def unit(request, monkeypatch):
    """Whether the processor has a matrix unit."""
    monkeypatch.setattr("lit_hep.nets.strided.has_matrix_unit", lambda: request.param)
    return request.param


without = pytest.mark.parametrize("unit", [False], indirect=True)


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
@without
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", PAIRS)
def test_products_are_pytorchs_but_for_rounding(kind, bias, step, large, small, unit):
    mine, theirs = layers(kind, step, 256, 160, bias)
    sides = large if kind is StridedConv else small
    assert isinstance(mine.way(torch.rand(3, 256, *sides).to(memory_format=LAST), small), Windows)
    compare(mine, theirs, (3, 256, *sides))


@without
@pytest.mark.parametrize(("number", "shared"), [(1, 2**40), (2, 1), (2, 2**40)])  # of threads; whether they share all
@pytest.mark.parametrize("small", [(4, 16, 20), (9, 15, 8)])
@pytest.mark.parametrize("kind", PAIRS)
def test_winograds_way_is_pytorchs_but_for_rounding(kind, small, number, shared, unit, vectors, threads, monkeypatch):
    threads(number)
    monkeypatch.setattr("lit_hep.nets.winograd._SHARED", shared)
    mine, theirs = layers(kind, inputs=32, outputs=64)
    images, *number = small
    sides = [2 * side for side in number] if kind is StridedConv else number
    assert isinstance(mine.way(torch.rand(images, 32, *sides).to(memory_format=LAST), number), Kernel)
    compare(mine, theirs, (images, 32, *sides))


@MATRIX_UNIT
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    ("step", "images", "large", "channels"),
    [
        (HALVE, 3, (18, 44), (64, 96)),
        (Step((4, 4), (1, 1), (0, 0)), 1, (8, 8), (320, 32)),  # more terms than are added up at a time, odd tiles
        (NEXT, 15, (6, 7), (32, 32)),  # more cells without answers than in a tile
        (HALVE, 8, (2, 2), (32, 64)),  # few pixels for a tile
        (NEXT, 2, (17, 18), (64, 32)),
        (Step((3, 3), (1, 1), (1, 1)), 3, (30, 33), (32, 32)),  # more cells than are added up at a time
        (Step((6, 6), (1, 1), (1, 1)), 2, (9, 10), (32, 32)),  # more taps of a place than are added up at a time
        (SUPERLAYERS, 2, (36, 112), (32, 64)),
        (REGIONS, 3, (6, 28), (64, 64)),
        (WIRES, 3, (3, 14), (64, 32)),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", PAIRS)
def test_the_matrix_units_way_is_pytorchs_but_for_rounding(
    kind, bias, step, images, large, channels, number, threads, monkeypatch
):
    threads(number)
    monkeypatch.setattr("lit_hep.nets.strided._FEW", 0)
    mine, theirs = layers(kind, step, *channels, bias)
    small = mine.windows.number(torch.rand(1, 1, *large))
    shape = (images, channels[0], *(large if kind is StridedConv else small))
    assert isinstance(mine.way(torch.rand(shape).to(memory_format=LAST), small), MatrixUnit)
    torch.use_deterministic_algorithms(True)  # what nobody has written is not a number
    try:
        compare(mine, theirs, shape)
    finally:
        torch.use_deterministic_algorithms(False)


@MATRIX_UNIT
def test_pixels_that_no_tap_reaches_are_left_to_pytorch():
    layer, theirs = layers(StridedConvTranspose, Step((2, 2), (3, 3), (0, 0)), 64, 32)
    image = torch.rand(2, 64, 9, 9).to(memory_format=LAST)
    torch.testing.assert_close(layer(image).double(), theirs(image.double()), rtol=1e-4, atol=1e-4)


@MATRIX_UNIT
def test_few_pixels_are_left_to_products_by_the_matrix_unit_too():
    layer, _ = layers(StridedConv, inputs=128, outputs=160)
    for images, kind in ((4, Windows), (5, MatrixUnit)):
        assert isinstance(layer.way(torch.rand(images, 128, 8, 8).to(memory_format=LAST), (4, 4)), kind)


@MATRIX_UNIT
def test_the_matrix_unit_gives_the_same_with_any_number_of_threads(threads):
    image, answers = torch.randn(3, 64, 18, 30).to(memory_format=LAST).requires_grad_(), []
    mine, _ = layers(StridedConv, inputs=64, outputs=128)
    for number in (1, 2, 5):
        threads(number)
        answer = mine(image)
        answers.append([answer, *torch.autograd.grad(answer.square().sum(), [image, *mine.parameters()])])
    for one, *others in zip(*answers, strict=True):
        assert all(torch.equal(one, other) for other in others)


@without
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
def test_pytorchs_way_where_no_other_is_sooner(change, kind, unit):
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


@without
def test_few_weights_and_other_steps_are_left_to_pytorch(unit):
    image = torch.rand(2, 32, 8, 8).to(memory_format=LAST)
    assert layers(StridedConv, HALVE, 32, 64)[0].way(image, (4, 4)) is None
    large = torch.rand(4, 64, 36, 40).to(memory_format=LAST)
    assert layers(StridedConv, HALVE, 64, 80)[0].way(large, (18, 20)) is None
    assert layers(StridedConv, REGIONS, 64, 64)[0].way(large, (12, 20)) is None


@pytest.mark.parametrize(("steps", "channels", "sides"), [(SQUARE, 3, (128, 128)), (SECTOR, 1, (36, 112))])
def test_generator_and_discriminator_are_pytorchs_but_for_rounding(steps, channels, sides, unit):
    torch.manual_seed(1)
    image = torch.rand(2, channels, *sides)
    for net in (Generator(channels, channels, steps, width=32, dropout=0), PatchGAN(channels, steps[:3], width=32)):
        answers = []
        for part in list(net.modules()):
            for name, layer in part.named_children():
                if isinstance(layer, nn.ReLU | nn.LeakyReLU):  # whose kinks make much of rounding
                    setattr(part, name, nn.LeakyReLU(1.0))
        for native in (False, True):
            if native:
                net.to(memory_format=LAST)
                use_kernels(net)
            answer = net(image.to(memory_format=LAST) if native else image)
            answers.append([answer, *torch.autograd.grad(answer.square().mean(), list(net.parameters()))])
        for ours, other in zip(*answers, strict=True):
            assert (ours - other).norm() <= 1e-4 * other.norm() + 1e-6


@without
def test_stride_1_goes_winograds_way(unit):
    image = torch.rand(4, 64, 17, 21).to(memory_format=LAST)
    for step in (NEXT, Step((3, 3), (1, 1), (1, 1))):
        mine, theirs = layers(StridedConv, step, 64, 32)
        assert isinstance(mine.way(image, mine.windows.number(image)), Kernel)
        compare(mine, theirs, image.shape)


@pytest.mark.parametrize("kernel", [3, 4])
def test_the_last_convolution_is_pytorchs_but_for_rounding(kernel):
    mine = LastConv(64, kernel)
    theirs = deepcopy(mine).double()
    use_kernels(mine)
    compare(mine.to(memory_format=LAST), theirs, (3, 64, 9, 7))
    assert type(mine(torch.rand(2, 64, 9, 7)).grad_fn).__name__ == "ConvolutionBackward0"
    assert mine(torch.rand(64, 9, 7)).dim() == 3
    with pytest.raises(RuntimeError, match="to have 64 channels"):
        mine(torch.rand(2, 32, 9, 7).to(memory_format=LAST))


@pytest.mark.parametrize("native", [False, True])
def test_both_answers_as_one_after_the_other(native):
    """Of batch norm's averages too."""
    torch.manual_seed(1)
    net, pairs = PatchGAN(6, SQUARE[:3], width=32), torch.rand(2, 3, 6, 128, 128)
    others = deepcopy(net).to(memory_format=LAST)
    if native:
        use_kernels(others)
    for mine, one in zip(others.both(*pairs), pairs, strict=True):
        torch.testing.assert_close(mine, net(one), rtol=1e-3, atol=1e-4)
    for (name, mine), other in zip(others.named_buffers(), net.buffers(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6, msg=name)


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
