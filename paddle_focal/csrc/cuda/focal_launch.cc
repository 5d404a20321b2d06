// The interface's functions for GPUs, over a driver that is handed in: the library is linked to none.

#include "cpu/failure.h"
#include "cuda/focal_assign.cuh"
#include "cuda/focal_pass.cuh"
#include "cuda/focal_softmax_pass.cuh"

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

/// Those after them: of the softmax loss, in the order of softmax_kernel_of(), two that add up partial sums, and two of
/// the assignment.
#define ENTRY(NAME, ...) #NAME,
const char* const kOthers[] = {FOCAL_SOFTMAX_KERNELS(ENTRY) "focal_add_float32", "focal_add_float64",
                               "focal_best_overlaps", "focal_label_anchors"};
#undef ENTRY

constexpr int kSingle = sizeof(kList) / sizeof(*kList);
constexpr int kKernels = kSingle + sizeof(kOthers) / sizeof(*kOthers);
constexpr int kAddFloat32 = kKernels - 4, kAddFloat64 = kKernels - 3, kFindBest = kKernels - 2, kAssign = kKernels - 1;
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

int softmax_kernel_of(const SoftmaxPass& pass) {
  const FocalLossParams& params = pass.params;
  const bool is_gradient = pass.grad_out.data != nullptr;
  return kSingle + 8 * static_cast<int>(params.logit.type) + 4 * is_dense(params) + 2 * pass.is_kept + is_gradient;
}

const char* name_of(int kernel) { return kernel < kSingle ? kList[kernel].name : kOthers[kernel - kSingle]; }

int launch(const FocalGpu& gpu, int kernel, int64_t blocks, int threads, int64_t shared, void* stream,
           void** arguments) {
  const int result = gpu.launch(gpu.kernels[kernel], static_cast<unsigned>(blocks), 1, 1, threads, 1, 1,
                                static_cast<unsigned>(shared), stream, arguments, nullptr);
  if (result == 0) return FOCAL_OK;
  const char* words = nullptr;
  gpu.error_string(result, &words);
  set_error("cuLaunchKernel of %s: %s (CUDA error %d)", name_of(kernel), words ? words : "unknown error", result);
  return FOCAL_FAILED;
}

int run(const FocalGpu& gpu, const FocalLossParams& params, const FocalArray* grad_out, void* out, double* partials,
        void* stream) {
  if (!logit_count(params)) return FOCAL_OK;
  const FocalArray from_above = grad_out ? *grad_out : FocalArray{nullptr, 0};
  if (params.loss == FOCAL_SOFTMAX) {
    SoftmaxPass pass(params, from_above, out);
    void* arguments[] = {&pass, &partials};
    return launch(gpu, softmax_kernel_of(pass), pass.share.blocks(), pass.threads(), pass.shared_bytes(), stream,
                  arguments);
  }
  Pass pass(params, from_above, out);
  void* arguments[] = {&pass, &partials};
  return launch(gpu, kernel_of(pass), pass.share.blocks(), kThreads, 0, stream, arguments);
}

/// The partial sums of a loss: one for each block.
int64_t partial_count(const FocalLossParams& params) {
  if (!logit_count(params)) return 0;
  const FocalArray none = {nullptr, 0};
  return params.loss == FOCAL_SOFTMAX ? SoftmaxPass(params, none, nullptr).share.blocks()
                                      : Pass(params, none, nullptr).share.blocks();
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
  const int kernel = params->logit.type == FOCAL_FLOAT64 ? cuda::kAddFloat64 : cuda::kAddFloat32;
  return cuda::launch(*gpu, kernel, 1, cuda::kTotalThreads, 0, stream, arguments);
}

int focal_gpu_backward(const FocalGpu* gpu, const FocalLossParams* params, const FocalArray* grad_out, void* grad,
                       void* stream) {
  return cuda::run(*gpu, *params, grad_out, grad, nullptr, stream);
}

int focal_gpu_assign(const FocalGpu* gpu, const FocalAssignment* assignment, const FocalAssigned* assigned,
                     void* stream) {
  if (!assignment->anchor_count) return FOCAL_OK;
  for (int64_t first = 0; first < assignment->images; first += cuda::kMostImages) {
    cuda::AssignPass pass(*assignment, *assigned, first);
    void* arguments[] = {&pass};
    for (int kernel = pass.needs_best() ? cuda::kFindBest : cuda::kAssign; kernel <= cuda::kAssign; ++kernel) {
      const int status = cuda::launch(*gpu, kernel, pass.images * pass.blocks, cuda::kThreads, 0, stream, arguments);
      if (status != FOCAL_OK) return status;
    }
  }
  return FOCAL_OK;
}
