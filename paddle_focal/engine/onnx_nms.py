"""What follows the network as an ONNX graph: ppdet's MultiClassNMS, or nothing."""

from __future__ import annotations

from ppdet.modeling.layers import MultiClassNMS

from paddle_focal.errors import ToolError

OPSET, IR_VERSION = 17, 8
NO_LIMIT = 2**31 - 1

# What is no candidate gets a score that is not above the threshold. NonMaxSuppression gives rows of image, class
# and box, by class and then by falling score: the best of them are put into this order again, which is Paddle's, too.
_GRAPH = """
<ir_version: {ir_version}, opset_import: ["": {opset}]>
multi_class_nms (float[1, M, 4] boxes, float[1, C, M] scores) => (float[N, 6] bbox, int32[1] bbox_num)
{{
    one = Constant<value_ints = [1]>()
    two = Constant<value_ints = [2]>()
    three = Constant<value_ints = [3]>()
    score_threshold = Constant<value_float = {score_threshold}>()
    nms_threshold = Constant<value_float = {nms_threshold}>()
    nms_top_k = Constant<value_ints = [{nms_top_k}]>()
    keep_top_k = Constant<value_ints = [{keep_top_k}]>()

    box_count = Shape<start = 2>(scores)
    candidate_count = Min(box_count, nms_top_k)
    highest_scores, highest = TopK<axis = 2>(scores, candidate_count)
    lowest_score = ReduceMin<axes = [2]>(highest_scores)
    is_candidate = GreaterOrEqual(scores, lowest_score)
    candidate_scores = Where(is_candidate, scores, score_threshold)

    one_image_shape = Constant<value_ints = [1, -1, 4]>()
    one_image = Reshape(boxes, one_image_shape)
    found = NonMaxSuppression(one_image, candidate_scores, candidate_count, nms_threshold, score_threshold)
    found_scores = GatherND(scores, found)

    found_count = Shape(found_scores)
    kept_count = Min(found_count, keep_top_k)
    best_scores, best = TopK(found_scores, kept_count)
    in_order, position = TopK<largest = 0>(best, kept_count)
    kept = Gather(found, in_order)
    kept_scores = Gather(found_scores, in_order)

    class_column = Slice(kept, one, two, one)
    class = Cast<to = 1>(class_column)
    score = Unsqueeze(kept_scores, one)
    row_column = Slice(kept, two, three, one)
    row = Squeeze(row_column, one)
    rows_shape = Constant<value_ints = [-1, 4]>()
    rows = Reshape(boxes, rows_shape)
    corners = Gather(rows, row)
    bbox = Concat<axis = 1>(class, score, corners)
    bbox_num = Cast<to = 6>(kept_count)
}}
"""


#: What follows a model that gives the rows already.
NOTHING = f"""
<ir_version: {IR_VERSION}, opset_import: ["": {OPSET}]>
rows (float[N, 6] rows, int32[1] row_count) => (float[N, 6] bbox, int32[1] bbox_num)
{{
    bbox = Identity(rows)
    bbox_num = Identity(row_count)
}}
"""


def graph(nms: MultiClassNMS) -> str:
    """The model in ONNX's own notation: from boxes ``[1, M, 4]`` and scores ``[1, C, M]`` to ``bbox`` and ``bbox_num``.

    Raises:
        ToolError: ONNX's NonMaxSuppression does not know what is asked for.
    """
    for key, known in (("normalized", True), ("nms_eta", 1.0), ("trt", False)):
        if getattr(nms, key) != known:
            raise ToolError(f"--format onnx: MultiClassNMS.{key} must be {known}, but is {getattr(nms, key)}")
    limits = {key: getattr(nms, key) for key in ("nms_top_k", "keep_top_k")}
    return _GRAPH.format(
        opset=OPSET,
        ir_version=IR_VERSION,
        score_threshold=float(nms.score_threshold),
        nms_threshold=float(nms.nms_threshold),
        **{key: NO_LIMIT if limit < 0 else limit for key, limit in limits.items()},
    )
