#include "cpu/cpu_tasks.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace paddle_focal {
namespace cpu {
namespace {

bool is_supported(InstructionSet set) {
#if defined(FOCAL_X86)
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (set == InstructionSet::kAvx2) return has_avx2;
  if (set == InstructionSet::kAvx512) {
    return has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  }
#endif
  return set == InstructionSet::kBaseline;
}

}  // namespace

const char* name_of(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512:
      return "avx512";
    case InstructionSet::kAvx2:
      return "avx2";
    default:
      return "baseline";
  }
}

InstructionSet select_instruction_set() {
  const char* wanted = std::getenv("PADDLE_FOCAL_ISA");
  std::string supported;
  for (const InstructionSet set : {InstructionSet::kAvx512, InstructionSet::kAvx2, InstructionSet::kBaseline}) {
    if (!is_supported(set)) continue;
    if (!wanted || !*wanted || std::strcmp(wanted, name_of(set)) == 0) return set;
    supported += (supported.empty() ? "" : ", ") + std::string(name_of(set));
  }
  throw std::invalid_argument("PADDLE_FOCAL_ISA must be one of those this processor has, " + supported +
                              ", but got " + wanted);
}

}  // namespace cpu
}  // namespace paddle_focal
