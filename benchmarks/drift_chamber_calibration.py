"""Compare simulated drift-chamber events with real ones: a table, and figures with ``--figures DIR``.

    python -m benchmarks.drift_chamber_calibration --events 5000

The real figures were counted on 27 CLAS12 sector events published as pictures (arXiv:2205.02616) or beside a denoiser
(rtysonCLAS12/C12FD_Denoising), the last two of the table on 14 of them that are at hand as hits. Their errors come from
a bootstrap over the 14, scaled to the number of events that was counted; that of the 9 absent hits is Poisson's.
``--real FILE.npz`` (``noisy`` and ``clean``, each (N, 36, 112)) puts another sample in their place.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import label

from lit_hep.evaluation.style import BLUE, GREY, VERMILLION, blank, styled
from lit_hep.tasks.drift_chamber.simulation import CLAS12, events

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
SIZES = {"1": 1, "2": 2, "3–4": 3, "5–8": 5, "9–15": 9, "16–30": 16, "≥ 31": 31}  # least of each class
_EDGES = [*SIZES.values(), 1 << 30]
REAL = {
    "hits": (210.0, 15.5),
    "hits of tracks": (56.8, 3.6),
    "background": (153.5, 13.9),
    "background, spread over mean": (0.588, 0.084),
    "track hits not among all": (0.33, 0.11),
    "background in superlayer 1": (40.2, 4.7),
    "background in superlayer 2": (38.0, 4.1),
    "background in superlayer 3": (16.8, 4.2),
    "background in superlayer 4": (13.6, 2.0),
    "background in superlayer 5": (24.4, 2.7),
    "background in superlayer 6": (20.5, 2.1),
    "clusters in a superlayer": (6.91, 0.37),
    "clusters of 1, share": (0.559, 0.019),
    "clusters of 2, share": (0.135, 0.015),
    "clusters of 3–4, share": (0.079, 0.008),
    "clusters of 5–8, share": (0.120, 0.018),
    "clusters of 9–15, share": (0.064, 0.010),
    "clusters of 16–30, share": (0.034, 0.007),
    "clusters of ≥ 31, share": (0.009, 0.002),
    "hits in clusters of 1, share": (0.151, 0.016),
    "hits in clusters of 2, share": (0.073, 0.014),
    "hits in clusters of 3–4, share": (0.069, 0.007),
    "hits in clusters of 5–8, share": (0.204, 0.024),
    "hits in clusters of 9–15, share": (0.195, 0.030),
    "hits in clusters of 16–30, share": (0.196, 0.036),
    "hits in clusters of ≥ 31, share": (0.112, 0.033),
    "layers with 0 track hits, share": (0.024, 0.008),
    "layers with 1 track hits, share": (0.415, 0.083),
    "layers with 2 track hits, share": (0.522, 0.078),
    "layers with 3 track hits, share": (0.040, 0.012),
    "segments of 1 hit, share": (0.069, 0.014),
    "segments of 2 hits, share": (0.065, 0.016),
    "segments of 3 hits, share": (0.062, 0.023),
    "segments of 4 hits, share": (0.055, 0.016),
    "segments of 5 hits, share": (0.041, 0.012),
    "segments of 6 hits, share": (0.553, 0.029),
    "segments of 7 hits, share": (0.120, 0.028),
    "segments of ≥ 8 hits, share": (0.034, 0.007),
    "slope, wires a layer": (0.050, 0.023),
    "slope, spread": (0.221, 0.016),
    "shift from superlayer 1 to 2, wires": (-0.30, 0.60),
    "shift from superlayer 1 to 2, spread": (2.34, 0.32),
    "shift from superlayer 2 to 3, wires": (0.0, 1.0),
    "shift from superlayer 2 to 3, spread": (3.38, 0.72),
    "shift from superlayer 3 to 4, wires": (0.70, 0.95),
    "shift from superlayer 3 to 4, spread": (2.84, 0.58),
    "shift from superlayer 4 to 5, wires": (7.5, 3.1),
    "shift from superlayer 4 to 5, spread": (9.4, 2.8),
    "shift from superlayer 5 to 6, wires": (0.75, 0.94),
    "shift from superlayer 5 to 6, spread": (2.89, 0.49),
    "background beside a track, over that anywhere": (0.91, 0.33),
    "background in superlayers 1 and 2, correlation": (0.81, 0.14),
}
"""Figures of the real events and their errors."""


def clusters(hits: Bools) -> tuple[NDArray[np.integer], NDArray[np.intp]]:
    """Find hits of a superlayer that touch, corners included.

    Args:
        hits: (N, 36, 112).

    Returns:
        Cluster of each cell (6N, 6, 112), 0 without hit; size of each cluster, from the first on.
    """
    within = np.zeros((3, 3, 3))
    within[1] = 1
    index, number = label(hits.reshape(-1, 6, hits.shape[2]), within)
    return index, np.bincount(index.ravel(), minlength=number + 1)[1:]


def _per_event(event: NDArray[np.integer], number: int, weights: Floats | None = None) -> Floats:
    return np.bincount(event, weights, number).astype(np.float64)


def _background(hits: Bools) -> dict[str, Floats]:
    """Sums over each event's background, (N,)."""
    n = len(hits)
    index, size = clusters(hits)
    plane = np.zeros(len(size) + 1, np.intp)
    plane[index.ravel()] = np.repeat(np.arange(len(index)), index[0].size)
    event, kind = plane[1:] // 6, np.digitize(size, _EDGES) - 1
    sums = {"background": hits.sum((1, 2)), "clusters": _per_event(event, n)}
    part = hits.reshape(n, 6, -1).sum(2)
    sums |= {f"superlayer {i}": part[:, i - 1] for i in range(1, 7)}
    sums |= {"squared 1": part[:, 0] ** 2, "squared 2": part[:, 1] ** 2, "product": part[:, 0] * part[:, 1]}
    for i, name in enumerate(SIZES):
        sums[f"clusters of {name}"] = _per_event(event[kind == i], n)
        sums[f"hits in {name}"] = _per_event(event[kind == i], n, size[kind == i])
    return sums


