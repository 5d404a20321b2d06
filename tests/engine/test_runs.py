"""Training runs and evaluations in this process: what the flags do, what is logged, and when a run stops."""

from __future__ import annotations

import contextlib
import json
import math
import pickle
import signal
from pathlib import Path
from types import SimpleNamespace

import paddle
import pytest

pytest.importorskip("ppdet")

from ppdet.data.source.coco import COCODataSet
from ppdet.engine.callbacks import LogPrinter
from processes import scalars
from small_runs import BATCH, STEPS, SmallRuns, assert_same_content

from paddle_focal.detection.heads.retina_head import FocalRetinaHead
from paddle_focal.engine import checkpoint, reading, training
from paddle_focal.engine.hooks.interruption import Interrupted

VALIDATION_LOSS = "FocalRetinaHead.is_inference_output=true"
GAMMA = "gamma_schedule={kind: linear, gammas: [0.5, 3.0], epochs: [0, 3], by: iteration}"


def metrics_of(folder: Path) -> dict[str, float]:
    return json.loads((folder / "metrics.json").read_text())


def validation_loss(runs: SmallRuns, name: str, folder: Path) -> float:
    """Of a checkpoint, by ``tools/eval.py``."""
    runs.evaluate(VALIDATION_LOSS, f"weights={runs.folder / name}", save_dir=folder)
    return metrics_of(folder / runs.folder.name)["val_loss"]


class TestEvaluation:
    def test_final_weights(self, small_runs: SmallRuns, tmp_path, caplog):
        small_runs.train(VALIDATION_LOSS, final_eval=True)
        assert small_runs.evaluated == 1
        loss = metrics_of(small_runs.folder)["val_loss"]
        assert loss == pytest.approx(validation_loss(small_runs, "model_final", tmp_path / "last"), rel=1e-6)
        assert loss != pytest.approx(validation_loss(small_runs, "0", tmp_path / "first"), rel=1e-4)
        assert len(small_runs.records()) == 2 * STEPS

    def test_every_snapshot(self, small_runs: SmallRuns, tmp_path):
        small_runs.train(VALIDATION_LOSS, "epoch=3", "snapshot_epoch=2", flags=["--eval"], final_eval=True)
        assert small_runs.evaluated == 2  # and not once more at the end
        records = [record for record in small_runs.records() if "bbox_AP" in record]
        assert [(record["epoch"], record["iteration"]) for record in records] == [(2, 2 * STEPS), (3, 3 * STEPS)]
        assert small_runs.drawn == (list(range(1, 3 * STEPS + 1)), [2 * STEPS, 3 * STEPS])
        for record, name in zip(records, ("1", "model_final")):
            expected = validation_loss(small_runs, name, tmp_path / name)
            assert record["val_loss"] == pytest.approx(expected, rel=1e-6)
        last = {key: value for key, value in records[-1].items() if key not in ("epoch", "iteration")}
        assert metrics_of(small_runs.folder) == last

    def test_none_at_all(self, small_runs: SmallRuns):
        small_runs.train("epoch=1")
        assert small_runs.evaluated == 0
        assert not (small_runs.folder / "metrics.json").exists()
        assert (small_runs.folder / "model_final.pdparams").exists()

    def test_without_a_validation_set(self, small_runs: SmallRuns, caplog):
        small_runs.train("epoch=1", "EvalDataset.anno_path=annotations/none.json", final_eval=True)
        assert small_runs.evaluated == 0
        assert "The final weights are not evaluated: there is no" in caplog.text

    def test_predictions_only(self, small_runs: SmallRuns):
        small_runs.train("epoch=1", flags=["--eval", "--save_prediction_only"], final_eval=True)
        assert small_runs.evaluated == 0
        assert not (small_runs.folder / "metrics.json").exists()
        assert all("bbox_AP" not in record for record in small_runs.records())

    def test_detections_of_an_earlier_evaluation_are_gone(self, small_runs: SmallRuns):
        old = small_runs.folder / "bbox.json"
        old.parent.mkdir()
        old.write_text("[]")
        small_runs.train("epoch=1", "LearningRate.base_lr=1.0e-9", final_eval=True)  # which detects nothing
        assert not old.exists()


