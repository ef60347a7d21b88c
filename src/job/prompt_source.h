#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "engine/request.h"
#include "io/prompt_reader.h"
#include "job/bounded_queue.h"
#include "job/claims.h"

namespace trireme::job {

/// A prompt file that several threads read: the HDF5 library lets in one at a time.
class SharedReader {
 public:
  explicit SharedReader(io::PromptReader reader) : reader_(std::move(reader)) {}

  template <typename Function>
  auto with(Function function) {
    const std::lock_guard lock(mutex_);
    return function(reader_);
  }

 private:
  std::mutex mutex_;
  io::PromptReader reader_;
};

/// Makes the request of a row: template, tokens, parameters. Called by several threads.
using RequestMaker = std::function<engine::Request(const io::PromptRow&)>;

/// A leader's requests: claims portions of rows from rank 0, reads and tokenises them on threads of
/// its own, beside the engine. Asks again when half of a portion is still waiting.
class PromptSource : public engine::RequestSource {
 public:
  PromptSource(SharedReader& reader, ClaimChannel& claims, RequestMaker make_request,
               int num_threads);
  ~PromptSource() override;

  std::optional<engine::Request> next() override;
  bool exhausted() const override;

 private:
  void claim_more();
  void work();

  SharedReader& reader_;
  ClaimChannel& claims_;
  RequestMaker make_request_;
  BoundedQueue<std::pair<std::int64_t, double>> rows_;  ///< claimed: index, when
  BoundedQueue<engine::Request> requests_;              ///< ready
  std::int64_t num_unfinished_ = 0;                     ///< claimed and not given to the engine
  std::int64_t portion_size_ = 0;
  bool is_drained_ = false;  ///< rank 0 has no more
  std::mutex error_mutex_;
  std::exception_ptr error_;
  std::vector<std::thread> threads_;
};

}  // namespace trireme::job
