"""CCD segmentation from end to end, through the command line: fit, test, predict. Resuming: test_every_task.py."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from conftest import quick, run_in
from PIL import Image
from runs import checkpoint, table

from lit_hep.cli import main
from lit_hep.data.files import fill
from lit_hep.evaluation.segmentation import segmentation_metrics
from lit_hep.tasks.ccd import CCDUNet
from lit_hep.tasks.ccd.masks import CLASSES, class_weights, classify, colour, from_colour
from lit_hep.tasks.ccd.simulation import simulate

MODEL, DATA = "--model.init_args", "--data.init_args"
SMALL = ["--trainer.accelerator=cpu", f"{MODEL}.width=4", f"{MODEL}.depth=2", f"{DATA}.batch_size=4"]
SLIM = [*quick("ccd"), *SMALL]
ORIGINAL = [*quick("ccd", "ccd_original"), *SMALL]
RUN, CHECKPOINTS = Path("tb_logs/ccd/version_0"), Path("checkpoints/ccd/version_0")
PER_CLASS = {f"{key}_{name}" for name in CLASSES for key in ("precision", "recall", "f1", "iou", "support")}
FIGURES = {"class_scores", "confusion_matrix", "learning_curves", "cluster_finding", "clusters"}
FIGURES |= {"classes_median", "classes_worst"}
FIGURES |= {f"image_{kind}" for kind in ("best", "median", "worst")}
IMAGES = 20


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Folder of small simulated images, higher than wide."""
    folder = tmp_path_factory.mktemp("ccd") / "files"
    fill(folder, lambda part: simulate(part, IMAGES, seed=3, height=56, width=40))
    return folder