def _tracks(truth: Bools) -> dict[str, Floats]:
    """Sums over each event's tracks, (N,)."""
    n = len(truth)
    index, size = clusters(truth)
    plane, row, wire = np.nonzero(index)
    segment = index[plane, row, wire] - 1
    event = np.zeros(len(size), np.intp)
    event[segment] = plane // 6
    sums = {f"segments of {k}": _per_event(event[np.minimum(size, 8) == k], n) for k in range(1, 9)}
    s1, sr, sw, srr, srw = (np.bincount(segment, v, len(size)) for v in (row**0, row, wire, row**2, row * wire))
    whole = (_per_event(segment, len(size), row == 0) > 0) & (_per_event(segment, len(size), row == 5) > 0)
    slope = (s1 * srw - sr * sw)[whole] / (s1 * srr - sr**2)[whole]
    sums |= {f"slope^{p}": _per_event(event[whole], n, slope**p) for p in range(3)}
    sums |= {f"layers of {k}": (truth.sum(2) == k).sum(1) for k in range(4)}
    part = truth.reshape(n, 6, 6, -1).sum(2)
    with np.errstate(invalid="ignore"):
        shift = np.diff(part @ np.arange(part.shape[2]) / part.sum(2), axis=1)
    one = (truth.sum((1, 2)) < 50) & np.isfinite(shift).all(1)
    sums["one track"] = one
    for i, step in enumerate(np.where(one[:, None], shift, 0).T, 1):
        sums |= {f"shift {i}^{p}": step**p for p in (1, 2)}
    return sums


def moments(noisy: Bools, truth: Bools) -> dict[str, Floats]:
    """Count in each event what the figures are made of.

    Args:
        noisy: All hits (N, 36, 112).
        truth: Hits of tracks (N, 36, 112).

    Returns:
        Sums by name, each (N,).
    """
    beside = np.zeros_like(truth)
    beside[:, :, 1:] |= truth[:, :, :-1]
    beside[:, :, :-1] |= truth[:, :, 1:]
    beside &= ~truth
    sums = {"hits": noisy.sum((1, 2)), "true": truth.sum((1, 2)), "absent": (truth & ~noisy).sum((1, 2))}
    sums |= {"beside": beside.sum((1, 2)), "hit beside": (beside & noisy).sum((1, 2))}
    sums |= _background(noisy & ~truth) | _tracks(truth)
    return {name: np.asarray(value, np.float64) for name, value in sums.items()}


def figures(sums: Mapping[str, Floats], weight: Floats | None = None) -> dict[str, float]:
    """Turn the sums of events into the figures of the table.

    Args:
        sums: Result of `moments`.
        weight: How often each event counts, (N,); once if not given.
    """
    count = np.ones(len(sums["hits"])) if weight is None else weight
    mean = {name: float(value @ count / count.sum()) for name, value in sums.items()}
    rms = np.sqrt((sums["background"] - mean["background"]) ** 2 @ count / count.sum())
    occupancy = mean["background"] / 36 / 112
    table = {"hits": mean["hits"], "hits of tracks": mean["true"], "background": mean["background"]}
    table |= {"background, spread over mean": rms / mean["background"], "track hits not among all": mean["absent"]}
    table |= {f"background in superlayer {i}": mean[f"superlayer {i}"] for i in range(1, 7)}
    table["clusters in a superlayer"] = mean["clusters"] / 6
    table |= {f"clusters of {k}, share": mean[f"clusters of {k}"] / mean["clusters"] for k in SIZES}
    table |= {f"hits in clusters of {k}, share": mean[f"hits in {k}"] / mean["background"] for k in SIZES}
    table |= {f"layers with {k} track hits, share": mean[f"layers of {k}"] / 36 for k in range(4)}
    segments = sum(mean[f"segments of {k}"] for k in range(1, 9))
    for k in range(1, 9):
        table[f"segments of {'≥ ' * (k == 8)}{k} hit{'s' * (k > 1)}, share"] = mean[f"segments of {k}"] / segments
    first, second = (mean[f"slope^{p}"] / mean["slope^0"] for p in (1, 2))
    table |= {"slope, wires a layer": first, "slope, spread": np.sqrt(second - first**2)}
    for i in range(1, 6):
        first, second = (mean[f"shift {i}^{p}"] / mean["one track"] for p in (1, 2))
        name = f"shift from superlayer {i} to {i + 1}"
        table |= {f"{name}, wires": first, f"{name}, spread": np.sqrt(max(second - first**2, 0))}
    table["background beside a track, over that anywhere"] = mean["hit beside"] / mean["beside"] / occupancy
    spread = [np.sqrt(mean[f"squared {i}"] - mean[f"superlayer {i}"] ** 2) for i in (1, 2)]
    covariance = mean["product"] - mean["superlayer 1"] * mean["superlayer 2"]
    table["background in superlayers 1 and 2, correlation"] = covariance / spread[0] / spread[1]
    return {name: float(value) for name, value in table.items()}


