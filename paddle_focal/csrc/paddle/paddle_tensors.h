// Paddle's tensors as the arrays of the kernels, for operators.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "focal_loss.h"
#include "cpu/focal_memory.h"
#include "paddle/extension.h"

namespace paddle_focal {
namespace tensors {

using paddle::DataType;
using paddle::Tensor;
using Optional = paddle::optional<Tensor>;
using Shape = std::vector<int64_t>;

inline Type type_of(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case DataType::FLOAT16:
      return Type::kFloat16;
    case DataType::BFLOAT16:
      return Type::kBFloat16;
    case DataType::FLOAT32:
      return Type::kFloat32;
    case DataType::FLOAT64:
      return Type::kFloat64;
    case DataType::INT32:
      return Type::kInt32;
    case DataType::INT64:
      return Type::kInt64;
    default:
      throw std::invalid_argument("dtype without a kernel");
  }
}

inline DataType compute_dtype(DataType logit) { return logit == DataType::FLOAT64 ? DataType::FLOAT64 : DataType::FLOAT32; }

inline Array array_of(const Tensor& tensor) { return {tensor.data(), type_of(tensor)}; }

inline Scale scale_of(const Optional& tensor, double value) {
  if (!tensor) return {value, nullptr, 0};
  return {value, tensor->data(), tensor->numel() > 1 ? 1 : 0};
}

/// Sees the axes before the class axis as one, and those behind it.
template <class Problem>
void set_view(Problem& problem, const Shape& shape, size_t axis) {
  problem.outer = problem.inner = 1;
  for (size_t i = 0; i < axis; ++i) problem.outer *= shape[i];
  problem.classes = shape[axis];
  for (size_t i = axis + 1; i < shape.size(); ++i) problem.inner *= shape[i];
}

/// A tensor for one number for each logit.
inline Tensor allocate_like(const Tensor& logit) {
#if defined(PADDLE_FOCAL_OWN_MEMORY)
  const int64_t bytes = logit.numel() * phi::SizeOf(logit.dtype());
  if (logit.is_cpu() && bytes >= cpu::kLargeResult) {
    const auto release = [bytes](void* data) { cpu::release(data, bytes); };
    return paddle::from_blob(cpu::allocate(bytes), logit.shape(), logit.dtype(),
                             paddle::DataLayout::NCHW, logit.place(), release);
  }
#endif
  return paddle::empty(logit.shape(), logit.dtype(), logit.place());
}

/// Refuses an invalid label, and writes the sum of the losses where it is asked for.
inline void finish_on_cpu(int64_t invalid_label, double sum, Tensor* total) {
  if (invalid_label >= 0) {
    throw std::out_of_range("label[" + std::to_string(invalid_label) + "] is out of range");
  }
  if (!total) return;
  if (total->dtype() == DataType::FLOAT64) {
    *total->data<double>() = sum;
  } else {
    *total->data<float>() = static_cast<float>(sum);
  }
}

/// Paddle turns its own exceptions into Python's and ends the process on any other one.
template <class Function>
void guarded(Function function) {
  std::string message;
  try {
    return function();
  } catch (const std::exception& error) {
    message = error.what();
  }
  PD_THROW(message);
}

}  // namespace tensors
}  // namespace paddle_focal
