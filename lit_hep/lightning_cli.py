"""LightningCLI with the house's run folders."""

import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn

from lit_hep.base.datamodule import BaseDataModule
from lit_hep.base.task import BaseTask
from lit_hep.data.files import reason, replacing, sweep
from lit_hep.data.runs import leaves, test_command
from lit_hep.errors import CheckpointError, ConfigError, OutputError, UserError
from lit_hep.evaluation import look
from lit_hep.parser import Parser, shorten
from lit_hep.signals import signals
from lit_hep.training.arithmetic import flush_denormals
from lit_hep.training.interruption import Interruption
from lit_hep.training.memory import Memory, keep
from lit_hep.training.processes import said_by_another
from lit_hep.training.run import RunLogger, check_resumable, foreign_classes, open_checkpoint

DESCRIPTION = "Detector images: train, judge and apply networks. Also: simulate, prepare, report, export (--help)"

IGNORED_WARNINGS = (
    "The '.*' does not have many workers",  # data in memory load faster without
    "Checkpoint directory .* exists and is not empty",  # that is what resuming means
    "The lr scheduler dict contains .*'monitor'",  # `BaseTask` steps schedulers where Lightning does not
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning 2.6 on torch 2.15
)

OPTIONAL = {"enable_progress_bar": ("ProgressBar",), "enable_checkpointing": ("BestCheckpoint", "EpochCheckpoint")}
"""Callbacks that an option of the trainer leaves out."""


class LightningParser(Parser, LightningArgumentParser):
    """Lightning's parser with the house's errors."""


class SaveConfig(SaveConfigCallback):
    """Save ``config.yaml`` of what is trained, not of what is later evaluated; tidy up the run's folder."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save it before a fit."""
        folder = trainer.log_dir  # to be asked for on all processes
        if not trainer.is_global_zero or folder is None:
            return
        if isinstance(trainer.logger, RunLogger):
            sweep(Path(folder))
        if stage == "fit":
            config = self.config.clone()
            if config.ckpt_path:  # of which run it went on is not what the next one is to do
                run = run_options(config)
                config.ckpt_path = run["version"] = run["purge_step"] = None
            with replacing(Path(folder, self.config_filename)) as part:
                self.parser.save(config, str(part), skip_none=False, multifile=self.multifile)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no folder of a run that was refused before its first step."""
        if isinstance(trainer.logger, RunLogger):
            trainer.logger.discard()


class ShowingTrainer(Trainer):
    """Lightning's Trainer, which can also show samples."""

    def show(
        self,
        model: BaseTask,
        datamodule: BaseDataModule,
        index: list[int] | None = None,
        output: Path | None = None,
    ) -> None:
        """Draw samples of the data.

        Args:
            model: Not used.
            datamodule: Where they are.
            index: Numbers of the samples; none takes some at random.
            output: Picture to write; none writes ``show.png``, and opens it in a window where there is a display.

        Raises:
            ConfigError: There is no such sample, or no such kind of picture.
        """
        picture = output or Path("show.png")
        datamodule.prepare_data()
        datamodule.setup("show")
        count = len(datamodule)
        some = np.random.default_rng().permutation(count)[: datamodule.most_drawn]
        chosen = some if index is None else np.asarray(index)
        if len(chosen) == 0 or chosen.min() < 0 or chosen.max() >= count:
            raise ConfigError(f"index {chosen.tolist()}: the samples are numbered 0..{count - 1}")
        with replacing(picture) as part:
            try:
                datamodule.figure(chosen.tolist()).savefig(part, format=picture.suffix.lstrip(".") or "png")
            except ValueError as error:
                raise ConfigError(f"{picture}: {error}") from error
        rank_zero_info(f"Picture: {picture}")
        if output is None:
            look.display(picture)


