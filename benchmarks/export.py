"""Time an image takes, one at a time, in PyTorch and in onnxruntime, for the network of each task's config.

    python -m benchmarks.export --threads 1

Weights are random. Every file is compared with PyTorch before it is timed; the last column is the largest difference.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import onnxruntime
import torch
import yaml

import lit_hep
from lit_hep.evaluation.export import export

SIZES = {"crater": (48, 48), "electron_photon": None, "multiplane_late": None, "ccd": (512, 512), "drift_chamber": None}
"""Config, and size of the images where neither network nor data module fix it."""


def build(config: str) -> tuple[Any, dict[str, Any]]:
    """The task of a config, and the options of its data."""
    content = yaml.safe_load(Path("configs", f"{config}.yaml").read_text())
    options = content["model"]["init_args"]
    plain = {name: value for name, value in options.items() if not isinstance(value, dict)}
    kind = getattr(lit_hep, content["model"]["class_path"].rpartition(".")[2])
    return kind(**plain).eval(), content["data"]["init_args"]


def milliseconds(run: Callable[[], object], seconds: float) -> float:
    """Median time of a call, of as many as fit, after ten to warm up."""
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 30 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * median(times[10:])


def table() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3, help="for each measurement")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    print("| config | image | PyTorch, ms | onnxruntime, ms | ratio | file, MiB | difference |\n" + "|---" * 7 + "|")
    for config, size in SIZES.items():
        task, data = build(config)
        interface = task.interface(data)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            _, difference = export(task, task.answers, interface, path)
            mib = path.stat().st_size / 2**20
            session = onnxruntime.InferenceSession(path, options)
        image = interface.of_size(size).draw(1, torch.Generator().manual_seed(0))
        pixels = image.numpy()
        with torch.inference_mode():
            eager = milliseconds(lambda task=task, image=image: task.answers(image), arguments.seconds)
        ready = milliseconds(
            lambda session=session, pixels=pixels: session.run(None, {"image": pixels}), arguments.seconds
        )
        shape = " × ".join(map(str, pixels.shape[1:]))
        print(
            f"| {config} | {shape} | {eager:.2f} | {ready:.2f} | {eager / ready:.1f} | {mib:.2f} | {difference:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    table()
