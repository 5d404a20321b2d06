#include "cpu/kernel_headers.h"

#if defined(FOCAL_X86)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif

#define FOCAL_ISA avx512
#include "cpu/kernels.inc"

#if defined(__clang__)
#pragma clang attribute pop
#endif

namespace paddle_focal {
namespace cpu {

const Kernels kAvx512 = {"avx512",      avx512::elementwise, avx512::softmax,
                        avx512::multiply, avx512::joint,       avx512::count_ones};

}  // namespace cpu
}  // namespace paddle_focal
#endif
