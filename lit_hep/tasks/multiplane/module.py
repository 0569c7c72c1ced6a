"""Which kind of interaction: networks for several readout planes, fused early, late or in between."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn

from lit_hep.base.classification import ClassificationTask
from lit_hep.base.scores import Scores
from lit_hep.errors import ConfigError
from lit_hep.evaluation.export import Interface
from lit_hep.nets.initial import adapt_to_images
from lit_hep.nets.planes import PerPlane, PlaneNet, Siamese, TickFusion
from lit_hep.nets.vision import alexnet, convnext_tiny, resnet18, vgg
from lit_hep.tasks.multiplane.datamodule import MultiPlaneDataModule
from lit_hep.tasks.multiplane.normalisation import Normalise, Scaling
from lit_hep.tasks.multiplane.products import PlaneScores, write_misclassified
from lit_hep.training.processes import let_weights_rest

NetName = Literal["small", "alexnet", "vgg11", "vgg11_bn", "vgg19", "resnet18", "convnext_tiny"]
Mode = Literal["early", "late", "siamese", "tick"]

_FEATURES = 64  # of a plane, for `siamese`
_ADAPT_TO = 64  # training events
_SMALLEST = {"alexnet": 63}  # pixels; else 32


def build(name: NetName, outputs: int, channels: int) -> nn.Module:
    """A network from (B, channels, H, W) to logits (B, outputs)."""
    if name == "small":
        return PlaneNet(outputs, channels)
    if name == "alexnet":
        return alexnet(outputs, channels)
    if name == "resnet18":
        return resnet18(outputs, channels, small=False)
    if name == "convnext_tiny":
        return convnext_tiny(outputs, channels)
    return vgg(name, outputs, channels)


class MultiPlaneFusion(ClassificationTask):
    """Class of an event from the images of its planes.

    Args:
        mode: ``early``: planes are the channels of one network. ``late``: a network for each plane, whose answers are
            fused. ``siamese``: one trunk sees each plane, its features are put together. ``tick``: planes are fused
            tick by tick, the coordinate they share.
        net: ``small``, our own; those of torchvision, AlexNet and VGG with the original's dense layers. ``tick`` has
            its own.
        num_planes: Planes of an event.
        num_classes: Classes to tell apart.
        scaling: Of the charges, part of the network: as they are, logarithmic, or standardised, by plane, on the
            training events.
        data_init: Adapt the weights to some training events before learning starts (`adapt_to_images`), without which
            a VGG19 learns nothing from a few thousand events.
        fusion: How ``late`` fuses: the mean of the planes' probabilities, or a vote. Of two classes an event is then
            class 1 if most planes give it at least the threshold, and its probability is the largest that most planes
            reach, of three the middle one. Of more classes it is (votes + mean probability) / (planes + 1).
        training: Of ``late``: all planes in each step, or one plane after the other, each in an equal share of the
            epochs with optimizer and scheduler anew.
        **kwargs: As in `ClassificationTask`.
    """

    def __init__(
        self,
        mode: Mode = "early",
        net: NetName = "small",
        num_planes: int = 3,
        num_classes: int = 2,
        scaling: Scaling = "log",
        data_init: bool = False,
        fusion: Literal["mean", "vote"] = "mean",
        training: Literal["together", "in_turn"] = "together",
        **kwargs: Any,
    ) -> None:
        if num_planes < 1 or num_classes < 2:
            raise ConfigError(f"num_planes {num_planes}, num_classes {num_classes}: must be at least 1 and 2")
        if mode == "tick" and net != "small":
            raise ConfigError(f"mode tick has a network of its own: leave --model.init_args.net at small, not {net}")
        if mode != "late" and (fusion != "mean" or training != "together"):
            raise ConfigError(f"fusion {fusion}, training {training}: are of mode late, the mode is {mode}")
        if data_init and kwargs.get("weights"):
            raise ConfigError(f"data_init, weights {kwargs['weights']}: weights are to come from one or the other")
        super().__init__(**kwargs)

    def configure_models(self) -> None:
        """Scaling, then the network asked for, a logit for each class."""
        planes, classes, name = (self.hparams[key] for key in ("num_planes", "num_classes", "net"))
        mode: Mode = self.hparams["mode"]
        if mode == "early":
            net = build(name, classes, planes)
        elif mode == "late":
            net = PerPlane(lambda: build(name, classes, 1), planes)
        elif mode == "siamese":
            net = Siamese(build(name, _FEATURES, 1), _FEATURES, classes, planes)
        else:
            net = TickFusion(classes, planes)
        self.net = nn.Sequential(Normalise(planes, self.hparams["scaling"]), net)

    @property
    def _scale(self) -> Normalise:
        scale: Normalise = self.net[0]  # type: ignore[index]
        return scale

    @property
    def data(self) -> MultiPlaneDataModule:
        """The data module of the run."""
        return self.data_of(MultiPlaneDataModule)

    def setup(self, stage: str) -> None:
        """Check that network and data fit; take the scaling from the training events."""
        data, hparams = self.data, self.hparams
        wanted = {"num_planes": len(data.planes), "num_classes": len(data.class_names)}
        for name, count in wanted.items():
            if hparams[name] != count:
                raise ConfigError(
                    f"{name} is {hparams[name]}, the data have {count} ({data.root}: planes {list(data.planes)}, "
                    f"classes {list(data.class_names)}): set --model.init_args.{name} {count}, or choose with "
                    "--data.init_args.planes and classes"
                )
        smallest = _SMALLEST.get(hparams["net"], 32)
        if min(data.image_size) < smallest:
            raise ConfigError(
                f"planes of {data.image_size[0]} x {data.image_size[1]}: {hparams['net']} wants {smallest} or more"
            )
        super().setup(stage)
        if stage == "fit":
            self._check_turns()
            if self.trainer.ckpt_path is None:  # after other weights: charges of other data have another scale
                self._scale.adapt(data.moments())
                if hparams["data_init"]:
                    adapt_to_images(self.net, data.some(_ADAPT_TO), self.num_classes)

    def _check_turns(self) -> None:
        """Check that the planes can be trained in turn, if they are to be."""
        if self.hparams["training"] != "in_turn":
            return
        trainer, planes = self.trainer, self.hparams["num_planes"]
        epochs = trainer.max_epochs or 0
        if epochs < planes or epochs % planes:
            raise ConfigError(f"training in_turn: set --trainer.max_epochs to a multiple of {planes}, not {epochs}")
        if any(isinstance(callback, EarlyStopping) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            raise ConfigError(
                "training in_turn: early stopping would end the run within one plane's turn; leave it out"
            )
        let_weights_rest(trainer.strategy)

    def _turn(self) -> tuple[int, int]:
        """Plane whose turn it is, and how many epochs of it are over."""
        each = (self.trainer.max_epochs or 0) // int(self.hparams["num_planes"])
        return divmod(self.current_epoch, each)

    def on_train_epoch_start(self) -> None:
        """Start the next plane's turn with optimizer and scheduler anew."""
        super().on_train_epoch_start()
        if self.hparams["training"] == "in_turn" and self.current_epoch and not self._turn()[1]:
            self.trainer.strategy.setup_optimizers(self.trainer)

    def forward(self, image: Tensor) -> Tensor:
        """Planes (B, P, H, W) to logits, (B,) for two classes or (B, num_classes); of ``late`` fused."""
        return self.fuse(self.outputs(image))

    def outputs(self, image: Tensor) -> Tensor:
        """Planes (B, P, H, W) to logits as of `forward`, but of ``late`` those of each plane, (B, P) or (B, P, C).

        While one plane is trained after another only those of the plane whose turn it is, (B, 1) or (B, 1, C).
        """
        if self.training and self.hparams["training"] == "in_turn" and self._trainer is not None:
            plane, _ = self._turn()
            nets: Any = self.net[1]  # type: ignore[index]
            logits = nets[plane](self._scale(image)[:, plane : plane + 1]).unsqueeze(1)
        else:
            logits = self.net(image)
        # the softmax of two logits is the sigmoid of their difference
        result: Tensor = logits[..., 1] - logits[..., 0] if self.num_classes == 2 else logits
        return result

    def fuse(self, logits: Tensor) -> Tensor:
        """Logits of `outputs` to those (B,) or (B, C) of the fused probability, without loss near 0 and 1."""
        binary = self.num_classes == 2
        if self.hparams["mode"] != "late" or logits.dim() == (1 if binary else 2):
            return logits
        logits, planes = logits.float(), logits.shape[1]
        if self.hparams["fusion"] == "vote":
            if binary:
                return logits.topk(planes // 2 + 1, dim=1).values[:, -1]
            votes = F.one_hot(logits.argmax(2), self.num_classes).sum(1)
            return (votes + logits.softmax(2).mean(1)).log() - torch.log(logits.new_tensor(planes + 1))
        if binary:
            return F.logsigmoid(logits).logsumexp(1) - F.logsigmoid(-logits).logsumexp(1)
        return logits.log_softmax(2).logsumexp(1) - torch.log(logits.new_tensor(planes))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Fused probability (B,) of class 1, or (B, num_classes)."""
        return super().probabilities(self.fuse(logits))

    def interface(self, data: Mapping[str, Any]) -> Interface:
        """Planes (N, P, wires, ticks), of the size that the data module brought them to, if it did."""
        size = data.get("image_size")
        wires, ticks = (size, size) if isinstance(size, int) else size or (None, None)
        planes = data.get("planes") or range(self.hparams["num_planes"])
        binary = self.num_classes == 2
        return Interface(
            axes={"plane": self.hparams["num_planes"], "wire": wires, "tick": ticks},
            values=f"charges as in the files, planes {', '.join(map(str, planes))}",
            output="probability",
            answer="of class 1 (N,)" if binary else f"of each class (N, {self.num_classes})",
            normalisation=self._scale.extra_repr(),
            largest=10 * float(self._scale.typical.max()),
            occupancy=0.1,
            classes=data.get("classes") or (),
            threshold=float(self.threshold) if binary else None,
            resizable=not self.hparams["net"].startswith(("alexnet", "vgg")),
        )

    def _scores(self, index: Tensor, *label_and_logits: Tensor) -> Scores:
        scores = super()._scores(index, *label_and_logits)
        if self.hparams["mode"] != "late":
            return scores
        logits = label_and_logits[-1].detach().float()
        each = logits.sigmoid() if self.num_classes == 2 else logits.softmax(2)
        return PlaneScores(**vars(scores), probability_plane=each.cpu().numpy(), planes=self.data.planes)

    def write_predictions(self, folder: Path, scores: Scores) -> None:
        """Add ``misclassified.csv`` where the truth is known."""
        super().write_predictions(folder, scores)
        if len(scores.label):
            write_misclassified(folder / "misclassified.csv", scores, self.data.events)
