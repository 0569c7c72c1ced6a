"""Train GAN, regression and small denoiser on simulated events, and print the table of results.

    python -m benchmarks.drift_chamber_results --root data/drift_chamber --real pairs.npz --seeds 3

Every network is fitted, tested and applied through the command line. It is judged on the simulated events held out for
`test`, on 1,000 events of each of some beam currents, and on real pairs, if there are any: an ``npz`` of ``noisy`` and
``clean`` (N, 36, 112). Efficiencies at a given rejection have that rejection on the very events they are given for;
all else is at the threshold that was chosen on validation. Rows that the output file holds already are not run again.
"""

import argparse
import contextlib
import io
import json
import time
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from lit_hep.cli import main
from lit_hep.evaluation.denoising import Hits, metrics
from lit_hep.nets.cost import parameters
from lit_hep.tasks.drift_chamber import Pix2PixGAN
from lit_hep.tasks.drift_chamber.simulation import simulate

CONFIG = ["--config", "configs/drift_chamber.yaml"]
NATIVE = [*CONFIG, *(f"--model.init_args.{option}" for option in ("net=native", "width=32"))]
GAN = [
    "objective=gan",
    "ema=0.99",
    "discriminator_optimizer=torch.optim.Adam",
    "discriminator_optimizer.lr=0.0001",
    "discriminator_optimizer.betas=[0.5,0.999]",
]
L1, BCE = ("distance=l1", "distance_weight=1000"), ("distance=bce", "distance_weight=30")
VARIANTS = {
    "denoiser": CONFIG,
    "regression": NATIVE,
    "gan": [*NATIVE, *(f"--model.init_args.{option}" for option in (*GAN, *L1))],
    "gan_bce": [*NATIVE, *(f"--model.init_args.{option}" for option in (*GAN, *BCE))],
    "original": [*CONFIG, "--config", "configs/drift_chamber_original.yaml"],
}
CURRENTS = (45, 55, 90, 110)  # nA
KEYS = ("efficiency_at_rejection_90", "efficiency_at_rejection_909", "hit_efficiency", "background_rejection")
KEYS += ("purity", "events_6_segments", "events_5_segments", "pixel_difference")


def measure(name: str, root: Path, sets: dict[str, Path], seed: int, options: list[str]) -> dict[str, float]:
    """Fit, test and apply one network.

    Args:
        name: Of the variant.
        root: Folder of the events to learn from.
        sets: Name and folder of further events with truth.
        seed: Of the split and of everything else.
        options: Further words of the command line.

    Returns:
        ``<set>_<metric>`` of every set, ``simulated`` among them, and costs.
    """
    run = f"results_{name}"
    common = [*VARIANTS[name], "--data.init_args.root", str(root), "--data.init_args.split_seed", str(seed)]
    common += ["--trainer.logger.init_args.name", run, "--model.init_args.figures_every_n_epochs", "0"]
    common += ["--trainer.enable_model_summary", "false", "--seed_everything", str(seed + 1), *options]
    start = time.perf_counter()
    main(["fit", *common])
    numbers = {"fit_s": time.perf_counter() - start}
    folder = max(Path("checkpoints", run).iterdir(), key=lambda path: int(path.name.split("_")[1]))
    common += ["--ckpt_path", str(folder / "best.ckpt")]
    main(["test", *common])
    output = Path("tb_logs", run, folder.name)
    tested = json.loads((output / "test" / "metrics.json").read_text())
    numbers |= {f"simulated_{key}": tested[key] for key in KEYS}
    for label, files in sets.items():
        main(["predict", *common, "--data.init_args.predict_root", str(files)])
        judged = judge(files, output / "predict" / "predictions.npz", tested["threshold"])
        numbers |= {f"{label}_{key}": judged[key] for key in KEYS}
    return numbers | cost(folder / "best.ckpt")


def judge(files: Path, predictions: Path, threshold: float) -> dict[str, float]:
    """Metrics of predicted events whose truth lies beside them."""
    with h5py.File(next(files.glob("*.hdf5"))) as file:
        noisy, clean = (file[name][:] > 0 for name in ("all", "truth"))
    event, layer, wire = np.nonzero(noisy)
    score = np.load(predictions)["score"][noisy]
    return metrics(Hits(event, layer, wire, score, clean[noisy], len(noisy)), threshold)


