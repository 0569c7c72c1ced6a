"""Compare simulated calorimeter crops with real ones: a table, and figures with ``--figures DIR``.

    python -m benchmarks.electron_photon_calibration --images 20000

The real figures are those of the CMS images in SingleElectronPt50 and SinglePhotonPt50: of all 249,000 of a class where
they were printed (E2E project of ML4SCI), of 10,000 where they were decoded from a picture of the mean images, else of
98 photons and 102 electrons, or the 44 and 56 among them that are at hand. ``--real FILE.npz`` (``x`` (N, 32, 32), the
energies, and ``y`` (N,)) draws these beside the simulation. The error is that of a sample of the real one's size, found
by drawing such samples from the simulation, and of the real figure's rounding. So many figures of so few images are not
all right by chance either: ``--chance 300`` says how many are off when the simulation's own images play the real ones.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.electron_photon_figures import draw
from benchmarks.electron_photon_published import CLASSES, PUBLISHED, STATISTICS, Floats, Measured, Row, shapes
from lit_hep.tasks.electron_photon.simulation import images

_SAMPLE = {200: (98, 102), 154: (98, 56), 100: (44, 56), 10_000: (10_000, 10_000), 249_000: (249_000, 249_000)}


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


def agrees(real: float, value: float, error: float, errors: float = 2) -> bool:
    """Whether a simulated value is within 10 % of the real one, or some errors."""
    return abs(value - real) <= max(0.1 * abs(real), errors * error)


Compared = list[tuple[Row, int, float, float, float]]


def compare_all(measured: Measured) -> Compared:
    """Each published figure: its row, the class, and what `compare` says."""
    return [(row, label, *compare(row, label, measured[label])) for row in PUBLISHED for label in range(2)]


def chance(measured: Measured, compared: Compared, errors: float, draws: int) -> NDArray[np.integer]:
    """Count the figures that are off when simulated images play the real ones, as many as these.

    Args:
        measured: Simulated images.
        compared: Their figures.
        errors: As for `agrees`.
        draws: Of such samples, each the same for all figures.

    Returns:
        Figures off in each draw, (draws,).
    """
    counts = np.zeros(draws, np.intp)
    for seed in range(draws):
        sizes = [len(part["energy sum"]) for part in measured]
        orders = [np.random.default_rng((seed, label)).integers(size, size=size) for label, size in enumerate(sizes)]
        for row, label, _, value, error in compared:
            sample = measured[label][row.quantity][orders[label][: _SAMPLE[row.images][label]]]
            counts[seed] += not agrees(float(STATISTICS[row.statistic](sample)), value, error, errors)
    return counts


def table(compared: Compared, errors: float) -> Iterator[str]:
    """Lines of the table, in Markdown."""
    yield "| quantity | | real images | class | real | simulated | difference | / error | |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row, label, real, value, error in compared:
        verdict = "" if agrees(real, value, error, errors) else "off"
        yield (
            f"| {row.quantity} | {row.statistic} | {row.images:,} | {CLASSES[label]} | {real:.4g} | {value:.4g} "
            f"| {value / real - 1:+.1%} | {(value - real) / error:+.1f} | {verdict} |"
        )


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000, help="of a class")
    parser.add_argument("--errors", type=float, default=2, help="by which a figure is off, if by more than 10 %%")
    parser.add_argument("--chance", type=int, default=0, metavar="DRAWS", help="see above; 300 take 10 s")
    parser.add_argument("--figures", type=Path, help="folder for figures")
    parser.add_argument("--real", type=Path, help="real images for the figures, .npz")
    arguments = parser.parse_args()
    measured = simulated(arguments.images)
    compared = compare_all(measured)
    for line in table(compared, arguments.errors):
        print(line, flush=True)
    if arguments.chance:
        found = sum(not agrees(*figures, arguments.errors) for _, _, *figures in compared)
        counts = chance(measured, compared, arguments.errors, arguments.chance)
        print(f"\nOff: {found} of {len(compared)}. If the simulation were the truth: {counts.mean():.1f} in the mean,")
        print(f"none in {np.mean(counts == 0):.0%} and {found} or more in {np.mean(counts >= found):.0%} of the draws.")
    if arguments.figures:
        draw(arguments.figures, measured, arguments.real)


if __name__ == "__main__":
    main()
