// OpenMP, because torch uses it: with GNU compilers both load one libgomp, so both run on one pool of threads. A pool of
// our own would start on cores where torch's workers still spin after its last operation; kernels of a millisecond
// took twice as long that way (measured).
#include "common/parallel.h"

#include <algorithm>
#include <exception>

namespace refkp {

void parallel_for(int64_t count, int64_t grain, int num_threads, const std::function<void(int64_t, int64_t)>& body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t blocks = (count + grain - 1) / grain;
  const auto run = [&](int64_t block) { body(block * grain, std::min((block + 1) * grain, count)); };
  const int threads = static_cast<int>(std::min<int64_t>(num_threads, blocks));
  if (threads <= 1) {
    for (int64_t block = 0; block < blocks; ++block) run(block);
    return;
  }
  std::exception_ptr error;  // an exception may not leave a parallel region
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int64_t block = 0; block < blocks; ++block) {
    try {
      run(block);
    } catch (...) {
#pragma omp critical
      error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

bool has_openmp() {
#ifdef _OPENMP
  return true;
#else
  return false;
#endif
}

}  // namespace refkp
