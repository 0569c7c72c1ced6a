"""Draw samples of every task as `show` does, from the simulators, into the one picture that the README opens with.

python -m benchmarks.pictures --output benchmarks/pictures.png
"""

import argparse
import tempfile
from pathlib import Path

from PIL import Image

from lit_hep.cli import main

WIDTH = 1000  # pixels
SAMPLES = {  # what is drawn of each task: words of `show`; a line of the picture each
    "crater": ["--index", *map(str, range(8)), "--data.init_args.simulation_size=100"],
    "electron_photon": ["--index", "7", "15", "43", "45", "--data.init_args.simulation_size=40"],
    "multiplane_early": ["--index", "45", "--data.init_args.simulation_size=60"],
    "ccd": ["--index", "0", "1", "--data.init_args.simulation_size=20"],
    "drift_chamber": ["--index", "3", "9", "--data.init_args.simulation_size=60"],
}


def draw(output: Path) -> None:
    """Simulate, draw, and put the lines below each other."""
    lines = []
    with tempfile.TemporaryDirectory() as name:
        for config, words in SAMPLES.items():
            place = Path(name, config)
            shown = ["show", "--config", f"configs/{config}.yaml", f"--data.init_args.root={place}", *words]
            main([*shown, "--output", f"{place}.png"])
            with Image.open(f"{place}.png") as line:
                lines.append(line.convert("RGB").resize((WIDTH, line.height * WIDTH // line.width), Image.LANCZOS))
    picture = Image.new("RGB", (WIDTH, sum(line.height for line in lines)), "white")
    for number, line in enumerate(lines):
        picture.paste(line, (0, sum(above.height for above in lines[:number])))
    picture.quantize(256, Image.Quantize.FASTOCTREE).save(output, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/pictures.png"))
    draw(parser.parse_args().output)
