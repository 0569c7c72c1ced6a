"""What the U-net finds in noisy CCD images that thresholds do not, and how it does on the original's pictures.

    python -m benchmarks.ccd_results noise --ratios 1 2 4 8 --seeds 3
    python -m benchmarks.ccd_results pictures --root DIR --seeds 3

``noise``: images of free positions and true masks, simulated at each ratio of cluster signal to pixel noise. A network
is fitted through the command line for each ratio and seed. Against it stand thresholds of the pixel's value, chosen on
images of their own; ``filtered`` has the median of 15 x 15 pixels subtracted and lines of one column or row removed;
``artefacts known`` is told by the truth where hot and glowing pixels are, which no experiment knows. Pixels are judged
by F1 of the class cluster, clusters by the efficiency at one false cluster an image. ``pictures``: the 60 pictures of
the original with labels by its rule v1, 12 of them held out. Rows that the output file holds already are not run again.
"""

import argparse
import contextlib
import io
import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.drift_chamber_results import spread
from lit_hep.cli import main
from lit_hep.nets.cost import parameters
from lit_hep.tasks.ccd import CCDUNet
from lit_hep.tasks.ccd.catalogue import label, scan
from lit_hep.tasks.ccd.masks import CLASSES
from lit_hep.tasks.ccd.simulation import Picture, images, simulate

Scores = Sequence[NDArray[Any]]
CONFIG = ["--config", "configs/ccd.yaml"]
CLUSTER = CLASSES.index("cluster")
FALSE = 1.0  # clusters an image
PIXELS = (1, 2, 3, 5, 8)  # least pixels of a cluster that are tried
THRESHOLDS = 100  # of a score, tried for clusters
KEYS = ("f1", "precision", "recall", "efficiency")


def fit(name: str, root: Path, seed: int, options: Sequence[str]) -> tuple[Path, float]:
    """Fit and test through the command line.

    Returns:
        Number of the run as ``version_N``, in a path below ``checkpoints``; seconds of the fit.
    """
    words = [*CONFIG, f"--data.init_args.root={root}", f"--data.init_args.split_seed={seed}"]
    words += [f"--seed_everything={seed + 1}", f"--trainer.logger.init_args.name={name}"]
    words += ["--trainer.enable_model_summary=false", "--model.init_args.figures_every_n_epochs=0", *options]
    with contextlib.redirect_stdout(io.StringIO()):
        began = time.perf_counter()
        main(["fit", *words])
        seconds = time.perf_counter() - began
        folder = max(Path("checkpoints", name).iterdir(), key=lambda path: int(path.name.split("_")[1]))
        main(["test", *words, "--ckpt_path", str(folder / "best.ckpt")])
    return folder, seconds


def filtered(image: NDArray[Any]) -> NDArray[Any]:
    """Value less what is around it, less what a line has in common: the median of its row and of its column."""
    value = image - ndimage.median_filter(image, 15)
    value = value - np.maximum(ndimage.median_filter(value, (15, 1)), 0)
    flat: NDArray[Any] = value - np.maximum(ndimage.median_filter(value, (1, 15)), 0)
    return flat


def known(picture: Picture) -> NDArray[Any]:
    """Value, and the least one wherever the truth has a hot or glowing pixel."""
    other = (picture.mask != CLUSTER) & (picture.mask > 0)
    return np.where(other, picture.image.min(), picture.image)


def network(task: CCDUNet, drawn: Sequence[Picture]) -> tuple[Scores, Scores]:
    """Scores of the class cluster, and where it is the most probable one."""
    with torch.inference_mode():
        logits = torch.cat([task(torch.from_numpy(picture.image)[None, None]) for picture in drawn])
    return list(logits.softmax(1)[:, CLUSTER].numpy()), list((logits.argmax(1) == CLUSTER).numpy())


def pixel_scores(selected: Scores, drawn: Sequence[Picture]) -> dict[str, float]:
    """Precision, recall and F1 of the pixels taken for clusters'."""
    true = np.stack([picture.mask for picture in drawn]) == CLUSTER
    taken = np.stack(list(selected)) > 0
    both = (taken & true).sum()
    precision, recall = both / max(taken.sum(), 1), both / true.sum()
    return {"f1": 2 * both / (taken.sum() + true.sum()), "precision": precision, "recall": recall}


def best_cut(scores: Scores, drawn: Sequence[Picture], pixels: Sequence[int]) -> tuple[float, int]:
    """Threshold and least number of pixels of highest F1."""
    every = np.concatenate([score.ravel() for score in scores])
    cuts = [(float(cut), least) for cut in np.quantile(every, 1 - np.geomspace(1e-4, 0.3, 30)) for least in pixels]

    def f1(cut: tuple[float, int]) -> float:
        return pixel_scores([label(score >= cut[0], cut[1]) for score in scores], drawn)["f1"]

    return max(cuts, key=f1)


