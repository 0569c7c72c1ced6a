"""Classifiers of small images: shapes, sizes, costs, and that every weight learns."""

import pytest
import torch
from torch import nn

from lit_hep.nets.cost import multiply_adds, parameters
from lit_hep.nets.cpu import DoublingConv, Dropout, HalvingMaxPool, asinh
from lit_hep.nets.lenet import LeNet5
from lit_hep.nets.phinet import PhiNet
from lit_hep.nets.resnet import ResNet
from lit_hep.nets.vision import efficientnet_b0, resnet18

NETS = {  # how it is built, parameters and multiply-adds with 2 channels and one logit
    "lenet5": (LeNet5, 61_091, 533_364),
    "lenet5_bn": (lambda **options: LeNet5(batch_norm=True, **options), 61_543, 533_364),
    "resnet15": (ResNet, 174_529, 26_509_376),
    "phinet": (PhiNet, 214_353, 5_901_376),
    "resnet18": (resnet18, 11_168_769, 554_828_288),
    "efficientnet_b0": (efficientnet_b0, 4_008_541, 31_672_960),
}


@pytest.mark.parametrize("name", NETS)
def test_size(name):
    build, weights, cost = NETS[name]
    net = build()
    assert parameters(net) == weights
    assert net.training and multiply_adds(net, (2, 32, 32)) == cost and net.training


@pytest.mark.parametrize(("channels", "outputs"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("name", NETS)
def test_every_weight_learns(name, channels, outputs):
    torch.manual_seed(1)
    net = NETS[name][0](channels=channels, outputs=outputs)
    image = torch.rand(8, channels, 32, 32)
    logits = net(image)
    assert logits.shape == (8, outputs) and logits.isfinite().all()
    logits.square().sum().backward()
    still = [key for key, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == [], "no gradient"


@pytest.mark.parametrize("name", NETS)
def test_images_of_a_batch_do_not_see_each_other(name):
    torch.manual_seed(2)
    net = NETS[name][0]().eval()
    image = torch.rand(3, 2, 32, 32)
    with torch.no_grad():
        assert net(image[1:2])[0].tolist() == pytest.approx(net(image)[1].tolist(), abs=1e-4)


def test_resnet15_has_15_convolutions():
    assert sum(isinstance(layer, nn.Conv2d) for layer in ResNet().modules()) == 15
    assert ResNet()(torch.rand(2, 2, 48, 20)).shape == (2, 1), "of any size"


def test_phinet_looks_at_the_rows_around_the_seed():
    torch.manual_seed(3)
    net = PhiNet().eval()
    image = torch.rand(2, 2, 32, 32)
    far, near = image.clone(), image.clone()
    far[:, :, :11] = far[:, :, 22:] = 0
    near[:, :, 21] = 0
    with torch.no_grad():
        assert torch.equal(net(far), net(image)) and not torch.equal(net(near), net(image))


def test_cost_is_counted_as_on_paper():
    net = nn.Sequential(nn.Conv2d(3, 5, 3, bias=False), nn.Flatten(), nn.Linear(5 * 6 * 6, 7))
    assert multiply_adds(net, (3, 8, 8)) == 6 * 6 * 5 * 3 * 9 + 5 * 6 * 6 * 7


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_dropout_drops_its_share_and_keeps_the_mean(layout):
    image = torch.ones(3, 5, 67, 101).to(memory_format=layout).requires_grad_()  # no multiple of four
    dropout = Dropout(0.18)
    seen = dropout(image)
    assert seen.is_contiguous(memory_format=layout)
    seen.sum().backward()
    assert torch.equal(seen, image.grad)
    assert seen.unique().tolist() == pytest.approx([0, 1 / 0.82])
    for lane in range(4):  # of each 64 bits
        assert (seen.detach().flatten()[lane::4] == 0).float().mean() == pytest.approx(0.18, abs=0.01)
    assert not torch.equal(seen, dropout(image))
    assert torch.equal(dropout.eval()(image), image)
    assert torch.equal(Dropout(0.0)(image), image) and not Dropout(1.0)(image).any()


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("size", [(8, 12), (7, 12), (8, 11)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_halving_is_pytorchs_to_the_last_bit(layout, size, rows):
    torch.manual_seed(4)
    image = torch.randint(4, (5, 6, *size)).float()  # many equal ones
    image[0, 0, 0, 0] = torch.nan
    image = image.to(memory_format=layout).requires_grad_()
    mine, theirs = HalvingMaxPool(rows)(image), nn.functional.max_pool2d(image, (1 + rows, 2))
    assert torch.equal(mine.nan_to_num(-1), theirs.nan_to_num(-1))
    weight = torch.rand(mine.shape)
    gradients = [torch.autograd.grad(pooled, image, weight)[0] for pooled in (mine, theirs)]
    assert torch.equal(gradients[0][1:], gradients[1][1:])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("halves", "atol"), [(False, 1e-4), (True, 0.3)])
def test_doubling_is_pytorchs_but_for_rounding(layout, halves, atol):
    torch.manual_seed(4)
    mine, theirs = DoublingConv(6, 5), nn.ConvTranspose2d(6, 5, 2, stride=2)
    theirs.load_state_dict(mine.state_dict())
    image = torch.randn(3, 6, 7, 9).to(memory_format=layout).requires_grad_()
    weight = torch.randn(3, 10, 14, 18).to(memory_format=layout)[:, 5:]  # as of a part of what is concatenated
    found = []
    for layer in (mine, theirs):
        with torch.autocast("cpu", torch.bfloat16, enabled=halves):
            answer = layer(image)
        of = [image, layer.weight, layer.bias]
        found.append([answer, *torch.autograd.grad(answer, of, weight.to(answer.dtype))])
    for ours, other in zip(*found, strict=True):
        assert ours.dtype == other.dtype and ours.shape == other.shape
        assert torch.allclose(ours, other, rtol=0, atol=atol)


def test_asinh_is_pytorchs_but_for_rounding():
    size = torch.logspace(-8, 18, 1000)
    values = torch.cat([size, -size, torch.tensor([0.0, torch.nan])])
    assert torch.allclose(asinh(values), values.asinh(), rtol=2e-7, atol=2e-7, equal_nan=True)
    assert asinh(torch.tensor([torch.inf, -1e30])).tolist() == pytest.approx([42.14, -42.14], abs=0.01)
    zero = torch.zeros(1, requires_grad=True)
    assert torch.autograd.grad(asinh(zero), zero)[0] == 1