@pytest.fixture
def work(files, tmp_path, monkeypatch):
    """A working folder of the test's own, with those files as ``data/ccd``."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/ccd").symlink_to(files)
    return tmp_path


@pytest.fixture(scope="session")
def trained(files, tmp_path_factory):
    """Checkpoint of a short run, for tests that only apply it."""
    folder = tmp_path_factory.mktemp("trained")
    run_in(folder, "fit", *SLIM, f"{DATA}.root={files}", "--trainer.max_epochs=3")
    return folder / CHECKPOINTS / "best.ckpt"


@pytest.mark.parametrize("words", [SLIM, ORIGINAL], ids=["slim", "original"])
def test_shipped_config_from_fit_to_prediction(words, work, files):
    main(["fit", *words, "--trainer.max_epochs=2", f"{MODEL}.figures_every_n_epochs=2"])
    assert {path.name for path in CHECKPOINTS.iterdir()} == {"epoch000.ckpt", "epoch001.ckpt", "best.ckpt", "last.ckpt"}
    rows = table(RUN)
    logged = {"train_loss", "train_accuracy", "train_f1_macro", "val_loss", "val_f1_macro", "val_f1_cluster"}
    assert len(rows) == 2 and logged <= set(rows[0])

    main(["test", *words])
    metrics = json.loads((RUN / "test/metrics.json").read_text())
    finding = {"cluster_efficiency", "cluster_purity", "false_clusters_per_image"}
    assert {"accuracy", "f1_macro", "f1_macro_low", "f1_cluster_high", "loss"} | PER_CLASS | finding <= set(metrics)
    assert {path.stem for path in (RUN / "test/figures").iterdir()} == FIGURES
    predictions = np.load(RUN / "test/predictions.npz")
    mask, truth = predictions["mask"], np.stack([np.load(files / f"masks/{name}.npy") for name in predictions["id"]])
    assert mask.shape == (4, 56, 40) and mask.dtype == np.uint8
    counts = [[np.sum((truth == true) & (mask == called)) for called in range(4)] for true in range(4)]
    known = segmentation_metrics(np.array(counts), CLASSES)
    assert {name: metrics[name] for name in known} == pytest.approx(
        {k: v if v == v else None for k, v in known.items()}
    )
    assert "hot_pixel" in (RUN / "test/classification_report.txt").read_text()
    for name, one in zip(predictions["id"], mask, strict=True):
        assert np.array_equal(np.load(RUN / f"test/labels/{name}.npy"), one)
        with Image.open(RUN / f"test/labels/{name}.png") as picture:
            assert np.array_equal(from_colour(np.asarray(picture)), one)

    main(["predict", *words])
    again = np.load(RUN / "predict/predictions.npz")
    assert np.array_equal(again["id"], predictions["id"]) and np.array_equal(again["mask"], mask)
    assert not Path("tb_logs/ccd/version_1").exists() and not list(Path.cwd().rglob(".*part"))

    task = CCDUNet.load_from_checkpoint(CHECKPOINTS / "best.ckpt").eval()
    images = torch.from_numpy(np.stack([np.load(files / f"images/{name}.npy") for name in predictions["id"]]))[:, None]
    with torch.no_grad():
        assert np.array_equal(task(images).argmax(1).numpy(), mask)


LOSSES = ["cross_entropy", "focal", "dice", "[cross_entropy,focal,dice]"]
VARIANTS = {loss: [*SLIM, f"{MODEL}.loss={loss}", f"{MODEL}.class_weights=auto"] for loss in LOSSES}
VARIANTS |= {
    "given weights": [*SLIM, f"{MODEL}.class_weights=[0.5,1,2,3]"],
    "image": [*SLIM, f"{MODEL}.scaling=image", f"{MODEL}.compress=false", f"{MODEL}.activation=leaky_relu"],
    "none": [*SLIM, f"{MODEL}.scaling=none", f"{MODEL}.batch_norm=false", f"{MODEL}.dropout=0.2"],
    "imgaug": [*SLIM, f"{DATA}.augmentation=imgaug", f"{DATA}.tile=24", f"{DATA}.overlap=8"],
    "16 bit": [*SLIM, "--trainer.precision=bf16-mixed", f"{MODEL}.channels_last=true", f"{DATA}.on_device=true"],
}


@pytest.mark.parametrize("name", VARIANTS)
def test_options_learn(name, work, files):
    main(["fit", *VARIANTS[name], "--trainer.max_epochs=2"])
    losses = [float(row["train_loss"]) for row in table(RUN)]
    assert losses[1] < losses[0]
    state = checkpoint(CHECKPOINTS / "last.ckpt")["state_dict"]
    assert all(value.isfinite().all() for value in state.values())
    low, spread = float(state["net.pedestal"]), float(state["net.spread"])
    parts = json.loads((files / "splits.json").read_text())[-1]
    if name in ("image", "none"):
        assert (low, spread) == (0, 1)
    else:
        train = np.stack([np.load(files / f"images/image_{number:04d}.npy") for number in parts["train"]])
        assert low == pytest.approx(np.median(train), abs=1) and 0 < spread < train.std()
    masks = np.stack([np.load(files / f"masks/image_{number:04d}.npy") for number in parts["train"]])
    weights = {"given weights": [0.5, 1, 2, 3], "image": [1] * 4, "none": [1] * 4, "imgaug": [1] * 4, "16 bit": [1] * 4}
    wanted = weights.get(name, class_weights(np.bincount(masks.ravel(), minlength=4) / masks.size))
    assert state["criterion.weights"].numpy() == pytest.approx(np.array(wanted), rel=1e-5)


def predict(trained, root, *more):
    main(["predict", *SLIM, f"{DATA}.predict_root={root}", "--ckpt_path", str(trained), *more])
    return next(Path("tb_logs/ccd").iterdir()) / "predict"


def test_a_large_fits_image_by_pieces_equals_the_whole(work, trained):
    """FITS in, FITS out, header kept; the catalogue lists what is in the mask."""
    from scipy import ndimage

    fill(Path("large"), lambda part: simulate(part, 1, seed=5, height=300, width=430, format="fits"))
    path = next(Path("large/images").iterdir())
    with fits.open(path, mode="update") as units:
        units[0].header["EXPTIME"] = 28800.0
    masks = []
    for piece in ("768", "64"):
        folder = predict(trained, "large", f"{DATA}.piece={piece}")
        masks.append(np.load(folder / "predictions.npz")["mask"])
    assert masks[0].shape == (1, 300, 430) and len(np.unique(masks[0])) > 1
    assert (masks[0] != masks[1]).mean() < 1e-5  # a tie may fall otherwise
    assert np.array_equal(fits.getdata(folder / f"labels/{path.name}"), masks[1][0])
    assert fits.getheader(folder / f"labels/{path.name}")["EXPTIME"] == 28800.0
    with (folder / "catalogue.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == ndimage.label(masks[1][0] == 3, np.ones((3, 3)))[1]
    assert sum(int(row["pixels"]) for row in rows) == (masks[1][0] == 3).sum()


def test_images_of_several_sizes_and_kinds_need_no_masks(work, trained):
    Path("new").mkdir()
    adc = (8800 + 20 * np.random.default_rng(0).standard_normal((30, 50))).astype(np.float32)
    np.save("new/a.npy", adc[:, :33])
    Image.fromarray(adc.astype(np.uint16)).save("new/b.png")
    Image.fromarray(adc).save("new/c.tif")
    folder = predict(trained, "new")
    predictions = np.load(folder / "predictions.npz")
    assert set(predictions) == {"id"} and list(predictions["id"]) == ["a", "b", "c"]
    assert [np.load(folder / f"labels/{name}.npy").shape for name in "abc"] == [(30, 33), (30, 50), (30, 50)]
    assert {path.name for path in (folder / "labels").glob("*.png")} == {"a.png", "b.png", "c.png"}
    assert {path.name for path in folder.iterdir()} == {"labels", "predictions.npz", "catalogue.csv"}


LIMITS = '{"hot_pixel": [124, 1000]}'


def test_pictures_labelled_by_a_rule(work):
    """Coloured pictures alone in a folder; the original's network takes their three colours."""
    Path("png").mkdir()
    rng = np.random.default_rng(0)
    values = np.array([20, 100.4, 140, 70])[rng.integers(0, 4, (12, 40, 40))]
    for number, value in enumerate(values):
        Image.fromarray(np.stack([value - 10, value, value + 10.6], axis=-1).astype(np.uint8)).save(f"png/{number}.png")
    words = [*ORIGINAL, f"{DATA}.root=png", f"{DATA}.label_rule=v1", f"{DATA}.thresholds={LIMITS}"]
    main(["fit", *words, "--trainer.max_epochs=1"])
    main(["test", *words])
    metrics = json.loads((RUN / "test/metrics.json").read_text())
    with Image.open("png/0.png") as picture:
        assert set(np.unique(classify(np.asarray(picture).mean(-1), "v1"))) <= {0, 1, 2, 3, 255}
    assert sum(metrics[f"support_{name}"] for name in CLASSES) == 2 * 1600
    assert "cluster_efficiency" not in metrics
    assert not (RUN / "test/figures/cluster_finding.png").exists()


def test_catalogue_and_efficiency_are_those_of_a_perfect_network(work, files, monkeypatch):
    """With the truth in place of the netwhere's masks everything is found and pure."""
    from lit_hep.tasks.ccd.images import Images, Reading
    from lit_hep.tasks.ccd.products import Products

    images = Images(files, Reading(), truth=True)
    products = Products(Path("out"), images, 1, range(IMAGES))
    products.open()
    for number in range(IMAGES):
        mask = images.mask(number)
        products.add(number, mask, (mask == 3).astype(np.float32))
    products.gather()
    metrics = products.metrics()
    assert metrics["cluster_efficiency"] == metrics["cluster_purity"] == 1
    assert metrics["false_clusters_per_image"] == 0
    products.close()
    with Path("out/catalogue.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows and all(int(row["true_cluster"]) > 0 for row in rows)
    assert np.array_equal(np.load("out/predictions.npz")["mask"], np.stack([images.mask(n) for n in range(IMAGES)]))
    with Image.open(f"out/labels/{images.name[0]}.png") as picture:
        assert np.array_equal(np.asarray(picture), colour(images.mask(0)))
