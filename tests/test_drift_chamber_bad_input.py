"""A user's mistakes with the drift-chamber task: each ends in one line that says what to mend, and nothing else."""

import shlex
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import quick, run_in
from PIL import Image
from spoil import change_hdf5, edit, nothing, put, refused, remove, text

from lit_hep.cli import main
from lit_hep.tasks.drift_chamber.simulation import simulate

TASK = (
    f"{shlex.join(quick('drift_chamber'))} --trainer.accelerator cpu --trainer.max_epochs 1 "
    "--model.init_args.width 4 --data.init_args.root"
)
FIT, PNG = f"fit {TASK} data", f"fit {TASK} png"
PREDICT = f"predict {TASK} data --ckpt_path best --data.init_args.predict_root new"
PREPARE = "prepare drift_chamber --output new.hdf5 --source"
MODEL, DATA = "--model.init_args", "--data.init_args"
EVENTS = Path("data/events.hdf5")
CHECKPOINT = Path("checkpoints/drift_chamber/version_0/best.ckpt")
NOISY, CLEAN = Path("png/000003_all_.png"), Path("png/000003_truth_.png")


# What a user may have done before the command; all work in the current folder.


def picture(array, path=NOISY):
    """Save another picture."""
    return lambda: Image.fromarray(array).save(path)


def of_both(how):
    """Change both data sets alike."""
    return lambda: [change_hdf5(EVENTS, name, how)() for name in ("all", "truth")]


def shortened(number):
    """Only the first events."""
    return lambda: [change_hdf5(EVENTS, name, lambda a: a[:number])() for name in ("all", "truth", "current")]


def renamed(old, new):
    """Give a data set another name."""

    def spoil():
        with h5py.File(EVENTS, "r+") as file:
            file.move(old, new)

    return spoil


def padded(how):
    """Data in the padded layout, spoilt."""

    def spoil():
        main(shlex.split(f"prepare drift_chamber --source {EVENTS} --output padded.hdf5 --layout padded"))
        shutil.move("padded.hdf5", EVENTS)
        change_hdf5(EVENTS, "all", how)()

    return spoil


def two_layouts():
    """A second file, of the other layout."""
    main(shlex.split(f"prepare drift_chamber --source {EVENTS} --output data/padded.hdf5 --layout padded"))


def group():
    """A group where a data set should be."""
    change_hdf5(EVENTS, "all", lambda array: None)()
    with h5py.File(EVENTS, "r+") as file:
        file.create_group("all")


def nothing_held_out():
    """A run whose split has no part to test on."""
    content = torch.load(CHECKPOINT, weights_only=True)
    content["DriftChamberDataModule"]["test"] = torch.empty(0, dtype=torch.int64)
    torch.save(content, CHECKPOINT)


def coloured():
    """A picture in a colour map."""
    pixels = np.zeros((36, 112, 3), np.uint8)
    pixels[..., 2] = 255
    picture(pixels)()


