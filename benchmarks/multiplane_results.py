"""Compare networks and ways of fusing readout planes, on simulated events and on real files in folds.

    python -m benchmarks.multiplane_results simulated --ways small:early small:late small:siamese small:tick --seeds 3
    python -m benchmarks.multiplane_results folds --root DIR --classes numu nue --ways small:tick --weights FILE
    python -m benchmarks.multiplane_results cost --ways resnet18:late vgg19:siamese --image_size 56

Every network is fitted and tested through the command line with configs/multiplane_early.yaml or, for late fusion,
multiplane_late.yaml; other options go to ``fit`` and ``test``. A seed draws the split and all else, the same for all
networks. ``folds``: stratified cross-validation, an eighth of the rest of each fold being held out to choose by;
beside it, in the same folds, the best that one number does: hits, charge, charge per hit of all planes together.
``--weights`` starts from another run's network, trained on simulated events for example. Rows that the output file
holds already are not run again. ``cost`` trains nothing: parameters, multiply-adds and milliseconds an event of
untrained networks, one after the other.
"""

import argparse
import contextlib
import csv
import io
import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split

from benchmarks.drift_chamber_results import spread
from lit_hep.cli import main
from lit_hep.nets.cost import multiply_adds, parameters
from lit_hep.tasks.multiplane import MultiPlaneFusion
from lit_hep.tasks.multiplane.events import Events, find_events

FOLDS = 5
VARIABLES = ("hits", "charge", "charge per hit")


def fit(way: str, name: str, words: Sequence[str]) -> dict[str, Any]:
    """Fit and test once.

    Args:
        way: Network and mode, ``small:late``.
        name: Of the run's folder.
        words: Further words of the command line.

    Returns:
        Numbers of ``metrics.json``, seconds of the fit, costs, and the AUC of each plane if there is one.
    """
    net, mode = way.split(":")
    config = ["--config", f"configs/multiplane_{'late' if mode == 'late' else 'early'}.yaml"]
    config += ["--trainer.callbacks.every_n_epochs=1000"]  # the best and the last network are enough: VGG's take 5 GB
    words = [*config, f"--model.init_args.net={net}", f"--model.init_args.mode={mode}", *words]
    words += [f"--trainer.logger.init_args.name={name}", "--trainer.enable_model_summary=false"]
    words += ["--model.init_args.figures_every_n_epochs=0"]
    with contextlib.redirect_stdout(io.StringIO()):
        began = time.perf_counter()
        main(["fit", *words])
        seconds = time.perf_counter() - began
        folder = max(Path("checkpoints", name).iterdir(), key=lambda path: int(path.name.split("_")[1]))
        main(["test", *words, "--ckpt_path", str(folder / "best.ckpt")])
    output = Path("tb_logs", name, folder.name, "test")
    row = json.loads((output / "metrics.json").read_text()) | {"seconds": seconds, "checkpoint": str(folder)}
    predicted = np.load(output / "predictions.npz")
    if "probability_plane" in predicted and predicted["probability_plane"].ndim == 2:
        each = predicted["probability_plane"].T
        row["planes"] = [float(roc_auc_score(predicted["label"], plane)) for plane in each]
    checkpoint = torch.load(folder / "best.ckpt", map_location="cpu", weights_only=True)
    task = MultiPlaneFusion.load_from_checkpoint(folder / "best.ckpt", map_location="cpu")
    return row | cost(task, checkpoint["datamodule_hyper_parameters"]["image_size"])


def cost(task: MultiPlaneFusion, size: int) -> dict[str, float]:
    """Parameters, multiply-adds an event, and milliseconds an event on one thread, batch 32, median of 5.

    Args:
        task: Put into evaluation mode.
        size: Wires and ticks of a plane.
    """
    task.eval()
    planes, threads = int(task.hparams["num_planes"]), torch.get_num_threads()
    torch.set_num_threads(1)
    image, seconds = torch.zeros(32, planes, size, size), []
    with torch.inference_mode():
        for _ in range(5):
            began = time.perf_counter()
            task(image)
            seconds.append(time.perf_counter() - began)
    torch.set_num_threads(threads)
    return {
        "parameters": parameters(task.net),
        "multiply_adds": multiply_adds(task.net, (planes, size, size)),
        "ms_per_event": 1e3 * float(np.median(seconds)) / len(image),
    }


