// Runs every thread of the GPU's grid on the host, one after the other, for test_cuda_source.py.
//
// exp2 and the reciprocal, which a GPU approximates, are off by the largest error that they are documented with.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace paddle_focal {

int exp2_error = 0, reciprocal_error = 0;  // -1 or 1: its sign; 0: either, by the argument

inline float approximate(double exact, double bound, int error, float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  const int sign = error ? error : (bits * 2654435761u >> 31 ? 1 : -1);
  const float result = static_cast<float>(exact * (1 + sign * bound));
  return std::fabs(result) < 1.17549435e-38f ? 0.0f : result;
}

inline float approximate_exp2(float x) {
  return approximate(std::exp2(static_cast<double>(x)), std::ldexp(1.0, -22), exp2_error, x);
}
inline float approximate_reciprocal(float x) {
  return approximate(1 / static_cast<double>(x), std::ldexp(1.0, -23), reciprocal_error, x);
}

}  // namespace paddle_focal

#define FOCAL_HAS_APPROXIMATIONS
#include "cuda/focal_kernels.cuh"

using namespace paddle_focal;

namespace {

/// Calls function(null pointer to the Thread) for the kernel of that number.
template <class Function>
void visit_kernel(int kernel, Function function) {
#define VISIT(NAME, S, IS_GRADIENT, IS_SOFT) \
  if (kernel-- == 0) return function(static_cast<cuda::Thread<S, IS_GRADIENT, IS_SOFT>*>(nullptr));
  FOCAL_KERNELS(VISIT)
#undef VISIT
}

/// Calls function(block, the sum of a thread) for every thread.
template <class Function>
void run_grid(const FocalLossParams& params, const FocalArray* grad_out, void* out, Function function) {
  const int64_t blocks = cuda::block_count(params);
  if (!blocks) return;
  visit_kernel(cuda::kernel_index(params, grad_out != nullptr), [&](auto* null) {
    using Thread = std::remove_pointer_t<decltype(null)>;
    const cuda::Pass pass(params, grad_out ? *grad_out : FocalArray{nullptr, 0}, out, Thread::kWidth);
    for (int64_t block = 0; block < blocks; ++block) {
      for (int thread = 0; thread < cuda::kThreads; ++thread) function(block, Thread(pass, block, thread).run());
    }
  });
}

}  // namespace

extern "C" {

void set_errors(int exp2, int reciprocal) {
  exp2_error = exp2;
  reciprocal_error = reciprocal;
}

int64_t pass_size() { return sizeof(cuda::Pass); }

int64_t block_count(const FocalLossParams& params) { return cuda::block_count(params); }

bool is_packed(const FocalLossParams& params, const FocalArray& grad_out, void* out, int width) {
  return cuda::Pass(params, grad_out, out, width).is_packed;
}

/// The gradient if there is one from above, else the loss: to `out`, or their sums by block to `partials`.
void run(const FocalLossParams& params, const FocalArray* grad_out, void* out, double* partials) {
  run_grid(params, grad_out, out, [&](int64_t block, double sum) {
    if (partials) partials[block] += sum;
  });
}

/// How often each logit's result is written; no result is made of the bytes 0xa5.
void count_writes(const FocalLossParams& params, const FocalArray* grad_out, char* out, int64_t size_of_one, int32_t* counts) {
  const std::vector<char> untouched(size_of_one, '\xa5');
  std::memset(out, '\xa5', logit_count(params) * size_of_one);
  run_grid(params, grad_out, out, [&](int64_t, double) {
    for (int64_t i = 0; i < logit_count(params); ++i) {
      if (std::memcmp(out + i * size_of_one, untouched.data(), size_of_one) == 0) continue;
      ++counts[i];
      std::memset(out + i * size_of_one, '\xa5', size_of_one);
    }
  });
}

/// The packs of one thread: (logit, label, class, logits to go) of each. Returns their number, at most 16.
int walk(const FocalLossParams& params, int width, int64_t block, int thread, int64_t* packs) {
  const cuda::Partition partition(params, width);
  int count = 0;
  for (cuda::Walk walk(partition, block, thread); walk.left > 0; walk.advance(partition), ++count) {
    const int64_t pack[] = {walk.place.logit, walk.place.label, walk.place.c, walk.left};
    std::memcpy(packs + 4 * count, pack, sizeof(pack));
  }
  return count;
}

int64_t quotient(int64_t divisor, int64_t n) { return cuda::Divisor(divisor).quotient(n); }
}
