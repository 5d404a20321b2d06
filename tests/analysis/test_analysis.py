"""The loss distribution against closed forms, and the analysis of a small RetinaNet against the oracle."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import cv2
import mpmath
import numpy as np
import oracle
import paddle
import pytest
from matplotlib.figure import Figure

pytest.importorskip("ppdet")

import two_ranks
from paddle import nn
from paddle_limits import needs_boxless_retina_head
from two_ranks import CLASSES, SIZE, STRIDES, create_head

from paddle_focal.analysis import analyze as analysis
from paddle_focal.analysis import loss_distribution
from paddle_focal.analysis.loss_analysis import GAMMAS, LossAnalysis, summary
from paddle_focal.analysis.loss_distribution import LossHistogram, draw_distribution
from paddle_focal.cli import analyze as command
from paddle_focal.data.annotations import evenly_spaced
from paddle_focal.engine import runtime
from paddle_focal.errors import ToolError

CONFIG = Path(__file__).resolve().parents[2] / "configs/retinanet_r18_fpn_digits.yml"

pytestmark = pytest.mark.usefixtures("workspace_copy")


def histogram(*losses) -> LossHistogram:
    result = LossHistogram()
    for part in losses:
        result.add(np.asarray(part, "float32"))
    return result


def exact_share_of_hardest(losses: np.ndarray, fraction: float) -> float:
    ordered = np.sort(losses)
    return 1 - np.interp(1 - fraction, np.arange(len(ordered) + 1) / len(ordered), np.r_[0, ordered.cumsum()]) / sum(
        ordered
    )


class TestLossHistogram:
    def test_two_kinds_of_samples(self):
        # The last hundredth has 99 of 198.
        losses = histogram(np.ones(99), [99.0])
        fractions, shares = losses.cumulative()
        np.testing.assert_allclose(fractions, [0, 0.99, 1])
        np.testing.assert_allclose(shares, [0, 0.5, 1])
        assert losses.share_of_hardest(0.01) == pytest.approx(0.5)
        assert (losses.count, losses.total) == (100, pytest.approx(198))
        small = histogram(np.full(99, 1e-5), [0.01])  # as little as a part of what a single anchor has
        assert small.share_of_hardest(0.01) == pytest.approx(1000 / 1099)

    def test_uniform(self):
        # Losses uniform in [0, 1]: the easiest fraction f carries f ** 2.
        fractions, shares = histogram(np.linspace(0, 1, 100_001)).cumulative()
        np.testing.assert_allclose(shares, fractions**2, atol=1e-4)

    def test_exponential_in_parts(self, rng):
        # Exponential losses: the hardest fraction f carries f * (1 - log(f)).
        losses = histogram(*rng.exponential(size=(100, 10_000)))
        assert losses.share_of_hardest(0.01) == pytest.approx(0.01 * (1 - np.log(0.01)), rel=0.01)

    def test_zeros_and_extremes(self):
        losses = histogram(np.zeros(50), np.full(50, 1e7), np.full(100, 1e-38))
        assert losses.share_of_hardest(0.25) == pytest.approx(1)
        assert losses.share_of_hardest(0.125) == pytest.approx(0.5)

    def test_no_loss_at_all(self):
        with pytest.raises(ValueError, match=r"^the loss of 3 samples is 0\.0: nobody has a share of it$"):
            histogram(np.zeros(3)).cumulative()


class TinyRetinaNet(nn.Layer):
    """The features are the batch's own; logits that differ, many of them far from the prior."""

    def __init__(self, head: str) -> None:
        super().__init__()
        self.backbone = lambda batch: batch["features"]
        self.neck = lambda features: features
        self.head = create_head(head)
        self.head.retina_cls.weight.set_value(1000 * self.head.retina_cls.weight)