def costs(arguments: argparse.Namespace) -> None:
    """Print the `cost` of untrained networks."""
    print("| net:mode | parameters | multiply-adds | ms an event |")
    print("| --- " * 4 + "|")
    for way in arguments.ways:
        net, mode = way.split(":")
        row = cost(MultiPlaneFusion(mode=mode, net=net, channels_last=True), arguments.image_size)
        cells = f"{row['parameters']:,} | {row['multiply_adds'] / 1e6:,.1f} M | {row['ms_per_event']:.2f}"
        print(f"| {way} | {cells} |", flush=True)


def write_fold(folder: Path, events: Events, fold: int) -> np.ndarray[Any, Any]:
    """Write the lists of a fold as `prepare` does; return the rows of its test part."""
    rows = np.arange(len(events))
    shares = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(rows, events.labels)
    rest, test = list(shares)[fold]
    train, val = train_test_split(rest, test_size=1 / 8, stratify=events.labels[rest], random_state=fold)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in {"train": train, "val": val, "test": test}.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [*(Path(path).name for path in events.paths[row]), events.labels[row]] for row in part
            )
    return test


def one_variable(events: Events) -> np.ndarray[Any, Any]:
    """`VARIABLES` (n, 3) of each event, all planes together."""
    numbers = []
    for paths in events.paths:
        planes = [sparse.load_npz(path) for path in paths]
        hits, charge = sum(plane.nnz for plane in planes), float(sum(plane.sum() for plane in planes))
        numbers.append((hits, charge, charge / max(hits, 1)))
    return np.array(numbers)


def folds(arguments: argparse.Namespace, rows: list[dict[str, Any]], options: list[str]) -> None:
    """Fit in each fold what is not in `rows` yet."""
    events = find_events(arguments.root, arguments.classes)
    binary = len(events.classes) == 2
    numbers = one_variable(events) if binary else None
    for fold in range(FOLDS):
        lists = Path("folds", "_".join(events.classes), str(fold)).resolve()
        test = write_fold(lists, events, fold)
        if numbers is not None and not done(rows, arguments, options, "one variable", fold):
            auroc = [float(roc_auc_score(events.labels[test], column[test])) for column in numbers.T]
            values = {name: max(one, 1 - one) for name, one in zip(VARIABLES, auroc, strict=True)}
            add(rows, arguments, options, "one variable", fold, {"auroc": max(values.values())} | values)
        words = [f"--data.init_args.root={arguments.root}", f"--data.init_args.split_lists={lists}"]
        words += [f"--data.init_args.classes=[{','.join(events.classes)}]"]
        words += [f"--model.init_args.num_classes={len(events.classes)}", f"--seed_everything={fold + 1}", *options]
        words += [f"--model.init_args.weights={arguments.weights}"] if arguments.weights else []
        for way in arguments.ways:
            if not done(rows, arguments, options, way, fold):
                name = f"folds_{'_'.join(events.classes)}_{way.replace(':', '_')}"
                add(rows, arguments, options, way, fold, fit(way, name, words))


def simulated(arguments: argparse.Namespace, rows: list[dict[str, Any]], options: list[str]) -> None:
    """Fit with each seed what is not in `rows` yet."""
    for seed in range(arguments.seeds):
        words = [f"--data.init_args.root={arguments.root}", f"--data.init_args.split_seed={seed}"]
        words += [f"--seed_everything={seed + 1}", *options]
        for way in arguments.ways:
            if not done(rows, arguments, options, way, seed):
                name = f"{arguments.root.name}_{way.replace(':', '_')}"
                add(rows, arguments, options, way, seed, fit(way, name, words))


