"""Peers: the same network in Keras, in naive Lightning, in bare PyTorch loops and in lit_hep, a process each."""

import sys
from contextlib import ExitStack
from typing import Any

from benchmarks.engine import Figure, Settings, Table, alternate
from benchmarks.keras_peer import NETWORKS
from benchmarks.protocol import Peer, PeerError
from benchmarks.roofline import Roofline, share
from benchmarks.workloads import WORKLOADS, data_of

_CHOSEN = {
    "lenet5": (32, 256),
    "crater_original": (32,),
    "unet": (4,),
    "pix2pix": (8,),
    "alexnet": (16,),
    "vgg11": (8,),
    "vgg19": (4,),
}
_PLAIN = {"fused": False, "channels_last": False, "compile": False}
_FUSED = {**_PLAIN, "fused": True}
_LAST = {**_FUSED, "channels_last": True}
_BARE: dict[str, tuple[dict[str, bool], int]] = {
    "eager": (_PLAIN, 0),
    "fused": (_FUSED, 0),
    "fused, freed memory kept": (_FUSED, 1024),
    "fused, channels-last, freed memory kept": (_LAST, 1024),
    "the same, compiled": ({**_LAST, "compile": True}, 1024),
}
"""Bare loops that are tried: variant, and MiB up to which blocks are kept; where any are, denormal numbers are zero."""
_PYTORCHS = "--model.init_args.native=false"
_LARGE = {"pix2pix", "alexnet", "vgg11", "vgg19"}
_FEW = ("fused, freed memory kept",)
"""Bare loops of large networks: ten contenders of 2 to 5 GB each are more than a desktop has."""
_COLOURED = {"unet": (3, 256, 256)}
"""Where the grey images of the simulator are repeated as colours within our network."""
_NO_VIEWS = {"unet": ["--data.init_args.augmentation=none"]}


def measure(settings: Settings, roofline: Roofline, tables: list[Table]) -> None:
    """Measure all networks."""
    table = Table(
        "Peers: images/s in training",
        ["network", "batch", "contender", "weights", "images/s", "lit_hep ÷ it", "of limit"],
        "Training steps only, each contender in a process of its own, all taking turns. Keras, naive Lightning: Adam. "
        "Limit: as in Loop, that of float32 for halves too.",
    )
    tables.append(table)
    sizes = {"crater_original": (8,)} if settings.quick else _CHOSEN
    for name in settings.chosen(sizes):
        for batch in sizes[name]:
            _compare(name, batch, settings, roofline, table)


def _compare(name: str, batch: int, settings: Settings, roofline: Roofline, table: Table) -> None:
    root = data_of(WORKLOADS[name], settings)
    common: dict[str, Any] = {"workload": name, "batch": batch, "device": settings.device, "threads": settings.threads}
    common |= {"root": str(root), "variant": {}, "words": _NO_VIEWS.get(name, [])}
    titles = list(_BARE)[:1] if settings.quick else _FEW if name in _LARGE else _BARE
    bare = {title: _BARE[title] for title in titles if settings.asked(f"bare, {title}")}
    with ExitStack() as stack:

        def start(python: str, module: str, **options: Any) -> Peer:
            return stack.enter_context(Peer(python, module, common | options, settings.threads, settings.scratch))

        mine = start(sys.executable, "benchmarks.contender", kind="fit")
        seen = {"shape": _COLOURED.get(name, mine.about["shape"]), "images": mine.about["images"]}
        peers = {"lit_hep, fit": mine}
        for title, (variant, kept) in bare.items():
            words = [*common["words"], f"--memory.keep_mib={kept}", f"--flush_denormals={kept > 0}", _PYTORCHS]
            options = {"variant": variant | {"flush": kept > 0}, "words": words}
            peers[f"bare, {title}"] = start(sys.executable, "benchmarks.contender", kind="bare", **options)
        if settings.asked("naive Lightning"):
            peers["naive Lightning"] = start(sys.executable, "benchmarks.contender", kind="naive", **seen)
        if not settings.quick and name in NETWORKS and settings.asked("lit_hep, fit, bf16"):
            words = [*common["words"], "--trainer.precision=bf16-mixed"]
            peers["lit_hep, fit, bf16"] = start(sys.executable, "benchmarks.contender", kind="fit", words=words)
        if name in NETWORKS:
            try:
                policies = {"Keras": "float32", "Keras, bf16": "mixed_bfloat16"}
                for title in filter(settings.asked, policies):
                    keras = start(settings.tensorflow, "benchmarks.keras_peer", policy=policies[title], **seen)
                    keras()  # some faults show only now
                    peers[title] = keras
            except (PeerError, OSError) as error:
                why = f"Keras: left out ({error}); pip install 'lit_hep[bench]', or --tensorflow PYTHON"
                table.add(WORKLOADS[name].title, batch, why, None, None, None, None)
        taken = alternate(peers, settings.repeats)
    limit = roofline.products / mine.about["multiply_adds"]
    for title, seconds in taken.items():
        about = peers[title].about
        rate: Figure = about["images"] / seconds
        ratio = None if title == "lit_hep, fit" else seconds / taken["lit_hep, fit"]
        versions = f" {about['keras']}, TensorFlow {about['tensorflow']}" if "keras" in about else ""
        table.add(WORKLOADS[name].title, batch, title + versions, about["parameters"], rate, ratio, share(rate, limit))