def batches(rng, boxes: list[int]) -> list[dict]:
    result = []
    for image_id, image in enumerate(two_ranks.images(boxes)):
        shapes = [(1, two_ranks.CHANNELS, SIZE // stride, SIZE // stride) for stride in STRIDES]
        image["features"] = [paddle.to_tensor(rng.normal(size=shape).astype("float32")) for shape in shapes]
        image["im_id"] = paddle.to_tensor([[image_id]])
        result.append(image)
    return result


@paddle.no_grad()
def logits_and_labels(model, batch) -> tuple[np.ndarray, np.ndarray]:
    """``[M, C]`` and ``[M]`` (C: background, -1: ignored), in PaddleDetection's way and order."""
    logits = model.head(batch["features"])[0]
    anchors = paddle.concat(model.head.anchor_generator(logits))
    match, label = model.head.bbox_assigner(anchors, batch["gt_bbox"][0])
    classes = np.r_[batch["gt_class"][0].numpy().ravel(), CLASSES]
    label, match = label.numpy(), match.numpy()
    flat = [logit.transpose([0, 2, 3, 1]).reshape([-1, CLASSES]).numpy() for logit in logits]
    return np.concatenate(flat), np.where(label == 1, classes[np.where(label == 1, match, -1)], (label == 0) * 5 - 1)


def oracle_losses(logits: np.ndarray, labels: np.ndarray, gamma: float) -> np.ndarray:
    """The loss of each anchor, summed over the classes."""
    with mpmath.workdps(20):
        return np.array(
            [
                float(sum(oracle.element(float(x), int(c == label), 0.25, gamma) for c, x in enumerate(row)))
                for row, label in zip(logits, labels)
            ]
        )


@pytest.mark.parametrize("head", [pytest.param("RetinaHead", marks=needs_boxless_retina_head), "FocalRetinaHead"])
def test_analysis_against_the_oracle(rng, head):
    paddle.seed(0)
    model = TinyRetinaNet(head)
    model.eval()
    inputs = batches(rng, [3, 1, 0])
    loss_analysis = LossAnalysis(model)
    for batch in inputs:
        loss_analysis.add(batch)
    results = loss_analysis.results(["a", "b", "c", "d"], {i: f"{i}.png" for i in range(3)})

    images = [logits_and_labels(model, batch) for batch in inputs]
    labels = np.concatenate([label for _, label in images])
    foreground, background = (labels >= 0) & (labels < CLASSES), labels == CLASSES
    assert results["anchors"] == {
        "foreground": foreground.sum(),
        "background": background.sum(),
        "ignored": (labels == -1).sum(),
    }
    assert (labels == -1).sum() > 0
    objects = np.concatenate([batch["gt_class"][0].numpy().ravel() for batch in inputs])
    assert [row["objects"] for row in results["classes"]] == np.bincount(objects, minlength=CLASSES).tolist()
    assert [row["foreground_anchors"] for row in results["classes"]] == [(labels == c).sum() for c in range(CLASSES)]

    assert [row["gamma"] for row in results["gammas"]] == list(GAMMAS)
    for row in results["gammas"][::3]:  # 0 and 2
        losses = np.concatenate([oracle_losses(*image, row["gamma"]) for image in images])
        kept = losses[foreground | background].sum()
        assert loss_analysis.foreground[row["gamma"]].total == pytest.approx(losses[foreground].sum(), rel=1e-4)
        assert loss_analysis.background[row["gamma"]].total == pytest.approx(losses[background].sum(), rel=1e-4)
        assert row["foreground_share"] == pytest.approx(losses[foreground].sum() / kept, rel=1e-4)
        assert row["background_share"] == pytest.approx(losses[background].sum() / kept, rel=1e-4)
        for kind, chosen in (("foreground", foreground), ("background", background)):
            share = exact_share_of_hardest(losses[chosen], 0.01)
            assert row[f"{kind}_hardest_share"] == pytest.approx(share, rel=0.02)

    # ``losses`` are those of gamma 2, with which the model is trained: an image's own are divided by its foreground.
    expected = {}
    for image_id, (part, (_, label)) in enumerate(zip(np.split(losses, 3), images)):
        is_foreground = (label >= 0) & (label < CLASSES)
        expected[image_id] = part[label >= 0].sum() / max(1, is_foreground.sum())
    for image in results["images"]:
        assert image["file_name"] == f"{image['image_id']}.png"
        assert image["loss_cls"] == pytest.approx(expected[image["image_id"]], rel=1e-4)
        assert image["loss"] == pytest.approx(image["loss_cls"] + image["loss_reg"])
    losses = [image["loss"] for image in results["images"]]
    assert losses == sorted(losses, reverse=True)
    assert results["images"][0]["image_id"] == 2  # nothing divides the loss of an image without boxes
    assert loss_analysis.images[2]["loss_reg"] == 0

    text = summary(results)
    assert f"{foreground.sum()} foreground" in text
    assert text.count("as trained") == 1
    assert f"{results['images'][0]['file_name']} {losses[0]:.2f}" in text
    json.dumps(results)


def test_a_rarer_class_is_suggested_a_greater_alpha(rng):
    model = TinyRetinaNet("FocalRetinaHead")
    model.eval()
    loss_analysis = LossAnalysis(model)
    loss_analysis.add(batches(rng, [3])[0])
    loss_analysis.objects = np.array([10, 20, 0, 40])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the table says which classes have no objects
        results = loss_analysis.results(["a", "b", "c", "d"], {0: "0.png"})
    # Weights proportional to 4, 2 and 1 of mean 1, at the odds 1/3: w / (3 + w); 0.25 where nothing is known.
    expected = [12 / 7 / (3 + 12 / 7), 6 / 7 / (3 + 6 / 7), 0.25, 3 / 7 / (3 + 3 / 7)]
    assert [row["suggested_alpha"] for row in results["classes"]] == pytest.approx(expected)
    rows = [line.split() for line in summary(results).splitlines() if line[:2] in ("a ", "b ", "c ", "d ")]
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("a", "10", "0.3636"),
        ("b", "20", "0.2222"),
        ("c", "0", "0.2500"),
        ("d", "40", "0.1250"),
    ]


def test_a_gamma_of_its_own_joins_the_others(rng):
    model = TinyRetinaNet("FocalRetinaHead")
    model.head.loss_class.gamma = 1.5
    model.eval()
    loss_analysis = LossAnalysis(model)
    loss_analysis.add(batches(rng, [3])[0])
    results = loss_analysis.results(["a", "b", "c", "d"], {0: "0.png"})
    assert results["gamma"] == 1.5
    assert [row["gamma"] for row in results["gammas"]] == [0, 0.5, 1, 1.5, 2, 5]
    for losses in (loss_analysis.foreground, loss_analysis.background):
        totals = [losses[gamma].total for gamma in (1, 1.5, 2)]
        assert totals == sorted(totals, reverse=True)  # a greater gamma, a smaller loss


def test_other_models_are_refused():
    with pytest.raises(ValueError, match=r"only a RetinaNet can be analyzed, .* configuration is Linear$"):
        LossAnalysis(nn.Linear(1, 1))
    model = nn.Linear(1, 1)
    model.head = nn.ReLU()
    with pytest.raises(ValueError) as error:  # noqa: PT011 - its text follows
        LossAnalysis(model)
    assert str(error.value) == (
        "only a RetinaNet can be analyzed, with the head RetinaHead or FocalRetinaHead; "
        "the architecture of this configuration is Linear with ReLU"
    )


def test_images_without_any_box(rng):
    model = TinyRetinaNet("FocalRetinaHead")
    model.eval()
    grads = []
    model.neck = lambda features: grads.append(paddle.is_grad_enabled()) or features
    loss_analysis = LossAnalysis(model)
    loss_analysis.add(batches(rng, [0])[0])
    assert grads == [False]  # whose graphs would take memory
    with pytest.raises(ValueError, match="1 images with 0 objects have no foreground anchors"):
        loss_analysis.results(["a", "b", "c", "d"], {0: "0.png"})


def test_the_images_of_an_analysis(small_runs, monkeypatch, capsys):
    drawn, categories, distributions, bars = [], [], [], []
    assert analysis.SHEET == 12
    monkeypatch.setattr(analysis, "SHEET", 2)
    monkeypatch.setattr(analysis, "tqdm", lambda batches, **options: bars.append(options) or batches)
    monkeypatch.setattr(analysis, "get_infer_results", lambda _, ids: categories.append(ids) or {"bbox": [len(ids)]})
    monkeypatch.setattr(analysis.report, "draw_images", lambda *arguments: drawn.append(arguments))
    monkeypatch.setattr(analysis, "draw_distribution", lambda *arguments: distributions.append(arguments))
    small_runs.train("epoch=1")
    small_runs.analyze(f"weights={small_runs.folder / 'model_final'}", flags=["--images", "3"])
    assert bars == [{"desc": "analyze", "unit": "image", "total": 3, "dynamic_ncols": True}]
    results = json.loads(text := (small_runs.folder / "analysis.json").read_text())
    assert (text[:6], text[-2:]) == ('{\n  "w', "}\n")
    files = "analysis.json, loss_distribution.png, hardest_images.png"
    assert f"{summary(results)}\n\n{small_runs.folder}: {files}\n" in capsys.readouterr().out
    assert sorted(image["image_id"] for image in results["images"]) == [1, 7, 12]  # of twelve, evenly spaced
    listed = json.loads((small_runs.data / "annotations/instances_train.json").read_text())["images"]
    names = {image["id"]: image["file_name"] for image in listed}
    assert all(image["file_name"] == names[image["image_id"]] for image in results["images"])
    # The transforms of evaluation make 96 pixels of the images' 64.
    assert sum(results["anchors"].values()) == 3 * 9 * (12**2 + 6**2 + 3**2)
    ((_, titles, folder, found, name, path),) = drawn
    numbers = [[image[key] for key in ("loss", "loss_cls", "loss_reg")] for image in results["images"][:2]]
    assert list(titles.items()) == [
        (image["image_id"], "{}\nloss {:.2f} = {:.2f} class + {:.2f} box".format(image["file_name"], *three))
        for image, three in zip(results["images"], numbers)
    ]
    assert (folder, name) == (str(small_runs.data / "train"), "Images with the highest loss")
    assert categories == [{label: label + 1 for label in range(10)}] * 2
    assert found == [10, 10]
    assert path == small_runs.folder / "hardest_images.png"
    assert results["weights"] == str(small_runs.folder / "model_final")
    assert results["annotations"] == str(small_runs.data / "annotations/instances_train.json")
    ((panels, title, path),) = distributions
    assert title == "Cumulative classification loss; trained with $\\gamma$ = 2"
    counts = {kind: results["anchors"][kind] for kind in ("foreground", "background")}
    assert list(panels) == [f"{count:,} {kind} anchors" for kind, count in counts.items()]
    assert [losses[2.0].count for losses in panels.values()] == list(counts.values())
    assert path == small_runs.folder / "loss_distribution.png"


def test_distribution_picture(tmp_path, rng):
    panels = {"one": {0.0: histogram(rng.exponential(size=99))}, "other": {0.0: histogram(np.ones(9))}}
    draw_distribution(panels, "title", tmp_path / "loss_distribution.png")
    assert cv2.imread(str(tmp_path / "loss_distribution.png")).shape == (505, 1100, 3)


def test_what_the_distribution_picture_shows(monkeypatch, tmp_path):
    """A hundred losses: one of 99 carries half of what they weigh together, of which the others have 1 each."""
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    monkeypatch.setattr(loss_distribution, "write_whole", lambda path, write: write(path))
    one, equal = histogram(np.array([99.0] + [1.0] * 99)), histogram(np.ones(100))
    draw_distribution({"one": {0.0: one, 1.5: equal}, "other": {2.0: equal}}, "title", tmp_path / "picture.png")
    first, second = drawn[0].axes
    texts = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in (first, second)]
    assert texts == [["$\\gamma$ = 0: 50%", "$\\gamma$ = 1.5: 1%"], ["$\\gamma$ = 2: 1%"]]
    assert [axes.get_title() for axes in (first, second)] == ["one", "other"]
    assert drawn[0].get_suptitle() == "title"
    assert first.get_legend().get_title().get_text() == "the hardest 1% carry"
    assert first.get_xlabel() == "fraction of these anchors, easiest first"
    assert first.get_ylabel() == "share of the loss that they carry"
    for axes, line, shares in ((first, 0, (0, 0.5, 1)), (second, 0, (0, 1))):
        x, y = axes.lines[line].get_data()
        assert (x[0], x[-1]) == (0, 1)
        assert list(y) == pytest.approx(shares)
        assert (axes.get_xlim(), axes.get_ylim()) == ((0, 1), (0, 1))
        assert {line.get_alpha() for line in axes.get_xgridlines() + axes.get_ygridlines()} == {0.3}
    assert len(first.lines) == 2
    assert first.get_shared_y_axes().joined(first, second)
    assert first.lines[0].get_color().tolist() != first.lines[1].get_color().tolist()


