"""Networks of several planes: sizes, who sees what, and how late fusion fuses."""

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import VotingClassifier
from sklearn.preprocessing import LabelEncoder
from torch import nn

from lit_hep.nets.cost import multiply_adds, parameters
from lit_hep.nets.initial import adapt_to_images
from lit_hep.nets.planes import PerPlane, PlaneNet, Siamese, TickFusion
from lit_hep.nets.vision import alexnet, convnext_tiny, resnet18, vgg
from lit_hep.tasks.multiplane import MultiPlaneFusion
from lit_hep.tasks.multiplane.module import build

NETS = {  # how it is built of planes and outputs; parameters and multiply-adds with 3 planes of 64 x 64 and 2 outputs
    "early": (lambda planes, outputs: PlaneNet(outputs, planes), 172_930, 7_668_096),
    "late": (lambda planes, outputs: PerPlane(lambda: PlaneNet(outputs, 1), planes), 516_390, 20_546_688),
    "siamese": (lambda planes, outputs: Siamese(PlaneNet(16, 1), 16, outputs, planes), 175_650, 20_555_552),
    "tick": (lambda planes, outputs: TickFusion(outputs, planes), 313_866, 21_535_232),
}


@pytest.mark.parametrize("name", NETS)
def test_size(name):
    build_net, weights, cost = NETS[name]
    net = build_net(3, 2)
    assert (parameters(net), multiply_adds(net, (3, 64, 64))) == (weights, cost)


