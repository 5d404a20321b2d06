"""What focal loss does to a trained RetinaNet on its data: numbers and pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import paddle
from paddle import nn
from ppdet.core import workspace
from ppdet.data.reader import BatchCompose, Compose
from ppdet.data.source.coco import COCODataSet
from ppdet.data.source.voc import VOCDataSet
from ppdet.metrics import get_infer_results
from pycocotools.coco import COCO
from tqdm import tqdm

from paddle_focal.analysis.loss_analysis import LossAnalysis, summary
from paddle_focal.analysis.loss_distribution import draw_distribution
from paddle_focal.data.annotations import evenly_spaced, ground_truth, image_folder
from paddle_focal.engine import report, runtime, weights
from paddle_focal.engine.reading import guarded
from paddle_focal.errors import ToolError
from paddle_focal.files import write_whole

#: The largest number of images in hardest_images.png.
SHEET = 12


def load_model(config) -> nn.Layer:
    """The model of the configuration with its weights, in evaluation mode.

    Raises:
        ToolError: no weights are named, the file is missing, or the weights belong to another model.
    """
    # An image's loss is divided by the number of its own foreground anchors, whatever training divided by.
    workspace.merge_config({"FocalRetinaHead": {"normalizer": "local"}})
    model = workspace.create(config.architecture)
    weights.load(model, config.get("weights"))
    model.eval()
    return model


def load_dataset(config, section: str) -> COCODataSet | VOCDataSet:
    """The images of ``TrainDataset`` or ``EvalDataset`` with their boxes, through the transforms of evaluation.

    Raises:
        ToolError: the data set is neither a COCODataSet nor a VOCDataSet, or is empty.
    """
    dataset = workspace.create(section)()
    if not isinstance(dataset, (COCODataSet, VOCDataSet)):
        raise ToolError(f"{section} must be a COCODataSet or a VOCDataSet, but is a {type(dataset).__name__}")
    dataset.data_fields = ["image", "gt_bbox", "gt_class", "is_crowd"]
    dataset.check_or_download_dataset()
    try:
        dataset.parse_dataset()
    except AssertionError as error:  # raised by ppdet: nothing in the data set can be used
        raise ToolError(f"{section} is empty: {error}") from error
    dataset.set_kwargs()
    dataset.set_transform(Compose(config.EvalReader["sample_transforms"], config.num_classes))
    return dataset


def one_by_one(config, dataset: COCODataSet | VOCDataSet, indices: Sequence[int]) -> Iterator[dict]:
    """Batches of one image each; raises ReadingError."""
    collate = BatchCompose(config.EvalReader.get("batch_transforms", []), config.num_classes, collate_batch=False)
    options = {"batch_sampler": [[i] for i in indices], "num_workers": config.worker_num, "return_list": True}
    with guarded() as guard:
        yield from guard.loader(dataset, collate, **options)


@paddle.no_grad()
def draw_hardest(
    config, model: nn.Layer, dataset: COCODataSet | VOCDataSet, truth: COCO, images: Sequence[dict], path: Path
) -> None:
    """Images with their loss, their boxes and what the model detects.

    Args:
        config: the configuration.
        model: in evaluation mode.
        dataset: the data set that has the images.
        truth: its annotations.
        images: as in ``analysis.json``.
        path: the PNG to write.
    """
    index = {int(record["im_id"][0]): i for i, record in enumerate(dataset.roidbs)}
    categories = dict(enumerate(truth.getCatIds()))
    found = []
    for batch in one_by_one(config, dataset, [index[image["image_id"]] for image in images]):
        found += get_infer_results({**model(batch), "im_id": batch["im_id"].numpy()}, categories)["bbox"]
    titles = {
        image["image_id"]: f"{image['file_name']}\n"
        f"loss {image['loss']:.2f} = {image['loss_cls']:.2f} class + {image['loss_reg']:.2f} box"
        for image in images
    }
    report.draw_images(truth, titles, image_folder(dataset), found, "Images with the highest loss", path)


def analyze(config, section: str, count: int) -> str:
    """Run the trained model over images, and write ``analysis.json`` and two pictures into the output folder.

    Args:
        config: a configuration that has been loaded.
        section: 'TrainDataset' or 'EvalDataset'.
        count: the largest number of images; they are evenly spaced over the data set.

    Returns:
        str: a summary for the terminal.

    Raises:
        ToolError: the weights or the data do not fit, or data cannot be read.
    """
    folder = runtime.output_folder(config)
    try:
        model = load_model(config)
        dataset = load_dataset(config, section)
        indices = evenly_spaced(len(dataset.roidbs), count)
        batches = one_by_one(config, dataset, indices)
        analysis = LossAnalysis(model)
        for batch in tqdm(batches, desc="analyze", unit="image", total=len(indices), dynamic_ncols=True):
            analysis.add(batch)
        truth = ground_truth(dataset)
        files = {image_id: image["file_name"] for image_id, image in truth.imgs.items()}
        results = analysis.results(list(dataset.cname2cid), files)
    except ValueError as error:
        raise ToolError(str(error)) from error
    text = json.dumps({"weights": config.weights, "annotations": dataset.get_anno(), **results}, indent=2)
    write_whole(folder / "analysis.json", lambda partial: partial.write_text(text + "\n"))
    panels = {
        f"{results['anchors'][kind]:,} {kind} anchors": getattr(analysis, kind) for kind in ("foreground", "background")
    }
    title = f"Cumulative classification loss; trained with $\\gamma$ = {analysis.gamma:g}"
    draw_distribution(panels, title, folder / "loss_distribution.png")
    draw_hardest(config, model, dataset, truth, results["images"][:SHEET], folder / "hardest_images.png")
    return f"{summary(results)}\n\n{folder}: analysis.json, loss_distribution.png, hardest_images.png"
