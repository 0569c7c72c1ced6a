"""The kernel of small networks: its numbers and gradients are PyTorch's but for rounding; when it is used."""

import pytest
import torch
from cases import CASES, MODEL
from runs import checkpoint, same, table
from torch import nn

from lit_hep.cli import main
from lit_hep.nets.cnn import CraterCNN
from lit_hep.nets.lanes import PoolingCNN
from lit_hep.nets.lenet import LeNet5
from lit_hep.nets.native import use_kernels

LAST = torch.channels_last


def odd_blocks():
    """Three blocks of other sizes, one without pooling, that leave rows and columns over."""
    layers = [nn.Conv2d(3, 5, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(5, 7, 2), nn.MaxPool2d(1), nn.ReLU()]
    layers += [nn.Conv2d(7, 12, 4), nn.MaxPool2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 2 * 3, 2)]
    return PoolingCNN(*layers, blocks=3)


NETS = {
    "LeNet-5": (LeNet5, (2, 32, 32)),
    "LeNet-5, one channel": (lambda: LeNet5(channels=1), (1, 32, 32)),
    "crater CNN": (lambda: CraterCNN().eval(), (1, 48, 48)),
    "crater CNN, 61 pixels": (lambda: CraterCNN(channels=2, image_size=61).eval(), (2, 61, 61)),
    "odd blocks": (odd_blocks, (3, 24, 31)),
}


def native_(net):
    use_kernels(net)
    return net


def taken(answer):
    """Whether the kernel has a part in it."""
    found, seen = [answer.grad_fn], set()
    while found:
        one = found.pop()
        if type(one).__name__ == "_FeaturesBackward":
            return True
        found += [before for before, _ in one.next_functions if before and before not in seen]
        seen.update(found)
    return False


@pytest.fixture
def lenet():
    torch.manual_seed(1)
    return native_(LeNet5())


@pytest.mark.parametrize("layout", ["contiguous", "channels innermost", "every other row"])
@pytest.mark.parametrize("images", [16, 45])
@pytest.mark.parametrize("name", NETS)
def test_answers_and_gradients_are_pytorchs_but_for_rounding(name, images, layout, vectors):
    torch.manual_seed(1)
    build, shape = NETS[name]
    mine, theirs = native_(build()), build()
    theirs.double().load_state_dict(mine.state_dict())
    image = torch.randn(images, *shape)
    if layout == "channels innermost":
        image, mine = image.to(memory_format=LAST), mine.to(memory_format=LAST)
    elif layout == "every other row":
        image = torch.randn(images, shape[0], 2 * shape[1], shape[2])[:, :, ::2]
    answer, right = mine(image), theirs(image.double())
    assert taken(answer) and not taken(right)
    weight = torch.randn(right.shape)
    found = torch.autograd.grad(answer, list(mine.parameters()), weight)
    wanted = torch.autograd.grad(right, list(theirs.parameters()), weight.double())
    for ours, other in zip([answer, *found], [right, *wanted], strict=True):
        assert ours.shape == other.shape and (ours - other).norm() < 3e-6 * other.norm()


def test_of_equal_pixels_the_first_learns_and_of_dead_ones_none(lenet):
    with torch.no_grad():
        lenet[0].weight[:4] = 0  # whatever is seen, all pixels are equal
        lenet[0].bias[:2] = 0.1  # alive; the next two are dead, at exactly 0
    image = torch.rand(16, 2, 32, 32)
    wanted = []
    for lenet.native in (True, False):
        answer = lenet(image)
        assert taken(answer) == lenet.native
        wanted.append(torch.autograd.grad(answer.sum(), list(lenet.parameters())))
    for ours, other in zip(*wanted, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_passed_on_and_stays_in_its_image(value, lenet):
    image = torch.rand(40, 2, 32, 32)
    image[33, 1, 31, 31] = value
    answer = lenet(image)
    assert taken(answer)
    lenet.native = False
    right = lenet(image)
    assert torch.equal(answer.isfinite(), right.isfinite()) and answer.isfinite().sum() == 39


def test_same_numbers_for_any_number_of_threads(lenet, threads):
    net, image, found = native_(PoolingCNN(*list(lenet)[:7], blocks=2)), torch.rand(100, 2, 32, 32), []
    for number in (1, 2):
        threads(number)
        features = net(image)
        found.append([features, *torch.autograd.grad(features.sum(), list(net.parameters()))])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_a_layer_that_was_replaced_answers(lenet):
    lenet[0], lenet[9] = torch.nn.Conv2d(2, 6, 5), torch.nn.Linear(120, 84)
    image = torch.rand(16, 2, 32, 32)
    answer = lenet(image)
    assert taken(answer)
    lenet.native = False
    torch.testing.assert_close(answer, lenet(image))


@pytest.mark.filterwarnings("error::UserWarning")  # nothing is compiled in vain
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda net, image: image[:15], None),
        (lambda net, image: image.requires_grad_(), None),
        (lambda net, image: net.double() and image.double(), None),
        (lambda net, image: setattr(net, "native", False) or image, None),
        (lambda net, image: image[:, :1], "to have 2 channels"),
        (lambda net, image: image[:, :, :28], "cannot be multiplied"),
        (lambda net, image: image[:, :, :4], "Kernel size can't be greater"),
        (lambda net, image: image[0], "cannot be multiplied"),
        (lambda net, image: net.double() and image, "type"),
        (lambda net, image: net.to("meta") and image, "meta|device"),
    ],
    ids=[
        "few",
        "gradient wanted",
        "double",
        "not native",
        "channels",
        "height",
        "tiny",
        "no batch",
        "double weights",
        "weights elsewhere",
    ],
)
def test_pytorchs_layers_take_all_else_and_say_what_is_wrong(change, error, lenet):
    image = change(lenet, torch.rand(16, 2, 32, 32))
    if error:
        with pytest.raises(RuntimeError, match=error):
            lenet(image)
    else:
        assert not taken(lenet(image))


def test_not_in_halves_nor_with_batch_norm_nor_exported(lenet):
    image = torch.rand(16, 2, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        assert not taken(lenet(image))
    assert not taken(native_(LeNet5(batch_norm=True))(image))
    exported = torch.export.export(lenet.eval(), (image,)).module()
    torch.testing.assert_close(exported(image), lenet(image))
    assert "convolution" in str(exported.graph) or "conv2d" in str(exported.graph)


def test_a_fit_learns_the_same_either_way(simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = CASES["electron_photon"]
    words = [*case.fit(simulated(case.task)), "--trainer.max_epochs=2"]
    main(words)
    main([*words, f"{MODEL}.native=false"])
    runs = [case.run.with_name(f"version_{number}") for number in (0, 1)]
    for mine, theirs in zip(*map(table, runs), strict=True):
        assert float(mine["val_loss"]) == pytest.approx(float(theirs["val_loss"]), rel=1e-4)
    weights = [checkpoint(case.checkpoints.with_name(run.name) / "last.ckpt")["state_dict"] for run in runs]
    assert not same(*weights), "one rounds otherwise"