class TestEarlyStop:
    def test_by_the_validation_loss(self, small_runs: SmallRuns, caplog, monkeypatch):
        ended = []
        monkeypatch.setattr(LogPrinter, "on_train_end", lambda _, status: ended.append(status["epoch_id"]))
        small_runs.script_ap(0.1, 0.2, 0.3)
        flags = ["--eval", "--early-stop", "1", "--early-stop-metric", "val_loss"]
        small_runs.train(VALIDATION_LOSS, "LearningRate.base_lr=0.0", "epoch=5", flags=flags, final_eval=True)
        best = next(record["val_loss"] for record in small_runs.records() if "val_loss" in record)
        message = f"no better val_loss for 1 evaluations; the best was {best:.4f}, after epoch 1"
        assert f"Stopped after epoch 2: {message}" in caplog.text
        assert small_runs.evaluated == 2  # the last one is that of the final weights
        assert ended == [1]
        assert small_runs.checkpoints() == {"0", "1", "model_final", "best_model"}
        assert small_runs.state() == small_runs.state("1")

    def test_only_where_it_is_asked_for(self, small_runs: SmallRuns):
        small_runs.script_ap(0.3, 0.2, 0.1)
        small_runs.train("epoch=3", flags=["--eval"])
        assert len(small_runs.images) == 3 * STEPS


class TestDataSets:
    """Those in use are checked before the training, and no others."""

    @pytest.fixture
    def broken(self, tmp_path):
        (tmp_path / "broken.json").write_text("[")
        return f"EvalDataset.anno_path={tmp_path / 'broken.json'}"

    def test_a_validation_set_that_is_not_used(self, small_runs: SmallRuns, broken):
        small_runs.train("epoch=1", broken)
        assert small_runs.checkpoints() == {"model_final"}

    @pytest.mark.parametrize("flags", [[], ["--eval"]])
    def test_one_that_is_used(self, small_runs: SmallRuns, broken, flags):
        with pytest.raises(SystemExit):
            small_runs.train("epoch=1", broken, flags=flags, final_eval=not flags)
        assert small_runs.images == []


def test_detections_are_where_they_are_asked_for(small_runs: SmallRuns, tmp_path, capfd):
    options = ["RetinaHead.nms.score_threshold=0.001"]
    small_runs.train("epoch=1", *options, final_eval=True)
    detections = json.loads((small_runs.folder / "bbox.json").read_text())
    assert {box["image_id"] for box in detections} == {1, 2, 3, 4}
    elsewhere = tmp_path / "elsewhere"
    options += [f"weights={small_runs.folder / 'model_final'}"]
    small_runs.evaluate(*options, flags=["--output_eval", str(elsewhere)], save_dir=tmp_path / "again")
    assert json.loads((elsewhere / "bbox.json").read_text()) == detections
    assert not list((tmp_path / "again").rglob("bbox.json"))
    assert metrics_of(tmp_path / "again" / small_runs.folder.name) == metrics_of(small_runs.folder)

    capfd.readouterr()
    (elsewhere / "bbox.json").write_text(json.dumps(perfect(small_runs.data)))
    small_runs.evaluate(flags=["--output_eval", str(elsewhere), "--json_eval"])
    assert "Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 1.000" in capfd.readouterr().out


