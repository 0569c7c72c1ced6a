"""Train and test the crater networks over several seeds, and print the table of results.

    python -m benchmarks.crater_results --root data/crater --seeds 5

Each seed draws the split (a fifth for test, a fifth for validation) and everything else. One fit gives two networks:
``initial.ckpt``, of labelled images only, and ``final.ckpt``, of labelled and pseudo-labelled ones.
"""

import argparse
import contextlib
import io
import json
import warnings
from pathlib import Path

import numpy as np
from sklearn.metrics import f1_score

from lit_hep.cli import main

CONFIGS = {
    "original": ["--config", "configs/crater.yaml", "--config", "configs/crater_original.yaml"],
    "deep": ["--config", "configs/crater.yaml"],
}
STAGES = {"initial": "labels only", "final": "+ pseudo-labels"}


def measure(name: str, root: str, seed: int, options: list[str]) -> dict[str, dict[str, float]]:
    """Fit once and test the network of each stage.

    Returns:
        For each stage, macro F1, its value on sure labels (if votes are known), AUC, and threshold.
    """
    run = f"results_{Path(root).name}_{name}"
    common = [*CONFIGS[name], "--data.init_args.root", root, "--data.init_args.split_seed", str(seed)]
    common += ["--trainer.logger.init_args.name", run]
    common += ["--trainer.enable_model_summary", "false", "--seed_everything", str(seed + 1), *options]
    common += ["--model.init_args.figures_every_n_epochs", "0"]
    with contextlib.redirect_stdout(io.StringIO()):
        main(["fit", *common])
        folder = max(Path("checkpoints", run).iterdir(), key=lambda path: int(path.name.split("_")[1]))
        results = {}
        for stage in STAGES:
            main(["test", *common, "--ckpt_path", str(folder / f"{stage}.ckpt")])
            output = Path("tb_logs", run, folder.name, "test")
            metrics = json.loads((output / "metrics.json").read_text())
            results[stage] = {key: metrics[key] for key in ("f1_macro", "auroc", "threshold")}
            votes = Path(root, "Ytrain1_votes.npy")
            if votes.is_file():
                scores = np.load(output / "predictions.npz")
                sure = np.isin(np.load(votes)[scores["id"]], (0, 5))
                results[stage]["f1_sure"] = f1_score(scores["label"][sure], scores["prediction"][sure], average="macro")
    return results


def table() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", nargs="+", default=["data/crater"], help="folders of the four files")
    parser.add_argument("--net", nargs="+", default=list(CONFIGS), choices=list(CONFIGS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--output", type=Path, default=Path("crater_results.json"), help="all numbers, written as they come"
    )
    parser.add_argument("--epochs", type=int, help="of each stage of the deep network; default as in its config")
    arguments, options = parser.parse_known_args()
    if arguments.epochs:
        stages = "max_epochs", "callbacks.initial_epochs", "callbacks.final_epochs", "callbacks.patience"
        CONFIGS["deep"] += [f"--trainer.{stage}={arguments.epochs * (1 + (stage == stages[0]))}" for stage in stages]
        CONFIGS["deep"] += [f"--model.init_args.scheduler.init_args.T_max={arguments.epochs}"]
    warnings.filterwarnings("ignore")
    rows: list[dict[str, object]] = []
    for root in arguments.root:
        for name in arguments.net:
            for seed in range(arguments.seeds):
                for stage, numbers in measure(name, root, seed, options).items():
                    rows.append({"root": Path(root).name, "net": name, "stage": stage, "seed": seed, **numbers})
                arguments.output.write_text(json.dumps(rows, indent=1))
            for stage, words in STAGES.items():
                chosen = [
                    row for row in rows if (row["root"], row["net"], row["stage"]) == (Path(root).name, name, stage)
                ]
                cells = [f"{key} {_spread([row[key] for row in chosen])}" for key in numbers if key != "threshold"]
                print(f"| {Path(root).name} | {name} | {words} | " + " | ".join(cells) + " |", flush=True)


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.3f}"


if __name__ == "__main__":
    table()
