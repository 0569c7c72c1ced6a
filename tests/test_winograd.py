"""Convolutions by Winograd's way: where it is taken; its numbers and gradients are PyTorch's but for rounding."""

import pytest
import torch
from torch import nn

from lit_hep import CCDUNet
from lit_hep.nets.cost import multiply_adds
from lit_hep.nets.unet import UNet
from lit_hep.nets.winograd import WinogradConv, winograd

LAST = torch.channels_last


def taken(answer):
    return type(answer.grad_fn).__name__ == "ConvolvedBackward"


def layers(bias=True, side=3, inputs=64, outputs=96):
    """Ours, and PyTorch's with the same weights in double precision."""
    torch.manual_seed(1)
    theirs = nn.Conv2d(inputs, outputs, side, padding=1, bias=bias)
    mine = WinogradConv(inputs, outputs, side, padding=1, bias=bias)
    mine.load_state_dict(theirs.state_dict())
    return mine.to(memory_format=LAST), theirs.double()


@pytest.mark.parametrize(("number", "shared"), [(1, 2**40), (2, 1), (2, 2**40)])  # of threads; whether they share all
@pytest.mark.parametrize(("side", "bias"), [(3, True), (4, False)])
@pytest.mark.parametrize("shape", [(2, 64, 28, 24), (1, 32, 35, 33), (3, 64, 14, 36), (64, 32, 4, 4), (1, 32, 120, 60)])
def test_answers_and_gradients_are_pytorchs_but_for_rounding(
    shape, bias, side, number, shared, vectors, threads, monkeypatch
):
    threads(number)
    monkeypatch.setattr("lit_hep.nets.winograd._SHARED", shared)
    mine, theirs = layers(bias, side, shape[1])
    image = torch.randn(shape).to(memory_format=LAST).requires_grad_()
    exact = image.detach().double().requires_grad_()
    answer, right = mine(image), theirs(exact)
    weight = torch.randn(right.shape)  # of another layout than the answer
    assert taken(answer) and answer.is_contiguous(memory_format=LAST)
    for _ in range(2):  # with the weights' channels innermost, and their columns
        found = torch.autograd.grad(answer, [image, *mine.parameters()], weight)
        wanted = torch.autograd.grad(right, [exact, *theirs.parameters()], weight.double(), retain_graph=True)
        for ours, other in zip([answer, *found], [right, *wanted], strict=True):
            assert ours.shape == other.shape and (ours - other).norm() < 1e-5 * other.norm()
        answer = mine.to(memory_format=torch.contiguous_format)(image)


@pytest.mark.parametrize("height", [32, 35])
def test_only_the_gradients_that_are_asked_for(height):
    mine, _ = layers()
    image = torch.randn(1, 64, height, 32).to(memory_format=LAST)
    mine(image).sum().backward()
    assert image.grad is None and mine.weight.grad is not None
    mine.requires_grad_(False).weight.grad = None
    image.requires_grad_()
    nn.functional.relu_(mine(image)).sum().backward()  # and the answer may be changed in place
    assert image.grad is not None and mine.weight.grad is None


@pytest.mark.parametrize(
    "other",
    [
        lambda image: image.contiguous(),
        lambda image: image.double(),
        lambda image: image[:, :, ::2],
        lambda image: image[:, :, :20, :20].contiguous(memory_format=LAST),
        lambda image: image.reshape(-1, 64, 2, 2).contiguous(memory_format=LAST),
    ],
    ids=["rows innermost", "double", "with holes", "few pixels", "mostly edge"],
)
def test_other_images_go_pytorchs_way(other):
    mine, theirs = layers()
    image = torch.randn(1, 64, 40, 40).to(memory_format=LAST)
    assert taken(mine(image))
    image = other(image)
    answer = mine.to(image.dtype)(image)
    assert not taken(answer) and torch.allclose(answer.double(), theirs(image.double()), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda layer, image: (layer, image[:, :32].contiguous(memory_format=LAST)), "to have 64 channels"),
        (lambda layer, image: (layer.double(), image), "type"),
        (lambda layer, image: (layer, image[0]), None),
    ],
    ids=["channels", "double weights", "no batch"],
)
def test_what_does_not_fit_is_left_to_pytorch(change, error):
    layer, image = change(layers()[0], torch.randn(1, 64, 40, 40).to(memory_format=LAST))
    if error:
        with pytest.raises(RuntimeError, match=error):
            layer(image)
    else:
        assert layer(image).shape == (96, 40, 40)


def test_halves_go_pytorchs_way():
    mine, _ = layers()
    with torch.autocast("cpu", torch.bfloat16):
        assert mine(torch.randn(1, 64, 40, 40).to(memory_format=LAST)).dtype == torch.bfloat16


def test_convolutions_that_gain_are_replaced_and_nothing_else():
    fit = nn.Sequential(nn.Conv2d(32, 96, 3, padding=1), nn.Conv2d(128, 64, 4, padding=1))
    others = [
        nn.Conv2d(48, 64, 3, padding=1),
        nn.Conv2d(64, 16, 3, padding=1),
        nn.Conv2d(64, 128, 3),
        nn.Conv2d(64, 128, 3, padding=1, stride=2),
        nn.Conv2d(64, 128, 3, padding=1, dilation=2),
        nn.Conv2d(64, 128, 3, padding=1, groups=2),
        nn.Conv2d(64, 128, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(64, 128, 5, padding=1),
        nn.Conv2d(64, 128, (3, 4), padding=1),
        nn.ConvTranspose2d(64, 128, 3, padding=1),
    ]
    winograd(nn.Sequential(*fit, *others))
    assert {type(layer) for layer in fit} == {WinogradConv}
    assert not any(isinstance(layer, WinogradConv) for layer in others)


@pytest.mark.parametrize(("native", "number"), [(True, 17), (False, 0)])
def test_tasks_have_it_if_wanted(native, number):
    net = CCDUNet(net="original", width=32, native=native)
    assert sum(isinstance(layer, WinogradConv) for layer in net.modules()) == number


def test_a_network_learns_alike():
    """The same loss after some steps, and as many multiplications counted."""
    torch.manual_seed(2)
    image, label = torch.randn(2, 1, 64, 64).to(memory_format=LAST), torch.randint(4, (2, 64, 64))
    state, losses, costs = None, [], []
    for quick in (False, True):
        net = UNet(channels=1, width=64, depth=1, dropout=0)
        net.load_state_dict(state or net.state_dict())
        state = {name: value.clone() for name, value in net.state_dict().items()}
        if quick:
            winograd(net)
        net.to(memory_format=LAST)
        costs.append(multiply_adds(net, (1, 64, 64)))
        optimizer = torch.optim.SGD(net.parameters(), 0.01)
        for _ in range(5):
            loss = nn.functional.cross_entropy(net(image), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[:5] == pytest.approx(losses[5:], rel=1e-4) and losses[4] < losses[0] and losses[:5] != losses[5:]
    assert costs[0] == costs[1]
