"""Every kind of file that lit_hep reads: how it is made, and read as a command would."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
from ccds import PICTURES, npz, pkl
from conftest import config
from damaged_ccd import SEED, ccd, fits, npy, png, stacks, tiff

import lit_hep


@dataclass(frozen=True)
class Kind:
    """A kind of file that is accepted.

    `make` writes whole files into the current folder, `files` are patterns of those to damage, `read` reads them all,
    `command` are words of a command that does; if not `whole`, the undamaged files too must be refused.
    """

    make: Callable[[], object]
    files: Sequence[str]
    read: Callable[[], object]
    command: str = ""
    whole: bool = True


def simulated(task, size, **options):
    """A `make`: the simulated data set of a task."""

    def make():
        Path("data").mkdir()
        import_module(f"lit_hep.tasks.{task}.simulation").simulate(Path("data"), size, SEED, **options)

    return make


def loaded(name, **options):
    """A `read`: the data module, as a fit asks for its data, to the first batches."""

    def read():
        data = getattr(lit_hep, name)(root="data", simulate=False, batch_size=4, **options)
        data.prepare_data()
        for stage in ("fit", "predict"):
            data.setup(stage)
        for number in ("moments", "shares", "level"):
            getattr(data, number, tuple)()
        for loader in (data.train_dataloader(), data.val_dataloader(), data.predict_dataloader()):
            data.on_after_batch_transfer(next(iter(loader)), 0)

    return read


def fit(name):
    """A `command`."""
    words = "--data.init_args.root=data --data.init_args.simulate=false --trainer.max_epochs=0"
    return " ".join(["fit", *config(name), words, "--trainer.accelerator=cpu"])


def compact_hdf5():
    """The files of e/gamma as other programs may write them: newest format, growing, shuffled, with checksums."""
    import h5py

    simulated("electron_photon", 20)()
    for path in Path("data").iterdir():
        with h5py.File(path) as file:
            columns = {name: file[name][:] for name in file}
        with h5py.File(path, "w", libver="latest") as file:
            for name, values in columns.items():
                options = {"maxshape": (None, *values.shape[1:]), "shuffle": True, "fletcher32": True}
                file.create_dataset(name, data=values, compression="lzf", **options)


def raw():
    """Text files of planes."""
    rng = np.random.default_rng(SEED)
    Path("raw").mkdir()
    for number in range(14):
        for plane in range(3):
            cells = rng.permutation(40 * 40)[:60]
            rows = "".join(f"{cell // 40} {cell % 40} {cell % 300 + 1}\n" for cell in cells)
            Path(f"raw/files_{'AB'[number % 2]}_1_larcv_plane{plane}_{number}.extracted.norm").write_text(rows)


def prepare_planes():
    """Make training files of them, or look whether they are as they should be."""
    from lit_hep.tasks.multiplane.preparation import prepare

    prepare(Path("raw"), Path("data"), size=40, min_hits=0, workers=1)


def planes():
    """Text files, matrices, and lists of which is for what."""
    raw()
    prepare_planes()


def read_raw():
    """Read text files, and make matrices of them."""
    from lit_hep.tasks.multiplane.norm import read_norm
    from lit_hep.tasks.multiplane.raw import convert, find_raw, incomplete

    events, _ = incomplete(find_raw(Path("raw"))[0])
    for event in list(events.values())[:6]:
        convert(event, event.targets(Path("made"), 0), 40)
    for path in sorted(Path("raw").iterdir()):
        read_norm(path, 40)


def prepared_pictures():
    """Pairs of pictures, and the training file made of them."""
    simulated("drift_chamber", 16, layout="png")()
    prepare_pictures("data", "new/data.hdf5")
    Path("data").rename("pictures")
    Path("new").rename("data")


def prepare_pictures(source, output):
    """Make a training file."""
    from lit_hep.tasks.drift_chamber.preparation import prepare

    prepare(Path(source), Path(output), layout="padded")


def prepare_both():
    """Pictures to a file, and a file to the other layout."""
    prepare_pictures("data/data.hdf5", "one.hdf5")
    prepare_pictures("pictures", "two.hdf5")


def read_clusters():
    """Read what is known of the true clusters of images."""
    from lit_hep.tasks.ccd.images import Images, Reading
    from lit_hep.tasks.ccd.products import Products

    Products(Path("out"), Images(Path("data"), Reading(), truth=True), 1, range(6))


def read_libraries():
    """Read clusters to simulate with."""
    from lit_hep.tasks.ccd.library import read_library

    for path in (*Path().glob("*.npz"), *Path().glob("*.pkl")):
        read_library(path)


def libraries():
    """The original's library in protocols old and new."""
    for protocol in (2, 4, 5):
        pkl(Path(f"{protocol}.pkl"), PICTURES, protocol)


