// A small thread pool for the CPU kernels.
//
// Work is a range of independent items. Threads claim items in blocks of `grain`, so which thread does an item is not
// fixed; kernels stay deterministic because an item alone writes its own results.
#pragma once

#include <cstdint>
#include <functional>

namespace refkp {

// Calls body(begin, end) over [0, count) in blocks of at most `grain` items on up to `num_threads` threads, the caller
// among them. Blocks are started in ascending order. Nested calls and calls from several threads run inline, one after another.
void parallel_for(int64_t count, int64_t grain, int num_threads, const std::function<void(int64_t, int64_t)>& body);

}  // namespace refkp