def efficiency(chosen_on: tuple[Scores, Sequence[Picture]], told_on: tuple[Scores, Sequence[Picture]]) -> float:
    """Share of the clusters that are found at one false cluster an image, the least number of pixels being chosen."""

    def at(scores: Scores, drawn: Sequence[Picture], least: int) -> float:
        return scan(scores, [picture.clusters for picture in drawn], THRESHOLDS, least).at(FALSE)[0]

    return at(*told_on, max(PIXELS, key=lambda least: at(*chosen_on, least)))


def thresholds(ratio: float, size: int, height: int) -> list[dict[str, Any]]:
    """What thresholds do: chosen on one set of images, told of another."""
    first, second = (list(images(size, seed, height, height, ratio)) for seed in (9001, 9002))
    scores: dict[str, tuple[Scores, Scores]] = {
        "value": ([picture.image for picture in first], [picture.image for picture in second]),
        "filtered": ([filtered(p.image) for p in first], [filtered(p.image) for p in second]),
        "artefacts known": ([known(p) for p in first], [known(p) for p in second]),
    }
    rows = []
    for name, (one, two) in scores.items():
        found = efficiency((one, first), (two, second))
        for title, pixels in ((name, (1,)), (f"{name}, components", PIXELS)):
            cut, least = best_cut(one, first, pixels)
            judged = pixel_scores([label(score >= cut, least) for score in two], second)
            rows.append({"method": title, "ratio": ratio, "seed": 0, "efficiency": found} | judged)
    return rows


def noise(ratio: float, seed: int, arguments: argparse.Namespace, options: Sequence[str]) -> dict[str, Any]:
    """What a network does that is trained at this ratio, told of images that the thresholds are told of."""
    root = Path("ccd_sets", f"ratio_{ratio:g}")
    if not root.is_dir():
        root.mkdir(parents=True)
        simulate(root, arguments.size, 1, arguments.height, arguments.height, signal_to_noise=ratio)
    folder, seconds = fit(f"results_ratio_{ratio:g}", root, seed, options)
    task = CCDUNet.load_from_checkpoint(folder / "best.ckpt", map_location="cpu").eval()
    first, second = (
        list(images(arguments.judged, number, arguments.height, arguments.height, ratio)) for number in (9001, 9002)
    )
    (one, _), (two, taken) = network(task, first), network(task, second)
    found = efficiency((one, first), (two, second))
    row = {"method": "network", "ratio": ratio, "seed": seed, "efficiency": found, "fit_s": seconds}
    return row | pixel_scores(taken, second) | {"parameters": parameters(task.net)}


def pictures(seed: int, arguments: argparse.Namespace, options: Sequence[str]) -> dict[str, Any]:
    """What a network does on held-out pictures of the original."""
    words = ["--data.init_args.label_rule=v1", "--data.init_args.test_fraction=0.2", *options]
    folder, seconds = fit("results_pictures", arguments.root, seed, words)
    metrics = json.loads(Path("tb_logs", "results_pictures", folder.name, "test/metrics.json").read_text())
    return {"method": "pictures", "ratio": 0, "seed": seed, "fit_s": seconds} | metrics


def report(rows: list[dict[str, Any]]) -> None:
    """Print mean and standard deviation over seeds, a line a method and ratio."""
    for ratio, method in dict.fromkeys((row["ratio"], row["method"]) for row in rows):
        mine = [row for row in rows if (row["ratio"], row["method"]) == (ratio, method)]
        keys = KEYS if ratio else [key for key in mine[0] if key.startswith(("f1", "precision", "recall"))]
        cells = [f"{key} {spread([row[key] for row in mine])}" for key in keys]
        print(f"| {ratio:g} | {method} | {len(mine)} | " + " | ".join(cells) + " |", flush=True)


def run() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["noise", "pictures"])
    parser.add_argument("--ratios", nargs="+", type=float, default=[1, 2, 4, 8])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1200, help="images to simulate for a network")
    parser.add_argument("--judged", type=int, default=150, help="images to choose by, and as many to judge by")
    parser.add_argument("--height", type=int, default=128, help="of an image, and its width, pixels")
    parser.add_argument("--root", type=Path, default=Path("data/ccd"), help="folder of the original's pictures")
    parser.add_argument("--output", type=Path, default=Path("ccd_results.json"), help="all numbers")
    arguments, options = parser.parse_known_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = json.loads(arguments.output.read_text()) if arguments.output.is_file() else []

    def done(method: str, ratio: float, seed: int) -> bool:
        return any((row["method"], row["ratio"], row["seed"]) == (method, ratio, seed) for row in rows)

    for seed in range(arguments.seeds):
        for ratio in arguments.ratios if arguments.what == "noise" else [0]:
            if ratio and not done("value", ratio, 0):
                rows += thresholds(ratio, arguments.judged, arguments.height)
            if not done("network" if ratio else "pictures", ratio, seed):
                more = noise(ratio, seed, arguments, options) if ratio else pictures(seed, arguments, options)
                rows.append(more)
            arguments.output.write_text(json.dumps(rows, indent=1))
    report([row for row in rows if bool(row["ratio"]) == (arguments.what == "noise")])


if __name__ == "__main__":
    run()
