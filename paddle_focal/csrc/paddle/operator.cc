// The losses as one operator of Paddle, for static graphs: the native library's interface over Paddle's tensors, on the
// CPU. Arguments come checked by Python.

#include <cstring>
#include <string>
#include <vector>

#include "focal.h"
#include "paddle/extension.h"

namespace {

using paddle::DataType;
using paddle::Tensor;
using Optional = paddle::optional<Tensor>;
using Shape = std::vector<int64_t>;

/// Paddle 2.6 has no attributes of type double: they travel as the integers of their bits.
double number_of(int64_t bits) {
  double number;
  std::memcpy(&number, &bits, sizeof(number));
  return number;
}

int64_t format_of(DataType dtype) {
  switch (dtype) {
    case DataType::FLOAT16:
      return FOCAL_FLOAT16;
    case DataType::BFLOAT16:
      return FOCAL_BFLOAT16;
    case DataType::FLOAT32:
      return FOCAL_FLOAT32;
    case DataType::FLOAT64:
      return FOCAL_FLOAT64;
    case DataType::INT32:
      return FOCAL_INT32;
    default:
      return FOCAL_INT64;
  }
}

FocalArray array_of(const Tensor& tensor) { return {tensor.data(), format_of(tensor.dtype())}; }

FocalScale scale_of(const Optional& tensor, int64_t bits) {
  if (!tensor) return {number_of(bits), nullptr, 0};
  return {0, tensor->data(), tensor->numel() > 1 ? 1 : 0};
}

int64_t product(const Shape& shape, size_t first, size_t last) {
  int64_t result = 1;
  for (size_t i = first; i < last; ++i) result *= shape[i];
  return result;
}

/// The stride of the axes [first, last) of a contiguous tensor that are seen as one: 0 if they are all of size 1.
int64_t stride_of(const Shape& shape, size_t first, size_t last) {
  return product(shape, first, last) == 1 ? 0 : product(shape, last, shape.size());
}

Shape shape_of_losses(Shape logit, int64_t axis, bool keeps_class_axis) {
  if (!keeps_class_axis) logit.erase(logit.begin() + axis);
  return logit;
}

DataType compute_dtype(DataType logit) { return logit == DataType::FLOAT64 ? DataType::FLOAT64 : DataType::FLOAT32; }

#define INPUTS                                                                                               \
  const Tensor &logit, const Tensor &label, const Optional &score, const Optional &first, const Optional &second, \
      const Optional &weight
#define ATTRIBUTES                                                                                 \
  int64_t loss, bool keeps_class_axis, int64_t axis, int64_t first_scale, int64_t second_scale,    \
      int64_t first_number, int64_t second_number, int64_t third_number, int64_t ignore_index, bool reduce

FocalLossParams params_of(INPUTS, ATTRIBUTES) {
  const Shape shape = logit.shape();
  FocalLossParams params = {};
  params.loss = loss;
  params.outer = product(shape, 0, axis);
  params.classes = shape[axis];
  params.inner = product(shape, axis + 1, shape.size());
  params.logit = array_of(logit);
  params.label = array_of(label);
  if (score) params.score = array_of(*score);
  params.scales[0] = scale_of(first, first_scale);
  params.scales[1] = scale_of(second, second_scale);
  if (weight && keeps_class_axis) {
    const Shape of = weight->shape();
    params.weight = {array_of(*weight), stride_of(of, 0, axis), stride_of(of, axis, axis + 1),
                     stride_of(of, axis + 1, of.size())};
  } else if (weight) {
    params.weight = {array_of(*weight), params.inner, 0, 1};
  }
  params.numbers[0] = number_of(first_number);
  params.numbers[1] = number_of(second_number);
  params.numbers[2] = number_of(third_number);
  params.ignore_index = ignore_index;
  params.reduce = reduce;
  return params;
}

void require_ok(int status) {
  if (status != FOCAL_OK) PD_THROW(focal_error());
}

std::vector<Tensor> forward(INPUTS, ATTRIBUTES) {
  const FocalLossParams params = params_of(logit, label, score, first, second, weight, loss, keeps_class_axis, axis,
                                           first_scale, second_scale, first_number, second_number, third_number,
                                           ignore_index, reduce);
  Tensor result = reduce ? paddle::empty(Shape{}, compute_dtype(logit.dtype()), logit.place())
                         : paddle::empty(shape_of_losses(logit.shape(), axis, keeps_class_axis), logit.dtype(),
                                         logit.place());
  require_ok(focal_forward(&params, result.data(), nullptr));
  return {result};
}

std::vector<Tensor> backward(INPUTS, const Tensor& grad_out, ATTRIBUTES) {
  const FocalLossParams params = params_of(logit, label, score, first, second, weight, loss, keeps_class_axis, axis,
                                           first_scale, second_scale, first_number, second_number, third_number,
                                           ignore_index, reduce);
  Tensor grad = paddle::empty(logit.shape(), logit.dtype(), logit.place());
  const FocalArray upstream = array_of(grad_out);
  require_ok(focal_backward(&params, &upstream, grad.data()));
  return {grad};
}

std::vector<Shape> infer_shape(const Shape& logit, const Shape&, const paddle::optional<Shape>&,
                               const paddle::optional<Shape>&, const paddle::optional<Shape>&,
                               const paddle::optional<Shape>&, int64_t, bool keeps_class_axis, int64_t axis, int64_t,
                               int64_t, int64_t, int64_t, int64_t, int64_t, bool reduce) {
  return {reduce ? Shape{} : shape_of_losses(logit, axis, keeps_class_axis)};
}

std::vector<DataType> infer_dtype(const DataType& logit, const DataType&, const paddle::optional<DataType>&,
                                  const paddle::optional<DataType>&, const paddle::optional<DataType>&,
                                  const paddle::optional<DataType>&, int64_t, bool, int64_t, int64_t, int64_t, int64_t,
                                  int64_t, int64_t, int64_t, bool reduce) {
  return {reduce ? compute_dtype(logit) : logit};
}

}  // namespace

#define DECLARED_ATTRIBUTES                                                                                      \
  {                                                                                                              \
    "loss: int64_t", "keeps_class_axis: bool", "axis: int64_t", "first_scale: int64_t", "second_scale: int64_t", \
        "first_number: int64_t", "second_number: int64_t", "third_number: int64_t", "ignore_index: int64_t",     \
        "reduce: bool"                                                                                           \
  }

PD_BUILD_OP(paddle_focal_loss)
    .Inputs({"Logit", "Label", paddle::Optional("Score"), paddle::Optional("FirstScale"),
             paddle::Optional("SecondScale"), paddle::Optional("Weight")})
    .Outputs({"Loss"})
    .Attrs(DECLARED_ATTRIBUTES)
    .SetKernelFn(PD_KERNEL(forward))
    .SetInferShapeFn(PD_INFER_SHAPE(infer_shape))
    .SetInferDtypeFn(PD_INFER_DTYPE(infer_dtype));

PD_BUILD_GRAD_OP(paddle_focal_loss)
    .Inputs({"Logit", "Label", paddle::Optional("Score"), paddle::Optional("FirstScale"),
             paddle::Optional("SecondScale"), paddle::Optional("Weight"), paddle::Grad("Loss")})
    .Outputs({paddle::Grad("Logit")})
    .Attrs(DECLARED_ATTRIBUTES)
    .SetKernelFn(PD_KERNEL(backward));
