#include "checkpoint/load_job.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>

#include "base/error.h"

namespace trireme::checkpoint {
namespace {

/// Bytes that one rank reads between two exchanges. Long enough for a parallel file system to
/// stream, small enough that what others send in the meantime is no burden.
constexpr std::int64_t kMaxRoundBytes = std::int64_t{16} << 20;
/// Bytes that a thread of a rank alone reads at a time: what all threads hold stays in the
/// processor's cache on its way to the GPU, and little memory is to be pinned.
constexpr std::int64_t kMaxPieceBytes = std::int64_t{4} << 20;

}  // namespace

LoadJob::LoadJob(const Checkpoint& checkpoint, const comm::MpiComm* node, tensor::Place place,
                 std::span<const LocalWant> wants)
    : checkpoint_(checkpoint), node_(node), place_(place), wants_(wants) {
  number_tensors();
  gather_wants();
  rounds_ = plan_load(all_wants_, element_bytes_, num_ranks(),
                      num_ranks() == 1 ? kMaxPieceBytes : kMaxRoundBytes);
  for (const Round& round : rounds_) {
    for (const Piece& piece : round) {
      total_bytes_ += bytes_of(piece);
      max_piece_bytes_ = std::max(max_piece_bytes_, static_cast<std::size_t>(bytes_of(piece)));
    }
  }
}

std::int64_t LoadJob::run(const OnProgress& on_progress) {
  return num_ranks() == 1 ? run_alone(on_progress) : run_rounds(on_progress);
}

void LoadJob::number_tensors() {
  for (const auto& [name, stored] : checkpoint_.tensors()) tensors_.push_back(&stored);
  std::ranges::sort(tensors_, {}, [](const StoredTensor* t) {
    return std::tuple(t->file_idx, t->begin_bytes, t->size_bytes, t);
  });
  for (const StoredTensor* stored : tensors_) {
    element_bytes_.push_back(static_cast<std::int64_t>(size_of(stored->dtype)));
  }
}

void LoadJob::gather_wants() {
  std::map<const StoredTensor*, std::int32_t> idx_of;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    idx_of[tensors_[i]] = static_cast<std::int32_t>(i);
  }
  std::vector<WantedSlice> mine;
  for (const LocalWant& want : wants_) mine.push_back({rank(), idx_of.at(want.tensor), want.runs});
  if (node_ == nullptr) {
    all_wants_ = std::move(mine);
    return;
  }
  const std::string bytes(reinterpret_cast<const char*>(mine.data()),
                          mine.size() * sizeof(WantedSlice));
  const std::vector<std::string> of_ranks = node_->all_gather(bytes);
  for (std::size_t r = 0; r < of_ranks.size(); ++r) {
    if (static_cast<int>(r) == rank()) first_local_ = static_cast<std::int32_t>(all_wants_.size());
    const std::size_t count = of_ranks[r].size() / sizeof(WantedSlice);
    const std::size_t before = all_wants_.size();
    all_wants_.resize(before + count);
    if (count > 0) std::memcpy(&all_wants_[before], of_ranks[r].data(), of_ranks[r].size());
  }
}

std::int64_t LoadJob::wanted_bytes(const Piece& piece, std::int32_t want) const {
  const Runs& runs = wanted(want).runs;
  return (runs.count_before(piece.end) - runs.count_before(piece.begin)) * element_bytes(piece);
}

Stretch LoadJob::stretch_of(const Piece& piece, std::int32_t want) const {
  const tensor::TensorView& whole = local(want).destination;
  const auto before = static_cast<std::size_t>(local(want).runs.count_before(piece.begin));
  return {.destination = static_cast<std::byte*>(whole.data) + before * size_of(whole.dtype),
          .destination_dtype = whole.dtype,
          .dtype = tensor_of(piece).dtype,
          .count = wanted_bytes(piece, want) / element_bytes(piece)};
}

/// Nobody else wants the piece, and all of it goes to one stretch of its destination.
bool LoadJob::goes_straight(const Piece& piece) const {
  return piece.wants.size() == 1 && is_mine(piece.wants.front()) &&
         local(piece.wants.front()).runs.count == 1;
}

void LoadJob::read(const Piece& piece, void* destination) const {
  checkpoint_.read(tensor_of(piece), static_cast<std::uint64_t>(piece.begin * element_bytes(piece)),
                   destination, static_cast<std::uint64_t>(bytes_of(piece)));
}

void LoadJob::read_straight(const Piece& piece, WeightWriter& writer) const {
  read(piece, writer.room(stretch_of(piece, piece.wants.front())));
  writer.commit();
}

void LoadJob::pack(const Piece& piece, std::int32_t want, const std::byte* data,
                   std::byte* out) const {
  const Runs& runs = wanted(want).runs;
  const std::int64_t size = element_bytes(piece);
  const std::int64_t end = runs.count_before(piece.end);
  for (std::int64_t nth = runs.count_before(piece.begin); nth < end;) {
    const std::int64_t length = std::min(end - nth, runs.length - nth % runs.length);
    std::memcpy(out, data + (runs.element(nth) - piece.begin) * size,
                static_cast<std::size_t>(length * size));
    out += length * size;
    nth += length;
  }
}

}  // namespace trireme::checkpoint
