// The operator of the softmax focal loss as Paddle sees it, on the CPU. Arguments come checked by Python.

#include "softmax_focal_loss.h"

#include "paddle/paddle_tensors.h"

namespace {

using namespace paddle_focal::tensors;
using paddle_focal::bit_cast;
using paddle_focal::SoftmaxProblem;

SoftmaxProblem problem_of(const Tensor& logit, const Tensor& label, const Optional& scale, const Optional& weight,
                          int axis, int64_t scale_bits, int64_t gamma_bits, int64_t label_smoothing_bits,
                          int64_t ignore_index) {
  SoftmaxProblem problem;
  set_view(problem, logit.shape(), axis);
  problem.logit = array_of(logit);
  problem.label = array_of(label);
  problem.scale = scale_of(scale, bit_cast<double>(scale_bits));
  if (weight) problem.weight = array_of(*weight);
  problem.gamma = bit_cast<double>(gamma_bits);
  problem.label_smoothing = bit_cast<double>(label_smoothing_bits);
  problem.ignore_index = ignore_index;
  return problem;
}

Shape without_axis(Shape shape, int axis) {
  shape.erase(shape.begin() + axis);
  return shape;
}

std::vector<Tensor> forward(const Tensor& logit, const Tensor& label, const Optional& scale, const Optional& weight,
                            int axis, int64_t scale_bits, int64_t gamma_bits, int64_t label_smoothing_bits,
                            int64_t ignore_index, bool reduce) {
  Tensor loss;
  guarded([&] {
    loss = reduce ? paddle::empty(Shape{}, compute_dtype(logit.dtype()), logit.place())
                  : paddle::empty(without_axis(logit.shape(), axis), logit.dtype(), logit.place());
    const SoftmaxProblem problem =
        problem_of(logit, label, scale, weight, axis, scale_bits, gamma_bits, label_smoothing_bits, ignore_index);
    double sum = 0;
    const int64_t invalid_label = paddle_focal::cpu::softmax_loss(problem, reduce ? nullptr : loss.data(), &sum);
    finish_on_cpu(invalid_label, sum, reduce ? &loss : nullptr);
  });
  return {loss};
}

std::vector<Tensor> backward(const Tensor& logit, const Tensor& label, const Optional& scale, const Optional& weight,
                             const Tensor& upstream, int axis, int64_t scale_bits, int64_t gamma_bits,
                             int64_t label_smoothing_bits, int64_t ignore_index, bool reduce) {
  Tensor gradient;
  guarded([&] {
    gradient = allocate_like(logit);
    const SoftmaxProblem problem =
        problem_of(logit, label, scale, weight, axis, scale_bits, gamma_bits, label_smoothing_bits, ignore_index);
    paddle_focal::cpu::softmax_gradient(problem, {array_of(upstream), !reduce}, gradient.data());
  });
  return {gradient};
}

std::vector<Tensor> refuse_second_derivative(const Tensor&, const Tensor&) {
  PD_THROW("softmax_focal_loss cannot be differentiated twice: call it without create_graph");
}

std::vector<Shape> infer_shape(const Shape& logit, const Shape&, const paddle::optional<Shape>&,
                               const paddle::optional<Shape>&, int axis, int64_t, int64_t, int64_t, int64_t,
                               bool reduce) {
  return {reduce ? Shape{} : without_axis(logit, axis)};
}

std::vector<DataType> infer_dtype(const DataType& logit, const DataType&, const paddle::optional<DataType>&,
                                  const paddle::optional<DataType>&, int, int64_t, int64_t, int64_t, int64_t,
                                  bool reduce) {
  return {reduce ? compute_dtype(logit) : logit};
}

}  // namespace

#define SOFTMAX_FOCAL_LOSS_ATTRIBUTES                                                                     \
  {                                                                                                       \
    "axis: int", "scale: int64_t", "gamma: int64_t", "label_smoothing: int64_t", "ignore_index: int64_t", \
        "reduce: bool"                                                                                    \
  }

PD_BUILD_OP(fused_softmax_focal_loss)
    .Inputs({"Logit", "Label", paddle::Optional("Scale"), paddle::Optional("Weight")})
    .Outputs({"Loss"})
    .Attrs(SOFTMAX_FOCAL_LOSS_ATTRIBUTES)
    .SetKernelFn(PD_KERNEL(forward))
    .SetInferShapeFn(PD_INFER_SHAPE(infer_shape))
    .SetInferDtypeFn(PD_INFER_DTYPE(infer_dtype));

PD_BUILD_GRAD_OP(fused_softmax_focal_loss)
    .Inputs({"Logit", "Label", paddle::Optional("Scale"), paddle::Optional("Weight"), paddle::Grad("Loss")})
    .Outputs({paddle::Grad("Logit")})
    .Attrs(SOFTMAX_FOCAL_LOSS_ATTRIBUTES)
    .SetKernelFn(PD_KERNEL(backward));

PD_BUILD_DOUBLE_GRAD_OP(fused_softmax_focal_loss)
    .Inputs({"Logit", paddle::Grad(paddle::Grad("Logit"))})
    .Outputs({paddle::Grad(paddle::Grad("Loss"))})
    .SetKernelFn(PD_KERNEL(refuse_second_derivative));
