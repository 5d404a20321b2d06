// The kernels. There are no atomics: two runs give the same bits.

#include "cuda/focal_kernels.cuh"

namespace paddle_focal {
namespace cuda {
namespace {

constexpr int kWarp = 32;

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
__device__ __forceinline__ void run_threads(const Pass& pass, double* partials) {
  const double sum = Thread(pass, blockIdx.x, threadIdx.x).run();
  if (pass.out) return;
  const double total = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

template <class T>
__device__ __forceinline__ void add_partials(const double* partials, int64_t n, T* sum) {
  double mine = 0;
  for (int64_t i = threadIdx.x; i < n; i += kTotalThreads) mine += partials[i];
  const double total = block_sum(mine);
  if (threadIdx.x == 0) *sum = static_cast<T>(total);
}

}  // namespace
}  // namespace cuda
}  // namespace paddle_focal

using namespace paddle_focal::cuda;

#define DEFINE(NAME, ...)                                                                                \
  extern "C" __global__ void __launch_bounds__(kThreads, (Thread<__VA_ARGS__>::kBlocks))                   \
      NAME(Pass pass, double* partials) {                                          \
    run_threads<Thread<__VA_ARGS__>>(pass, partials);                                                      \
  }

FOCAL_KERNELS(DEFINE)

extern "C" __global__ void __launch_bounds__(kTotalThreads)
    focal_add_float32(const double* partials, int64_t n, float* sum) {
  add_partials(partials, n, sum);
}

extern "C" __global__ void __launch_bounds__(kTotalThreads)
    focal_add_float64(const double* partials, int64_t n, double* sum) {
  add_partials(partials, n, sum);
}
