"""Random views of a batch of events that the detector could have seen as well, drawn and made on its device."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lit_hep.data.sparse import SparseImages
from lit_hep.errors import ConfigError


@dataclass(frozen=True)
class Views:
    """What may change from one view of an event to the next.

    Args:
        flip_wires: Reverse the wires of all planes of half of the events: the event turned about the drift direction.
        flip_ticks: Reverse the ticks of all planes of half of the events.
        shift: Move by at most so many cells: along the ticks all planes alike, along the wires each plane by itself.
        charge_scale: Standard deviation of the logarithm of a factor on the charges of each plane.
        hit_loss: Probability that a hit is lost.
    """

    flip_wires: bool = False
    flip_ticks: bool = False
    shift: int = 0
    charge_scale: float = 0.0
    hit_loss: float = 0.0

    def __post_init__(self) -> None:
        if self.shift < 0 or self.charge_scale < 0 or not 0 <= self.hit_loss < 1:
            raise ConfigError(
                f"shift {self.shift}, charge_scale {self.charge_scale}, hit_loss {self.hit_loss}: must not be below 0, "
                "hit_loss below 1"
            )

    def __call__(self, events: SparseImages) -> SparseImages:
        """Another view of each event; what is moved over the edge is lost."""
        (wires, ticks), device = events.size, events.cell.device
        plane = events.owner()
        event = plane // events.channels
        place = events.place()
        wire, tick = place // ticks, place % ticks
        value = events.value.float()
        if self.flip_wires:
            wire = torch.where(_half(len(events), device)[event], wires - 1 - wire, wire)
        if self.flip_ticks:
            tick = torch.where(_half(len(events), device)[event], ticks - 1 - tick, tick)
        if self.shift:
            moves = (-self.shift, self.shift + 1)
            wire = wire + torch.randint(*moves, (len(events) * events.channels,), device=device)[plane]
            tick = tick + torch.randint(*moves, (len(events),), device=device)[event]
            value = value * ((wire >= 0) & (wire < wires) & (tick >= 0) & (tick < ticks))
            wire, tick = wire.clamp(0, wires - 1), tick.clamp(0, ticks - 1)
        if self.charge_scale:
            factor = (self.charge_scale * torch.randn(len(events) * events.channels, device=device)).exp()
            value = value * factor[plane]
        if self.hit_loss:
            value = value * (torch.rand_like(value) >= self.hit_loss)
        return replace(events, cell=wire * ticks + tick, value=value)


def _half(count: int, device: torch.device) -> Tensor:
    return torch.rand(count, device=device) < 0.5
