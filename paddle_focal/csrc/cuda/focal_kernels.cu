// The kernels. There are no atomics but for a maximum: two runs give the same bits.

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

__device__ __forceinline__ void write_partial(double sum, double* partials) {
  const double total = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

template <class Thread>
__device__ __forceinline__ void run_threads(const Pass& pass, double* partials) {
  const double sum = Thread(pass, blockIdx.x, threadIdx.x).run();
  if (!pass.out) write_partial(sum, partials);
}

extern __shared__ double shared[];

/// The threads of a block, of which this is one.
template <class Thread>
struct Group {
  using T = typename Thread::T;

  const SoftmaxPass& pass;
  Thread& thread;
  T* exchanged;

  template <class Function>
  __device__ __forceinline__ void each(Function function) {
    function(thread);
  }

  template <class Join>
  __device__ __forceinline__ void share(int count) {
#pragma unroll
    for (int j = 0; j < count; ++j) {
      T value = thread.mail[j];
      if (pass.is_rows) {
        for (int d = pass.lanes / 2; d; d /= 2) value = Join()(value, __shfl_xor_sync(~0u, value, d));
      } else {
        __syncthreads();
        exchanged[threadIdx.x] = value;
        __syncthreads();
        const int slot = threadIdx.x % pass.slots;
        value = exchanged[slot];
        for (int lane = 1; lane < pass.lanes; ++lane) value = Join()(value, exchanged[lane * pass.slots + slot]);
      }
      thread.mail[j] = value;
    }
  }
};

template <class Thread>
__device__ __forceinline__ void run_lanes(const SoftmaxPass& pass, double* partials) {
  using T = typename Thread::T;
  T* exchanged = reinterpret_cast<T*>(shared);
  Thread thread(pass, blockIdx.x, threadIdx.x, exchanged + blockDim.x);
  Group<Thread> group{pass, thread, exchanged};
  run_softmax<Thread>(pass, blockIdx.x, group);
  if (!pass.out) write_partial(thread.sum, partials);
}

template <class T>
__device__ __forceinline__ void add_partials(const double* partials, int64_t n, T* sum) {
  double mine = 0;
  for (int64_t i = threadIdx.x; i < n; i += kTotalThreads) mine += partials[i];
  const double total = block_sum(mine);
  if (threadIdx.x == 0) *sum = static_cast<T>(total);
}

/// The greatest number of a warp, in all of its threads.
__device__ __forceinline__ int32_t warp_max(int32_t value) {
  for (int d = kWarp / 2; d; d /= 2) value = max(value, __shfl_xor_sync(~0u, value, d));
  return value;
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

#define DEFINE_SOFTMAX(NAME, THREAD, ...)                                                                  \
  extern "C" __global__ void __launch_bounds__(kSoftmaxThreads, (THREAD<__VA_ARGS__>::kBlocks))            \
      NAME(SoftmaxPass pass, double* partials) {                                                           \
    run_lanes<THREAD<__VA_ARGS__>>(pass, partials);                                                     \
  }

FOCAL_SOFTMAX_KERNELS(DEFINE_SOFTMAX)

extern "C" __global__ void __launch_bounds__(kTotalThreads)
    focal_add_float32(const double* partials, int64_t n, float* sum) {
  add_partials(partials, n, sum);
}

extern "C" __global__ void __launch_bounds__(kTotalThreads)
    focal_add_float64(const double* partials, int64_t n, double* sum) {
  add_partials(partials, n, sum);
}

extern "C" __global__ void __launch_bounds__(kThreads) focal_best_overlaps(AssignPass pass) {
  Assignment(pass, blockIdx.x, threadIdx.x).find_best([&](int32_t box, int32_t bits) {
    if (!__any_sync(~0u, bits > 0)) return;
    const int32_t greatest = warp_max(bits);
    if (threadIdx.x % kWarp == 0 && greatest > pass.assigned.best[box]) atomicMax(pass.assigned.best + box, greatest);
  });
}

extern "C" __global__ void __launch_bounds__(kThreads) focal_label_anchors(AssignPass pass) {
  Assignment(pass, blockIdx.x, threadIdx.x).assign();
}