def craters_divided():
    """Craters with their division."""
    simulated("crater", 30)()
    loaded("CraterDataModule")()


def checkpoint():
    """What a fit leaves, less the state of its loops."""
    import torch

    task = lit_hep.CraterSemiSup(net="original", image_size=16)
    options = {**task.hparams, "_class_path": "lit_hep.CraterSemiSup"}
    torch.save({"state_dict": task.state_dict(), "hyper_parameters": options, "epoch": 1}, "best.ckpt")


def read_checkpoint():
    """Build the network of a checkpoint."""
    from lit_hep.export import load_task
    from lit_hep.training.run import read_checkpoint

    load_task(Path("best.ckpt"), read_checkpoint(Path("best.ckpt")))


def evaluated_run():
    """Files of a run that was tested."""
    import json

    import yaml
    from torch.utils.tensorboard import SummaryWriter

    folder, rng = Path("tb_logs/crater/version_0"), np.random.default_rng(SEED)
    (folder / "test").mkdir(parents=True)
    metrics = {"auroc": 0.9, "auroc_low": 0.8, "auroc_high": 0.95, "accuracy": 0.8, "threshold": 0.5, "n": 40}
    (folder / "test/metrics.json").write_text(json.dumps(metrics))
    samples = {part: {"no crater": 20, "crater": 20} for part in ("train", "val", "test")}
    summary = {"task": "CraterSemiSup", "parameters": 12, "classes": ["no crater", "crater"], "samples": samples}
    (folder / "test/summary.json").write_text(json.dumps({**summary, "lit_hep": "0.1", "removed": {"empty": 2}}))
    label = np.arange(40) % 2
    np.savez_compressed(folder / "test/predictions.npz", id=np.arange(40), probability=rng.random(40), label=label)
    np.savez(folder / "test/predictions_.npz", id=np.arange(40))
    (folder / "metrics.csv").write_text("epoch,step,train_loss,val_loss\n0,10,0.7,0.6\n1,20,0.6,0.5\n")
    task = {"class_path": "lit_hep.CraterSemiSup", "init_args": {"net": "deep", "weights": None}}
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": task, "trainer": {"callbacks": [task]}}))
    with SummaryWriter(str(folder)) as writer:
        for step in range(4):
            writer.add_scalar("train_loss", 0.5, step)


def report_run():
    """Read a run, put it beside itself, and draw its page."""
    from lit_hep.evaluation.compare import tables
    from lit_hep.evaluation.report import write_page
    from lit_hep.evaluation.report_files import find_runs, read_run

    runs = [read_run(folder) for folder in find_runs("crater")]
    list(tables(runs))
    write_page(runs[0], Path("page.html"))


def configs():
    """A task's config."""
    Path("config.yaml").write_text("".join(Path(path).read_text() for path in config("crater")[1::2]))


def parse_config():
    """Parse a config as `fit` does; the parser itself is made once."""
    from lit_hep.lightning_cli import LitHepCLI

    class Parser(LitHepCLI):
        """Stops before anything is parsed."""

        def __init__(self):
            super().__init__([])

        def parse_arguments(self, parser, args):
            raise StopIteration(parser)

    if not _PARSER:
        try:
            Parser()
        except StopIteration as stop:
            _PARSER.append(stop.value)
    try:
        _PARSER[0].parse_args(["fit", "--config", "config.yaml"])
    except SystemExit as end:
        from lit_hep.errors import ConfigError

        if end.code == 2:
            raise ConfigError("config.yaml") from end
        raise


