// The interface's functions for GPUs, over a driver that is handed in: the library is linked to none.

#include "cpu/failure.h"
#include "cuda/focal_pass.cuh"

namespace paddle_focal {
namespace cuda {
namespace {

/// A kernel's name and what it is for.
struct Kernel {
  const char* name;
  int64_t type;
  bool is_gradient;
  Kind kind;
  Gamma gamma;
};

constexpr int64_t number_of(Float16*) { return FOCAL_FLOAT16; }
constexpr int64_t number_of(BFloat16*) { return FOCAL_BFLOAT16; }
constexpr int64_t number_of(float*) { return FOCAL_FLOAT32; }
constexpr int64_t number_of(double*) { return FOCAL_FLOAT64; }

#define ENTRY(NAME, S, IS_GRADIENT, KIND, GAMMA) \
  {#NAME, number_of(static_cast<S*>(nullptr)), IS_GRADIENT, KIND, GAMMA},
const Kernel kList[] = {FOCAL_KERNELS(ENTRY)};
#undef ENTRY

constexpr int kKernels = sizeof(kList) / sizeof(*kList) + 2;
static_assert(kKernels == FOCAL_GPU_KERNELS, "focal.h states the number of kernels");

int kernel_of(const Pass& pass) {
  const Gamma gamma = pass.kind == Kind::kAny ? Gamma::kAny : pass.gamma;
  const int64_t type = pass.params.logit.type;
  int index = 0;
  for (const Kernel& kernel : kList) {
    if (kernel.type == type && kernel.is_gradient == (pass.grad_out.data != nullptr) && kernel.kind == pass.kind &&
        kernel.gamma == gamma) {
      break;
    }
    ++index;
  }
  return index;
}

const char* name_of(int kernel) {
  return kernel < kKernels - 2 ? kList[kernel].name : kernel == kKernels - 2 ? "focal_add_float32" : "focal_add_float64";
}

int launch(const FocalGpu& gpu, int kernel, int64_t blocks, int threads, void* stream, void** arguments) {
  const int result = gpu.launch(gpu.kernels[kernel], static_cast<unsigned>(blocks), 1, 1, threads, 1, 1, 0, stream,
                                arguments, nullptr);
  if (result == 0) return FOCAL_OK;
  const char* words = nullptr;
  gpu.error_string(result, &words);
  set_error("cuLaunchKernel of %s: %s (CUDA error %d)", name_of(kernel), words ? words : "unknown error", result);
  return FOCAL_FAILED;
}

int run(const FocalGpu& gpu, const FocalLossParams& params, const FocalArray* grad_out, void* out, double* partials,
        void* stream) {
  if (params.loss == FOCAL_SOFTMAX) {
    set_error("there are no kernels of loss %d for GPUs", static_cast<int>(params.loss));
    return FOCAL_FAILED;
  }
  if (!logit_count(params)) return FOCAL_OK;
  Pass pass(params, grad_out ? *grad_out : FocalArray{nullptr, 0}, out);
  void* arguments[] = {&pass, &partials};
  return launch(gpu, kernel_of(pass), pass.share.blocks(), kThreads, stream, arguments);
}

/// The partial sums of a loss: one for each block.
int64_t partial_count(const FocalLossParams& params) {
  return logit_count(params) ? Pass(params, {nullptr, 0}, nullptr).share.blocks() : 0;
}

}  // namespace
}  // namespace cuda
}  // namespace paddle_focal

using namespace paddle_focal;

const char* focal_gpu_kernel(int64_t index) {
  return index >= 0 && index < cuda::kKernels ? cuda::name_of(static_cast<int>(index)) : nullptr;
}

int64_t focal_gpu_workspace(const FocalLossParams* params) {
  return params->reduce ? cuda::partial_count(*params) * static_cast<int64_t>(sizeof(double)) : 0;
}

int focal_gpu_forward(const FocalGpu* gpu, const FocalLossParams* params, void* loss, void* workspace, void* stream) {
  double* partials = static_cast<double*>(workspace);
  const int status = cuda::run(*gpu, *params, nullptr, params->reduce ? nullptr : loss, partials, stream);
  if (status != FOCAL_OK || !params->reduce) return status;
  int64_t n = cuda::partial_count(*params);
  void* arguments[] = {&partials, &n, &loss};
  const int kernel = cuda::kKernels - (params->logit.type == FOCAL_FLOAT64 ? 1 : 2);
  return cuda::launch(*gpu, kernel, 1, cuda::kTotalThreads, stream, arguments);
}

int focal_gpu_backward(const FocalGpu* gpu, const FocalLossParams* params, const FocalArray* grad_out, void* grad,
                       void* stream) {
  return cuda::run(*gpu, *params, grad_out, grad, nullptr, stream);
}
