import json
import subprocess
import sys
import time

import pytest

engine = pytest.importorskip("benchmarks.engine", reason="run from the root of the project")

EXPECTED = {
    "loop": {"Loop: fit ÷ bare loop": 1},
    "peers": {"Peers: images/s in training": 4},
    "loading": {"Loading": 7, "Training of LeNet-5 from disk": 1},
    "layers": {"Layers": 5},
    "sweep": {"Training by batch size": 2},
    "inference": {"Inference": 2},
    "scaling": {"Scaling": 3},
}
"""Tables of each subject, and the least number of rows of each in a quick run."""


def measured(folder, subject):
    from benchmarks.__main__ import main

    words = ["--quick", "--repeats", "1", "--device", "cpu", "--threads", "1", "--output", str(folder / "table.md")]
    main(["--only", subject, *words])
    return json.loads((folder / "table.json").read_text()), (folder / "table.md").read_text()


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("peers", "scaling")]  # processes of their own


@pytest.mark.parametrize("subject", ["loop", "loading", "layers", "sweep", "inference", *SLOW])
def test_each_subject_writes_its_tables_with_positive_figures(subject, tmp_path):
    content, text = measured(tmp_path, subject)
    tables = {table["title"]: table["rows"] for table in content["tables"]}
    assert tables.keys() == {"Limits", *EXPECTED[subject]}
    for title, rows in EXPECTED[subject].items():
        assert len(tables[title]) >= rows
        assert f"### {title}" in text
    figures = [cell for rows in tables.values() for row in rows for cell in row.values() if isinstance(cell, dict)]
    assert figures
    assert all(value > 0 for figure in figures for value in figure["values"])
    assert content["about"]["threads"] == 1
    assert content["seconds"].keys() == {subject}


def test_cases_take_turns_and_the_first_round_does_not_count():
    order = []

    def case(name):
        return lambda: order.append(name) or float(len(order))

    figures = engine.alternate({"a": case("a"), "b": case("b")}, repeats=2)
    assert order == list("abbaab")
    assert figures["a"].values == [4, 5]
    assert figures["b"].values == [3, 6]


def test_a_figure_is_a_median_with_its_spread():
    figure = engine.Figure([4.0, 1.0, 2.0])
    assert str(figure) == "2 (1–4)"
    assert (8 / figure).values == [2, 8, 4]
    assert (figure / engine.Figure([2.0, 1.0, 4.0])).values == [2, 1, 0.5]  # round by round


@pytest.mark.parametrize(("value", "text"), [(0.012345, "0.0123"), (12.345, "12.3"), (12345.6, "12,346")])
def test_numbers_have_three_digits_that_count(value, text):
    assert engine.short(value) == text


def test_a_row_that_does_not_fit_is_refused(capsys):
    table = engine.Table("title", ["a", "b"], "note")
    table.add("x", engine.Figure([1.0]))
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        table.add("x")
    assert capsys.readouterr().out.strip() == table.markdown().strip()


def test_a_peer_that_cannot_start_says_why(tmp_path):
    from benchmarks.protocol import Peer, PeerError

    with pytest.raises(PeerError, match="No module named"):
        Peer(sys.executable, "benchmarks.nobody", {}, 1, tmp_path)


@pytest.mark.parametrize(
    ("end", "why"),
    [("sys.exit('out of luck')", r"out of luck \(ended with 1\)"), ("os.kill(os.getpid(), 9)", "SIGKILL.* memory")],
)
def test_a_peer_that_dies_says_why_however_often_it_is_asked(end, why, tmp_path):
    from benchmarks.protocol import Peer, PeerError

    lines = "import os, sys", "from benchmarks.protocol import serve", f"serve(lambda options: ({{}}, lambda: {end}))"
    (tmp_path / "dying.py").write_text("\n".join(lines))
    with Peer(sys.executable, "dying", {}, 1, tmp_path) as peer:
        for _ in range(2):
            with pytest.raises(PeerError, match=why):
                peer()


@pytest.mark.slow
def test_what_was_measured_before_a_contender_dies_is_written(tmp_path):
    words = ["--quick", "--repeats", "1", "--device", "cpu", "--threads", "1", "--only", "peers"]
    command = [sys.executable, "-m", "benchmarks", *words, "--output", str(tmp_path / "table")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        kill = ["pkill", "-KILL", "-P", str(run.pid), "-f", "benchmarks.contender"]
        while run.poll() is None and subprocess.run(kill).returncode:
            time.sleep(0.1)
        said = run.communicate()[1]
    assert run.returncode == 1
    assert "SIGKILL" in said and "Traceback" not in said
    tables = {table["title"]: table["rows"] for table in json.loads((tmp_path / "table.json").read_text())["tables"]}
    assert tables["Limits"] and tables.keys() == {"Limits", *EXPECTED["peers"]}
    assert "### Limits" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize("name", ["lenet5", "crater_original", "unet", "pix2pix"])
def test_networks_in_keras_are_ours(name):
    keras = pytest.importorskip("keras", reason="needs TensorFlow: pip install 'lit_hep[bench]'")
    from benchmarks.keras_peer import NETWORKS
    from benchmarks.workloads import WORKLOADS, build

    shape = {"lenet5": (32, 32, 2), "crater_original": (48, 48, 1), "unet": (256, 256, 3), "pix2pix": (128, 128, 3)}
    inputs = keras.Input(shape[name])
    theirs = keras.Model(inputs, NETWORKS[name](keras.layers, inputs))
    ours, _ = build(WORKLOADS[name].configs)
    assert sum(weight.numel() for weight in ours.net.parameters()) == sum(
        int(weight.value.numpy().size) for weight in theirs.trainable_weights
    )
