"""Weights to start a training from: which are taken, and what is said about the others."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from ppdet.core.workspace import AttrDict
from ppdet.utils import checkpoint
from small_runs import STEPS, SmallRuns

from paddle_focal.data.checks import preflight
from paddle_focal.engine import pretrained
from paddle_focal.errors import ToolError


class Detector(paddle.nn.Layer):
    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.backbone = paddle.nn.Sequential(paddle.nn.Conv2D(2, 3, 1), paddle.nn.BatchNorm2D(3))
        self.head = paddle.nn.Linear(3, classes)


@pytest.fixture
def trainer():
    paddle.seed(1)
    return SimpleNamespace(model=Detector(), is_loaded_weights=False)


@pytest.fixture
def saved(tmp_path):
    """Saves tensors under a name, and gives the path."""

    def save(state: dict, name: str = "start.pdparams") -> Path:
        paddle.save(state, str(tmp_path / name))
        return tmp_path / name

    return save


def zipped(path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")


def tensors(model: paddle.nn.Layer) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in model.state_dict().items()}


def states() -> dict[str, dict]:
    paddle.seed(2)
    whole, other = Detector().state_dict(), Detector(classes=5).state_dict()
    backbone = {key: value for key, value in whole.items() if key.startswith("backbone.")}
    return {
        "whole": whole,
        "other classes": other,
        "backbone": backbone,
        "backbone without its prefix": {key.removeprefix("backbone."): value for key, value in backbone.items()},
        "backbone with a classifier": {**backbone, "fc.weight": paddle.ones([3, 9])},
        "another dtype": {key: value.astype("float64") for key, value in whole.items()},
        "arrays": {key: value.numpy() for key, value in whole.items()},
    }


@pytest.mark.parametrize("kind", states())
def test_the_tensors_that_ppdet_takes(trainer, saved, kind):
    path = saved(states()[kind])
    expected = Detector()
    expected.set_state_dict(trainer.model.state_dict())
    checkpoint.load_pretrain_weight(expected, str(path))
    assert any((tensors(trainer.model)[key] != value).any() for key, value in tensors(expected).items())
    pretrained.load_into(trainer, str(path))
    for key, value in tensors(expected).items():
        np.testing.assert_array_equal(tensors(trainer.model)[key], value, err_msg=key)


@pytest.mark.parametrize(
    ("kind", "account"),
    [
        ("whole", "has 8 of the model's 8 tensors"),
        (
            "other classes",
            "has 6 of the model's 8 tensors; 2 start anew: head.weight (of another shape), head.bias (of another shape)"
            "; 2 of the file are not used: head.weight, head.bias",
        ),
        ("backbone without its prefix", "has 6 of the model's 8 tensors; 2 start anew: head.weight, head.bias"),
        (
            "backbone with a classifier",
            "has 6 of the model's 8 tensors; 2 start anew: head.weight, head.bias; 1 of the file are not used: "
            "fc.weight",
        ),
    ],
)
def test_one_line_says_what_was_taken(trainer, saved, caplog, kind, account):
    path = saved(states()[kind])
    with caplog.at_level("INFO"):
        pretrained.load_into(trainer, str(path))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", f"Weights to start from: {path} {account}")
    ]


def test_nothing_fits(trainer, saved):
    before = tensors(trainer.model)
    path = saved({**{f"layer{i}.weight": paddle.ones([2, 2]) for i in range(4)}, "epoch": 3})
    message = (
        rf"^Nothing in {path} fits the model: its 4 tensors are layer0.weight, layer1.weight, layer2.weight, ...; the "
        r"model's 8 are backbone.0.weight, .*pretrain_weights=null; a ResNet .*$"
    )
    with pytest.raises(ToolError, match=message):
        pretrained.load_into(trainer, str(path))
    with pytest.raises(ToolError, match="its 0 tensors are none"):
        pretrained.load_into(trainer, str(saved({"state_dict": {"a": paddle.ones([1])}})))
    for key, value in tensors(trainer.model).items():
        np.testing.assert_array_equal(value, before[key])


def test_tensors_with_several_places(trainer, saved):
    trainer.model.other = paddle.nn.Sequential(paddle.nn.Conv2D(2, 3, 1))
    with pytest.raises(ToolError, match=r"start.pdparams fits the model in more than one way: Ambiguity weight 0.wei"):
        pretrained.load_into(trainer, str(saved({"0.weight": paddle.ones([3, 2, 1, 1])})))


def test_what_paddleslim_has_loaded_is_kept(trainer):
    trainer.is_loaded_weights = True
    pretrained.load_into(trainer, "nowhere")
    pretrained.check(AttrDict(pretrain_weights="nowhere", model=trainer.model))


@pytest.mark.parametrize("given", ["start", "start.pdparams", "start.pdopt", "start.v1.2", "start.v1.2.pdparams"])
def test_names(saved, tmp_path, given):
    name = "start.v1.2.pdparams" if "v1" in given else "start.pdparams"
    path = saved({}, name)
    assert pretrained.find(str(tmp_path / given)) == path


def before_1_6(path: Path) -> None:
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(1001, protocol=2))


def since_1_6(path: Path) -> None:
    zipped(path, ["archive/data.pkl", "archive/version"])


@pytest.mark.parametrize(
    ("name", "write"), [("resnet50.pth", Path.touch), ("old.pdparams", before_1_6), ("new.pdparams", since_1_6)]
)
def test_of_pytorch(tmp_path, name, write):
    write(tmp_path / name)
    with pytest.raises(ToolError, match=rf"^{tmp_path / name} is a file of PyTorch's, whose tensors have other names"):
        pretrained.check(AttrDict(pretrain_weights=str(tmp_path / name)))


@pytest.mark.parametrize("name", ["none.pdparams", "none", "none.pth", "."])
def test_missing(tmp_path, name):
    with pytest.raises(ToolError, match=r"^There are no weights .*\.pdparams\. Name another file with -o pretrain_"):
        pretrained.find(str(tmp_path / name))


def test_damaged(tmp_path, saved):
    path = saved(states()["whole"])
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ToolError, match=r"start.pdparams cannot be read: "):
        pretrained.check(AttrDict(pretrain_weights=str(path)))
    zipped(path, ["readme.txt"])
    with pytest.raises(ToolError, match=r"start.pdparams cannot be read: "):
        pretrained.check(AttrDict(pretrain_weights=str(path)))


@pytest.mark.parametrize("url", ["https://host/models/start.pdparams", "ppdet://models/start.pdparams"])
def test_urls_are_ppdets_to_download(saved, monkeypatch, url):
    path, asked = saved({}), []
    monkeypatch.setattr(checkpoint, "get_weights_path", lambda url: asked.append(url) or str(path))
    assert pretrained.find(url) == path
    assert asked == [url]

    def fail(url: str) -> str:
        raise RuntimeError("no route to host")

    monkeypatch.setattr(checkpoint, "get_weights_path", fail)
    with pytest.raises(ToolError, match=rf"^{url} could not be downloaded: no route to host. Name another file"):
        pretrained.find(url)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", "There are no weights {}.pdparams. Name another file with -o pretrain_weights=FILE"),
        ("resnet50.pth", "{} is a file of PyTorch's, whose tensors have other names"),
    ],
)
def test_a_mistake_is_known_before_data_is_read(small_runs: SmallRuns, tmp_path, caplog, monkeypatch, name, words):
    monkeypatch.setattr(preflight, "check_data", lambda *_: pytest.fail("data is read"))
    (tmp_path / "resnet50.pth").touch()
    with pytest.raises(SystemExit) as end:
        small_runs.train(f"pretrain_weights={tmp_path / name}")
    assert end.value.code == 1
    assert caplog.messages[-1].startswith(words.format(tmp_path / name))


def test_weights_of_another_model_end_a_run(small_runs: SmallRuns, saved, caplog):
    with pytest.raises(SystemExit) as end:
        small_runs.train(f"pretrain_weights={saved({'a': paddle.ones([2])})}")
    assert end.value.code == 1
    assert "fits the model: its 1 tensors are a; the model's" in caplog.text
    assert small_runs.images == []


def test_a_resumed_run_needs_them_no_more(small_runs: SmallRuns, tmp_path):
    small_runs.train("epoch=1")
    small_runs.resume(f"pretrain_weights={tmp_path / 'none'}")
    assert len(small_runs.images) == STEPS
