"""A folder of prepared events: what lies in it, and what was moved aside."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lit_hep.errors import ConfigError, DataError
from lit_hep.tasks.multiplane.raw import RawEvent, listing, read_matrix


@dataclass
class Counted:
    """A converted event: class, number of the simulation, own number, and name of its file and hits by plane."""

    kind: str
    mc: str
    event: str
    hits: dict[int, tuple[str, int]]

    @property
    def least(self) -> int:
        """Hits of the plane that has fewest."""
        return min(count for _, count in self.hits.values())


class Prepared:
    """Matrices in ``PLANE_k/CLASS_c`` and ``removed/PLANE_k/CLASS_c`` of a folder.

    Args:
        root: The folder; it need not be there.
        classes: In the order of their labels.
    """

    def __init__(self, root: Path, classes: Sequence[str]) -> None:
        self.root = root
        self.label = {name: label for label, name in enumerate(classes)}
        self.kept, self.aside = _listed(root), _listed(root / "removed")

    def places(self, event: Counted) -> Iterator[str]:
        """Where the planes of an event lie, from one of the two folders."""
        for plane, (name, _) in event.hits.items():
            yield f"PLANE_{plane}/CLASS_{self.label[event.kind]}/{name}"

    def is_done(self, raw: RawEvent, event: Counted) -> bool:
        """Whether all planes were converted from the files as they are; if not, those aside are taken away."""
        places = list(self.places(event))
        if all(max(self.kept.get(place, 0), self.aside.get(place, 0)) >= raw.newest for place in places):
            return True
        for place in places:
            if self.aside.pop(place, None):
                (self.root / "removed" / place).unlink()
        return False

    def check(self, size: int, events: Mapping[str, Counted]) -> None:
        """Check that what is in it was prepared with this size of pictures and these classes.

        Raises:
            ConfigError: It was not.
            DataError: A picture is damaged.
        """
        first = {event.kind: event for event in reversed(list(events.values()))}
        other = set(first) - set(self.label)
        for kind, event in first.items() if not other else ():
            name = next(self.places(event)).rsplit("/", 1)[1]
            here = {place for place in (*self.kept, *self.aside) if place.endswith(f"/{name}")}
            if here and not here & set(self.places(event)):
                other.add(kind)
        if other:
            raise ConfigError(f"{self.root}: class {min(other)} has another label there; prepare elsewhere")
        for folder, places in ((self.root, self.kept), (self.root / "removed", self.aside)):
            for place in islice(places, 1):
                if (pixels := read_matrix(folder / place).shape[0]) != size:
                    raise ConfigError(f"{self.root}: was prepared with --size {pixels}; prepare {size} elsewhere")

    def move(self, events: Mapping[str, Counted], min_hits: int) -> int:
        """Move events with too few hits aside and others back, and say how many files.

        Raises:
            DataError: A file is gone.
        """
        moved = 0
        for event in events.values():
            good = event.least >= min_hits
            for place in self.places(event):
                if place in (self.aside if good else self.kept):
                    kept, aside = self.root / place, self.root / "removed" / place
                    source, target = (aside, kept) if good else (kept, aside)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    source.replace(target)
                    moved += 1
                elif place not in self.kept and place not in self.aside:
                    raise DataError(f"{self.root}: counts.csv lists {place}, which is gone; delete counts.csv")
        return moved


def _listed(folder: Path) -> dict[str, float]:
    """Matrices by their place in the folder, and when they were changed."""
    return {
        path[len(str(folder)) + 1 :]: changed
        for plane in sorted(folder.glob("PLANE_*/"))
        for path, changed in listing(plane, ".npz")
    }
