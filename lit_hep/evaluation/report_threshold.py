"""Counts on both sides of every threshold, from which a page works out all numbers of a binary classifier."""

from typing import Any

import numpy as np

from lit_hep.evaluation.classification import Array, best_threshold

_MOST = 1600  # thresholds offered; the numbers at each are exact, however many events there are
_ENDS = 150  # of them one after the other at both ends, where a cut for high purity or efficiency lies


def threshold_counts(probability: Array, label: Array, threshold: float) -> dict[str, Any]:
    """Thresholds to choose from, with the events below each.

    They are the middles between neighbouring distinct scores, 0 and above the highest; of more than about 2,000 an
    even choice. The threshold of the test and the one of best macro F1 are always among them.

    Args:
        probability: (N,) of class 1.
        label: (N,) 0 or 1.
        threshold: Of the test; an event is positive at or above it.

    Returns:
        ``threshold`` (n,) ascending, exact when read in the precision of `probability`; ``fn`` and ``tn`` (n,), the
        signal and background events below; ``signal`` and ``background``, all of them; ``chosen`` and ``best``,
        places of those two thresholds.
    """
    kind = probability.dtype.type
    score = np.unique(probability)
    middle = (score[1:] + score[:-1]) / kind(2)
    # Adjacent floating-point numbers have no middle: at the upper one the cut still falls between them.
    middle = np.where(middle > score[:-1], middle, score[1:])
    top = np.nextafter(score[-1], kind(2))
    candidates = np.concatenate([[kind(0)], middle, [top]]).astype(kind)
    number = np.arange(len(candidates))
    if len(candidates) > _MOST + 2 * _ENDS:
        even = np.linspace(0, len(candidates) - 1, _MOST).round().astype(np.intp)
        number = np.unique(np.concatenate([number[:_ENDS], even, number[-_ENDS:]]))
    chosen, best = kind(threshold), kind(best_threshold(probability, label))
    offered = np.unique(np.concatenate([candidates[number], [chosen, best]]).astype(kind))
    signal = label == 1
    fn, tn = (np.searchsorted(np.sort(probability[kept]), offered) for kept in (signal, ~signal))
    digits = 9 if kind is np.float32 else 17
    return {
        "threshold": [float(f"{value:.{digits}g}") for value in offered],
        "fn": fn.tolist(),
        "tn": tn.tolist(),
        "signal": int(signal.sum()),
        "background": int((~signal).sum()),
        "chosen": int(np.searchsorted(offered, chosen)),
        "best": int(np.searchsorted(offered, best)),
    }
