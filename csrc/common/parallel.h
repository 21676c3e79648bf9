// Threads of the CPU kernels.
//
// Work is a range of independent items. Threads claim items in blocks of `grain`, so which thread does an item is not
// fixed; kernels stay deterministic because an item alone writes its own results.
#pragma once

#include <cstdint>
#include <functional>

namespace refkp {

// Calls body(begin, end) over [0, count) in blocks of at most `grain` items on up to `num_threads` threads, the caller
// among them. Blocks are started in ascending order. Built without OpenMP there is one thread.
void parallel_for(int64_t count, int64_t grain, int num_threads, const std::function<void(int64_t, int64_t)>& body);

// Whether threads were compiled in.
bool has_openmp();

}  // namespace refkp