_PARSER = []
_CRATER = loaded("CraterDataModule"), fit("crater")
_CALORIMETER = loaded("ElectronPhotonDataModule"), fit("electron_photon")
_PLANES = loaded("MultiPlaneDataModule"), fit("multiplane_early")
_CHAMBER = loaded("DriftChamberDataModule"), fit("drift_chamber")
_CCD = ("data/*/*",), loaded("CCDDataModule"), fit("ccd")
_STREAMED = {"memory_gib": 0.12}
_HDF5, _LISTS = ("data/*.hdf5",), ("data/train.csv", "data/val.csv", "data/test.csv")
_PREPARE = "prepare multiplane --raw raw --root data --size 40 --min_hits 0 --workers 1"
_PREPARE_PICTURES = "prepare drift_chamber --source pictures --output two.hdf5"
_SIMULATE = "simulate ccd --root made --size 2 --library a.npz"

KINDS = {
    "crater npy": Kind(simulated("crater", 30), ("data/*.npy",), *_CRATER),
    "splits": Kind(craters_divided, ("data/splits.json",), *_CRATER),
    "calorimeter hdf5": Kind(simulated("electron_photon", 20), _HDF5, *_CALORIMETER),
    "calorimeter hdf5, streamed": Kind(compact_hdf5, _HDF5, loaded("ElectronPhotonDataModule", **_STREAMED)),
    "planes npz": Kind(planes, ("data/**/*.npz",), *_PLANES),
    "planes norm": Kind(raw, ("raw/*",), read_raw),
    "planes prepared": Kind(
        planes, ("data/counts.csv", "data/faults.csv", "data/PLANE_0/**/*.npz"), prepare_planes, _PREPARE
    ),
    "planes listed": Kind(planes, _LISTS, *_PLANES),
    "chamber png": Kind(simulated("drift_chamber", 16, layout="png"), ("data/*",), *_CHAMBER),
    "chamber hdf5": Kind(prepared_pictures, _HDF5, *_CHAMBER),
    "chamber hdf5, streamed": Kind(
        simulated("drift_chamber", 16), _HDF5, loaded("DriftChamberDataModule", **_STREAMED)
    ),
    "chamber to prepare": Kind(prepared_pictures, (*_HDF5, "pictures/*"), prepare_both, _PREPARE_PICTURES),
    "ccd npy": Kind(ccd(npy, ".npy"), *_CCD),
    "ccd stacks": Kind(stacks, ("data/*.npy",), *_CCD[1:]),
    "ccd png grey": Kind(ccd(png("L"), ".png"), *_CCD),
    "ccd png grey 16 bit": Kind(ccd(png("I;16"), ".png"), *_CCD),
    "ccd png rgb": Kind(ccd(png("RGBA"), ".png"), *_CCD),
    "ccd png rgb 16 bit": Kind(ccd(png("RGB;16"), ".png"), *_CCD),
    "ccd png palette": Kind(ccd(png("P"), ".png"), *_CCD, whole=False),
    "ccd tiff": Kind(ccd(tiff, ".tiff"), *_CCD),
    "ccd fits": Kind(ccd(fits, ".fits"), *_CCD),
    "ccd true clusters": Kind(
        simulated("ccd", 6, height=32, width=32), ("data/clusters.csv", "data/clusters/*"), read_clusters
    ),
    "clusters npz": Kind(partial(npz, Path("a.npz")), ("*.npz",), read_libraries, _SIMULATE),
    "clusters pickle": Kind(libraries, ("*.pkl",), read_libraries),
    "checkpoint": Kind(checkpoint, ("best.ckpt",), read_checkpoint, "export --ckpt_path best.ckpt --output a.onnx"),
    "run to report": Kind(evaluated_run, ("tb_logs/**/*.*",), report_run, "report crater"),
    "config": Kind(configs, ("config.yaml",), parse_config, "fit --config config.yaml"),
}
