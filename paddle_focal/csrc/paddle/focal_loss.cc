// The operator as Paddle sees it: shapes, dtypes, and the choice of the processor. Arguments come checked by Python.

#include "cpu/cpu_tasks.h"
#include "focal_loss.h"
#include "paddle/paddle_tensors.h"

namespace {

using namespace paddle_focal::tensors;
using paddle_focal::Problem;

/// The stride of the axes [first, last) of a contiguous tensor that are seen as one: 0 if they are all of size 1.
int64_t stride_of(const Shape& shape, size_t first, size_t last) {
  int64_t size = 1, stride = 1;
  for (size_t i = first; i < last; ++i) size *= shape[i];
  for (size_t i = last; i < shape.size(); ++i) stride *= shape[i];
  return size == 1 ? 0 : stride;
}

/// Attributes as Paddle passes them; its 2.6 has none of type double, so doubles travel as the integer of their bits.
struct Attributes {
  int axis;
  int64_t foreground_scale, background_scale, gamma, label_smoothing, ignore_index;
};

Problem problem_of(const Tensor& logit, const Tensor& label, const Optional& foreground_scale,
                   const Optional& background_scale, const Optional& weight, const Attributes& attributes) {
  const size_t axis = attributes.axis;
  Problem problem;
  set_view(problem, logit.shape(), axis);
  problem.logit = array_of(logit);
  problem.label = array_of(label);
  problem.foreground = scale_of(foreground_scale, paddle_focal::bit_cast<double>(attributes.foreground_scale));
  problem.background = scale_of(background_scale, paddle_focal::bit_cast<double>(attributes.background_scale));
  if (weight) {
    const Shape weight_shape = weight->shape();
    problem.weight = {array_of(*weight), stride_of(weight_shape, 0, axis), stride_of(weight_shape, axis, axis + 1),
                      stride_of(weight_shape, axis + 1, weight_shape.size())};
  }
  problem.gamma = paddle_focal::bit_cast<double>(attributes.gamma);
  problem.label_smoothing = paddle_focal::bit_cast<double>(attributes.label_smoothing);
  problem.ignore_index = attributes.ignore_index;
  if (problem.classes == 1 && problem.inner == 1) {  // one long run of labels instead of many short ones
    std::swap(problem.outer, problem.inner);
    std::swap(problem.weight.outer_stride, problem.weight.inner_stride);
  }
  return problem;
}

std::vector<Tensor> forward(const Tensor& logit, const Tensor& label, const Optional& foreground_scale,
                            const Optional& background_scale, const Optional& weight, int axis,
                            int64_t foreground_bits, int64_t background_bits, int64_t gamma_bits,
                            int64_t label_smoothing_bits, int64_t ignore_index, bool reduce) {
  const Attributes attributes{axis,       foreground_bits,      background_bits,
                              gamma_bits, label_smoothing_bits, ignore_index};
  const DataType dtype = compute_dtype(logit.dtype());
  Tensor loss;
  guarded([&] {
    loss = reduce ? paddle::empty(Shape{}, dtype, logit.place()) : allocate_like(logit);
    void* elements = reduce ? nullptr : loss.data();
    const Problem problem = problem_of(logit, label, foreground_scale, background_scale, weight, attributes);
#ifdef PADDLE_WITH_CUDA
    if (logit.is_gpu()) {
      Tensor workspace = paddle::empty({paddle_focal::cuda::workspace_size(problem)}, DataType::FLOAT64, logit.place());
      return paddle_focal::cuda::loss(problem, elements, reduce ? loss.data() : nullptr, workspace.data<double>(),
                                      logit.stream());
    }
#endif
    double sum = 0;
    const int64_t invalid_label = paddle_focal::cpu::loss(problem, elements, &sum);
    finish_on_cpu(invalid_label, sum, elements ? nullptr : &loss);
  });
  return {loss};
}

std::vector<Tensor> backward(const Tensor& logit, const Tensor& label, const Optional& foreground_scale,
                             const Optional& background_scale, const Optional& weight, const Tensor& upstream,
                             int axis, int64_t foreground_bits, int64_t background_bits, int64_t gamma_bits,
                             int64_t label_smoothing_bits, int64_t ignore_index, bool reduce) {
  const Attributes attributes{axis,       foreground_bits,      background_bits,
                              gamma_bits, label_smoothing_bits, ignore_index};
  Tensor gradient;
  guarded([&] {
    gradient = allocate_like(logit);
    const Problem problem = problem_of(logit, label, foreground_scale, background_scale, weight, attributes);
    const paddle_focal::Upstream of_loss{array_of(upstream), !reduce};
#ifdef PADDLE_WITH_CUDA
    if (logit.is_gpu()) return paddle_focal::cuda::gradient(problem, of_loss, gradient.data(), logit.stream());
#endif
    paddle_focal::cpu::gradient(problem, of_loss, gradient.data());
  });
  return {gradient};
}

std::vector<Tensor> refuse_second_derivative(const Tensor&, const Tensor&) {
  PD_THROW("sigmoid_focal_loss cannot be differentiated twice: call it without create_graph");
}

std::vector<Shape> infer_shape(const Shape& logit, const Shape&, const paddle::optional<Shape>&,
                               const paddle::optional<Shape>&, const paddle::optional<Shape>&, int, int64_t, int64_t,
                               int64_t, int64_t, int64_t, bool reduce) {
  return {reduce ? Shape{} : logit};
}

std::vector<DataType> infer_dtype(const DataType& logit, const DataType&, const paddle::optional<DataType>&,
                                  const paddle::optional<DataType>&, const paddle::optional<DataType>&, int, int64_t,
                                  int64_t, int64_t, int64_t, int64_t, bool reduce) {
  return {reduce ? compute_dtype(logit) : logit};
}

}  // namespace

