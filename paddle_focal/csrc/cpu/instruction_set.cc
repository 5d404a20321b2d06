#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cpu/failure.h"
#include "cpu/kernels.h"
#include "focal.h"

namespace paddle_focal {
namespace cpu {
namespace {

bool has_avx2() {
#if defined(FOCAL_X86)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

bool has_avx512() {
#if defined(FOCAL_X86)
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

}  // namespace

const Kernels* select_kernels() {
  const Kernels* supported[3];
  int count = 0;
#if defined(FOCAL_X86)
  if (has_avx512()) supported[count++] = &kAvx512;
  if (has_avx2()) supported[count++] = &kAvx2;
#endif
  supported[count++] = &kBaseline;
  const char* wanted = std::getenv("PADDLE_FOCAL_ISA");
  if (!wanted || !*wanted) return supported[0];
  char names[64] = "";
  for (int i = 0; i < count; ++i) {
    if (std::strcmp(wanted, supported[i]->name) == 0) return supported[i];
    std::snprintf(names + std::strlen(names), sizeof(names) - std::strlen(names), i ? ", %s" : "%s",
                  supported[i]->name);
  }
  set_error("PADDLE_FOCAL_ISA must be one of those this processor has, %s, but got %s", names, wanted);
  return nullptr;
}

}  // namespace cpu
}  // namespace paddle_focal

const char* focal_instruction_set(void) {
  const auto kernels = paddle_focal::cpu::select_kernels();
  return kernels ? kernels->name : nullptr;
}
