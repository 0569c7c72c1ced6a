"""Networks taken away: written as ONNX or by torch.export, and compared with PyTorch before they are left there.

PyTorch's own export traces the network (`torch.export`); for ONNX its exporter translates that program.
"""

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lit_hep.data.files import replacing
from lit_hep.errors import ConfigError, OutputError

OPSET = 20
"""Of ONNX files: onnxruntime 1.17 and newer."""
TOLERANCE = 1e-4
"""Of probabilities and scores."""
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_BATCHES = (1, 3, 28, 32, 64, 128)  # 256 images
_PIXELS = 2**24  # of a batch: of very large images fewer are compared
_TRIED = 48  # pixels: length of an axis that may have any, in the trace and at least in the comparison

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Interface:
    """What an exported network takes, and what it answers.

    Args:
        axes: Length of each axis of an image, after N; None is the size of the images, rows before columns.
        values: What an image holds, and in which unit.
        output: Name of what comes out.
        answer: What that is, and its shape.
        normalisation: What is done to the values inside.
        dtype: Of an image.
        largest: Roughly, of the values; images to compare on are drawn from 0 to there.
        occupancy: Share of the pixels that are not 0, roughly.
        classes: Names, in the order of their numbers.
        threshold: From which class 1 is called, or a hit is kept.
        resizable: Whether one network can take images of several sizes.
    """

    axes: Mapping[str, int | None]
    values: str
    output: str
    answer: str
    normalisation: str
    dtype: torch.dtype = torch.float32
    largest: float = 1.0
    occupancy: float = 1.0
    classes: Sequence[str] = ()
    threshold: float | None = None
    resizable: bool = True

    @property
    def free(self) -> list[str]:
        """Axes that may have any length."""
        return [name for name, length in self.axes.items() if length is None]

    def of_size(self, size: Sequence[int] | None) -> "Interface":
        """The same for images of one size, or as it is.

        Args:
            size: Rows and columns; None leaves them free.

        Raises:
            ConfigError: The size is given and must not be, or must be and is not.
        """
        if size is None:
            if self.free and not self.resizable:
                raise ConfigError(
                    "the checkpoint does not tell the size of the images, and its network takes only one: "
                    f"give --size {' '.join(map(str.upper, self.free))}"
                )
            return self
        if not self.free:
            raise ConfigError(f"--size {size[0]} {size[1]}: the network takes images {self.shape} only, leave it out")
        if min(size) < 1:
            raise ConfigError(f"--size {size[0]} {size[1]}: must be 1 or more")
        return replace(self, axes={**self.axes, **dict(zip(self.free, size, strict=True))})

    @property
    def named(self) -> dict[int, str]:
        """Number and name of those, N among them."""
        return {0: "N", **{number: name for number, name in enumerate(self.axes, start=1) if name in self.free}}

    @property
    def shape(self) -> str:
        """Of the input, such as ``(N, 3, wire, tick)``: what is named may have any length."""
        return f"({', '.join(['N', *(name if length is None else str(length) for name, length in self.axes.items())])})"

    def draw(self, count: int, generator: torch.Generator, more: Sequence[int] = (0, 0)) -> Tensor:
        """Draw images at random.

        Args:
            count: N.
            generator: Of the random numbers.
            more: Rows and columns beyond the least that is tried, where they are free.
        """
        extra = iter(more)
        lengths = [_TRIED + next(extra) if length is None else length for length in self.axes.values()]
        value, chance = torch.rand((2, count, *lengths), generator=generator)
        whole = not self.dtype.is_floating_point
        value = (value * (self.largest + whole)).floor() if whole else value * self.largest
        return torch.where(chance < self.occupancy, value, 0).to(self.dtype)

    def describe(self) -> dict[str, str]:
        """Metadata of the file."""
        kind = str(self.dtype).removeprefix("torch.")
        return {
            "input": f"image: {kind} {self.shape}, {', '.join(self.axes)}; {self.values}",
            "output": f"{self.output}: float32, {self.answer}",
            "normalisation": self.normalisation,
            "classes": json.dumps(list(self.classes)),
            "threshold": "" if self.threshold is None else f"{self.threshold:.9g}",
        }


