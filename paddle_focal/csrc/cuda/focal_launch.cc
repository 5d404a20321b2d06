// The interface's functions for GPUs, over a driver that is handed in: the library is linked to none.

#include "cpu/failure.h"
#include "cuda/focal_pass.cuh"

namespace paddle_focal {
namespace cuda {
namespace {

#define NAME(NAME, ...) #NAME,
const char* const kNames[] = {FOCAL_KERNELS(NAME) "focal_add_float32", "focal_add_float64"};
#undef NAME

constexpr int kKernels = sizeof(kNames) / sizeof(*kNames);
static_assert(kKernels == FOCAL_GPU_KERNELS, "focal.h states the number of kernels");

int launch(const FocalGpu& gpu, int kernel, int64_t blocks, int threads, void* stream, void** arguments) {
  const int result = gpu.launch(gpu.kernels[kernel], static_cast<unsigned>(blocks), 1, 1, threads, 1, 1, 0, stream,
                                arguments, nullptr);
  if (result == 0) return FOCAL_OK;
  const char* words = nullptr;
  gpu.error_string(result, &words);
  set_error("cuLaunchKernel of %s: %s (CUDA error %d)", kNames[kernel], words ? words : "unknown error", result);
  return FOCAL_FAILED;
}

int run(const FocalGpu& gpu, const FocalLossParams& params, const FocalArray* grad_out, void* out, double* partials,
        void* stream) {
  if (params.loss != FOCAL_SIGMOID) {
    set_error("there are no kernels of loss %d for GPUs", static_cast<int>(params.loss));
    return FOCAL_FAILED;
  }
  const int64_t blocks = block_count(params);
  if (!blocks) return FOCAL_OK;
  const FocalArray none = {nullptr, 0};
  Pass pass(params, grad_out ? *grad_out : none, out, width_of(params.logit.type));
  void* arguments[] = {&pass, &partials};
  return launch(gpu, kernel_index(params, grad_out != nullptr), blocks, kThreads, stream, arguments);
}

}  // namespace
}  // namespace cuda
}  // namespace paddle_focal

using namespace paddle_focal;

const char* focal_gpu_kernel(int64_t index) {
  return index >= 0 && index < cuda::kKernels ? cuda::kNames[index] : nullptr;
}

int64_t focal_gpu_workspace(const FocalLossParams* params) {
  return params->reduce ? cuda::block_count(*params) * static_cast<int64_t>(sizeof(double)) : 0;
}

int focal_gpu_forward(const FocalGpu* gpu, const FocalLossParams* params, void* loss, void* workspace, void* stream) {
  double* partials = static_cast<double*>(workspace);
  const int status = cuda::run(*gpu, *params, nullptr, params->reduce ? nullptr : loss, partials, stream);
  if (status != FOCAL_OK || !params->reduce) return status;
  int64_t n = cuda::block_count(*params);
  void* arguments[] = {&partials, &n, &loss};
  const int kernel = cuda::kKernels - (params->logit.type == FOCAL_FLOAT64 ? 1 : 2);
  return cuda::launch(*gpu, kernel, 1, cuda::kTotalThreads, stream, arguments);
}

int focal_gpu_backward(const FocalGpu* gpu, const FocalLossParams* params, const FocalArray* grad_out, void* grad,
                       void* stream) {
  return cuda::run(*gpu, *params, grad_out, grad, nullptr, stream);
}