@pytest.mark.parametrize(("planes", "outputs", "size"), [(3, 2, (64, 64)), (1, 2, (32, 47)), (2, 4, (40, 33))])
@pytest.mark.parametrize("name", NETS)
def test_every_weight_learns_with_any_number_of_planes_and_any_size(name, planes, outputs, size):
    torch.manual_seed(1)
    net = NETS[name][0](planes, outputs)
    logits = net(torch.rand(8, planes, *size))
    assert logits.shape == ((8, planes, outputs) if name == "late" else (8, outputs))
    logits.square().sum().backward()
    still = [key for key, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []


@pytest.mark.parametrize("name", NETS)
def test_events_of_a_batch_do_not_see_each_other(name):
    torch.manual_seed(2)
    net = NETS[name][0](3, 2).eval()
    image = torch.rand(4, 3, 40, 40)
    with torch.no_grad():
        assert torch.allclose(net(image[1:2])[0], net(image)[1], atol=1e-5)


def test_planes_of_late_fusion_do_not_see_each_other_those_of_the_others_do():
    torch.manual_seed(3)
    image = torch.rand(2, 3, 40, 40)
    other = image.clone()
    other[:, 2] = 0
    for name, (build_net, *_) in NETS.items():
        net = build_net(3, 2).eval()
        with torch.no_grad():
            one, two = net(image), net(other)
        if name == "late":
            assert torch.equal(one[:, :2], two[:, :2])
        assert not torch.allclose(one, two)


def test_a_trunk_whose_features_are_all_below_0_still_learns():
    net = Siamese(PlaneNet(16, 1), 16, 2, 3)
    torch.nn.init.constant_(net.trunk.head[-1].bias, -100)
    net(torch.rand(4, 3, 32, 32)).square().sum().backward()
    assert net.trunk.features[0].weight.grad.any()


def test_tick_fusion_sees_whether_planes_agree_in_time():
    """A plane moved along the ticks changes the answer; all planes moved by a whole cell of the last maps do not."""
    torch.manual_seed(4)
    net = TickFusion(2).eval()
    for layer in net.exchanges:
        torch.nn.init.normal_(layer.gate.weight)
    image = torch.zeros(1, 3, 64, 256)
    image[..., 20:44, 112:144] = torch.rand(3, 24, 32)
    with torch.no_grad():
        before = net(image)
        assert torch.allclose(net(image.roll(16, 3)), before, atol=1e-6)
        image[:, 1] = image[:, 1].roll(48, 2)
        assert (net(image) - before).abs().max() > 1e-4


def test_torchvision_networks_have_the_original_head():
    net = alexnet(2, 3)
    assert [layer.out_features for layer in net.classifier if hasattr(layer, "out_features")] == [4096, 1024, 2]
    # AlexNet of torchvision without its last two dense layers, and with these
    assert parameters(net) == 61_100_840 - 4097 * 4096 - 4097 * 1000 + 4097 * 1024 + 1025 * 2
    assert build("alexnet", 2, 1).features[0].weight.shape == (64, 1, 11, 11)


@pytest.mark.parametrize(
    ("build_net", "size"), [(alexnet, 63), (resnet18, 32), (convnext_tiny, 32), (lambda **o: vgg("vgg11_bn", **o), 32)]
)
def test_torchvision_networks_take_any_channels(build_net, size):
    net = build_net(outputs=3, channels=5).eval()
    with torch.no_grad():
        assert net(torch.rand(2, 5, size, size)).shape == (2, 3)


@pytest.mark.parametrize(("name", "size"), [("alexnet", 63), ("vgg11_bn", 32), ("convnext_tiny", 32)])
def test_layers_adapted_to_images_answer_with_mean_0_and_deviation_1(name, size):
    torch.manual_seed(1)
    net, image = build(name, 2, 3), torch.rand(16, 3, size, size)
    logits = net.classifier[-1].weight.clone()
    adapt_to_images(net, image, 2)
    assert net.training and torch.equal(net.classifier[-1].weight, logits)
    answers = []
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and getattr(layer, "out_features", None) != 2:
            channel = 1 if isinstance(layer, nn.Conv2d) else -1
            layer.register_forward_hook(
                lambda _, __, answer, channel=channel: answers.append(answer.movedim(channel, 0).clone())
            )
    with torch.no_grad():
        net.eval()(image)
    assert len(answers) > 5
    for answer in answers:
        deviation, mean = torch.std_mean(answer.flatten(1), 1)
        assert mean.abs().max() < 1e-2 and (deviation - 1).abs().max() < 1e-2


class Plane(ClassifierMixin, BaseEstimator):
    """What one plane's network says, as scikit-learn wants it."""

    def __init__(self, logits=None):
        self.logits = logits

    def predict_proba(self, X):
        return self.logits[X[:, 0]].softmax(1).numpy()

    def predict(self, X):
        return self.logits[X[:, 0]].argmax(1).numpy()


def voted(logits, voting):
    """Logits (B, P, C) of planes, fused by scikit-learn."""
    planes = [Plane(logits[:, plane]) for plane in range(logits.shape[1])]
    fused = VotingClassifier([(str(number), plane) for number, plane in enumerate(planes)], voting=voting)
    fused.estimators_, fused.le_ = planes, LabelEncoder().fit(np.arange(logits.shape[2]))
    fused.classes_ = fused.le_.classes_
    events = np.arange(len(logits))[:, None]
    return fused.predict_proba(events) if voting == "soft" else fused.predict(events)


def late(classes, fusion="mean"):
    return MultiPlaneFusion(mode="late", num_classes=classes, fusion=fusion).eval()


@pytest.mark.parametrize("classes", [2, 4])
def test_late_fusion_is_the_mean_of_the_softmax_of_the_planes(classes):
    torch.manual_seed(5)
    task = late(classes)
    image = torch.rand(16, 3, 48, 48)
    with torch.no_grad():
        each = 20 * task.net(image)  # (B, P, C)
        outputs = each[..., 1] - each[..., 0] if classes == 2 else each
        fused = task.probabilities(outputs).numpy()
    wanted = voted(each, "soft")
    assert np.abs(fused - (wanted[:, 1] if classes == 2 else wanted)).max() < 1e-6
    with torch.no_grad():
        forward = task.probabilities(task(image))
        assert torch.allclose(forward, task.probabilities(task.outputs(image)), atol=1e-6)


def test_late_fusion_is_exact_where_planes_are_sure():
    task = late(2)
    logits = torch.tensor([[90.0, 90, -90], [-200, -200, -200], [200, 200, 200], [0, 0, 0]])
    fused = task.fuse(logits)
    assert fused.sigmoid().tolist() == pytest.approx([2 / 3, 0, 1, 0.5], abs=1e-6)
    assert fused.isfinite().all()


@pytest.mark.parametrize("classes", [2, 4])
def test_vote_is_that_of_the_majority(classes):
    torch.manual_seed(6)
    task = late(classes, "vote")
    each = 3 * torch.randn(400, 3, classes)
    outputs = each[..., 1] - each[..., 0] if classes == 2 else each
    decided, hard = task.decisions(outputs).numpy(), voted(each, "hard")
    votes = np.stack([(each.argmax(2) == kind).sum(1).numpy() for kind in range(classes)], 1)
    clear = votes.max(1) > 1  # of three different votes scikit-learn takes the smallest class
    assert clear.sum() > 100 and np.array_equal(decided[clear], hard[clear])
    probability = task.probabilities(outputs)
    if classes == 2:  # at any threshold
        for threshold in (0.2, 0.5, 0.9):
            majority = (outputs.sigmoid() >= threshold).sum(1) >= 2
            assert torch.equal(probability >= threshold, majority)
    else:
        assert torch.allclose(probability.sum(1), torch.ones(400), atol=1e-6)
        best = np.where(votes > 0, each.softmax(2).mean(1).numpy(), 0).argmax(1)
        assert np.array_equal(decided[~clear], best[~clear]), "the mean decides if votes are equal"


def test_vote_of_two_planes_must_be_unanimous():
    task = MultiPlaneFusion(mode="late", num_planes=2, fusion="vote")
    assert task.decisions(torch.tensor([[3.0, -1], [-3, 2], [2, 1], [-1, -2]])).tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("classes", [2, 3])
def test_loss_of_late_fusion_is_the_mean_of_the_planes(classes):
    torch.manual_seed(7)
    each, label = torch.randn(10, 3, classes), torch.randint(classes, (10,))
    outputs = each[..., 1] - each[..., 0] if classes == 2 else each
    wanted = torch.stack(
        [torch.nn.functional.cross_entropy(each[:, plane], label, reduction="none") for plane in range(3)]
    )
    task, weight, wanted = late(classes), torch.rand(10), wanted.mean(0)
    assert torch.allclose(task.losses(outputs, label), wanted, atol=1e-6)
    assert torch.allclose(task.losses(outputs, label, weight), weight * wanted, atol=1e-6)
    assert torch.allclose(task.losses(outputs, label, weight, "mean"), (weight * wanted).mean(), atol=1e-6)
