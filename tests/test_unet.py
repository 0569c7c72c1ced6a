"""U-nets: size, any image, how far a pixel is seen, and pieces that fit without a seam."""

import pytest
import torch
from torch import nn

from lit_hep.nets.cost import parameters
from lit_hep.nets.unet import SlimUNet, UNet
from lit_hep.tasks.ccd.losses import SegmentationLoss
from lit_hep.tasks.ccd.scaling import Scaled, level_of, levels_of
from lit_hep.tasks.ccd.tiles import pieces

NETS = {
    "original": lambda depth: UNet(1, width=2, depth=depth, dropout=0),
    "slim": lambda depth: SlimUNet(1, width=4, depth=depth),
}


def trained(net):
    """A network in double precision whose batch norms have seen something."""
    torch.manual_seed(1)
    net = net.double()
    net(torch.randn(4, 1, 64, 64, dtype=torch.float64))
    return net.eval()


def test_original_has_the_original_s_parameters():
    assert parameters(UNet(channels=3, classes=4)) == 7_760_196
    assert parameters(UNet(channels=1, classes=4)) == 7_760_196 - 2 * 32 * 9


def test_slim_has_a_fifteenth():
    assert parameters(SlimUNet()) == 497_316


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
@pytest.mark.parametrize("size", [(64, 64), (1, 1), (33, 70), (17, 100)])
def test_any_size_goes_in_and_comes_out(net, size):
    assert trained(net(4))(torch.randn(2, 1, *size, dtype=torch.float64)).shape == (2, 4, *size)


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
@pytest.mark.parametrize("depth", [1, 2, 3])
@torch.no_grad()
def test_reach_is_how_far_a_pixel_is_seen(net, depth):
    net = trained(net(depth))
    middle = 6 * net.step
    image = torch.randn(1, 1, 2 * middle, 2 * middle, dtype=torch.float64)
    farthest = 0
    before = net(image)
    for place in range(middle - net.step, middle + net.step):
        changed = image.clone()
        changed[..., place, middle] += 100
        rows = ((net(changed) - before).abs().amax((0, 1, 3)) > 0).nonzero()
        farthest = max(farthest, int((rows - place).abs().max()))
    assert farthest == net.reach


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
@pytest.mark.parametrize("size", [(150, 100), (131, 77)])
@torch.no_grad()
def test_pieces_equal_the_whole_to_the_border(net, size):
    """Also with 40 pixels a piece, which is rounded up to 48; a halo that is too small is seen."""
    net = trained(net(3))
    image = torch.randn(1, 1, *size, dtype=torch.float64)
    whole = net(image)

    def difference(halo):
        joined = torch.full_like(whole, torch.nan)
        for (rows, columns), (y, x), (inner_y, inner_x) in pieces(*size, 41, halo, net.step):
            assert joined[..., rows, columns].isnan().all()
            joined[..., rows, columns] = net(image[..., y, x])[..., inner_y, inner_x]
        return (joined - whole).abs().max()

    assert difference(net.reach) < 1e-12
    assert difference(8) > 1e-6


OPTIONS = {
    "original": lambda **more: UNet(3, width=4, depth=2, **more),
    "slim": lambda **more: SlimUNet(3, width=4, depth=2, **more),
}


@pytest.mark.parametrize("net", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(
    "options", [{"activation": "gelu"}, {"dropout": 0.5}, {"batch_norm": False}, {"batch_norm": True}]
)
def test_options_are_built_in_and_every_weight_learns(net, options):
    net = net(**options)
    modules = [type(module) for module in net.modules()]
    assert (nn.BatchNorm2d in modules) == options.get("batch_norm", "Slim" in type(net).__name__)
    assert (nn.GELU in modules) == ("activation" in options)
    rates = [module.p for module in net.modules() if isinstance(module, nn.Dropout | nn.Dropout2d) and module.p]
    assert "dropout" not in options or set(rates) == {0.5}
    net(torch.randn(2, 3, 16, 16)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())


LOGITS = torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 3.0], [9.0, 9.0, 9.0, 0.0]])
LOGITS = LOGITS.T.reshape(1, 4, 2, 2)
MASK = torch.tensor([[[0, 1], [0, 255]]], dtype=torch.uint8)


