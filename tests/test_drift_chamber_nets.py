"""Drift-chamber networks: sizes, what they see, and what generator and discriminator are told."""

import numpy as np
import pytest
import torch
from torch import nn

from lit_hep.nets.denoiser import Denoiser
from lit_hep.nets.pix2pix import SECTOR, SQUARE, Generator, PatchGAN
from lit_hep.tasks.drift_chamber import Pix2PixGAN
from lit_hep.tasks.drift_chamber.adversarial import discriminator_loss, generator_loss, taken_for_real


def convolutions(net):
    return [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]


def test_original_networks_are_those_of_the_original():
    generator, discriminator = Generator(3, 3, SQUARE), PatchGAN(6, SQUARE[:3])
    layers = convolutions(generator)
    assert [layer.out_channels for layer in layers] == [64, 128, 256, *[512] * 4, *[512] * 3, 256, 128, 64, 3]
    assert {(layer.kernel_size, layer.stride) for layer in layers} == {((4, 4), (2, 2))}
    assert sum(isinstance(layer, nn.Dropout) for layer in generator.modules()) == 3
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in generator.down[0])
    assert generator(torch.zeros(2, 3, 128, 128)).shape == (2, 3, 128, 128)
    assert [layer.out_channels for layer in convolutions(discriminator)] == [64, 128, 256, 512, 1]
    assert discriminator(torch.zeros(2, 6, 128, 128)).shape == (2, 1, 14, 14)


NETS = {"generator": Generator(1, 1, SECTOR, width=8), "denoiser": Denoiser(8)}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("batch", [1, 3])
def test_native_networks_keep_the_shape_and_learn_from_a_batch_of_one(name, batch):
    net = NETS[name].train()
    logits = net(torch.rand(batch, 1, 36, 112))
    assert logits.shape == (batch, 1, 36, 112)
    logits.mean().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())


@pytest.mark.parametrize("name", NETS)
def test_a_hit_is_judged_by_the_whole_chamber(name):
    """A track must link five of six superlayers, which lie up to thirty wires apart."""
    net = NETS[name].eval()
    image = (torch.rand(1, 1, 36, 112, generator=torch.Generator().manual_seed(0)) < 0.2).float().requires_grad_()
    net(image)[0, 0, 2, 56].backward()
    seen = image.grad[0, 0].abs() > 0
    assert all(seen[6 * row : 6 * row + 6].any() for row in range(6))
    assert seen[30:, 26:87].any(0).float().mean() > 0.9


def test_each_layer_and_wire_has_its_own_place():
    """The denoiser folds the layers: a hit must come out where it went in."""
    net = Denoiser(8).eval()
    for layer, wire in ((0, 0), (5, 111), (6, 40), (35, 70)):
        image = torch.zeros(1, 1, 36, 112, requires_grad=True)
        net(image)[0, 0, layer, wire].backward()
        row, column = np.unravel_index(image.grad[0, 0].abs().argmax(), (36, 112))
        assert row // 6 == layer // 6 and abs(column - wire) <= 12


@pytest.mark.parametrize("kind", ["bce", "hinge", "lsgan"])
def test_adversarial_losses_are_lowest_where_they_should_be(kind):
    right = {"bce": 20.0, "hinge": 2.0, "lsgan": 1.0}[kind]
    wrong = 0.0 if kind == "lsgan" else -right
    yes, no = torch.full((4, 1, 3, 14), right), torch.full((4, 1, 3, 14), wrong)
    assert discriminator_loss(yes, no, kind).numpy() == pytest.approx(np.zeros(4), abs=1e-6)
    assert (discriminator_loss(no, yes, kind) > 1).all()
    assert (generator_loss(yes, kind) < generator_loss(no, kind)).all()
    assert taken_for_real(yes, kind).tolist() == [1] * 4 and taken_for_real(no, kind).tolist() == [0] * 4


def test_smoothing_moves_the_best_answer():
    logits = torch.linspace(-5, 5, 1001)
    losses = torch.stack([discriminator_loss(logit[None], torch.tensor([-20.0]), "bce", 0.1) for logit in logits])
    assert logits[losses.argmin()].sigmoid() == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(("real", "fake", "word"), [(1, 1, "discriminator"), (0, 0, "generator"), (1, 0, "generator")])
def test_one_network_winning_is_said(real, fake, word):
    task = Pix2PixGAN(width=4)
    with pytest.warns(UserWarning, match=f"the {word} has won"):
        task._judge({"discriminator_accuracy_real": real, "discriminator_accuracy_fake": fake})


def test_balance_is_not_worth_a_word(recwarn):
    Pix2PixGAN(width=4)._judge({"discriminator_accuracy_real": 0.7, "discriminator_accuracy_fake": 0.6})
    assert not [warning for warning in recwarn if "won" in str(warning.message)]


def test_noise_is_drawn_in_training_only():
    task = Pix2PixGAN(width=4, noise=2, dropout=0).train()
    picture = torch.rand(3, 1, 36, 112)
    for layer in task.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    assert not torch.equal(task.generate(picture), task.generate(picture))
    task.eval()
    assert torch.equal(task.generate(picture), task.generate(picture))