def key(arguments: argparse.Namespace, options: list[str], way: str, number: int) -> dict[str, Any]:
    """What tells a row from others."""
    same = {"root": str(arguments.root), "what": arguments.what, "classes": arguments.classes, "options": options}
    return same | {"weights": arguments.weights, "way": way, "number": number}


def done(rows: list[dict[str, Any]], arguments: argparse.Namespace, options: list[str], way: str, number: int) -> bool:
    """Whether there is such a row."""
    return any(key(arguments, options, way, number).items() <= row.items() for row in rows)


def add(
    rows: list[dict[str, Any]],
    arguments: argparse.Namespace,
    options: list[str],
    way: str,
    number: int,
    values: dict[str, Any],
) -> None:
    """Keep a row, in the file too."""
    rows.append(key(arguments, options, way, number) | values)
    arguments.output.write_text(json.dumps(rows, indent=1))
    print(f"{way} {number}: AUC {values['auroc']:.4f} {values.get('seconds', 0):.0f} s", flush=True)


def report(rows: list[dict[str, Any]], ways: Sequence[str]) -> None:
    """Print a line a way: mean and standard deviation over seeds or folds, gain over the first way in pairs."""
    print("| net:mode | AUC | interval of each | macro F1 | gain | best plane | parameters | multiply-adds | ms | s |")
    print("| --- " * 10 + "|")
    first = {row["number"]: row["auroc"] for row in rows if row["way"] == ways[0]}
    for way in ways:
        mine = [row for row in rows if row["way"] == way]
        width = np.mean([(row["auroc_high"] - row["auroc_low"]) / 2 for row in mine]) if "auroc_low" in mine[0] else 0
        gains = [row["auroc"] - first[row["number"]] for row in mine if row["number"] in first]
        error = np.std(gains, ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
        plane = spread([max(row["planes"]) for row in mine]) if "planes" in mine[0] else ""
        cells = [spread([row["auroc"] for row in mine]), f"± {width:.4f}"]
        if "parameters" in mine[0]:
            cells += [spread([row["f1_macro"] for row in mine]), f"{np.mean(gains):+.4f} ± {error:.4f}", plane]
            cells += [f"{mine[0]['parameters']:,}", f"{mine[0]['multiply_adds'] / 1e6:.1f} M"]
            cells += [f"{np.median([row[name] for row in mine]):.2f}" for name in ("ms_per_event", "seconds")]
        else:
            cells += [f"{name} {spread([row[name] for row in mine])}" for name in VARIABLES]
        print(f"| {way} ({len(mine)}) | " + " | ".join(cells) + " |", flush=True)


def run() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["simulated", "folds", "cost"])
    parser.add_argument("--root", type=Path, default=Path("data/multiplane"), help="folder of PLANE_0 ...")
    parser.add_argument("--classes", nargs="+", help="class folders; default all")
    parser.add_argument("--ways", nargs="+", default=[f"small:{mode}" for mode in ("early", "late", "siamese", "tick")])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", help="checkpoint whose network each fit starts from")
    parser.add_argument("--image_size", type=int, default=112, help="of cost: wires and ticks")
    parser.add_argument("--output", type=Path, default=Path("multiplane_results.json"), help="all numbers")
    arguments, options = parser.parse_known_args()
    if arguments.what == "cost":
        if options:
            parser.error(f"cost trains nothing, so it does not know {' '.join(options)}")
        return costs(arguments)
    warnings.filterwarnings("ignore")
    rows: list[dict[str, Any]] = json.loads(arguments.output.read_text()) if arguments.output.is_file() else []
    {"simulated": simulated, "folds": folds}[arguments.what](arguments, rows, options)
    ways = [*arguments.ways, *(["one variable"] if arguments.what == "folds" else [])]
    wanted = {name: value for name, value in key(arguments, options, "", 0).items() if name not in ("way", "number")}
    mine = [row for row in rows if wanted.items() <= row.items()]
    report(mine, [way for way in ways if any(row["way"] == way for row in mine)])


if __name__ == "__main__":
    run()