def cost(checkpoint: Path) -> dict[str, float]:
    """Learnt parameters of the generator, and milliseconds an event on two threads, the fastest of some tries."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    task = Pix2PixGAN.load_from_checkpoint(checkpoint, map_location="cpu").eval()
    numbers: dict[str, float] = {"parameters": parameters(task.net)}
    for batch, tries in ((1, 100), (256, 5)):
        image = (torch.rand(batch, 1, 36, 112) < 0.05).to(torch.uint8)
        seconds = []
        with torch.inference_mode():
            for _ in range(tries):
                start = time.perf_counter()
                task(image)
                seconds.append(time.perf_counter() - start)
        numbers[f"ms_per_event_{batch}"] = 1e3 * min(seconds) / batch
    torch.set_num_threads(threads)
    return numbers


def further_sets(real: Path | None, place: Path, size: int) -> dict[str, Path]:
    """Write, once, the real pairs and simulated events of fixed beam currents as HDF5 files."""
    sets = {f"{current}_nA": place / f"{current}_nA" for current in CURRENTS}
    for current, folder in zip(CURRENTS, sets.values(), strict=True):
        if not folder.is_dir():
            folder.mkdir(parents=True)
            simulate(folder, size, seed=1000 + current, current=(current, current))
    if real is not None:
        sets["real"] = place / "real"
        sets["real"].mkdir(parents=True, exist_ok=True)
        pairs: Any = np.load(real)
        with h5py.File(sets["real"] / "events.hdf5", "w") as file:
            file["all"], file["truth"] = ((pairs[name] > 0) * np.uint8(255) for name in ("noisy", "clean"))
    return sets


def table() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data/drift_chamber"), help="events to learn from")
    parser.add_argument("--real", type=Path, help="npz of real pairs")
    parser.add_argument(
        "--variants", nargs="+", default=["denoiser", "regression", "gan", "gan_bce"], choices=list(VARIANTS)
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1000, help="events of each beam current")
    parser.add_argument(
        "--sets", type=Path, default=Path("drift_chamber_sets"), help="folder for these and for the real"
    )
    parser.add_argument("--output", type=Path, default=Path("drift_chamber_results.json"))
    arguments, options = parser.parse_known_args()
    warnings.filterwarnings("ignore")
    rows: list[dict[str, Any]] = json.loads(arguments.output.read_text()) if arguments.output.is_file() else []
    sets = further_sets(arguments.real, arguments.sets, arguments.size)
    for name in arguments.variants:
        for seed in range(arguments.seeds):
            place = {"root": arguments.root.name, "variant": name, "seed": seed, "options": " ".join(options)}
            if not any(place.items() <= row.items() for row in rows):
                with contextlib.redirect_stdout(io.StringIO()):
                    rows.append(place | measure(name, arguments.root, sets, seed, options))
                arguments.output.write_text(json.dumps(rows, indent=1))
        report([row for row in rows if row["variant"] == name and row["root"] == arguments.root.name], name)


def report(rows: list[dict[str, Any]], name: str) -> None:
    """Print mean and standard deviation over seeds, a line a set of events."""
    for label in ("simulated", "real", *(f"{current}_nA" for current in CURRENTS)):
        cells = [
            f"{key} {spread([row[f'{label}_{key}'] for row in rows])}" for key in KEYS if f"{label}_{key}" in rows[0]
        ]
        if cells:
            print(f"| {name} | {label} | " + " | ".join(cells) + " |")
    costs = [
        f"{key} {spread([row[key] for row in rows])}" for key in ("parameters", "ms_per_event_1", "ms_per_event_256")
    ]
    print(
        f"| {name} | cost | " + " | ".join(costs) + f" | fit {spread([row['fit_s'] for row in rows])} s |", flush=True
    )


def spread(values: list[float]) -> str:
    """Mean ± standard deviation."""
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.4f}"


if __name__ == "__main__":
    table()
