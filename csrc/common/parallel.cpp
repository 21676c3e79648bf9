#include "common/parallel.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace refkp {
namespace {

struct Job {
  const std::function<void(int64_t, int64_t)>* body;
  int64_t count;
  int64_t grain;
  std::atomic<int64_t> next{0};
  std::mutex error_mutex;
  std::exception_ptr error;

  void work() {
    for (int64_t begin; (begin = next.fetch_add(grain)) < count;) {
      try {
        (*body)(begin, std::min(begin + grain, count));
      } catch (...) {
        std::lock_guard<std::mutex> lock(error_mutex);
        if (!error) error = std::current_exception();
        next = count;
      }
    }
  }
};

// Workers sleep between jobs: torch keeps threads of its own, and spinning ones would take their cores.
class Pool {
 public:
  void run(Job& job, int num_threads) {
    grow(num_threads - 1);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      wanted_ = num_threads - 1;
      busy_ = 0;
    }
    start_.notify_all();
    job.work();
    std::unique_lock<std::mutex> lock(mutex_);
    wanted_ = 0;  // workers that have not woken yet find no work left and need not join
    done_.wait(lock, [this] { return busy_ == 0; });
    job_ = nullptr;
  }

 private:
  void grow(int size) {
    while (static_cast<int>(threads_.size()) < size) {
      threads_.emplace_back([this] { loop(); });
      threads_.back().detach();
    }
  }

  void loop() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      start_.wait(lock, [this] { return wanted_ > 0; });
      --wanted_;
      ++busy_;
      Job* job = job_;
      lock.unlock();
      job->work();
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable start_, done_;
  std::vector<std::thread> threads_;
  Job* job_ = nullptr;
  int wanted_ = 0;
  int busy_ = 0;
};

// Leaked on purpose: the detached workers may outlive static destruction. A forked child (a data loader worker) has
// none of the parent's threads, so it starts with a fresh pool.
std::atomic<Pool*> pool{nullptr};
std::atomic<bool> in_use{false};

Pool& get_pool() {
  if (pool.load() == nullptr) {
    pool = new Pool;
    static const int registered = pthread_atfork(nullptr, nullptr, [] {
      pool = new Pool;
      in_use = false;
    });
    (void)registered;
  }
  return *pool.load();
}

}  // namespace

void parallel_for(int64_t count, int64_t grain, int num_threads, const std::function<void(int64_t, int64_t)>& body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t blocks = (count + grain - 1) / grain;
  num_threads = static_cast<int>(std::min<int64_t>(num_threads, blocks));
  Job job;
  job.body = &body;
  job.count = count;
  job.grain = grain;
  if (num_threads <= 1 || in_use.exchange(true)) {
    job.work();
  } else {
    get_pool().run(job, num_threads);
    in_use = false;
  }
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace refkp
