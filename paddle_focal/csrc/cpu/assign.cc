// The assignment of anchors to boxes on the CPU: blocks of anchors, each compared with the boxes that it can touch.

#include <cmath>

#include "assignment.h"
#include "cpu/failure.h"
#include "cpu/tasks.h"

namespace paddle_focal {
namespace cpu {
namespace {

constexpr int kBlock = 256, kBlocks = 16;  // anchors of a block, which stays in the first cache; blocks of a task

struct Work {
  const FocalAssignment& given;
  const FocalAssigned& assigned;

  int64_t tasks() const { return (given.anchor_count + kBlocks * kBlock - 1) / (kBlocks * kBlock); }
  const Corners& box(int64_t g) const { return static_cast<const Corners*>(given.boxes)[g]; }
};

/// Consecutive anchors, followed by some without area, and what surrounds all of them.
struct Block {
  float x0[kBlock], y0[kBlock], x1[kBlock], y1[kBlock], area[kBlock];
  Corners around = {INFINITY, INFINITY, -INFINITY, -INFINITY};

  Block(const Corners* anchors, int count) {
    for (int i = 0; i < kBlock; ++i) {
      const Corners anchor = i < count ? anchors[i] : Corners{};
      x0[i] = anchor.x0;
      y0[i] = anchor.y0;
      x1[i] = anchor.x1;
      y1[i] = anchor.y1;
      area[i] = area_of(anchor);
      around.x0 = anchor.x0 < around.x0 ? anchor.x0 : around.x0;
      around.y0 = anchor.y0 < around.y0 ? anchor.y0 : around.y0;
      around.x1 = anchor.x1 > around.x1 ? anchor.x1 : around.x1;
      around.y1 = anchor.y1 > around.y1 ? anchor.y1 : around.y1;
    }
  }

  bool touches(const Corners& box) const {
    return around.x0 < box.x1 && around.x1 > box.x0 && around.y0 < box.y1 && around.y1 > box.y0;
  }

  float overlap(const Corners& box, int i) const {
    return overlap_of(box, {x0[i], y0[i], x1[i], y1[i]}, area[i]);
  }
};

/// Calls function(block, its first anchor, how many there are) for each block of a task.
template <class Function>
void for_each_block(const Work& work, int64_t task, Function function) {
  const int64_t count = work.given.anchor_count;
  for (int64_t first = task * kBlocks * kBlock, end = first + kBlocks * kBlock; first < end && first < count;
       first += kBlock) {
    const int here = count - first < kBlock ? static_cast<int>(count - first) : kBlock;
    function(Block(static_cast<const Corners*>(work.given.anchors) + first, here), first, here);
  }
}

void raise(int32_t* best, int32_t bits) {
  int32_t known = __atomic_load_n(best, __ATOMIC_RELAXED);
  while (bits > known && !__atomic_compare_exchange_n(best, &known, bits, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

void find_best(const void* data, int64_t task, Result&) {
  const Work& work = *static_cast<const Work*>(data);
  for_each_block(work, task, [&](const Block& block, int64_t, int) {
    for (int64_t g = work.given.starts[0]; g < work.given.starts[work.given.images]; ++g) {
      const Corners box = work.box(g);
      if (!block.touches(box)) continue;
      int32_t best = 0;  // bits, which are in the order of the IoUs
      for (int i = 0; i < kBlock; ++i) {
        const int32_t bits = bit_cast<int32_t>(block.overlap(box, i));
        best = bits > best ? bits : best;
      }
      raise(&work.assigned.best[g], best);
    }
  });
}

/// What the anchors of a block have found, each number beside its like.
struct Matches {
  float overlap[kBlock] = {};
  int32_t box[kBlock];
  int32_t is_best[kBlock] = {};

  explicit Matches(int32_t first) {
    for (int32_t& one : box) one = first;
  }

  void add(const Block& block, const Corners& corners, int32_t its_box, float greatest, float tolerance) {
    for (int i = 0; i < kBlock; ++i) {
      Match match{overlap[i], box[i], is_best[i]};
      match.add(block.overlap(corners, i), its_box, greatest, tolerance);
      overlap[i] = match.overlap;
      box[i] = match.box;
      is_best[i] = match.is_best;
    }
  }
};

void assign(const void* data, int64_t task, Result&) {
  const Work& work = *static_cast<const Work*>(data);
  const FocalAssignment& given = work.given;
  for_each_block(work, task, [&](const Block& block, int64_t first, int count) {
    for (int64_t image = 0; image < given.images; ++image) {
      const int32_t begin = static_cast<int32_t>(given.starts[image]), end = static_cast<int32_t>(given.starts[image + 1]);
      Matches matches(begin);
      for (int32_t g = begin; g < end; ++g) {
        if (!block.touches(work.box(g))) continue;
        const float best = given.keeps_best ? bit_cast<float>(work.assigned.best[g]) : INFINITY;
        matches.add(block, work.box(g), g, best, static_cast<float>(given.tolerance));
      }
      for (int i = 0; i < count; ++i) {
        const Match match{matches.overlap[i], matches.box[i], matches.is_best[i]};
        const int64_t index = image * given.anchor_count + first + i;
        write_match(given, work.assigned, index, match, begin < end, given.starts[given.images]);
      }
    }
  });
}

}  // namespace
}  // namespace cpu
}  // namespace paddle_focal

using namespace paddle_focal;

int focal_assign(const FocalAssignment* assignment, const FocalAssigned* assigned) {
  const cpu::Work work{*assignment, *assigned};
  const bool is_whole = (!assignment->keeps_best || !cpu::run_tasks(work.tasks(), cpu::find_best, &work).is_out_of_memory) &&
                        !cpu::run_tasks(work.tasks(), cpu::assign, &work).is_out_of_memory;
  if (is_whole) return FOCAL_OK;
  set_error("out of memory");
  return FOCAL_FAILED;
}
