"""A network that follows the energy of a shower along phi."""

from torch import Tensor, nn


class PhiNet(nn.Module):
    """A 3x3 stem, one convolution over all rows that leaves a profile along the columns, residual blocks along it.

    Only the rows around the seed crystal are looked at: a shower is narrow in eta, and what an electron radiates or a
    converted photon splits into is found along phi. The seed always stands in the middle, so the head is dense and
    knows the place of each column; a mean over the image would forget it. Takes (B, channels, H, columns) with H of at
    least 2 * reach + 1 and returns logits (B, outputs).

    Args:
        outputs: Logits an image.
        channels: Of the image.
        columns: Width of the image, in crystals; the dense head depends on it.
        reach: Rows on each side of the seed that are looked at.
        stem: Channels of the stem, at full resolution.
        width: Channels of the profile.
        blocks: Residual blocks.
        kernel: Columns that a convolution along phi spans.
        summary: Channels of the profile that the head sees.
        hidden: Width of the head.
    """

    def __init__(
        self,
        outputs: int = 1,
        channels: int = 2,
        columns: int = 32,
        reach: int = 5,
        stem: int = 16,
        width: int = 64,
        blocks: int = 3,
        kernel: int = 5,
        summary: int = 16,
        hidden: int = 64,
    ) -> None:
        super().__init__()
        self.reach = reach
        self.profile = nn.Sequential(
            nn.Conv2d(channels, stem, 3, padding=1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
            nn.Conv2d(stem, width, (2 * reach + 1, kernel), padding=(0, kernel // 2), bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            *(ProfileBlock(width, kernel) for _ in range(blocks)),
        )
        self.head = nn.Sequential(
            nn.Conv2d(width, summary, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(summary * columns, hidden),
            nn.ReLU(),
            nn.Linear(hidden, outputs),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, channels, H, columns) to logits (B, outputs)."""
        seed = image.shape[2] // 2
        logits: Tensor = self.head(self.profile(image[:, :, seed - self.reach : seed + self.reach + 1]))
        return logits


class ProfileBlock(nn.Module):
    """Two convolutions along the columns beside a shortcut.

    Args:
        width: Channels.
        kernel: Columns that each spans.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        size, padding = (1, kernel), (0, kernel // 2)
        self.body = nn.Sequential(
            nn.Conv2d(width, width, size, padding=padding, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, size, padding=padding, bias=False),
            nn.BatchNorm2d(width),
        )
        self.relu = nn.ReLU()

    def forward(self, profile: Tensor) -> Tensor:
        """(B, width, 1, columns) to the same shape."""
        result: Tensor = self.relu(profile + self.body(profile))
        return result
