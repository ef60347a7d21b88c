#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/load_plan.h"
#include "checkpoint/weight_writer.h"

namespace trireme::checkpoint {

/// A slice of a stored tensor and the contiguous memory it goes to.
struct LocalWant {
  const StoredTensor* tensor = nullptr;
  Runs runs;
  tensor::TensorView destination;
};

/// One loading of what the ranks of a node want. A rank alone reads with several threads; ranks
/// that share the work read a round of pieces each and then exchange what others want of it.
class LoadJob {
 public:
  using OnProgress = std::function<void(std::int64_t, std::int64_t)>;

  /// Collective over `node` (null: this rank alone).
  LoadJob(const Checkpoint& checkpoint, const comm::MpiComm* node, tensor::Place place,
          std::span<const LocalWant> wants);

  /// Reads everything. Collective. Returns the bytes that this rank read.
  std::int64_t run(const OnProgress& on_progress);

 private:
  void number_tensors();
  void gather_wants();

  std::int64_t run_alone(const OnProgress& on_progress) const;
  void read_piece(const Piece& piece, std::vector<std::byte>& scratch, WeightWriter& writer) const;

  std::int64_t run_rounds(const OnProgress& on_progress);
  void together(const std::function<void()>& work) const;
  void agree(const std::string& fault, int kind) const;
  std::int64_t read_round(const Round& round);
  void exchange(const Round& round);
  std::vector<std::vector<std::byte>> pack_round(const Round& round,
                                                 std::vector<std::size_t>& incoming_bytes);

  int rank() const { return node_ == nullptr ? 0 : node_->rank(); }
  int num_ranks() const { return node_ == nullptr ? 1 : node_->size(); }
  const WantedSlice& wanted(std::int32_t want) const {
    return all_wants_[static_cast<std::size_t>(want)];
  }
  bool is_mine(std::int32_t want) const { return wanted(want).rank == rank(); }
  const LocalWant& local(std::int32_t want) const {
    return wants_[static_cast<std::size_t>(want - first_local_)];
  }
  const StoredTensor& tensor_of(const Piece& piece) const {
    return *tensors_[static_cast<std::size_t>(piece.tensor_idx)];
  }
  std::int64_t element_bytes(const Piece& piece) const {
    return element_bytes_[static_cast<std::size_t>(piece.tensor_idx)];
  }
  std::int64_t bytes_of(const Piece& piece) const {
    return (piece.end - piece.begin) * element_bytes(piece);
  }
  std::int64_t wanted_bytes(const Piece& piece, std::int32_t want) const;
  /// Where what a want of mine has of the piece goes.
  Stretch stretch_of(const Piece& piece, std::int32_t want) const;
  bool goes_straight(const Piece& piece) const;
  void read(const Piece& piece, void* destination) const;
  void read_straight(const Piece& piece, WeightWriter& writer) const;
  void pack(const Piece& piece, std::int32_t want, const std::byte* data, std::byte* out) const;

  const Checkpoint& checkpoint_;
  const comm::MpiComm* node_;
  tensor::Place place_;
  std::span<const LocalWant> wants_;
  std::vector<const StoredTensor*> tensors_;  // in the order of the files
  std::vector<std::int64_t> element_bytes_;
  std::vector<WantedSlice> all_wants_;  // of all ranks, rank by rank
  std::int32_t first_local_ = 0;
  std::vector<Round> rounds_;
  std::int64_t total_bytes_ = 0;
  std::size_t max_piece_bytes_ = 0;
  std::unique_ptr<WeightWriter> writer_;         // of run_rounds
  std::vector<std::vector<std::byte>> buffers_;  // by piece of the round; empty if not read here
};

}  // namespace trireme::checkpoint
