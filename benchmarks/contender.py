"""A process that trains a workload one epoch at a time: `fit` as shipped, a bare loop, or naive Lightning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.protocol import serve


def prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Callable[[], float]]:
    """Build what the options say.

    Args:
        options: ``kind`` (fit, bare or naive), ``workload``, ``batch``, ``images``, ``root``, ``device``, ``variant``,
            ``threads``, ``words``.

    Returns:
        Number of weights, images an epoch, shape of what the network sees and, of `fit`, multiply-adds of an image in
        training; a function that trains an epoch and returns its seconds.
    """
    import torch

    torch.set_num_threads(options["threads"])

    from benchmarks.bare import BareLoop, Variant, deepcopy_task
    from benchmarks.naive import epoch as naive
    from benchmarks.roofline import trained
    from benchmarks.workloads import WORKLOADS, build, fit
    from lit_hep.nets.cost import parameters

    workload, device = WORKLOADS[options["workload"]], options["device"]
    if options["kind"] == "naive":
        task, _ = build(workload.configs, native=False)
        about = {"parameters": parameters(task), "images": options["images"]}
        run = naive(task, tuple(options["shape"]), options["images"], options["batch"], device)
        return about, run
    place = workload, options["batch"], Path(options["root"]), device
    words = options["words"]
    first = fit(*place, words=words)
    loop = BareLoop(first, options["batch"], device, Variant(**options["variant"]))
    about = {"parameters": parameters(loop.task), "images": first.images, "shape": loop.shape}
    if options["kind"] == "bare":
        return about, loop.steps
    about["multiply_adds"] = trained(deepcopy_task(first.module, device), loop.shape)
    return about, lambda: fit(*place, words=words).steps


if __name__ == "__main__":
    serve(prepare)
