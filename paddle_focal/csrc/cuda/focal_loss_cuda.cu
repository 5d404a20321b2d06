// The kernels and their launches. There are no atomics: two runs give the same bits.

#include <stdexcept>
#include <string>

#include "focal_kernels.cuh"

namespace paddle_focal {
namespace cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kTotalThreads = 1024;

/// The sum over the block, in its first thread.
__device__ double block_sum(double value) {
  __shared__ double warps[kTotalThreads / kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, count = blockDim.x / kWarp;
  for (int d = kWarp / 2; d; d /= 2) value += __shfl_down_sync(~0u, value, d);
  if (lane == 0) warps[warp] = value;
  __syncthreads();
  value = threadIdx.x < count ? warps[lane] : 0;
  if (warp == 0) {
    for (int d = kWarp / 2; d; d /= 2) value += __shfl_down_sync(~0u, value, d);
  }
  return value;
}

template <class Thread>
__global__ void __launch_bounds__(kThreads, Thread::kBlocks) run_threads(Pass pass, double* partials) {
  const double sum = Thread(pass, blockIdx.x, threadIdx.x).run();
  if (pass.out) return;
  const double total = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

template <class T>
__global__ void __launch_bounds__(kTotalThreads) add_partials(const double* partials, int64_t n, T* sum) {
  double mine = 0;
  for (int64_t i = threadIdx.x; i < n; i += kTotalThreads) mine += partials[i];
  const double total = block_sum(mine);
  if (threadIdx.x == 0) *sum = static_cast<T>(total);
}

void check_launch() {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

void launch(const FocalLossParams& params, bool is_gradient, const FocalArray& grad_out, void* out, double* partials,
            cudaStream_t stream) {
  const int64_t blocks = block_count(params);
  if (!blocks) return;
  visit_thread(params, is_gradient, [&](auto tag) {
    using Thread = typename decltype(tag)::Thread;
    const Pass pass(params, grad_out, out, Thread::kWidth);
    run_threads<Thread><<<blocks, kThreads, 0, stream>>>(pass, partials);
  });
  check_launch();
}

}  // namespace

int64_t workspace_size(const FocalLossParams& params) { return block_count(params); }

void loss(const FocalLossParams& params, void* out, double* workspace, void* stream) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  launch(params, false, {}, params.reduce ? nullptr : out, workspace, cuda_stream);
  if (!params.reduce) return;
  const int64_t n = block_count(params);
  if (params.logit.type == FOCAL_FLOAT64) {
    add_partials<<<1, kTotalThreads, 0, cuda_stream>>>(workspace, n, static_cast<double*>(out));
  } else {
    add_partials<<<1, kTotalThreads, 0, cuda_stream>>>(workspace, n, static_cast<float*>(out));
  }
  check_launch();
}

void gradient(const FocalLossParams& params, const FocalArray& grad_out, void* out, void* stream) {
  launch(params, true, grad_out, out, nullptr, static_cast<cudaStream_t>(stream));
}

}  // namespace cuda
}  // namespace paddle_focal
