"""LightningCLI with the house's run folders."""

import warnings
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lit_hep.base.datamodule import BaseDataModule
from lit_hep.base.task import BaseTask
from lit_hep.errors import CheckpointError, ConfigError, OutputError, UserError
from lit_hep.parser import Parser, shorten
from lit_hep.training.run import RunLogger, check_resumable, find_checkpoint, read_checkpoint

DESCRIPTION = "Detector images: train, judge and apply networks. Also: simulate, prepare, report, export (--help)"

IGNORED_WARNINGS = (
    "The '.*' does not have many workers",  # data in memory load faster without
    "Checkpoint directory .* exists and is not empty",  # that is what resuming means
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning 2.6 on torch 2.15
)


class LightningParser(Parser, LightningArgumentParser):
    """Lightning's parser with the house's errors."""


class SaveConfig(SaveConfigCallback):
    """Save ``config.yaml`` of what is trained, not of what is later evaluated."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save it before a fit."""
        if stage == "fit":
            super().setup(trainer, pl_module, stage)


class ShowingTrainer(Trainer):
    """Lightning's Trainer, which can also show samples."""

    def show(
        self,
        model: BaseTask,
        datamodule: BaseDataModule,
        index: list[int] | None = None,
        output: Path = Path("show.png"),
    ) -> None:
        """Draw samples of the data.

        Args:
            model: Not used.
            datamodule: Where they are.
            index: Numbers of the samples; none takes 32 at random.
            output: Picture to write.
        """
        datamodule.show(index, output)
        rank_zero_info(f"Picture: {output}")


class LitHepCLI(LightningCLI):
    """Configs on top of ``configs/base.yaml``; checkpoints and outputs in the folders of a run."""

    def __init__(self, args: list[str] | None = None) -> None:
        folders = (Path(__file__).parent / "configs", Path(__file__).parents[1] / "configs")
        base = {"default_config_files": [str(folder / "base.yaml") for folder in folders if folder.is_dir()]}
        super().__init__(
            BaseTask,
            BaseDataModule,
            save_config_callback=SaveConfig,
            save_config_kwargs={"overwrite": True},
            trainer_class=ShowingTrainer,
            parser_class=LightningParser,
            parser_kwargs={"description": DESCRIPTION, **dict.fromkeys(self.subcommands(), base)},
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's commands and ``show``."""
        return {**LightningCLI.subcommands(), "show": {"model", "datamodule", "index"}}

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "show":  # jsonargparse would want a list in brackets
            parser.add_argument("--index", type=int, nargs="+", help="Numbers of the samples; none takes 32 at random.")
            self._subcommand_method_arguments[subcommand].append("index")
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and turn ``--ckpt_path best|last|FILE`` into a file and the run it belongs to."""
        super().parse_arguments(parser, args)
        command = self.config.subcommand
        config = self.config[command]
        self._asked = flatten(config.model)
        self._trained: dict[str, Any] = {}
        if command == "show" or (command == "fit" and not config.ckpt_path):
            return
        run: Any = getattr(config.trainer.logger, "init_args", {})
        known = "checkpoint_dir" in run
        if not known and config.ckpt_path in (None, "best", "last"):
            raise ConfigError(f"--ckpt_path {config.ckpt_path or 'best'}: only RunLogger knows the runs; give a file")
        place = (run.checkpoint_dir, run.name) if known else ("", "")
        path, version = find_checkpoint(config.ckpt_path or "best", *place)
        checkpoint = read_checkpoint(path)
        trained = checkpoint.get("hyper_parameters", {}).get("_class_path", "")
        if trained.rpartition(".")[2] != config.model.class_path.rpartition(".")[2]:
            wanted = config.model.class_path
            raise CheckpointError(f"{path}: is of {trained or 'no task of lit_hep'}, the config wants {wanted}")
        if command == "fit":
            check_resumable(path, checkpoint, config.trainer.max_epochs)
        config.ckpt_path, self._trained = str(path), checkpoint["state_dict"]
        if known:
            run.version = version
            run.purge_step = checkpoint["global_step"] if command == "fit" else None

    def before_instantiate_classes(self) -> None:
        """Say which hyperparameters a checkpoint has overruled."""
        model = flatten(self.config[self.subcommand].model)
        for name, value in model.items():
            if name in self._asked and self._asked[name] != value and name != "class_path":
                rank_zero_warn(f"{name} {self._asked[name]!r} is ignored: the checkpoint was trained with {value!r}")

    def instantiate_classes(self) -> None:
        """Build trainer, task and data; their own words are passed on without those that jsonargparse wraps them in."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            cause = error.__cause__ or error
            if isinstance(cause, UserError | MisconfigurationException):
                raise cause from None
            if isinstance(cause, TypeError) and self._trained:
                path = self.config[self.subcommand].ckpt_path
                raise CheckpointError(f"{path}: was trained with other options than there are now ({cause})") from error
            if isinstance(cause, ValueError):
                raise ConfigError(shorten(str(cause))) from error
            raise

    def after_instantiate_classes(self) -> None:
        """Refuse a checkpoint that would not fit the network, before anything is started."""
        shapes, trained = (
            {name: getattr(value, "shape", None) for name, value in state.items()}
            for state in (self.model.state_dict(), self._trained)
        )
        if trained and shapes != trained:
            path = self.config[self.subcommand].ckpt_path
            raise CheckpointError(
                f"{path}: holds another network than {type(self.model).__name__} builds from its options"
            )
        self._trained = {}

    def after_fit(self) -> None:
        """Say where the results are and what to type next."""
        logger = self.trainer.logger
        if isinstance(logger, RunLogger):
            rank_zero_info(
                f"\nCurves:      tensorboard --logdir {logger.save_dir}\n"
                f"Run:         {logger.log_dir} and {logger.checkpoint_folder}\n"
                f"Type next:   python -m lit_hep test --config {Path(logger.log_dir, 'config.yaml')} --ckpt_path best"
            )

    def after_test(self) -> None:
        """Say where the results are."""
        rank_zero_info(f"Results: {Path(self.trainer.log_dir or '.', str(self.subcommand))}")

    after_predict = after_test


def flatten(config: Namespace | Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of a nested configuration, by their names joined with dots and without ``init_args``."""
    if isinstance(config, Namespace):
        config = vars(config)
    if not isinstance(config, dict):
        return {prefix: config}
    names = {name: prefix if name in ("init_args", "dict_kwargs") else f"{prefix}.{name}".strip(".") for name in config}
    return {leaf: value for name in config for leaf, value in flatten(config[name], names[name]).items()}


def run(args: list[str] | None = None) -> None:
    """Run one of Lightning's commands.

    Args:
        args: Words of the command line; None takes them from there.

    Raises:
        UserError: What the user can mend.
    """
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    try:
        LitHepCLI(args)
    except MisconfigurationException as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise OutputError(f"{error.filename or 'output'}: {error.strerror or error}") from error