class LitHepCLI(LightningCLI):
    """Configs on top of ``configs/base.yaml``; checkpoints and outputs in the folders of a run."""

    def __init__(self, args: list[str] | None = None) -> None:
        words = sys.argv[1:] if args is None else args
        self._command = next((word for word in words if word in self.subcommands()), None)
        folders = (Path(__file__).parent / "configs", Path(__file__).parents[1] / "configs")
        base = {"default_config_files": [str(folder / "base.yaml") for folder in folders if folder.is_dir()]}
        super().__init__(
            BaseTask,
            BaseDataModule,
            save_config_callback=SaveConfig,
            trainer_class=ShowingTrainer,
            trainer_defaults={"callbacks": Interruption()},
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
        if self._command not in (None, subcommand):  # that it is there is all that needs to be known of it
            return self.init_parser(description=kwargs["description"])
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "show":  # jsonargparse would want a list in brackets
            parser.add_argument(
                "--index", type=int, nargs="+", help="Numbers of the samples; none takes some at random."
            )
            self._subcommand_method_arguments[subcommand].append("index")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``--figures.style`` and ``--figures.vector``, ``--memory.keep_mib``, and ``--flush_denormals``."""
        parser.add_class_arguments(look.Look, "figures")
        parser.add_class_arguments(Memory, "memory")
        about = "Take numbers below 1.2e-38 for zero: a CPU is slow with them."
        parser.add_argument("--flush_denormals", type=bool, default=True, help=about)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and turn ``--ckpt_path best|last|FILE`` into a file and the run it belongs to."""
        super().parse_arguments(parser, args)
        command = self.config.subcommand
        config = self.config[command]
        self._asked = leaves(config.model.as_dict())
        self._trained: dict[str, Any] = {}
        if command == "show" or (command == "fit" and not config.ckpt_path):
            return
        run = run_options(config)
        known = bool(run)
        if not known and config.ckpt_path in (None, "best", "last"):
            raise ConfigError(f"--ckpt_path {config.ckpt_path or 'best'}: only RunLogger knows the runs; give a file")
        place = (run.checkpoint_dir, run.name) if known else ("", "")
        path, version, checkpoint = open_checkpoint(config.ckpt_path or "best", *place)
        trained = str(checkpoint.get("hyper_parameters", {}).get("_class_path", ""))
        if trained.rpartition(".")[2] != config.model.class_path.rpartition(".")[2]:
            wanted = config.model.class_path
            raise CheckpointError(f"{path}: is of {trained or 'no task of lit_hep'}, the config wants {wanted}")
        for name in foreign_classes(checkpoint):
            if name not in self._asked.values():
                raise CheckpointError(f"{path}: names {name}, which is imported only if the config names it too")
        if command == "fit":
            check_resumable(path, checkpoint, config.trainer.max_epochs, config.trainer.max_steps)
        config.ckpt_path, self._trained = str(path), checkpoint["state_dict"]
        if known:
            run.version = version
            loops = checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"] if command == "fit" else {}
            run.purge_step = loops.get("_batches_that_stepped")  # by which curves are drawn

    def before_instantiate_classes(self) -> None:
        """Take callbacks of base.yaml away that shall not be; say which hyperparameters a checkpoint has overruled."""
        config = self.config[self.subcommand]
        flush_denormals(config.flush_denormals)  # before there are other threads
        unwanted = [one for option, names in OPTIONAL.items() if config.trainer[option] is False for one in names]
        if unwanted and isinstance(config.trainer.callbacks, list):  # which Lightning would refuse
            config.trainer.callbacks = [
                each for each in config.trainer.callbacks if each.class_path.rpartition(".")[2] not in unwanted
            ]
        model = leaves(config.model.as_dict())
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
        """Refuse a checkpoint that would not fit the network, before anything is started; tell who is to be ended."""
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
        if self.subcommand == "fit":  # passed on to it, tasks would know only after their setup what they go on from
            options = self.config_init[self.subcommand]
            self.trainer.ckpt_path, options.ckpt_path = options.ckpt_path, None
        look.choose(self._get(self.config_init, "figures"))
        keep(self._get(self.config_init, "memory"))
        launcher = self.trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            signals.children = lambda: launcher.procs  # another list once they are started

    def after_fit(self) -> None:
        """Say where the results are and what to type next."""
        logger = self.trainer.logger
        if isinstance(logger, RunLogger):
            rank_zero_info(
                f"\nCurves:      tensorboard --logdir {logger.save_dir}\n"
                f"Run:         {logger.log_dir} and {logger.checkpoint_folder}\n"
                f"Type next:   {test_command(Path(logger.log_dir), logger.checkpoint_folder)}"
            )

    def after_test(self) -> None:
        """Say where the results are."""
        rank_zero_info(f"Results: {Path(self.trainer.log_dir or '.', str(self.subcommand))}")

    after_predict = after_test


def run_options(config: Any) -> Any:
    """Options of a configuration's `RunLogger`, the first logger or the only one; empty if it is another."""
    logger = config.trainer.logger
    options = getattr(logger[0] if isinstance(logger, list) and logger else logger, "init_args", {})
    return options if "checkpoint_dir" in options else {}


def run(args: list[str] | None = None) -> None:
    """Run one of Lightning's commands.

    Args:
        args: Words of the command line; None takes them from there.

    Raises:
        UserError: What the user can mend; of several processes one says it.
    """
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    try:
        _run(args)
    except UserError as error:
        if said_by_another(str(error)):
            # Lightning kills the first process, busy as it may be, if another one ends with any other code than 0
            raise SystemExit(0 if getattr(rank_zero_only, "rank", 0) else 2) from None
        raise


def _run(args: list[str] | None) -> None:
    shown = threading.excepthook
    # TensorBoard writes in a thread, and raises what happened there once more where it is called
    threading.excepthook = lambda told: None if isinstance(told.exc_value, OSError) else shown(told)
    try:
        LitHepCLI(args)
    except MisconfigurationException as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        how = "read or written" if isinstance(error, PermissionError) else "written"
        raise OutputError(f"{error.filename or 'output'}: cannot be {how} ({reason(error)})") from error
    finally:
        threading.excepthook = shown
        flush_denormals(False)  # whoever called may need them
