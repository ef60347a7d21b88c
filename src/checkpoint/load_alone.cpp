#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "checkpoint/load_job.h"
#include "tensor/device.h"

namespace trireme::checkpoint {
namespace {

// One thread copies less from the page cache than a memory or a PCI Express link takes.
constexpr std::int64_t kMaxReaders = 4;
constexpr std::int64_t kBytesWorthAReader = std::int64_t{32} << 20;

std::int64_t num_readers(std::int64_t bytes) {
  const auto cores = static_cast<std::int64_t>(std::thread::hardware_concurrency());
  const std::int64_t most = std::clamp<std::int64_t>(cores, 1, kMaxReaders);
  return std::clamp<std::int64_t>(bytes / kBytesWorthAReader, 1, most);
}

/// What the readers and the thread that waits for them share.
struct Shared {
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t next = 0;  // piece
  std::int64_t done_bytes = 0;
  std::int64_t num_running = 0;
  std::exception_ptr error;
};

/// Calls `on_progress` here, as the readers go on, until they have ended; throws what stopped them.
void wait_for_readers(Shared& shared, std::int64_t total_bytes,
                      const LoadJob::OnProgress& on_progress) {
  std::int64_t told_bytes = 0;
  std::unique_lock lock(shared.mutex);
  for (;;) {
    shared.changed.wait(lock,
                        [&] { return shared.num_running == 0 || shared.done_bytes != told_bytes; });
    const bool is_end = shared.num_running == 0;
    if (shared.done_bytes != told_bytes) {
      told_bytes = shared.done_bytes;
      lock.unlock();
      if (on_progress) on_progress(told_bytes, total_bytes);
      lock.lock();
    }
    if (is_end) break;
  }
  if (shared.error) std::rethrow_exception(shared.error);
}

}  // namespace

std::int64_t LoadJob::run_alone(const OnProgress& on_progress) const {
  std::vector<const Piece*> pieces;
  for (const Round& round : rounds_) {
    for (const Piece& piece : round) pieces.push_back(&piece);
  }
  int device = 0;
  if constexpr (tensor::kHasCuda) {
    if (place_ == tensor::Place::device) device = tensor::current_device();
  }
  Shared shared;
  const auto next_piece = [&]() -> const Piece* {
    const std::lock_guard lock(shared.mutex);
    return shared.error || shared.next == pieces.size() ? nullptr : pieces[shared.next++];
  };
  const auto read_pieces = [&] {
    if constexpr (tensor::kHasCuda) {
      if (place_ == tensor::Place::device) tensor::use_device(device);
    }
    const std::unique_ptr<WeightWriter> writer = make_weight_writer(place_, max_piece_bytes_);
    std::vector<std::byte> scratch;
    while (const Piece* piece = next_piece()) {
      read_piece(*piece, scratch, *writer);
      const std::lock_guard lock(shared.mutex);
      shared.done_bytes += bytes_of(*piece);
      shared.changed.notify_one();
    }
    writer->finish();
  };
  const auto reader = [&] {
    std::exception_ptr error;
    try {
      read_pieces();
    } catch (...) {
      error = std::current_exception();
    }
    const std::lock_guard lock(shared.mutex);
    if (error && !shared.error) shared.error = error;
    --shared.num_running;
    shared.changed.notify_one();
  };
  std::vector<std::jthread> readers;
  for (std::int64_t i = num_readers(total_bytes_); i > 0; --i) {
    {
      const std::lock_guard lock(shared.mutex);
      ++shared.num_running;
    }
    readers.emplace_back(reader);
  }
  wait_for_readers(shared, total_bytes_, on_progress);
  return total_bytes_;
}

void LoadJob::read_piece(const Piece& piece, std::vector<std::byte>& scratch,
                         WeightWriter& writer) const {
  if (goes_straight(piece)) return read_straight(piece, writer);
  // What is read, then the part of a want that is not one stretch of it.
  const auto bytes = static_cast<std::size_t>(bytes_of(piece));
  if (scratch.size() < 2 * bytes) scratch.resize(2 * bytes);
  read(piece, scratch.data());
  for (const std::int32_t want : piece.wants) {
    pack(piece, want, scratch.data(), scratch.data() + bytes);
    writer.write(scratch.data() + bytes, stretch_of(piece, want));
  }
}

}  // namespace trireme::checkpoint
