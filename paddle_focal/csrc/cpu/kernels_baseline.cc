#include "cpu/kernel_headers.h"

#define FOCAL_ISA baseline
#include "cpu/kernels.inc"

namespace paddle_focal {
namespace cpu {

const Kernels kBaseline = {"baseline",      baseline::elementwise, baseline::softmax,
                        baseline::multiply, baseline::joint,       baseline::count_ones};

}  // namespace cpu
}  // namespace paddle_focal
