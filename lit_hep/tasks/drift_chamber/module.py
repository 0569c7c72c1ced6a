"""Keep the hits of tracks: a Pix2Pix GAN, its generator alone, or a small denoiser."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from lit_hep.errors import ConfigError
from lit_hep.nets.denoiser import Denoiser
from lit_hep.nets.pix2pix import SECTOR, SQUARE, Generator, PatchGAN
from lit_hep.tasks.drift_chamber.adversarial import (
    AdversarialLoss,
    discriminator_loss,
    generator_loss,
    mean,
    taken_for_real,
)
from lit_hep.tasks.drift_chamber.denoising import DenoisingTask, planes
from lit_hep.tasks.drift_chamber.layout import pad, unpad
from lit_hep.training.processes import average, counted, let_weights_rest

_WON = 0.98  # a discriminator that is right so often teaches nothing any more


class Pix2PixGAN(DenoisingTask):
    """Noisy event to clean event; the score of a hit is the probability that it is from a track.

    Manual optimization: with a discriminator both take a step a batch, the discriminator first.

    Args:
        objective: ``gan``: picture to picture, with a discriminator; ``regression``: each hit's cross-entropy alone.
        net: ``original``, for 128 x 128 x 3 pixels; ``native``, the same idea for 36 x 112; ``denoiser``, small, fast.
        width: Channels of the first layer (64 in the original); of a superlayer in the denoiser.
        dropout: In the generator's first three steps up.
        masked: Multiply the made picture by the input: what is no hit cannot become one.
        adversarial_loss: Cross-entropy, hinge or least squares.
        distance: Between made and true picture: the mean over all pixels of the absolute difference, as in the
            original, or each hit's cross-entropy.
        distance_weight: Of that in the generator's loss beside the adversarial one (LAMBDA in the original).
        label_smoothing: What the label of true pictures lacks to 1, for the discriminator.
        noise: Channels of normal noise beside the input, 0 in evaluation; not for the denoiser.
        spectral_norm: In the discriminator, in place of batch norm.
        ema: Decay a step of the generator's moving average, by which is judged and predicted; None goes without.
        gradient_clip: Largest norm of each network's gradient; None does not clip.
        generator_optimizer: Of the generator.
        generator_scheduler: Of its learning rate.
        discriminator_optimizer: Of the discriminator.
        discriminator_scheduler: Of its learning rate.
        **kwargs: As in `DenoisingTask`.
    """

    _sums: Tensor

    def __init__(
        self,
        objective: Literal["gan", "regression"] = "gan",
        net: Literal["original", "native", "denoiser"] = "native",
        width: int = 64,
        dropout: float = 0.5,
        masked: bool = True,
        adversarial_loss: AdversarialLoss = "bce",
        distance: Literal["l1", "bce"] = "l1",
        distance_weight: float = 100,
        label_smoothing: float = 0,
        noise: int = 0,
        spectral_norm: bool = False,
        ema: float | None = None,
        gradient_clip: float | None = None,
        generator_optimizer: OptimizerCallable = torch.optim.Adam,
        generator_scheduler: LRSchedulerCallable | None = None,
        discriminator_optimizer: OptimizerCallable = torch.optim.Adam,
        discriminator_scheduler: LRSchedulerCallable | None = None,
        **kwargs: Any,
    ) -> None:
        if noise and net == "denoiser":
            raise ConfigError("noise: the denoiser takes none; set it to 0, or take --model.init_args.net native")
        if label_smoothing and adversarial_loss == "hinge":
            raise ConfigError("label_smoothing has no meaning for the hinge loss; set it to 0")
        if not (0 <= label_smoothing < 1 and 0 <= dropout < 1):
            raise ConfigError(f"label_smoothing {label_smoothing}, dropout {dropout}: must lie from 0 to below 1")
        if width < 1 or noise < 0 or distance_weight < 0:
            raise ConfigError(
                f"width {width}, noise {noise}, distance_weight {distance_weight}: "
                "width must be 1 or more, the others not below 0"
            )
        if (ema is not None and not 0 < ema < 1) or (gradient_clip is not None and gradient_clip <= 0):
            raise ConfigError(f"ema {ema}, gradient_clip {gradient_clip}: ema must lie between 0 and 1, both above 0")
        super().__init__(optimizer=generator_optimizer, scheduler=generator_scheduler, **kwargs)
        self.automatic_optimization = False
        self._rival = discriminator_optimizer, discriminator_scheduler

    def configure_models(self) -> None:
        """Generator, its average and discriminator, as far as they are wanted."""
        hparams = self.hparams
        channels, steps = (3, SQUARE) if hparams["net"] == "original" else (1, SECTOR)
        width = hparams["width"]
        if hparams["net"] == "denoiser":
            self.net = Denoiser(width)
        else:
            self.net = Generator(channels + hparams["noise"], channels, steps, width, hparams["dropout"])
        self.average = deepcopy(self.net).requires_grad_(False) if hparams["ema"] else None
        self.discriminator: PatchGAN | None = None
        if hparams["objective"] == "gan":
            self.discriminator = PatchGAN(2 * channels, steps[:3], width, hparams["spectral_norm"])

    def configure_metrics(self) -> None:
        """Sums over the epoch: losses, the discriminator's right answers, events."""
        super().configure_metrics()
        self.register_buffer("_sums", torch.zeros(len(_LOGGED) + 1), persistent=False)

    def setup(self, stage: str) -> None:
        """Let the average start where the generator starts."""
        super().setup(stage)
        if stage == "fit" and self.discriminator is not None:
            let_weights_rest(self.trainer.strategy)
        if stage == "fit" and self.average is not None and self.trainer.ckpt_path is None:
            self.average.load_state_dict(self.net.state_dict())

    def configure_optimizers(self) -> Any:
        """Optimizer and scheduler of each network."""
        configured = [self.scheduled(self.net.parameters(), self.optimizer, self.scheduler)]
        if self.discriminator is not None:
            configured.append(self.scheduled(self.discriminator.parameters(), *self._rival))
        return configured

    def shed(self) -> None:
        """Part with the discriminator, and with the generator where its average answers."""
        self.discriminator = None
        if self.average is not None:
            self.net, self.average = self.average, None

    def picture(self, hits: Tensor) -> Tensor:
        """Hits (B, 36, 112) as the network sees them: (B, 1, 36, 112), or (B, 3, 128, 128) of the original."""
        return pad(hits[:, None]).expand(-1, 3, -1, -1) if self.hparams["net"] == "original" else hits[:, None]

    def generate(self, picture: Tensor) -> Tensor:
        """Pictures to logits of the same shape, with noise beside them if there is any."""
        net = self.net if self.training or self.average is None else self.average
        noise = self.hparams["noise"]
        if noise:
            shape = (picture.shape[0], noise, *picture.shape[2:])
            draw = torch.randn if self.training else torch.zeros
            picture = torch.cat([picture, draw(shape, device=picture.device)], dim=1)
        logits: Tensor = net(picture)
        return logits

    def logits(self, hits: Tensor) -> Tensor:
        """Hits (B, 36, 112) to logits of the same shape; the original's three channels are averaged."""
        return self._native(self.generate(self.picture(hits)))

    def _native(self, logits: Tensor) -> Tensor:
        return unpad(logits.mean(1)) if self.hparams["net"] == "original" else logits[:, 0]

    def loss_of(self, batch: dict[str, Tensor]) -> Tensor:
        """Loss () of the hits, for a generator that learns alone."""
        hits, counts = planes(batch["image"]), counted(batch)
        return self.hit_loss(self.logits(hits), hits * counts[:, None, None], planes(batch["target"]))

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A step of each network; sums stay on the device."""
        counts = counted(batch)
        events = average(counts.sum())
        if self.discriminator is None:
            loss = self.loss_of(batch)
            terms = [loss.detach()] + [loss.new_zeros(())] * (len(_LOGGED) - 1)
            self.descend(loss)
        else:
            hits, truth = planes(batch["image"]), planes(batch["target"])
            loss, terms = self._compete(self.discriminator, hits, truth, counts / events)
        self._sums += events * torch.stack([*terms, loss.new_ones(())])
        if self.average is not None:
            self._follow(self.average)
        return {"loss": loss.detach(), "discriminator_loss": terms[_LOGGED.index("discriminator_loss")]}

    def _compete(
        self, discriminator: PatchGAN, hits: Tensor, truth: Tensor, share: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """A step of the discriminator, then of the generator, which learns what the other thinks of its pictures.

        Args:
            discriminator: The other.
            hits: Of events (B, 36, 112).
            truth: Those of tracks, alike.
            share: Of each event (B,) in the losses.
        """
        kind: AdversarialLoss = self.hparams["adversarial_loss"]
        given, wanted = self.picture(hits), self.picture(truth)
        logits = self.generate(given)
        made = logits.float().sigmoid()
        if self.hparams["masked"]:
            made = made * given
        pairs = (torch.cat([given, other], dim=1) for other in (wanted, made.detach()))
        real, fake = discriminator.both(*pairs)
        rival = (share * discriminator_loss(real, fake, kind, self.hparams["label_smoothing"])).sum()
        self.descend(rival, 1)
        discriminator.requires_grad_(False)  # its gradients would be computed for nothing
        adversarial = (share * generator_loss(discriminator(torch.cat([given, made], dim=1)), kind)).sum()
        if self.hparams["distance"] == "l1":
            distance = (share * mean((made - wanted).abs())).sum()
        else:
            distance = self.hit_loss(self._native(logits), hits * (share > 0)[:, None, None], truth)
        loss = adversarial + self.hparams["distance_weight"] * distance
        self.descend(loss)
        discriminator.requires_grad_(True)
        right = [(share * rate).sum() for rate in (taken_for_real(real, kind), 1 - taken_for_real(fake, kind))]
        return loss, [term.detach() for term in (loss, adversarial, distance, rival, *right)]

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip the gradient; Lightning's own clipping refuses fused optimizers at any mixed precision."""
        largest = self.hparams["gradient_clip"]
        if largest is not None:
            scaler = getattr(self.trainer.precision_plugin, "scaler", None)
            if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
                largest *= scaler.get_scale()  # which a fused optimizer takes out of the gradient only in its step
            nn.utils.clip_grad_norm_(
                [weight for group in optimizer.param_groups for weight in group["params"]], largest
            )

    @torch.no_grad()
    def _follow(self, average: nn.Module) -> None:
        """Move the average a little towards the generator, further at the beginning."""
        decay = min(self.hparams["ema"], (1 + self.global_step) / (10 + self.global_step))
        torch._foreach_lerp_(list(average.parameters()), list(self.net.parameters()), 1 - decay)
        for mine, latest in zip(average.buffers(), self.net.buffers(), strict=True):
            mine.copy_(latest)

    def on_train_epoch_end(self) -> None:
        """Turn the epoch's sums into ``train_…``, and warn if one network has won."""
        *sums, count = self.trainer.strategy.reduce(self._sums, reduce_op="sum").tolist()
        self._sums.zero_()
        names = _LOGGED if self.discriminator is not None else _LOGGED[:1]
        numbers = {name: total / count for name, total in zip(names, sums, strict=False)}
        self.log_dict({f"train_{name}": value for name, value in numbers.items()}, sync_dist=True)
        if self.discriminator is not None:
            self._judge(numbers)
        super().on_train_epoch_end()

    def _judge(self, numbers: Mapping[str, float]) -> None:
        """Warn when one of the networks has won."""
        real, fake = (numbers[f"discriminator_accuracy_{kind}"] for kind in ("real", "fake"))
        if min(real, fake) > _WON:
            rank_zero_warn(
                f"epoch {self.current_epoch}: the discriminator has won (right on {real:.1%} of true and {fake:.1%} of "
                "made pictures): the generator learns from the distance alone; lower the discriminator's learning "
                "rate, or set label_smoothing or spectral_norm"
            )
        elif max(real, fake) < 1 - _WON or (1 - fake > _WON and real > _WON):
            rank_zero_warn(
                f"epoch {self.current_epoch}: the generator has won (the discriminator is right on {real:.1%} of true "
                f"and {fake:.1%} of made pictures): raise the discriminator's learning rate or distance_weight"
            )


_LOGGED = (
    "loss",
    "adversarial_loss",
    "distance",
    "discriminator_loss",
    "discriminator_accuracy_real",
    "discriminator_accuracy_fake",
)
