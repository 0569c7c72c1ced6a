"""Self-training: a network labels the images it is sure of, and a second one learns from all."""

from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from torch import Tensor

from lit_hep.errors import ConfigError
from lit_hep.tasks.crater.module import CraterSemiSup
from lit_hep.training.callbacks import EarlyStop
from lit_hep.training.run import RunLogger


class _Stage(NamedTuple):
    learning_rate: float | None
    epochs: int
    threshold: float | None


class PseudoLabel(EarlyStop):
    """Early stopping that, instead of ending the run, starts its next stage with pseudo-labels.

    A stage ends when the monitored value has not improved for `patience` epochs, or after its number of epochs. The
    stage's best network is kept (``initial.ckpt``, ``round1.ckpt`` …, ``final.ckpt``) and scores the unlabelled images;
    those it is sure of join the training images of the next stage, in place of those of the stage before. Validation
    and test images keep their true labels throughout and never join.

    Args:
        rounds: How often unlabelled images are labelled; 0 for labelled images only.
        initial_learning_rate: Of the first stage; None takes the optimizer's.
        final_learning_rate: Of the later stages; None takes the optimizer's.
        initial_epochs: Most epochs of the first stage.
        final_epochs: Most epochs of each later stage.
        initial_threshold: Decision threshold in the first stage; None takes the task's.
        final_threshold: Decision threshold in the later stages; None takes the task's.
        below: Images with a smaller probability are labelled 0; None labels none so.
        above: Images with a larger probability are labelled 1; None labels none so.
        top_k: Most images of each class to label; the surest are taken.
        keep_balance: Label only so many of one class that the labelled images' class shares do not move.
        soft: Take the probability itself as label, not 0 or 1.
        weight: Of a pseudo-labelled image in the loss, relative to a labelled one.
        fresh: Start each stage anew, with weights newly drawn or, if the task has ``weights``, with those; else go on
            with the old ones.
        patience: Epochs without improvement that end a stage.
        min_delta: What counts as improvement.
    """

    def __init__(
        self,
        rounds: int = 1,
        initial_learning_rate: float | None = None,
        final_learning_rate: float | None = None,
        initial_epochs: int = 75,
        final_epochs: int = 50,
        initial_threshold: float | None = None,
        final_threshold: float | None = None,
        below: float | None = 0.1,
        above: float | None = 0.9,
        top_k: int | None = None,
        keep_balance: bool = True,
        soft: bool = False,
        weight: float = 1.0,
        fresh: bool = True,
        patience: int = 10,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(patience, min_delta)
        if rounds < 0:
            raise ConfigError(f"rounds {rounds}: must be 0 or more")
        for name, value in {"initial_threshold": initial_threshold, "final_threshold": final_threshold}.items():
            if value is not None and not 0 < value < 1:
                raise ConfigError(f"{name} {value}: must lie between 0 and 1")
        if (below is not None and not 0 < below <= 0.5) or (above is not None and not 0.5 <= above < 1):
            raise ConfigError(f"below {below}, above {above}: must lie above 0 up to 0.5, and from 0.5 to below 1")
        if min(initial_epochs, final_epochs) < 1 or (top_k is not None and top_k < 1) or weight <= 0:
            raise ConfigError(
                f"initial_epochs {initial_epochs}, final_epochs {final_epochs}, top_k {top_k}, weight {weight:g}: must "
                "be 1 or more, and the weight above 0"
            )
        if rounds and below is None and above is None:
            raise ConfigError("rounds without below or above: no image would ever be labelled; set one of them")
        self.rounds, self.top_k, self.keep_balance = rounds, top_k, keep_balance
        self.below, self.above = below, above
        self.soft, self.weight, self.fresh = soft, weight, fresh
        self._initial = _Stage(initial_learning_rate, initial_epochs, initial_threshold)
        self._final = _Stage(final_learning_rate, final_epochs, final_threshold)
        self.stage = 0
        self._epoch = 0  # epochs of this stage so far
        self._due = False  # whether the stage has still to be started
        self._best: dict[str, Tensor] = {}
        self._start: dict[str, Tensor] = {}  # of each stage, unless it draws its own; no file is needed to resume

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Check that the run can have stages, and set the first one's learning rate."""
        super().setup(trainer, pl_module, stage)
        if stage != "fit":
            return
        if not isinstance(pl_module, CraterSemiSup):
            raise ConfigError(f"PseudoLabel works with CraterSemiSup, not {type(pl_module).__name__}")
        if self.rounds and trainer.reload_dataloaders_every_n_epochs != 1:  # type: ignore[attr-defined]
            raise ConfigError(
                "PseudoLabel changes the training images: set trainer.reload_dataloaders_every_n_epochs 1"
            )
        pl_module.learning_rate = self._plan.learning_rate

    @property
    def _plan(self) -> "_Stage":
        return self._final if self.stage else self._initial

    @property
    def over(self) -> bool:
        """Whether the last stage has ended."""
        return self.stage == self.rounds and self._stage_over

    @property
    def _stage_over(self) -> bool:
        return self.wait_count >= self.patience or self._epoch >= self._plan.epochs

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Decide as this stage does; keep the weights that a fresh stage is to start from."""
        super().on_train_start(trainer, pl_module)
        self._decide(pl_module)
        if self.rounds and self.fresh and pl_module.hparams["weights"] and trainer.ckpt_path is None:
            self._start = {name: value.detach().clone() for name, value in pl_module.net.state_dict().items()}

    def _decide(self, module: CraterSemiSup) -> None:
        threshold = self._plan.threshold
        module.decide_at(module.hparams["threshold"] if threshold is None else threshold)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the stage whose labels were made at the end of the last epoch."""
        if self._due:
            pl_module.restart(self._plan.learning_rate, fresh=self.fresh)
            if self._start:
                pl_module.net.load_state_dict(self._start)
            self._decide(pl_module)
            self._due = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Keep the stage's best network; at its end label the unlabelled images, or end the run."""
        asked_to_stop = trainer.should_stop
        super().on_train_epoch_end(trainer, pl_module)
        pl_module.log("stage", float(self.stage), sync_dist=True)
        if self.stopping_reason == EarlyStoppingReason.NON_FINITE_METRIC:
            return
        self._epoch += 1
        if self.wait_count == 0:
            self._best = {name: value.detach().clone() for name, value in pl_module.state_dict().items()}
        if not self._stage_over:
            return
        trainer.should_stop = asked_to_stop or self.over
        self._end_stage(trainer, pl_module, label=not self.over)
        self._best = {}
        if not self.over:
            self.stage, self._epoch, self._due = self.stage + 1, 0, True
            self.forget()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Keep the best network of a stage that was not to its end when the run was."""
        if self._best:
            self._end_stage(trainer, pl_module, label=False)

    def _end_stage(self, trainer: Trainer, module: CraterSemiSup, *, label: bool) -> None:
        """Save the stage's best network and, if wanted, let it label; the network in training is left as it is."""
        current = {name: value.detach().clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self._best)
        module.choose_threshold(module.score(module.data.val_dataloader()))
        if isinstance(trainer.logger, RunLogger):
            last = "final" if self.stage == self.rounds else f"round{self.stage}"
            name = last if self.stage else "initial"
            trainer.save_checkpoint(trainer.logger.checkpoint_folder / f"{name}.ckpt", weights_only=True)
        if label:
            self._label(module)
        module.load_state_dict(current)

    def _label(self, module: CraterSemiSup) -> None:
        data = module.data
        scores = module.score(data.unlabelled_dataloader())
        truth = data.truth[data.part("train")]
        chosen = select(
            scores.probability,
            self.below,
            self.above,
            self.top_k,
            truth.mean() if self.keep_balance else None,
        )
        index, probability = scores.index[chosen], scores.probability[chosen]
        label = (probability > 0.5).astype(np.float32)
        data.set_pseudo_labels(index, probability if self.soft else label, self.weight)
        numbers = {
            "added": float(len(index)),
            "share_of_craters": float(label.mean()) if len(label) else np.nan,
        }
        known = data.truth[index] >= 0
        if known.any():
            numbers["purity"] = float((label == data.truth[index])[known].mean())
        module.log_dict({f"pseudo_label_{name}": value for name, value in numbers.items()}, sync_dist=True)
        rank_zero_info(
            f"stage {self.stage} has ended; pseudo-labelled {len(index)} of {len(scores.index)} unlabelled images: "
            + ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in numbers.items())
        )

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands, with the stage's best network and the weights that each stage starts from."""
        stage = {"stage": self.stage, "epoch": self._epoch, "due": self._due, "best": self._best, "start": self._start}
        return {**super().state_dict(), **stage}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the checkpoint was written."""
        super().load_state_dict(state_dict)
        self.stage, self._epoch, self._due, self._best = (
            state_dict[name] for name in ("stage", "epoch", "due", "best")
        )
        self._start = state_dict.get("start", {})  # runs of before it was kept drew theirs


def select(
    probability: NDArray[np.float32],
    below: float | None,
    above: float | None,
    top_k: int | None = None,
    share: float | None = None,
) -> NDArray[np.int64]:
    """Choose the images that a network is sure of.

    Args:
        probability: (n,) of class 1.
        below: Smaller ones are class 0; None takes none.
        above: Larger ones are class 1; None takes none.
        top_k: Most images of each class; the surest are taken.
        share: Share of class 1 wanted among the chosen, where both classes are taken; None takes all.

    Returns:
        Rows (m,) of the chosen, ascending.
    """
    order = np.argsort(probability, kind="stable")
    zeros = order[probability[order] < below] if below is not None else order[:0]
    ones = order[::-1][probability[order[::-1]] > above] if above is not None else order[:0]
    zeros, ones = zeros[:top_k], ones[:top_k]
    if share is not None and below is not None and above is not None:
        total = min(len(zeros) / (1 - share), len(ones) / share)
        zeros, ones = zeros[: round(total * (1 - share))], ones[: round(total * share)]
    return np.sort(np.concatenate([zeros, ones]))
