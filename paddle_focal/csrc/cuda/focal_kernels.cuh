// The kernels' threads by what they compute.
#pragma once

#include "cuda/focal_any.cuh"
#include "cuda/focal_assign.cuh"
#include "cuda/focal_packed.cuh"
#include "cuda/focal_softmax.cuh"

namespace paddle_focal {
namespace cuda {

template <class S, bool kGradient, Kind kKind, Gamma kGamma>
using Thread =
    std::conditional_t<kKind == Kind::kAny, AnyLoss<S, kGradient>, PackedLoss<S, kGradient, kKind, kGamma>>;

}  // namespace cuda
}  // namespace paddle_focal
