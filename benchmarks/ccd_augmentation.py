"""Time of a random view of an image and its mask: by torch on the batch, and by imgaug on the processor.

    python -m benchmarks.ccd_augmentation [--batch 16] [--size 256] [--channels 1 3] [--rounds 15] [--device cpu]

Both make the original's set; they take turns, and the median over the rounds is given.
"""

import argparse
import statistics
import time

import torch

from lit_hep.tasks.ccd.augmentation import Augmentation, augment

WAYS: tuple[Augmentation, Augmentation] = ("torch", "imgaug")


def seconds(image: torch.Tensor, mask: torch.Tensor, seed: int, how: Augmentation) -> float:
    """Of one batch, until it is there."""
    outside = image.new_zeros(image.shape[:2])
    began = time.perf_counter()
    augment(image, mask, outside, seed, how)[1].sum().item()
    return time.perf_counter() - began


def main() -> None:
    """Measure what the command line asks for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--channels", nargs="+", type=int, default=[1, 3])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    print(f"{options.batch} images of {options.size} x {options.size}, {torch.get_num_threads()} threads of torch\n")
    print("| channels | " + " | ".join(f"{how}, ms/image: median (min–max)" for how in WAYS) + " |")
    print("| --- | --- | --- |")
    for channels in options.channels:
        shape = options.batch, options.size, options.size
        image = torch.randn(shape[0], channels, *shape[1:], device=options.device)
        mask = torch.randint(4, shape, dtype=torch.uint8, device=options.device)
        taken: dict[str, list[float]] = {how: [] for how in WAYS}
        for number in range(options.rounds + 1):
            for how in WAYS if number % 2 else WAYS[::-1]:
                taken[how].append(1e3 * seconds(image, mask, number, how) / options.batch)
        cells = []
        for how in WAYS:
            rounds = taken[how][1:]  # the first warms up
            cells.append(f"{statistics.median(rounds):.2f} ({min(rounds):.2f}–{max(rounds):.2f})")
        print(f"| {channels} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
