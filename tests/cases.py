"""Ways to train each task that are quick and put its state to the test."""

from dataclasses import dataclass
from pathlib import Path

from conftest import config

CPU = ["--trainer.accelerator=cpu"]
MODEL, DATA, PSEUDO_LABEL = "--model.init_args", "--data.init_args", "--trainer.callbacks"


@dataclass
class Case:
    """A way to train a task: words of the command line that make it quick and put its state to the test."""

    task: str
    words: list[str]
    epochs: int = 4
    stops: tuple[int, ...] = (1, 3)
    tested: int = 0
    """Samples of the test part; 0 where two processes are not tried: others go through the same code."""

    def fit(self, root):
        """Words of its fit to the end, without figures, on the data in `root`."""
        quick = [*CPU, f"{MODEL}.figures_every_n_epochs=0", f"--trainer.max_epochs={self.epochs}"]
        return ["fit", *self.words, *quick, f"{DATA}.root", str(root)]

    @property
    def run(self) -> Path:
        return Path("tb_logs", self.task, "version_0")

    @property
    def checkpoints(self) -> Path:
        return Path("checkpoints", self.task, "version_0")


def options(prefix, *values):
    """Words ``prefix.value``."""
    return [f"{prefix}.{value}" for value in values]


def plateau(name):
    """Words for a scheduler that lowers the learning rate whenever it can."""
    words = ("=torch.optim.lr_scheduler.ReduceLROnPlateau", ".patience=0", ".factor=0.5", ".threshold=0.5")
    return [f"{MODEL}.{name}{word}" for word in words]


STAGES = options(PSEUDO_LABEL, "initial_epochs=3", "final_epochs=3", "patience=2")
STAGES += options(PSEUDO_LABEL, "below=0.5", "above=0.5", "keep_balance=false")  # all are sure
VIEWS = options(DATA, "reflect_eta=true", "reflect_phi=true", "shift=1", "smear=0.02", "balance=weights")
STREAMED = options(DATA, "memory_gib=0.12")  # blocks of 245 images
NATIVE = [*config("drift_chamber"), *options(MODEL, "net=native", "width=4")]
GAN = options(MODEL, "objective=gan", "ema=0.9", "noise=1", "spectral_norm=true", "gradient_clip=1")
PLATEAUS = [*plateau("generator_scheduler"), *plateau("discriminator_scheduler")]
PLATEAUS += options(MODEL, "generator_scheduler.mode=max", "discriminator_scheduler.mode=max")
PLANES = [*config("multiplane_early"), "--trainer.logger.init_args.name=multiplane", *options(DATA, "image_size=48")]
CONFIG = {"multiplane": "multiplane_early"}  # where it is not named as the task
UNET = [*options(MODEL, "width=4", "depth=2", "dropout=0.3"), *options(DATA, "tile=64", "overlap=0")]
CASES = {
    "crater": Case("crater", [*config("crater"), *STAGES], 6, (1, 2, 3, 4, 5), 18),
    "crater, original": Case(
        "crater", [*config("crater", "crater_original"), *STAGES, *plateau("scheduler")], 6, (1, 2, 3, 4, 5)
    ),
    "electron_photon": Case(
        "electron_photon", [*config("electron_photon"), *options(MODEL, "scheduler.init_args.patience=0")]
    ),
    "electron_photon, streamed": Case(
        "electron_photon",
        [*config("electron_photon"), *STREAMED, *VIEWS, *options(MODEL, "net=lenet5_bn", "energy=log")],
        tested=30,
    ),
    "drift_chamber": Case("drift_chamber", [*config("drift_chamber"), f"{MODEL}.width=4"]),
    "drift_chamber, regression": Case("drift_chamber", NATIVE),
    "multiplane": Case("multiplane", PLANES, 3, (1, 2), 12),
    "multiplane, tick": Case("multiplane", [*PLANES, *options(MODEL, "mode=tick", "scaling=standard")], 3, (1,)),
    "ccd": Case("ccd", [*config("ccd"), *UNET], tested=4),
    "ccd, original": Case("ccd", [*config("ccd", "ccd_original"), *UNET, *plateau("scheduler")]),
    "drift_chamber, gan": Case("drift_chamber", [*NATIVE, *GAN, *PLATEAUS], tested=16),
}
