"""How figures look by choice, in which files they are left, and where they are shown."""

import sys

import pytest
from PIL import ImageShow
from scored import binary

from lit_hep.errors import ConfigError
from lit_hep.evaluation import figures, look, style


@pytest.fixture
def looks():
    yield look.choose
    look.choose(look.Look())


def test_style_of_an_experiment(looks, tmp_path):
    pytest.importorskip("mplhep")
    probability, label = binary(40)
    (own,) = figures.precision_recall(probability, label, 0.5).axes
    looks(look.Look("ATLAS", "svg"))
    figure = figures.precision_recall(probability, label, 0.5)
    (theirs,) = figure.axes
    ticks = [axis.xaxis.get_major_ticks()[0].get_tickdir() for axis in (own, theirs)]
    assert ticks == ["out", "in"]
    assert own.get_lines()[0].get_color() == theirs.get_lines()[0].get_color()
    assert own.xaxis.label.get_size() == theirs.xaxis.label.get_size()
    style.save(figure, tmp_path / "curve.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png", "curve.svg"]


def test_missing_mplhep(looks, monkeypatch):
    monkeypatch.setitem(sys.modules, "mplhep", None)
    with pytest.raises(ConfigError, match=r"needs mplhep; pip install 'lit_hep\[hep\]'"):
        looks(look.Look("CMS"))


def test_picture_is_opened_where_there_is_a_display(tmp_path, monkeypatch):
    picture = tmp_path / "show.png"
    figures.precision_recall(*binary(40), 0.5).savefig(picture)
    opened = []
    monkeypatch.setattr(ImageShow, "_viewers", [])
    ImageShow.register(
        type("Noting", (ImageShow.Viewer,), {"show": lambda self, image, **_: opened.append(image.size)})
    )
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    look.display(picture)
    assert not opened
    monkeypatch.setenv("DISPLAY", ":0")
    look.display(picture)
    assert len(opened) == 1
