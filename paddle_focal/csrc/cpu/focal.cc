// The interface's functions on the CPU.

#include "focal.h"

#include <cstdarg>
#include <cstdio>
#include <type_traits>

#include "cpu/failure.h"
#include "cpu/kernels.h"
#include "loss_params.h"

namespace paddle_focal {
namespace {

thread_local char error[1024] = "";

int status_of(const cpu::Result& result) {
  if (result.is_out_of_memory) {
    set_error("out of memory");
    return FOCAL_FAILED;
  }
  if (result.invalid_label < 0) return FOCAL_OK;
  set_error("the label or score of index %lld is out of range", static_cast<long long>(result.invalid_label));
  return FOCAL_INVALID_LABEL;
}

/// One long run of labels instead of many short ones.
FocalLossParams with_long_runs(FocalLossParams params) {
  if (params.loss != FOCAL_SOFTMAX && params.classes == 1 && params.inner == 1) {
    params.inner = params.outer;
    params.outer = 1;
    params.weight.inner = params.weight.outer;
  }
  return params;
}

int run(const cpu::Pass& pass, double* sum) {
  const cpu::Kernels* kernels = cpu::select_kernels();
  if (!kernels) return FOCAL_FAILED;
  const cpu::Result result = pass.params.loss == FOCAL_SOFTMAX ? kernels->softmax(pass) : kernels->elementwise(pass);
  *sum = result.sum;
  return status_of(result);
}

double load_number(const FocalArray& array) {
  double number = 0;
  visit_type(array.type, [&](auto* null) {
    using S = std::remove_pointer_t<decltype(null)>;
    number = convert<S, double>(*static_cast<const S*>(array.data));
  });
  return number;
}

}  // namespace

void set_error(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(error, sizeof(error), format, arguments);
  va_end(arguments);
}

}  // namespace paddle_focal

using namespace paddle_focal;

int focal_forward(const FocalLossParams* params, void* loss, void* grad) {
  const FocalLossParams own = with_long_runs(*params);
  double sum = 0;
  const int status = grad         ? run({own, cpu::Mode::kBoth, 1, nullptr, grad}, &sum)
                     : own.reduce ? run({own, cpu::Mode::kLoss, 1, nullptr, nullptr}, &sum)
                                  : run({own, cpu::Mode::kLoss, 1, nullptr, loss}, &sum);
  if (own.reduce && own.logit.type == FOCAL_FLOAT64) {
    *static_cast<double*>(loss) = sum;
  } else if (own.reduce) {
    *static_cast<float*>(loss) = static_cast<float>(sum);
  }
  return status;
}

int focal_backward(const FocalLossParams* params, const FocalArray* grad_out, void* grad) {
  const FocalLossParams own = with_long_runs(*params);
  const double multiplier = own.reduce ? load_number(*grad_out) : 1;
  double unused;
  return run({own, cpu::Mode::kGradient, multiplier, own.reduce ? nullptr : grad_out, grad}, &unused);
}

int focal_multiply(void* numbers, int64_t type, int64_t count, double factor) {
  const cpu::Kernels* kernels = cpu::select_kernels();
  return kernels ? status_of(kernels->multiply({numbers, type, count, factor})) : FOCAL_FAILED;
}

int focal_joint_forward(const void* a, const void* b, int64_t type, int64_t count, double power, void* joint) {
  const cpu::Kernels* kernels = cpu::select_kernels();
  if (!kernels) return FOCAL_FAILED;
  return status_of(kernels->joint({a, b, type, count, power, nullptr, joint, nullptr, nullptr}));
}

int focal_joint_backward(const void* a, const void* b, int64_t type, int64_t count, double power, const void* grad_out,
                         void* grad_a, void* grad_b) {
  const cpu::Kernels* kernels = cpu::select_kernels();
  if (!kernels) return FOCAL_FAILED;
  return status_of(kernels->joint({a, b, type, count, power, grad_out, nullptr, grad_a, grad_b}));
}

int64_t focal_count_ones(const FocalArray* numbers, int64_t count) {
  const cpu::Kernels* kernels = cpu::select_kernels();
  return kernels ? static_cast<int64_t>(kernels->count_ones({*numbers, count}).sum) : -1;
}

const char* focal_error(void) { return paddle_focal::error; }

const char* focal_fingerprint(void) { return FOCAL_FINGERPRINT; }