/// For reports: the CPU's instruction set in use, or why there is none.
extern "C" const char* paddle_focal_instruction_set() {
  static std::string message;
  try {
    return paddle_focal::cpu::name_of(paddle_focal::cpu::select_instruction_set());
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
}

extern "C" bool paddle_focal_has_cuda() {
#ifdef PADDLE_WITH_CUDA
  return true;
#else
  return false;
#endif
}

PD_BUILD_OP(fused_sigmoid_focal_loss)
    .Inputs({"Logit", "Label", paddle::Optional("ForegroundScale"), paddle::Optional("BackgroundScale"),
             paddle::Optional("Weight")})
    .Outputs({"Loss"})
    .Attrs({"axis: int", "foreground_scale: int64_t", "background_scale: int64_t", "gamma: int64_t",
            "label_smoothing: int64_t", "ignore_index: int64_t", "reduce: bool"})
    .SetKernelFn(PD_KERNEL(forward))
    .SetInferShapeFn(PD_INFER_SHAPE(infer_shape))
    .SetInferDtypeFn(PD_INFER_DTYPE(infer_dtype));

PD_BUILD_GRAD_OP(fused_sigmoid_focal_loss)
    .Inputs({"Logit", "Label", paddle::Optional("ForegroundScale"), paddle::Optional("BackgroundScale"),
             paddle::Optional("Weight"), paddle::Grad("Loss")})
    .Outputs({paddle::Grad("Logit")})
    .Attrs({"axis: int", "foreground_scale: int64_t", "background_scale: int64_t", "gamma: int64_t",
            "label_smoothing: int64_t", "ignore_index: int64_t", "reduce: bool"})
    .SetKernelFn(PD_KERNEL(backward));

PD_BUILD_DOUBLE_GRAD_OP(fused_sigmoid_focal_loss)
    .Inputs({"Logit", paddle::Grad(paddle::Grad("Logit"))})
    .Outputs({paddle::Grad(paddle::Grad("Loss"))})
    .SetKernelFn(PD_KERNEL(refuse_second_derivative));