def test_losses_are_what_they_say():
    weights = torch.tensor([1.0, 2.0, 3.0, 0.0])

    def loss(*terms):
        criterion = SegmentationLoss(terms)
        criterion.weights.copy_(weights)
        return float(criterion(LOGITS, MASK))

    p = LOGITS.softmax(1)[0]
    true = torch.stack([p[0, 0, 0], p[1, 0, 1], p[0, 1, 0]])
    weight = torch.tensor([1.0, 2.0, 1.0])
    assert loss("cross_entropy") == pytest.approx(float(-(weight * true.log()).sum() / 3))
    assert loss("focal") == pytest.approx(float(-(weight * (1 - true) ** 2 * true.log()).sum() / 3))
    known = p.flatten(1)[:, :3]
    both = torch.stack([true[0] + true[2], true[1], torch.zeros(())])  # the last class has weight 0
    dice = (2 * both + 1) / (known[:3].sum(1) + torch.tensor([2, 1, 0]) + 1)
    assert loss("dice") == pytest.approx(float(1 - dice.mean()))
    terms = "cross_entropy", "focal", "dice"
    assert loss(*terms) == pytest.approx(sum(map(loss, terms)))


@pytest.mark.parametrize("terms", [["cross_entropy"], ["focal"], ["dice"], ["cross_entropy", "dice"]])
def test_losses_learn_and_unknown_pixels_do_not_matter(terms):
    criterion = SegmentationLoss(terms)
    logits = LOGITS.clone().requires_grad_()
    criterion(logits, MASK).backward()
    assert (logits.grad[..., 1, 1] == 0).all() and logits.grad[..., 0, 0].abs().sum() > 0
    optimizer = torch.optim.SGD([logits], lr=5)
    for _ in range(200):
        optimizer.zero_grad()
        criterion(logits, MASK).backward()
        optimizer.step()
    assert torch.equal(logits.argmax(1)[0].flatten()[:3], MASK.flatten()[:3].long())
    assert criterion(logits, torch.full_like(MASK, 255)).isfinite()


def test_level_is_robust():
    pixels = 8800 + 19 * torch.randn(1, 100_000)
    pixels[:, ::50] = 60000
    low, spread = level_of(pixels)
    assert float(low) == pytest.approx(8800, abs=1) and float(spread) == pytest.approx(19, rel=0.05)
    assert level_of(torch.full((1, 9), 7.0)).tolist() == [[7.0], [1.0]]
    mostly = torch.tensor([[0.0] * 8 + [30.0]])
    assert level_of(mostly)[1].item() == pytest.approx(mostly.std(correction=0).item())


@pytest.mark.parametrize("scaling", ["training", "image", "none"])
def test_scaling(scaling):
    image = torch.randn(2, 1, 8, 8) * torch.tensor([3.0, 50.0]).reshape(2, 1, 1, 1) + 100
    scaled = Scaled(nn.Identity(), 3, scaling, compress=False)
    scaled.adapt(torch.tensor([[100.0] * 3, [5.0] * 3]))
    out = scaled(image)
    wanted = {
        "training": (image - 100) / 5,
        "none": image,
        "image": (image - levels_of(image)[:, 0, :, None, None]) / levels_of(image)[:, 1, :, None, None],
    }[scaling]
    assert out.shape == (2, 3, 8, 8) and torch.allclose(out, wanted.expand(-1, 3, -1, -1), atol=1e-5)
    part = scaled(image[..., :4], levels_of(image))
    assert torch.equal(part, out[..., :4])


@torch.no_grad()
def test_compressed_pieces_equal_the_whole_too():
    torch.manual_seed(1)
    net, image = Scaled(SlimUNet(2, width=4, depth=2), 1, "none", compress=True), torch.randn(1, 1, 90, 64)
    net(image)
    net.eval()
    whole = net(image)
    assert whole.shape == (1, 4, 90, 64)
    for (rows, columns), (y, x), (inner_y, inner_x) in pieces(90, 64, 24, net.reach, net.step):
        part = net(image[..., y, x])[..., inner_y, inner_x]
        assert torch.allclose(part, whole[..., rows, columns], atol=1e-4)
