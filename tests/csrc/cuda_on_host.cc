// Runs every thread of the GPU's grid on the host, one after the other, for test_cuda_source.py.
//
// exp2 and the reciprocal, which a GPU approximates, are off by the largest error that they are documented with.

#include <cmath>
#include <cstdint>
#include <cstdlib>
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
  if (x == 0) return 1;  // as documented
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

/// Calls function(null pointer to the Thread) for the kernel of a pass.
template <class Function>
void visit_kernel(const cuda::Pass& pass, Function function) {
  const Gamma gamma = pass.kind == cuda::Kind::kAny ? Gamma::kAny : pass.gamma;
  const bool is_gradient = pass.grad_out.data;
  visit_type(pass.params.logit.type, [&](auto* null) {
    using Logit = std::remove_pointer_t<decltype(null)>;
#define VISIT(NAME, S, IS_GRADIENT, KIND, GAMMA)                                                          \
  if constexpr (std::is_same<S, Logit>::value) {                                                          \
    if (is_gradient == IS_GRADIENT && pass.kind == KIND && gamma == GAMMA) {                              \
      return function(static_cast<cuda::Thread<S, IS_GRADIENT, KIND, GAMMA>*>(nullptr));                  \
    }                                                                                                     \
  }
    FOCAL_KERNELS(VISIT)
#undef VISIT
    std::abort();
  });
}

/// All threads of a block, of which those of a label exchange numbers.
template <class Thread>
struct Group {
  using T = typename Thread::T;

  const cuda::SoftmaxPass& pass;
  std::vector<T> kept;
  std::vector<Thread> threads;

  Group(const cuda::SoftmaxPass& pass, int64_t block)
      : pass(pass), kept(pass.shared_bytes() / sizeof(T)) {
    threads.reserve(pass.threads());
    for (int i = 0; i < pass.threads(); ++i) threads.emplace_back(pass, block, i, kept.data());
  }

  template <class Function>
  void each(Function function) {
    for (Thread& thread : threads) function(thread);
  }

  template <class Join>
  void share(int count) {
    for (int slot = 0; slot < pass.slots; ++slot) {
      const auto at = [&](int lane) -> Thread& {
        return threads[pass.is_rows ? slot * pass.lanes + lane : lane * pass.slots + slot];
      };
      for (int j = 0; j < count; ++j) {
        T value = at(0).mail[j];
        for (int lane = 1; lane < pass.lanes; ++lane) value = Join()(value, at(lane).mail[j]);
        for (int lane = 0; lane < pass.lanes; ++lane) at(lane).mail[j] = value;
      }
    }
  }
};

/// The sum of the losses of a block's labels.
template <class Thread>
double run_softmax_block(const cuda::SoftmaxPass& pass, int64_t block) {
  Group<Thread> group(pass, block);
  cuda::run_softmax<Thread>(pass, block, group);
  double sum = 0;
  for (const Thread& thread : group.threads) sum += thread.sum;
  return sum;
}

/// Calls function(block, the sum of its losses) for every block.
template <class Function>
void run_softmax_grid(const FocalLossParams& params, const FocalArray& grad_out, void* out, Function function) {
  const cuda::SoftmaxPass pass(params, grad_out, out);
  const auto run_blocks = [&](auto* null) {
    for (int64_t block = 0; block < pass.share.blocks(); ++block) {
      function(block, run_softmax_block<std::remove_pointer_t<decltype(null)>>(pass, block));
    }
  };
  visit_type(params.logit.type, [&](auto* null) {
    using Logit = std::remove_pointer_t<decltype(null)>;
    const auto is_meant = [&](auto* thread, bool is_gradient, bool is_kept) {
      using Thread = std::remove_pointer_t<decltype(thread)>;
      const bool is_soft = std::is_base_of<cuda::SoftSoftmax<Logit, true, true>, Thread>::value;
      return is_soft == is_dense(params) && is_gradient == (grad_out.data != nullptr) && is_kept == pass.is_kept;
    };
#define VISIT(NAME, THREAD, S, IS_GRADIENT, IS_KEPT)                                                          \
  if constexpr (std::is_same<S, Logit>::value) {                                                              \
    const auto thread = static_cast<cuda::THREAD<S, IS_GRADIENT, IS_KEPT>*>(nullptr);                         \
    if (is_meant(static_cast<cuda::THREAD<S, true, true>*>(nullptr), IS_GRADIENT, IS_KEPT)) return run_blocks(thread); \
  }
    FOCAL_SOFTMAX_KERNELS(VISIT)
#undef VISIT
  });
}

/// Calls function(block, the sum of a thread) for every thread.
template <class Function>
void run_grid(const FocalLossParams& params, const FocalArray* grad_out, void* out, Function function) {
  if (!logit_count(params)) return;
  if (params.loss == FOCAL_SOFTMAX) {
    return run_softmax_grid(params, grad_out ? *grad_out : FocalArray{nullptr, 0}, out, function);
  }
  const cuda::Pass pass(params, grad_out ? *grad_out : FocalArray{nullptr, 0}, out);
  visit_kernel(pass, [&](auto* null) {
    using Thread = std::remove_pointer_t<decltype(null)>;
    for (int64_t block = 0; block < pass.share.blocks(); ++block) {
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

int64_t block_count(const FocalLossParams& params) {
  if (!logit_count(params)) return 0;
  return params.loss == FOCAL_SOFTMAX ? cuda::SoftmaxPass(params, {nullptr, 0}, nullptr).share.blocks()
                                      : cuda::Pass(params, {nullptr, 0}, nullptr).share.blocks();
}

/// Lanes, slots, whether logits are kept, and bytes of shared memory.
void softmax_numbers(const FocalLossParams& params, int64_t* result) {
  const cuda::SoftmaxPass pass(params, {nullptr, 0}, nullptr);
  const int64_t numbers[] = {pass.lanes, pass.slots, pass.is_kept, pass.shared_bytes()};
  std::memcpy(result, numbers, sizeof(numbers));
}

int64_t softmax_pass_size() { return sizeof(cuda::SoftmaxPass); }

int64_t assign_pass_size() { return sizeof(cuda::AssignPass); }

/// The number of the kind of kernel.
int kind_of_pass(const FocalLossParams& params, const FocalArray* grad_out, void* out) {
  return static_cast<int>(cuda::Pass(params, grad_out ? *grad_out : FocalArray{nullptr, 0}, out).kind);
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

/// Units, those of a block, and the number of blocks.
void share(const FocalLossParams& params, int64_t* result) {
  const cuda::Pass pass(params, {nullptr, 0}, nullptr);
  const int64_t numbers[] = {pass.share.units, pass.share.per_block, pass.share.blocks()};
  std::memcpy(result, numbers, sizeof(numbers));
}

/// Where the logit is that comes so many after another one.
void place(const FocalLossParams& params, int64_t from, int32_t count, int64_t* result) {
  const cuda::Axes axes(params);
  const cuda::Place place = cuda::Place(axes, from).moved(axes, count);
  const int64_t numbers[] = {place.outer, place.c, place.inner};
  std::memcpy(result, numbers, sizeof(numbers));
}

int64_t quotient(int64_t divisor, int64_t n) { return cuda::Divisor(divisor).quotient(n); }
int64_t short_quotient(int64_t divisor, int64_t n) { return cuda::ShortDivisor(divisor).quotient(n); }
}