@pytest.mark.parametrize(("total", "count", "indices"), [(4, 3, [0, 2, 3]), (3, 9, [0, 1, 2]), (4, 1, [0]), (0, 3, [])])
def test_evenly_spaced(total, count, indices):
    assert evenly_spaced(total, count) == indices


class TestErrors:
    @pytest.fixture
    def config(self, tmp_path):
        def load(*options):
            flags = command.make_parser().parse_args(["-c", str(CONFIG), "-o", f"save_dir={tmp_path}", *options])
            return runtime.load_config(flags)

        return load

    def test_weights(self, config, tmp_path):
        with pytest.raises(ToolError, match="no weights: name a checkpoint with -o weights=FILE"):
            analysis.load_model(config("weights=null"))
        with pytest.raises(ToolError, match=r"no such weights: nowhere/model_final\.pdparams"):
            analysis.load_model(config("weights=nowhere/model_final"))
        paddle.save({}, str(tmp_path / "other.pdparams"))
        with pytest.raises(ToolError, match=r"other\.pdparams is of another model .* of \d+ tensors, \d+ do not"):
            analysis.load_model(config(f"weights={tmp_path / 'other.pdparams'}"))

    def test_images_have_their_own_divisor(self, config, tmp_path):
        options = config("FocalRetinaHead.normalizer=ema", f"weights={tmp_path / 'model'}")
        paddle.save(runtime.workspace.create("RetinaNet").state_dict(), str(tmp_path / "model.pdparams"))
        model = analysis.load_model(options)
        assert model.head.normalizer.mode == "local"
        assert not model.training

    def test_empty_data_set(self, config, tmp_path):
        (tmp_path / "empty.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
        (tmp_path / "train").mkdir()
        options = config(f"TrainDataset.dataset_dir={tmp_path}", "TrainDataset.anno_path=empty.json")
        with pytest.raises(ToolError, match="TrainDataset is empty: "):
            analysis.load_dataset(options, "TrainDataset")

    def test_what_the_analysis_refuses(self, monkeypatch, tmp_path):
        def refuse(config):
            raise ValueError("the model must be a RetinaNet")

        monkeypatch.setattr(analysis, "load_model", refuse)
        with pytest.raises(ToolError, match="the model must be a RetinaNet"):
            analysis.analyze(SimpleNamespace(save_dir=str(tmp_path), filename="run"), "TrainDataset", 1)

    def test_number_of_images(self, capsys):
        with pytest.raises(SystemExit):
            command.make_parser().parse_args(["-c", str(CONFIG), "--images", "0"])
        assert "argument --images: must be an integer >= 1, but got '0'" in capsys.readouterr().err


SUMMARY = """\
1,234 images; anchors: 5,678 foreground, 9 background

Classification loss with alpha 0.25: the share of each kind of anchor, and how much of that its hardest 1% carry

gamma   foreground  its hardest   background  its hardest
  0.5        12.3%        45.6%        87.7%         7.9%
    2        60.0%         2.0%        40.0%       100.0%  as trained

class   objects   anchors  suggested alpha
car       1,000     2,000           0.2500
zebra         3         4           0.9000

Highest loss of an image: 0.png 9.12, 1.png 3.00, 2.png 2.00"""


def test_the_whole_summary():
    gammas = [(0.5, 0.123, 0.456, 0.877, 0.0789), (2.0, 0.6, 0.02, 0.4, 1.0)]
    names = ("gamma", "foreground_share", "foreground_hardest_share", "background_share", "background_hardest_share")
    classes = [("car", 1000, 2000, 0.25), ("zebra", 3, 4, 0.9)]
    images = [{"file_name": f"{i}.png", "loss": loss} for i, loss in enumerate([9.123, 3.0, 2.0, *[1.0] * 1231])]
    results = {
        "anchors": {"foreground": 5678, "background": 9},
        "images": images,
        "alpha": 0.25,
        "gamma": 2.0,
        "gammas": [dict(zip(names, row)) for row in gammas],
        "classes": [dict(zip(("name", "objects", "foreground_anchors", "suggested_alpha"), row)) for row in classes],
    }
    assert summary(results) == SUMMARY