def errors(sums: Mapping[str, Floats], draws: int = 2000) -> dict[str, float]:
    """Errors of the figures, by bootstrap over the events."""
    rng = np.random.default_rng(1)
    n = len(sums["hits"])
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = [figures(sums, rng.multinomial(n, np.full(n, 1 / n)).astype(float)) for _ in range(draws)]
    return {name: float(np.nanstd([one[name] for one in drawn])) for name in drawn[0]}


@styled
def displays(title: str, noisy: Bools, truth: Bools) -> Figure:
    """Draw up to eight events: hits of tracks, and the others."""
    shown = min(8, len(noisy))
    figure = blank(15, 2.9 * -(-shown // 2))
    axes = figure.subplots(-(-shown // 2), 2, sharex=True, sharey=True, squeeze=False)
    for axis, every, clean in zip(axes.flat, noisy[:shown], truth[:shown], strict=False):
        for hits, colour in ((every & ~clean, GREY), (clean, VERMILLION)):
            layer, wire = np.nonzero(hits)
            axis.scatter(wire + 1, layer + 1, s=5, marker="s", color=colour, linewidth=0)
        axis.set(xlim=(0, 113), ylim=(37, 0), yticks=range(1, 37, 6))
        axis.grid(axis="x")
    figure.suptitle(f"{title}: tracks (red) and background (grey)")
    figure.supxlabel("wire")
    figure.supylabel("layer")
    return figure


@styled
def distributions(real: Mapping[str, Floats] | None, simulated: Mapping[str, Floats]) -> Figure:
    """Draw how the sums of events are spread."""
    names = {"hits": 500, "background": 400, "true": 120, "clusters": 100, "superlayer 1": 120, "superlayer 3": 80}
    figure = blank(13, 7)
    for axis, (name, end) in zip(figure.subplots(2, 3).flat, names.items(), strict=True):
        bins = np.linspace(0, end, 21)
        axis.hist(simulated[name], bins, density=True, histtype="step", color=BLUE, linewidth=2, label="simulated")
        if real is not None:
            axis.hist(real[name], bins, density=True, alpha=0.4, color=VERMILLION, label="real")
        axis.set(xlabel=f"{name} an event", ylabel="density")
        axis.legend()
    return figure


def table(real: Mapping[str, tuple[float, float]], simulated: Mapping[str, float]) -> str:
    """Write the table in Markdown; the pull is the difference over the real sample's error."""
    lines = ["| quantity | real | simulated | pull |", "|---|---|---|---|"]
    for name, (value, error) in real.items():
        digits = 3 if error < 0.1 else 2 if error < 1 else 1
        pull = f"{(simulated[name] - value) / error:+.1f}" if error else ""
        cells = (name, f"{value:.{digits}f} ± {error:.{digits}f}", f"{simulated[name]:.{digits}f}", pull)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5000, help="simulated events")
    parser.add_argument("--current", type=float, default=CLAS12.nominal, help="beam current of all of them, nA")
    parser.add_argument("--figures", type=Path, help="folder for pictures")
    parser.add_argument("--real", type=Path, help="npz file with noisy and clean")
    chosen = parser.parse_args()
    noisy, truth = events(np.random.default_rng(1), chosen.events, chosen.current)
    simulated, sums, real = moments(noisy, truth), None, REAL
    if chosen.real:
        with np.load(chosen.real) as file:
            pairs = [file[name].astype(np.bool_) for name in ("noisy", "clean")]
        sums = moments(*pairs)
        error = errors(sums)
        real = {name: (value, error[name]) for name, value in figures(sums).items()}
    print(table(real, figures(simulated)))
    if chosen.figures:
        chosen.figures.mkdir(parents=True, exist_ok=True)
        distributions(sums, simulated).savefig(chosen.figures / "distributions.png")
        displays("simulated", noisy, truth).savefig(chosen.figures / "simulated.png")
        if chosen.real:
            displays("real", *pairs).savefig(chosen.figures / "real.png")


if __name__ == "__main__":
    main()
