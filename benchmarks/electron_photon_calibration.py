"""Compare simulated calorimeter crops with real ones: a table, and figures with ``--figures DIR``.

    python -m benchmarks.electron_photon_calibration --images 20000

The real figures are those of the CMS images in SingleElectronPt50 and SinglePhotonPt50: of all 249,000 of a class where
they were printed (E2E project of ML4SCI), of 10,000 where they were decoded from a picture of the mean images, else of
98 photons and 102 electrons, or the 44 and 56 among them that are at hand. ``--real FILE.npz`` (``x`` (N, 32, 32), the
energies, and ``y`` (N,)) draws these beside the simulation. The error is that of a sample of the real one's size, found
by drawing such samples from the simulation, and of the real figure's rounding.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.electron_photon_figures import draw
from benchmarks.electron_photon_published import CLASSES, PUBLISHED, STATISTICS, Floats, Measured, Row, shapes
from lit_hep.tasks.electron_photon.simulation import images

_SAMPLE = {200: (98, 102), 100: (44, 56), 10_000: (10_000, 10_000), 249_000: (249_000, 249_000)}


def simulated(number: int, seed: int = 1) -> Measured:
    """`shapes` of some photons and some electrons, drawn a thousand at a time."""
    measured = []
    for label in range(2):
        parts = []
        for start in range(0, number, 1000):
            rng = np.random.default_rng((seed, label, start))
            image = images(np.full(min(1000, number - start), label), rng)
            parts.append(shapes(image[..., 0], image[..., 1]))
        measured.append({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    return measured[0], measured[1]


def compare(row: Row, label: int, measured: Mapping[str, Floats], draws: int = 100) -> tuple[float, float, float]:
    """Real value, simulated value and error of their difference."""
    statistic, value = STATISTICS[row.statistic], measured[row.quantity]
    rng = np.random.default_rng(1)
    size, real = _SAMPLE[row.images][label], (row.photon, row.electron)[label]
    sampled = min(size, len(value))
    spread = np.std([statistic(value[rng.integers(len(value), size=sampled)]) for _ in range(draws)])
    error = spread * np.sqrt(sampled / size + sampled / len(value))
    return real, float(statistic(value)), float(np.hypot(error, row.rounding))


def agrees(real: float, value: float, error: float) -> bool:
    """Whether a simulated value is within 10 % of the real one or two errors."""
    return abs(value - real) <= max(0.1 * abs(real), 2 * error)


def table(measured: Measured) -> Iterator[str]:
    """Lines of the table, in Markdown."""
    yield "| quantity | | real images | class | real | simulated | difference | / error | |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in PUBLISHED:
        for label, name in enumerate(CLASSES):
            real, value, error = compare(row, label, measured[label])
            verdict = "" if agrees(real, value, error) else "off"
            yield (
                f"| {row.quantity} | {row.statistic} | {row.images:,} | {name} | {real:.4g} | {value:.4g} "
                f"| {value / real - 1:+.1%} | {(value - real) / error:+.1f} | {verdict} |"
            )


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000, help="of a class")
    parser.add_argument("--figures", type=Path, help="folder for figures")
    parser.add_argument("--real", type=Path, help="real images for the figures, .npz")
    arguments = parser.parse_args()
    measured = simulated(arguments.images)
    for line in table(measured):
        print(line, flush=True)
    if arguments.figures:
        draw(arguments.figures, measured, arguments.real)


if __name__ == "__main__":
    main()