class Comparison(NamedTuple):
    """What a file was found to be worth."""

    images: int
    """So many were compared."""
    difference: float
    """From PyTorch: the largest of any number."""


class _Answering(nn.Module):
    """A function of a network as a network."""

    def __init__(self, net: nn.Module, answers: Run) -> None:
        super().__init__()
        self.net, self._answers = net, answers

    def forward(self, image: Tensor) -> Tensor:
        return self._answers(image)


def export(
    net: nn.Module, answers: Run, interface: Interface, output: Path, metadata: Mapping[str, str] | None = None
) -> Comparison:
    """Write a network to a file, and compare the file with PyTorch on 256 random images, fewer if they are very large.

    Args:
        net: Holds the weights; is put into evaluation mode.
        answers: Method of it, from images to what is to come out; of the numbers of an image none may depend on others.
        interface: Of both.
        output: File, ``.onnx``, or ``.pt2`` for torch.export.
        metadata: What the file is to say of itself beside `Interface.describe`.

    Returns:
        How it compares.

    Raises:
        ConfigError: The ending is another; packages are missing; the network cannot take such images.
        OutputError: The file's answers are not those of PyTorch, or it cannot be written; there is none then.
    """
    write = check_output(output)
    net.eval()
    program = _trace(_Answering(net, answers), interface)
    with replacing(output) as part:
        run = write(program, interface, {**interface.describe(), **(metadata or {})}, part)
        return _compare(run, answers, interface, output)


def check_output(output: Path) -> Callable[[ExportedProgram, Interface, Mapping[str, str], Path], Run]:
    """How a file of this name is written.

    Raises:
        ConfigError: Its ending is unknown, or packages are missing.
    """
    if output.suffix == ".pt2":
        return _write_program
    if output.suffix != ".onnx":
        raise ConfigError(f"--output {output}: the ending must be .onnx, or .pt2 for torch.export")
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise ConfigError(f"export to ONNX needs {', '.join(missing)}; pip install 'lit_hep[export]'")
    return _write_onnx


def _trace(network: nn.Module, interface: Interface) -> ExportedProgram:
    image = interface.draw(3, torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            network(image)
    except RuntimeError as error:
        raise ConfigError(f"the network cannot take images {interface.shape}: {str(error).splitlines()[0]}") from error
    sizes = dict.fromkeys(interface.named, Dim.DYNAMIC)
    return torch.export.export(network, (image,), dynamic_shapes=(sizes,), strict=False)


def _write_onnx(program: ExportedProgram, interface: Interface, metadata: Mapping[str, str], path: Path) -> Run:
    import onnxruntime

    names: Any = {"input_names": ["image"], "output_names": [interface.output]}
    names["dynamic_shapes"] = (interface.named,)
    made = torch.onnx.export(program, (), dynamo=True, opset_version=OPSET, verbose=False, **names)
    assert made is not None
    made.model.metadata_props.update({**metadata, "opset": str(OPSET)})
    made.save(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


def _write_program(program: ExportedProgram, interface: Interface, metadata: Mapping[str, str], path: Path) -> Run:
    file = io.BytesIO()  # torch warns of a file name that does not end in .pt2
    torch.export.save(program, file, extra_files={"metadata.json": json.dumps(metadata)})
    path.write_bytes(file.getvalue())
    file.seek(0)
    return torch.export.load(file).module()


@torch.no_grad()
def _compare(run: Run, answers: Run, interface: Interface, output: Path) -> Comparison:
    generator = torch.Generator().manual_seed(1)
    images, largest = 0, 0.0
    most = max(1, _PIXELS // math.prod(length or _TRIED for length in interface.axes.values()))
    for number, count in enumerate(_BATCHES):
        image = interface.draw(min(count, most), generator, more=(5 * number, 3 * number))
        found, wanted = run(image), answers(image)
        if found.shape != wanted.shape:
            raise OutputError(f"{output}: not written, it gives {tuple(found.shape)}, PyTorch {tuple(wanted.shape)}")
        difference = (found - wanted).abs().max().item()
        if not difference <= TOLERANCE:  # NaN is not
            raise OutputError(
                f"{output}: not written, it differs from PyTorch by {difference:.2g}, more than {TOLERANCE:g}"
            )
        images, largest = images + len(image), max(largest, difference)
    return Comparison(images, largest)
