"""The names that ppdet reads of a configuration, where its sections do not say so themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from ppdet.core.config.schema import SchemaDict
from ppdet.data import source

#: Top-level names of whole numbers, with the least of each.
COUNTS = {"epoch": 1, "num_classes": 1, "snapshot_epoch": 1, "log_iter": 1, "worker_num": 0}
#: What the engine, the metrics, the export and the compression of ppdet read at the top level, and PaddleDetection's
#: own tools.
SETTINGS = {
    *COUNTS,
    *("architecture", "pretrain_weights", "weights", "filename", "save_dir", "output_eval", "fleet", "log_ranks"),
    *("use_gpu", "use_npu", "use_xpu", "use_mlu", "find_unused_parameters", "use_fused_allreduce_gradients"),
    *("use_ema", "use_simple_ema", "ema_decay", "ema_decay_type", "ema_black_list", "ema_filter_no_grad"),
    *("ema_start_iters", "cycle_epoch", "reset_norm_param_attr", "amp", "amp_level", "init_loss_scaling"),
    *("custom_black_list", "custom_white_list", "master_grad", "to_static", "print_flops", "print_params"),
    *("print_mem_info", "profiler_options", "use_vdl", "vdl_log_dir", "use_wandb", "wandb", "metric", "map_type"),
    *("classwise", "bias", "IouType", "save_prediction_only", "save_proposals", "proposals_path", "target_metrics"),
    *("num_joints", "with_mask", "sample_y", "img_w", "ori_img_h", "ori_img_w", "cut_height", "dataset_dir"),
    *("det_weights", "reid_weights", "mot_metric", "export", "slim", "slim_type", "slim_method", "pruner"),
    *("unstructured_prune", "pretrain_student_weights", "pretrain_teacher_weights", "ssod_method"),
    *("semi_start_iters", "eval_interval", "save_interval", "max_iter", "epoch_iter", "optimize_rate", "use_cot"),
    *("uniform_output_enabled", "hpi_config_path", "pdx_model_name", "paddle_focal", "gamma_schedule"),
}
EXPORT = ("post_process", "nms", "benchmark", "fuse_conv_bn")
READERS = tuple(f"{kind}Reader" for kind in ("Train", "Eval", "Test", "EvalMOT", "TestMOT", "SemiTrain"))
DATASETS = tuple(f"{kind}Dataset" for kind in ("Train", "Eval", "Test", "EvalMOT", "TestMOT", "UnsupTrain"))
#: The sections that ppdet reads beside those of the model.
SECTIONS = (*READERS, *DATASETS, "LearningRate", "OptimizerBuilder")
_READ = re.compile(r"\bkwargs(?:\.get\(|\.pop\(|\[)['\"](\w+)['\"]")


def keys_of(section: SchemaDict) -> list[str]:
    """The keys of a component: of its constructor, and where that takes any, those that it hands on or asks for."""
    keys = [*section.schema]
    made = getattr(section.pymodule, section.name)
    if section.strict or not isinstance(made, type):
        return keys
    for kind in made.__mro__:
        if kind.__module__.startswith("ppdet."):
            keys += [key for key in inspect.signature(kind).parameters if key != "kwargs"]
            keys += _READ.findall(inspect.getsource(kind))
    if section.name in READERS:  # which hand them to their data set; the export reads two
        keys += ["inputs_def", "fuse_normalize"]
        keys += _READ.findall(inspect.getsource(source.DetDataset.set_kwargs))
    return [*dict.fromkeys(keys)]


def shared_by(config: Mapping[str, Any], components: Mapping[str, Any]) -> set[str]:
    """The top-level names that are values of keys in all sections that have them, such as ``norm_type``."""
    sections = (config[name] for name in components)
    return {key for section in sections if isinstance(section, SchemaDict) for key in section.shared}
