#include "cpu/kernel_headers.h"

#if defined(FOCAL_X86)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#define FOCAL_ISA avx2
#include "cpu/kernels.inc"

#if defined(__clang__)
#pragma clang attribute pop
#endif

namespace paddle_focal {
namespace cpu {

const Kernels kAvx2 = {"avx2",      avx2::elementwise, avx2::softmax,
                        avx2::multiply, avx2::joint,       avx2::count_ones};

}  // namespace cpu
}  // namespace paddle_focal
#endif