def perfect(data: Path) -> list[dict]:
    """Detections that are the ground truth."""
    truth = json.loads((data / "annotations/instances_val.json").read_text())["annotations"]
    return [{**{key: box[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.9} for box in truth]


def test_visualdl_has_what_the_metrics_have(small_runs: SmallRuns, tmp_path):
    flags = ["--eval", "--use_vdl", "true", "--vdl_log_dir", str(tmp_path / "vdl")]
    small_runs.train(VALIDATION_LOSS, "gamma_schedule={kind: constant, gammas: [1.5], epochs: [0]}", flags=flags)
    recorded = scalars(tmp_path / "vdl")
    for name in ("learning_rate", "gamma", "foreground", "bbox_AP", "val_loss"):
        values = [(record["iteration"], record[name]) for record in small_runs.records() if name in record]
        assert recorded[name] == [(i, pytest.approx(value, rel=1e-6)) for i, value in values], name
        assert len(values) in (2, 2 * STEPS)


def first_losses(runs: SmallRuns, *flags: str) -> list[float]:
    """Of two runs, each after other random numbers."""
    losses = []
    for seed in (5, 7):
        paddle.seed(seed)
        runs.train("epoch=1", flags=flags)
        losses.append(runs.records()[0]["loss"])
    return losses


def test_only_enable_ce_seeds_the_run(small_runs: SmallRuns):
    assert len(set(first_losses(small_runs))) == 1  # small runs ask for it
    assert len(set(first_losses(small_runs, "--enable_ce", "false"))) == 2


def test_pretrained_weights_are_for_the_start_only(small_runs: SmallRuns, tmp_path):
    small_runs.train("LearningRate.base_lr=0.01")
    scratch = [record["loss"] for record in small_runs.records()]
    pretrained = tmp_path / "pretrained.pdparams"
    (small_runs.folder / "model_final.pdparams").rename(pretrained)
    for path in small_runs.folder.iterdir():
        path.unlink()
    options = f"pretrain_weights={pretrained}", "epoch=2"
    small_runs.train(*options, save_dir=tmp_path / "whole")
    whole = (tmp_path / "whole" / small_runs.folder.name / "metrics.jsonl").read_text()
    assert json.loads(whole.splitlines()[0])["loss"] < scratch[0] * 0.99
    small_runs.interrupt(0, 1, *options, flags=["--resume", "auto"])  # of nothing yet: from the start
    small_runs.resume(*options)
    assert (small_runs.folder / "metrics.jsonl").read_text() == whole


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_loss_that_is_not_finite_ends_the_run(small_runs: SmallRuns, monkeypatch, caplog, value):
    get_loss = FocalRetinaHead.get_loss

    def spoilt(head, *arguments):
        losses = get_loss(head, *arguments)
        return {**losses, "loss": losses["loss"] * value} if len(small_runs.images) == STEPS + 2 else losses

    monkeypatch.setattr(FocalRetinaHead, "get_loss", spoilt)
    with pytest.raises(SystemExit) as end:
        small_runs.train()
    assert end.value.code == 1
    (message,) = [record.getMessage() for record in caplog.records if "no number any more" in record.getMessage()]
    assert "in iteration 2 of epoch 2: loss_cls" in message
    assert f"loss {value:g}. The newest checkpoint, {small_runs.folder / '0'}, is from before." in message
    named = [Path(line).name for line in message.splitlines()[1:]]
    assert [line.strip() for line in named] == [f"{image:06d}.png" for image in small_runs.images[-1]]
    assert len(named) == BATCH
    assert len(small_runs.images) == STEPS + 2
    assert small_runs.checkpoints() == {"0"}


def test_a_signal_in_the_last_iteration(small_runs: SmallRuns):
    small_runs.interrupt(1, STEPS - 1, final_eval=True)
    small_runs.resume(final_eval=True)
    assert small_runs.images == []
    assert small_runs.evaluated == 1
    assert small_runs.checkpoints() == {"0", "model_final"}


def test_a_signal_after_the_last_iteration(small_runs: SmallRuns, monkeypatch):
    def interrupt(_, status):
        if status["epoch_id"] == 1:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(LogPrinter, "on_epoch_end", interrupt)
    with pytest.raises(Interrupted) as end:
        small_runs.train(final_eval=True)
    assert end.value.code == 128 + signal.SIGTERM
    assert small_runs.evaluated == 0
    assert small_runs.checkpoints() == {"0", "model_final"}


def test_ppdets_and_our_lines_go_to_the_log_file(small_runs: SmallRuns):
    small_runs.train("epoch=1")
    text = (small_runs.folder / "train.log").read_text()
    assert text.count(" ppdet.engine INFO: Epoch: [0] ") == STEPS
    assert "paddle_focal INFO: Checkpoint: " in text


def test_evaluation_changes_nothing_of_the_training(small_runs: SmallRuns, tmp_path):
    options = VALIDATION_LOSS, "FocalRetinaHead.normalizer=ema", "use_ema=true", "epoch=3", GAMMA
    small_runs.train(*options, save_dir=tmp_path / "without")
    without = tmp_path / "without" / small_runs.folder.name
    small_runs.train(*options, flags=["--eval"])
    expected = [json.loads(line) for line in (without / "metrics.jsonl").read_text().splitlines()]
    assert [record for record in small_runs.records() if "loss" in record] == expected
    for ending in (".pdparams", ".pdema", ".pdopt"):
        assert_same_content(small_runs.folder / f"model_final{ending}", without / f"model_final{ending}")


def test_a_full_disk_leaves_the_checkpoint_before(small_runs: SmallRuns, monkeypatch, caplog):
    save = paddle.save

    def full(content, path, *arguments):
        if Path(path).name.startswith("1.partial.pdopt"):
            raise OSError(28, "No space left on device")
        save(content, path, *arguments)

    monkeypatch.setattr(paddle, "save", full)
    with pytest.raises(SystemExit) as end:
        small_runs.train("epoch=3")
    assert end.value.code == 1
    folder = small_runs.folder
    message = f"The checkpoint {folder}/1 could not be written: [Errno 28] No space left on device. "
    assert f"{message}The newest complete checkpoint is {folder}/0. Make room" in caplog.text
    assert {path.name for path in folder.glob("*.*") if path.name[0].isdigit()} == {
        "0.pdparams", "0.pdopt", "0.state.json"
    }  # fmt: skip


def test_an_evaluation_that_cannot_be_saved_ends_the_run(small_runs: SmallRuns, monkeypatch, caplog):
    write_whole = checkpoint.write_whole

    def full(path, write):
        if path.name == "0.state.json":
            raise OSError(28, "No space left on device")
        write_whole(path, write)

    monkeypatch.setattr(checkpoint, "write_whole", full)
    small_runs.script_ap(0.5)
    with pytest.raises(SystemExit):
        small_runs.train(flags=["--eval"])
    assert f"The evaluation could not be added to {small_runs.folder}/0.state.json: [Errno 28]" in caplog.text
    assert checkpoint.newest(small_runs.folder) is not None


def test_a_worker_that_died(small_runs: SmallRuns, monkeypatch, caplog):
    def throw():
        raise SystemError("(Fatal) DataLoader process (pid   1) exited unexpectedly with code 3. Error detailed are")

    def notice(*_):  # as Paddle's handler of SIGCHLD does
        getattr(reading.multiprocess_utils.core, reading._CHECK_WORKERS)()

    monkeypatch.setattr(reading, "_throw_if_a_worker_died", throw)
    monkeypatch.setattr(LogPrinter, "on_step_begin", notice)
    with pytest.raises(SystemExit) as end:
        small_runs.train()
    assert end.value.code == 1
    assert caplog.messages[-1] == (
        "A worker of the data loader has ended, unexpectedly with code 3. Where nobody killed it, memory was most "
        "often too small: lower worker_num or the batch.\nThere is no complete checkpoint yet."
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_decoded_ends_the_run(small_runs: SmallRuns, monkeypatch, caplog, workers):
    """In its second epoch; the checkpoint of the first is there to go on from."""
    read, epochs = COCODataSet.set_epoch, []

    def spoil(dataset, epoch):
        epochs.append(epoch)
        if epoch == 1:
            for record in dataset.roidbs:
                record["im_file"] = str(broken)
        read(dataset, epoch)

    broken = small_runs.folder.parent / "broken.png"
    broken.write_bytes(b"no image")
    monkeypatch.setattr(COCODataSet, "set_epoch", spoil)
    with pytest.raises(SystemExit) as end:
        small_runs.train(f"worker_num={workers}", "epoch=4")
    assert end.value.code == 1
    assert caplog.messages[-1] == (
        f"{broken} cannot be decoded: it is no image, or a damaged one (8 bytes)\nThe newest complete checkpoint is "
        f"{small_runs.folder}/{epochs[-1] - 1}. Go on from there with --resume auto."
    )
    assert f"{epochs[-1] - 1}" in small_runs.checkpoints()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_decoded_ends_an_evaluation(small_runs: SmallRuns, monkeypatch, caplog, workers):
    small_runs.train("epoch=1")
    (small_runs.folder.parent / "broken.png").write_bytes(b"")
    parse = COCODataSet.parse_dataset

    def spoil(dataset):
        parse(dataset)
        dataset.roidbs[-1]["im_file"] = str(small_runs.folder.parent / "broken.png")

    monkeypatch.setattr(COCODataSet, "parse_dataset", spoil)
    weights = f"weights={small_runs.folder}/model_final"
    for run in (small_runs.evaluate, small_runs.analyze):
        caplog.clear()
        with pytest.raises(SystemExit) as end:
            run(weights, f"worker_num={workers}")
        assert end.value.code == 1
        assert "broken.png cannot be decoded: it is no image, or a damaged one (0 bytes)" in caplog.messages[-1]


def test_other_errors_of_the_system_are_not_explained_away(small_runs: SmallRuns, monkeypatch, caplog):
    def fail(*_):
        raise SystemError("something else")

    monkeypatch.setattr(LogPrinter, "on_step_begin", fail)
    with pytest.raises(SystemExit):
        small_runs.train()
    assert caplog.messages[-1].startswith("SystemError: something else. If that does not say")


@pytest.mark.parametrize("flags", [[], ["--trust-weights"]])
def test_a_checkpoint_that_names_code(small_runs: SmallRuns, tmp_path, flags):
    class Harm:
        def __reduce__(self):
            return Path.mkdir, (tmp_path / "harmed",)

    saved = small_runs.interrupt(0, 0)
    small_runs.folder.joinpath(f"{saved.name}.state.json").unlink()  # with the digests
    state = pickle.loads(saved.with_name(f"{saved.name}.pdopt").read_bytes())
    saved.with_name(f"{saved.name}.pdopt").write_bytes(pickle.dumps({**state, "x": Harm()}))
    with contextlib.nullcontext() if flags else pytest.raises(SystemExit):
        small_runs.train(flags=["--resume", str(saved), *flags])
    assert (tmp_path / "harmed").exists() == bool(flags)


@pytest.mark.parametrize(("rank", "evaluated"), [(0, 1), (1, 0)])
def test_the_first_rank_evaluates_the_final_weights(monkeypatch, tmp_path, rank, evaluated):
    calls = []
    monkeypatch.setattr(training.distributed, "get_rank", lambda: rank)
    monkeypatch.setattr(training.runtime, "init_ranks", lambda config: None)
    monkeypatch.setattr(training, "_train", lambda *_: SimpleNamespace(evaluated=False))
    monkeypatch.setattr(training, "_evaluate_final_weights", lambda *arguments: calls.append(arguments))
    config = SimpleNamespace(save_dir=str(tmp_path), filename="run")
    training.train(config, SimpleNamespace(seed=None, skip_final_eval=False))
    assert len(calls) == evaluated
