"""Start-up, run folders, TensorBoard."""

import json
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image
from runs import table

import lit_hep
from lit_hep.cli import main

COMMANDS = ["fit", "validate", "test", "predict", "show", "simulate", "prepare", "report", "export"]


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_public_names_come_when_asked_for():
    assert python("import sys, lit_hep; print(*{'torch', 'numpy', 'lightning'} & set(sys.modules))") == []
    assert set(dir(lit_hep)) >= {"CraterDataModule", "CraterSemiSup", "PseudoLabel"}
    assert all(isinstance(getattr(lit_hep, name), type) for name in dir(lit_hep))
    with pytest.raises(AttributeError, match="Nope"):
        _ = lit_hep.Nope


def test_help_imports_no_more_than_it_needs():
    code = "import sys\nfrom lit_hep.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
    late = "{'sklearn', 'h5py', 'imgaug', 'lit_hep.evaluation.figures', 'lit_hep.tasks.crater.module'}"
    words = python(code + f"print('LATE', *{late} & set(sys.modules))")
    assert words[words.index("LATE") :] == ["LATE"]
    assert set(COMMANDS) <= set(" ".join(words).replace(",", " ").split())


def test_an_unknown_command_is_told_all_there_are(capfd):
    with pytest.raises(SystemExit) as end:
        main(["nope"])
    words = capfd.readouterr().err
    assert end.value.code == 2
    assert all(name in words for name in COMMANDS)


CLAIM = "from lit_hep.training.run import RunLogger\nprint(RunLogger('task').version)"


def test_runs_that_start_together_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("checkpoints/task/version_4").mkdir(parents=True)  # of a run whose logs were deleted
    with ThreadPoolExecutor(3) as pool:
        claimed = [words[0] for words in pool.map(python, [CLAIM] * 3)]
    assert sorted(claimed) == ["5", "6", "7"]


@pytest.fixture
def home(tested_home):
    return tested_home


@pytest.fixture
def tensorboard(here):
    shutil.rmtree("tb_logs/crater/version_2")  # a copy
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        "tb_logs/crater",
        "--port",
        str(port),
        "--load_fast",
        "false",
    ]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(path, body=None, ready=bool, read=json.load):  # it reads file after file
        headers = {"Content-Type": "application/json"}
        request = Request(f"http://127.0.0.1:{port}/data/plugin/{path}", body and json.dumps(body).encode(), headers)
        for _ in range(60):
            try:
                answer = read(urlopen(request, timeout=10))
            except OSError:
                answer = None
            if answer and ready(answer):
                return answer
            time.sleep(1)
        raise AssertionError(f"TensorBoard does not answer {path}")

    yield ask
    server.kill()
    server.wait()


RUNS = "tb_logs/crater"


def test_tensorboard_shows_scalars_figures_and_hyperparameters(tensorboard):
    scalars = tensorboard("scalars/tags", ready=lambda found: len(found) == 2)["version_1"]
    assert {"train_loss", "val_loss", "val_auroc", "val_f1_macro", "lr-Adam", "stage"} <= set(scalars)
    points = tensorboard("scalars/scalars?run=version_1&tag=val_loss")
    assert len(points) == 2
    wanted = {"val/roc", "val/confusion_matrix", "val/learning_curves", "val/gallery", "test/roc", "test/mistakes"}
    tensorboard("images/tags", ready=lambda found: len(found) == 2 and all(wanted <= set(found[run]) for run in found))
    (figure,) = tensorboard("images/images?run=version_1&tag=test/roc&sample=0")
    shown = tensorboard(
        f"images/individualImage?{figure['query']}", read=lambda answer: Image.open(BytesIO(answer.read()))
    )
    assert shown.format == "PNG" and np.array_equal(shown, Image.open(f"{RUNS}/version_1/test/figures/roc.png"))
    experiment = tensorboard("hparams/experiment", {"experimentName": ""})
    names = {entry["name"] for entry in experiment["hparamInfos"]}
    assert {"net", "batch_size", "optimizer/class_path", "label_fraction"} <= names
    asked = {"colParams": [{"metric": entry["name"]} for entry in experiment["metricInfos"]], "sliceSize": 10}
    asked |= {"experimentName": "", "startIndex": 0, "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS"]}
    groups = {
        group["sessions"][0]["name"]: group
        for group in tensorboard("hparams/session_groups", asked, lambda found: len(found["sessionGroups"]) == 2)[
            "sessionGroups"
        ]
    }
    for run, rate in ((0, 0.0003), (1, 0.003)):
        group = groups[f"version_{run}"]
        assert group["hparams"]["optimizer/init_args/lr"] == rate
        final = {metric["name"]["tag"]: metric["value"] for metric in group["metricValues"]}
        rows = [
            {name: float(row[name]) for name in ("val_loss", "val_auroc")} for row in table(f"{RUNS}/version_{run}")
        ]
        best = min(rows, key=lambda row: row["val_loss"])
        assert {name: final[f"final/{name}"] for name in best} == pytest.approx(best, rel=1e-5)