HIT = np.full((36, 112), 255, np.uint8)
EMPTY = np.zeros((36, 112, 3), np.uint8)
DAMAGED = "copy it again"
CASES = {  # command, what was done before, what is said
    # pictures
    "noisy picture without partner": (PNG, remove(CLEAN), r"^png: 1 pictures without a partner: 000003_all_\.png;"),
    "clean picture without partner": (PNG, remove(NOISY), r"^png: 1 pictures without a partner: 000003_truth_\.png;"),
    "name misspelt": (PNG, lambda: CLEAN.rename("png/00003_truth_.png"), r"^png: 2 pictures without a partner: .*003_"),
    "two names for one event": (
        PNG,
        lambda: shutil.copy(NOISY, "png/_all_000003.png"),
        r"^png: 000003_all_\.png and _all_000003\.png would be one event; rename one of them",
    ),
    "rows and columns swapped": (PNG, picture(HIT.T), r"000003_all_\.png: pictures of 112 x 36 x 3.*swapped"),
    "a picture of another size": (PNG, picture(HIT[:, 1:]), r"000003_all_\.png: pictures of 36 x 111 x 3"),
    "coloured picture": (PNG, coloured, r"000003_all_\.png: is coloured; expected white where a wire has a hit"),
    "16-bit picture": (PNG, picture(HIT.astype(np.uint16)), r"000003_all_\.png: holds values of kind I;16; save it as"),
    "truncated picture": (PNG, edit(NOISY, lambda old: old[:90]), rf"000003_all_\.png: truncated or not .*{DAMAGED}"),
    "empty picture file": (PNG, edit(NOISY, lambda old: b""), rf"000003_all_\.png: truncated or not a PNG.*{DAMAGED}"),
    "text in place of a picture": (PNG, text(CLEAN, "0 1"), rf"000003_truth_\.png: truncated or not a PNG.*{DAMAGED}"),
    "JPEG with the name of a PNG": (
        PNG,
        lambda: Image.fromarray(HIT).save(NOISY, format="JPEG"),
        r"000003_all_\.png: truncated or not a PNG",
    ),
    "no pictures but clean ones": (
        PNG,
        lambda: remove(*Path("png").glob("*_all_*"))(),
        r"^png: HDF5 files.* not found",
    ),
    "beam currents of words": (
        PNG,
        text(Path("png/current.csv"), "event,current_nA\n000003,high\n"),
        r"^png/current\.csv: expected columns event, current_nA and a number",
    ),
    "beam currents without a head": (
        PNG,
        text(Path("png/current.csv"), "000003,45\n"),
        r"^png/current\.csv: expected co",
    ),
    # HDF5
    "wrong data-set name": (
        FIT,
        renamed("all", "noisy"),
        r"^data/events\.hdf5: holds no data set 'all' but .*'noisy'.*; rename",
    ),
    "no truth": (FIT, change_hdf5(EVENTS, "truth", lambda a: None), r"^data/events\.hdf5: holds no data set 'truth'"),
    "group in place of a data set": (FIT, group, r"^data/events\.hdf5: holds no data set 'all'"),
    "truncated file": (
        FIT,
        edit(EVENTS, lambda old: old[:-999]),
        rf"^data/events\.hdf5: truncated HDF5 file; {DAMAGED}",
    ),
    "empty file": (FIT, edit(EVENTS, lambda old: b""), rf"^data/events\.hdf5: is empty \(0 bytes\); {DAMAGED}"),
    "not HDF5": (FIT, text(EVENTS, "events"), rf"^data/events\.hdf5: not an HDF5 file, or damaged; {DAMAGED}"),
    "fewer truths": (FIT, change_hdf5(EVENTS, "truth", lambda a: a[1:]), r"differ in length: 'all' 40, 'truth' 39"),
    "no events": (FIT, of_both(lambda a: a[:0]), r"^data/events\.hdf5: 'all' holds no samples"),
    "too few events": (FIT, shortened(2), r"^data/?.*: class 0 has only 2 samples"),
    "pictures transposed": (
        FIT,
        of_both(lambda a: a.transpose(0, 2, 1)),
        r"^data/events\.hdf5: 'all': pictures of 112 x 36, rows first; expected .*swapped",
    ),
    "channels first": (FIT, of_both(lambda a: a[:, None]), r"^data/events\.hdf5: 'all': pictures of 1 x 36 x 112"),
    "rows lost": (FIT, of_both(lambda a: a[:, :34]), r"^data/events\.hdf5: 'all': pictures of 34 x 112"),
    "truth in another layout": (
        FIT,
        change_hdf5(EVENTS, "truth", lambda a: a[..., None]),
        r"^data/events\.hdf5: 'truth' has the shape \(40, 36, 112, 1\), 'all' \(40, 36, 112\)",
    ),
    "negative values": (
        FIT,
        change_hdf5(EVENTS, "all", put((3, 0, 0), -1)),
        r"^data/events\.hdf5: 'all' from row 0: values -1\.\.255; expected 0 and 1, or 0\.\.255",
    ),
    "values above 255": (FIT, change_hdf5(EVENTS, "all", put((3, 0, 0), 1000)), r"'all' from row 0: values 0\.\.1000"),
    "NaN": (
        FIT,
        change_hdf5(EVENTS, "truth", put((3, 0, 0), np.nan)),
        r"^data/events\.hdf5: 'truth' holds NaN or infinity, first in row 3",
    ),
    "strings": (FIT, change_hdf5(EVENTS, "all", lambda a: a.astype("S3")), r"'all' holds \|S3 values, not numbers"),
    "two scales": (
        FIT,
        change_hdf5(EVENTS, "all", lambda a: a // 255),
        r"'truth' from row 0: values up to 255, where those before go to 1; bring all to one scale",
    ),
    "no hits at all": (FIT, of_both(np.zeros_like), r"^data/events\.hdf5: none of 40 events has a hit; check"),
    "no true hits at all": (
        FIT,
        change_hdf5(EVENTS, "truth", np.zeros_like),
        r"^data/events\.hdf5: none of 40 events has a true hit; check",
    ),
    "hits between the regions": (
        FIT,
        padded(put((7, 56, 20), 255)),
        r"'all' from row 0: has hits where there is no wire, first in picture 7; expected layers in rows 44\.\.55",
    ),
    "two layouts in one folder": (FIT, two_layouts, r"^data: pictures differ in shape .*different folders"),
    "currents of another length": (
        FIT,
        change_hdf5(EVENTS, "current", lambda a: a[1:]),
        r"differ in length: .*'current' 39",
    ),
    "currents in two columns": (
        FIT,
        change_hdf5(EVENTS, "current", lambda a: np.stack([a, a], 1)),
        r"^data/events\.hdf5: 'current' has the shape \(40, 2\); expected \(40,\)",
    ),
    "nothing there, nothing to be simulated": (
        f"fit {TASK} absent {DATA}.simulate false",
        nothing,
        r"^absent: HDF5 files .* or pictures .* not found; give the folder",
    ),
    "other files there": (f"fit {TASK} other", text(Path("other/notes.txt"), ""), r"^other: HDF5 files .* not found"),
    # prediction
    "predict_root absent": (PREDICT, nothing, r"^new: no such folder"),
    "nothing to predict on": (PREDICT, lambda: Path("new").mkdir(), r"^new: holds no HDF5 file .* and no PNG"),
    "damaged file to predict on": (
        PREDICT,
        text(Path("new/a.h5"), "x"),
        rf"^new/a\.h5: not an HDF5 file, or damaged; {DAMAGED}",
    ),
    "only empty events to predict on": (
        PREDICT,
        lambda: (Path("new").mkdir(), picture(EMPTY, "new/a_all_.png")()),
        r"^new: none of 1 events has a hit",
    ),
    "nothing to test on": (
        f"test {TASK} data --ckpt_path best",
        nothing_held_out,
        r"test_fraction is 0: nothing was held out",
    ),
    # preparation
    "output exists": (f"{PREPARE} png", text(Path("new.hdf5"), ""), r"^new\.hdf5: exists already; give a new"),
    "source absent": (f"{PREPARE} absent", nothing, r"^absent: no such file or folder"),
    "source without pictures": (f"{PREPARE} data", nothing, r"^data: holds no pictures \*_all_\*\.png with their"),
    "source without partner": (f"{PREPARE} png", remove(CLEAN), r"^png: 1 pictures without a partner"),
    "source damaged": (f"{PREPARE} png", text(NOISY, ""), r"000003_all_\.png: truncated"),
    "source of other data sets": (f"{PREPARE} {EVENTS}", renamed("truth", "clean"), r"holds no data set 'truth' but"),
    "output below a file": (f"{PREPARE} png --output {EVENTS}/new.hdf5", nothing, r"new\.hdf5: cannot be written"),
    "layout of preparation": (f"{PREPARE} png --layout square", nothing, r"layout: expected one of 'native', 'padded'"),
    # options
    "net": (f"{FIT} {MODEL}.net big", nothing, r"net: expected one of 'original', 'native', 'denoiser'"),
    "objective": (f"{FIT} {MODEL}.objective wgan", nothing, r"objective: expected one of 'gan', 'regression'"),
    "noise for the denoiser": (f"{FIT} {MODEL}.noise 1", nothing, r"noise: the denoiser takes none"),
    "smooth labels of a hinge": (
        f"{FIT} {MODEL}.adversarial_loss hinge {MODEL}.label_smoothing .1",
        nothing,
        r"label_smoothing has no meaning for the hinge loss",
    ),
    "rejection": (f"{FIT} {MODEL}.rejection 90", nothing, r"rejection 90\S*: must lie between 0 and 1"),
    "threshold": (f"{FIT} {MODEL}.threshold 1.5", nothing, r"threshold 1\.5: must lie between 0 and 1"),
    "width": (f"{FIT} {MODEL}.width 0", nothing, r"width 0.*must be 1 or more"),
    "ema": (f"{FIT} {MODEL}.ema 1", nothing, r"ema 1.*between 0 and 1"),
    "dropout": (f"{FIT} {MODEL}.dropout 1", nothing, r"dropout 1.*from 0 to below 1"),
    "gradient_clip": (f"{FIT} {MODEL}.gradient_clip 0", nothing, r"gradient_clip 0"),
    "memory_gib": (f"{FIT} {DATA}.memory_gib 0", nothing, r"memory_gib 0\S*: must be above 0"),
    "layout": (f"{FIT} {DATA}.layout square", nothing, r"layout: expected one of 'native', ?'padded'"),
    "learning rate": (f"{FIT} {MODEL}.generator_optimizer.lr -1", nothing, r"optimizer: Invalid learning rate: -1"),
    "Lightning's own clipping": (f"{FIT} --trainer.gradient_clip_val 1", nothing, r"gradient.*clip"),
    "GAN in a DDP in which no weight may rest": (
        f"{FIT} {MODEL}.net native {MODEL}.objective gan --trainer.strategy ddp_find_unused_parameters_false "
        "--trainer.devices 1",
        nothing,
        r"set --trainer\.strategy ddp",
    ),
    "batch norm of all processes": (
        f"{FIT} --trainer.strategy ddp --trainer.devices 1 --trainer.sync_batchnorm true",
        nothing,
        r"sync_batchnorm works on GPUs only",
    ),
    "too few to simulate": (f"fit {TASK} absent {DATA}.simulation_size 3", nothing, r"simulation_size 3.*at least 10"),
}


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A folder with events, pictures and a run of one epoch."""
    folder = tmp_path_factory.mktemp("drift_chamber_home")
    for name, layout in (("data", "hdf5"), ("png", "png")):
        (folder / name).mkdir()
        simulate(folder / name, 40 if name == "data" else 12, seed=1, layout=layout)
    run_in(folder, *shlex.split(FIT))
    return folder


@pytest.mark.parametrize(("words", "spoil", "message"), CASES.values(), ids=CASES)
def test_mistake(words, spoil, message, here, capfd):
    spoil()
    refused(words, message, here, capfd)
