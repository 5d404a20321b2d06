// How a kernel runs on the CPU: compiled for each instruction set, in tasks that are shared out among the threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "formulas/focal_math.h"

#if defined(__GNUC__)
#define FOCAL_INLINE_LAMBDA __attribute__((always_inline))
#else
#define FOCAL_INLINE_LAMBDA
#endif

#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#define FOCAL_X86
#endif

namespace paddle_focal {
namespace cpu {

enum class InstructionSet { kBaseline, kAvx2, kAvx512 };

/// The best that the processor has; PADDLE_FOCAL_ISA in the environment asks for another one, by name.
/// Throws std::invalid_argument if the processor does not have it.
InstructionSet select_instruction_set();

/// avx512, avx2 or baseline.
const char* name_of(InstructionSet set);

#define FOCAL_COMPILE_FOR(name, target)              \
  template <class Kernel, class... Arguments>        \
  target void run_##name(Arguments&... arguments) { \
    Kernel::run(arguments...);                       \
  }

FOCAL_COMPILE_FOR(baseline, )
#if defined(FOCAL_X86)
FOCAL_COMPILE_FOR(avx2, __attribute__((target("avx2,fma"))))
FOCAL_COMPILE_FOR(avx512, __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,"
                                                "prefer-vector-width=512"))))
#endif

/// Calls Kernel::run(arguments...), which is to be inlined, compiled for an instruction set.
template <class Kernel, class... Arguments>
void run_on(InstructionSet set, Arguments&... arguments) {
#if defined(FOCAL_X86)
  if (set == InstructionSet::kAvx512) return run_avx512<Kernel>(arguments...);
  if (set == InstructionSet::kAvx2) return run_avx2<Kernel>(arguments...);
#endif
  run_baseline<Kernel>(arguments...);
}

/// What a task adds to the whole.
struct Result {
  double sum = 0;
  int64_t invalid_label = -1;  // the first one

  void reject(int64_t label) {
    if (invalid_label < 0 || label < invalid_label) invalid_label = label;
  }
};

/// Calls function(task, result) for each task; the sum is the same for any number of threads.
template <class Function>
Result run_tasks(int64_t count, Function function) {
  std::vector<Result> results(count);
#pragma omp parallel for schedule(static) if (count > 1)
  for (int64_t task = 0; task < count; ++task) function(task, results[task]);
  Result total;
  for (const Result& result : results) {
    total.sum += result.sum;
    if (result.invalid_label >= 0) total.reject(result.invalid_label);
  }
  return total;
}

}  // namespace cpu
}  // namespace paddle_focal
