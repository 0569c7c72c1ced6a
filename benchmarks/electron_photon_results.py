"""Train and test electron/photon networks over several seeds, and print the tables of results.

    python -m benchmarks.electron_photon_results --root DIR --net lenet5 resnet15 phinet --seeds 5 --epochs 10

Each seed draws the split and everything else, the same for all networks, so that differences are paired. ``lenet5`` is
trained as in configs/electron_photon.yaml, the others with configs/electron_photon_resnet.yaml on top, only the network
being exchanged; ``resnet15_published`` is ResNet-15 as it was published: energies as they are, no views. Rows that the
output file holds already are not run again. ``--real FILE.npz`` (``x`` (N, 32, 32), energies / 50 GeV, and ``y`` (N,),
1 for electrons) has each network of energies alone score these images, too. Other options go to the command line of
``fit`` and ``test``.
"""

import argparse
import contextlib
import io
import json
import statistics
import time
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from lit_hep.cli import main
from lit_hep.nets.cost import multiply_adds, parameters
from lit_hep.tasks.electron_photon import ElectronPhoton

ORIGINAL = ["--config", "configs/electron_photon.yaml"]
BEST = [*ORIGINAL, "--config", "configs/electron_photon_resnet.yaml"]
PUBLISHED = [
    *BEST,
    "--model.init_args.net=resnet15",
    "--model.init_args.energy=none",
    "--data.init_args.reflect_eta=false",
    "--data.init_args.reflect_phi=false",
]
REFERENCE = "resnet15"


def configuration(net: str, channels: str, epochs: int | None) -> list[str]:
    """Words of the command line that train a network."""
    recipes = {"lenet5": ORIGINAL, "resnet15_published": PUBLISHED}
    words = [*recipes.get(net, [*BEST, f"--model.init_args.net={net}"]), f"--model.init_args.channels={channels}"]
    if epochs:
        words += [f"--trainer.max_epochs={epochs}"]
        if net != "lenet5":
            words += [f"--model.init_args.scheduler.init_args.T_max={epochs}"]
    return words


def measure(words: list[str], root: str, name: str, seed: int, real: Path | None) -> dict[str, Any]:
    """Fit once and test the best epoch.

    Returns:
        Numbers of ``metrics.json``, seconds of the fit, epochs, parameters and multiply-adds, and the AUC of the real
        images if there are some.
    """
    words = [*words, f"--data.init_args.root={root}", f"--data.init_args.split_seed={seed}"]
    words += [f"--seed_everything={seed + 1}", f"--trainer.logger.init_args.name={name}"]
    words += ["--trainer.enable_model_summary=false", "--model.init_args.figures_every_n_epochs=0"]
    with contextlib.redirect_stdout(io.StringIO()):
        began = time.perf_counter()
        main(["fit", *words])
        seconds = time.perf_counter() - began
        folder = max(Path("checkpoints", name).iterdir(), key=lambda path: int(path.name.split("_")[1]))
        main(["test", *words, "--ckpt_path", str(folder / "best.ckpt")])
    metrics = json.loads(Path("tb_logs", name, folder.name, "test/metrics.json").read_text())
    task = ElectronPhoton.load_from_checkpoint(folder / "best.ckpt", map_location="cpu")
    return metrics | {
        "seconds": seconds,
        "epochs_run": len(list(folder.glob("epoch*.ckpt"))),
        "parameters": parameters(task.net),
        "multiply_adds": multiply_adds(task.net, (2, 32, 32)),
        "auroc_real": score(task, real) if real and task.hparams["channels"] == "energy" else None,
    }


def score(task: ElectronPhoton, file: Path) -> float:
    """AUC of a network of energies alone on the images of a file: ``x`` (N, 32, 32) / 50 GeV, ``y`` (N,)."""
    with np.load(file) as arrays:
        energy, label = torch.from_numpy(arrays["x"]), arrays["y"]
    with torch.inference_mode():
        probability = task.eval().answers(torch.stack([energy, torch.zeros_like(energy)], dim=-1))
    return float(roc_auc_score(label, probability.numpy()))


def spread(values: list[float], digits: int = 4) -> str:
    """Mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {deviation:.{digits}f}"


def table(rows: list[dict[str, Any]]) -> None:
    """Print a line a network, with the paired difference from ResNet-15 and its standard error."""
    print(
        "\n| net | channels | parameters | multiply-adds | seeds | AUC | accuracy | ε_B rejected at 50 % | at 90 % "
        f"| AUC minus {REFERENCE} | s an epoch | AUC, real images |\n" + "| --- " * 12 + "|"
    )
    kinds = dict.fromkeys((row["net"], row["channels"]) for row in rows)
    reference = {(row["channels"], row["seed"]): row["auroc"] for row in rows if row["net"] == REFERENCE}
    for net, channels in kinds:
        mine = [row for row in rows if (row["net"], row["channels"]) == (net, channels)]
        column = {
            key: spread([row[key] for row in mine])
            for key in ("auroc", "accuracy", "background_rejection_at_50", "background_rejection_at_90")
        }
        pairs = [(row["auroc"], reference.get((channels, row["seed"]))) for row in mine]
        gains = [one - two for one, two in pairs if two is not None]
        gain = ""
        if gains and net != REFERENCE:
            error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
            gain = f"{statistics.mean(gains):+.4f} ± {error:.4f} ({sum(value > 0 for value in gains)} of {len(gains)})"
        scored = [row["auroc_real"] for row in mine if row["auroc_real"] is not None]
        pace = statistics.median(row["seconds"] / row["epochs_run"] for row in mine)
        print(
            f"| {net} | {channels} | {mine[0]['parameters']:,} | {mine[0]['multiply_adds'] / 1e6:.2f} M "
            f"| {len(mine)} | {' | '.join(column.values())} | {gain} | {pace:.0f} "
            f"| {spread(scored, 3) if scored else ''} |",
            flush=True,
        )


def run() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data/electron_photon", help="folder of the two files")
    parser.add_argument("--net", nargs="+", default=["lenet5", "resnet15_published", REFERENCE, "phinet"])
    parser.add_argument("--channels", nargs="+", default=["energy"], choices=["energy", "time", "both"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="default as in the configs")
    parser.add_argument("--real", type=Path, metavar="FILE", help="real images, .npz")
    parser.add_argument("--output", type=Path, default=Path("electron_photon_results.json"), help="all numbers")
    arguments, options = parser.parse_known_args()
    warnings.filterwarnings("ignore")
    rows = json.loads(arguments.output.read_text()) if arguments.output.is_file() else []
    place = {"root": str(Path(arguments.root).resolve()), "real": arguments.real and str(arguments.real.resolve())}
    for seed, channels, net in product(range(arguments.seeds), arguments.channels, arguments.net):
        key = {"net": net, "channels": channels, "seed": seed, "epochs": arguments.epochs, "options": options}
        key |= place
        if not any(key.items() <= row.items() for row in rows):
            words = [*configuration(net, channels, arguments.epochs), *options]
            name = f"results_{Path(arguments.root).name}_{net}_{channels}"
            rows.append(key | measure(words, arguments.root, name, seed, arguments.real))
            arguments.output.write_text(json.dumps(rows, indent=1))
            print(f"{net} {channels} seed {seed}: AUC {rows[-1]['auroc']:.4f} {rows[-1]['seconds']:.0f} s", flush=True)
    wanted = {"epochs": arguments.epochs, "options": options, **place}
    table([row for row in rows if wanted.items() <= row.items()])


if __name__ == "__main__":
    run()
