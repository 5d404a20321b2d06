// The focal loss of a softmax as plain pointers and sizes.
#pragma once

#include "focal_loss.h"

namespace paddle_focal {

/// The loss of each label over logits [outer, classes, inner].
struct SoftmaxProblem {
  int64_t outer = 0, classes = 0, inner = 0;
  Array logit;
  Array label;   // integers [outer, inner]; or floating shares of the classes in the logits' shape
  Scale scale;   // of the labelled class
  Array weight;  // [outer, inner], or none if there is no data
  double gamma = 2, label_smoothing = 0;
  int64_t ignore_index = -1;

  int64_t labels() const { return outer * inner; }
  bool is_dense() const { return label.type != Type::kInt32 && label.type != Type::kInt64; }
};

namespace cpu {

/// Writes the loss of each label in the logits' type to `elements` or, where that is null, adds all up in `sum`.
/// Returns the index of the first label that is out of range, or -1. The sum does not depend on the number of threads.
int64_t softmax_loss(const SoftmaxProblem& problem, void* elements, double* sum);

/// Writes the gradient in the logits' type.
void softmax_gradient(const SoftmaxProblem& problem, const Upstream& upstream, void* out);

}  // namespace cpu
}  // namespace paddle_focal
