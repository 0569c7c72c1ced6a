"""Figures of simulated calorimeter crops beside real ones; see `electron_photon_calibration`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.electron_photon_published import AWAY, CLASSES, PUBLISHED, Floats, Measured, shapes
from lit_hep.evaluation.style import BLUE, GREY, VERMILLION, blank, styled
from lit_hep.tasks.electron_photon.simulation import images


@styled
def distribution(name: str, measured: Measured, real: list[Mapping[str, Floats]]) -> Figure:
    """Histogram of a quantity, simulated and real."""
    figure = blank()
    axes = figure.subplots()
    both = np.concatenate([part[name].ravel() for part in measured])
    low, high = np.quantile(both, [0.001, 0.999])
    if (both % 1 == 0).all():
        edges = np.arange(low, high + 2, max(1, np.ceil((high - low) / 20))) - 0.5
    else:
        edges = np.linspace(low, high, 21)
    for label, colour in enumerate((BLUE, VERMILLION)):
        value = measured[label][name].ravel()
        weights = np.full(len(value), 1 / len(value))
        axes.hist(value, edges, weights=weights, histtype="step", color=colour, label=f"{CLASSES[label]}, simulated")
        if real and name in real[label]:
            value = real[label][name].ravel()
            height, _ = np.histogram(value, edges)
            middle = (edges[1:] + edges[:-1]) / 2 + (label - 0.5) * (edges[1] - edges[0]) / 5
            error = np.sqrt(np.maximum(height, 1))
            axes.errorbar(middle, height / len(value), error / len(value), fmt="o", color=colour, ms=4, label="real")
    axes.set(xlabel=name, ylabel="share of the images")
    axes.legend()
    return figure


@styled
def profile(measured: Measured, real: list[Mapping[str, Floats]]) -> Figure:
    """Mean energy, hits and time spread along phi, and energy along eta."""
    figure = blank(11, 8)
    kinds = {"energy along φ": "share of the energy", "energy along η": "share of the energy"}
    kinds |= {"hits along φ": "share of the crystals hit", "time along φ": "rms time / 50 ns"}
    for axes, (name, what) in zip(figure.subplots(2, 2).flat, kinds.items(), strict=True):
        for label, colour in enumerate((BLUE, VERMILLION)):
            for part, style in ((measured[label], "-"), (real[label] if real else {}, "o")):
                if name in part:
                    mean = part[name].mean(0)
                    axes.plot(AWAY, np.sqrt(mean) if "time" in name else mean, style, color=colour, ms=4)
        axes.set(xlabel=f"crystals from the seed, {name[-1]}", ylabel=what, xlim=(-16, 15), yscale="log")
    axes.plot([], [], "-", color=BLUE, label="photon, simulated")
    axes.plot([], [], "-", color=VERMILLION, label="electron, simulated")
    if real:
        axes.plot([], [], "o", color=GREY, label="real")
    axes.legend()
    return figure


@styled
def gallery(real: Floats, label: Floats) -> Figure:
    """Real energies (N, 32, 32) and simulated ones, from 5 MeV (dark) to 50 GeV, logarithmic."""
    figure = blank(13, 9)
    drawn = images(np.repeat([0, 1], 8), np.random.default_rng(1))[..., 0]
    rows = [real[label == 0][:8], drawn[:8], real[label == 1][:8], drawn[8:]]
    names = [f"{name}, {kind}" for name in CLASSES for kind in ("real", "simulated")]
    for line, pictures, name in zip(figure.subplots(4, 8), rows, names, strict=True):
        line[0].set_ylabel(name)
        for axes, picture in zip(line, pictures, strict=True):
            axes.imshow(np.log10(np.maximum(picture * 50, 0.005)), vmin=-2.3, vmax=1.7, cmap="viridis")
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
    return figure


def draw(folder: Path, measured: Measured, file: Path | None) -> None:
    """Write a figure of each quantity, the mean profiles and, of a file of real images, a gallery."""
    folder.mkdir(parents=True, exist_ok=True)
    real: list[Mapping[str, Floats]] = []
    if file:
        with np.load(file) as arrays:
            energy, label = arrays["x"], arrays["y"]
        real = [shapes(energy[label == kind]) for kind in range(2)]
        gallery(energy, label).savefig(folder / "gallery.png")
    profile(measured, real).savefig(folder / "profiles.png")
    for name in dict.fromkeys(row.quantity for row in PUBLISHED if row.statistic not in ("rms", "over seed")):
        stem = "".join(letter if letter.isalnum() else "_" for letter in name)
        distribution(name, measured, real).savefig(folder / f"{stem}.png")
