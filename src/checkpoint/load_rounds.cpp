#include "base/error.h"
#include "checkpoint/load_job.h"

namespace trireme::checkpoint {
namespace {

constexpr int kTag = 1;

}  // namespace

std::int64_t LoadJob::run_rounds(const OnProgress& on_progress) {
  std::int64_t done = 0, bytes_read = 0;
  together([&] { writer_ = make_weight_writer(place_, max_piece_bytes_); });
  for (const Round& round : rounds_) {
    together([&] { bytes_read += read_round(round); });
    exchange(round);
    for (const Piece& piece : round) done += bytes_of(piece);
    if (on_progress) on_progress(done, total_bytes_);
  }
  together([&] { writer_->finish(); });
  return bytes_read;
}

/// Does work that may fail on one rank; then all fail in its words.
void LoadJob::together(const std::function<void()>& work) const {
  std::string fault;
  int kind = 0;
  try {
    work();
  } catch (const Error& error) {
    fault = error.what();
    kind = static_cast<int>(error.kind());
  }
  agree(fault, kind);
}

void LoadJob::agree(const std::string& fault, int kind) const {
  if (node_->max(fault.empty() ? 0 : 1) == 0) return;
  const std::string mine = fault.empty() ? "" : std::string(1, static_cast<char>(kind)) + fault;
  for (const std::string& text : node_->all_gather(mine)) {
    if (!text.empty()) fail(static_cast<ErrorKind>(text.front()), text.substr(1));
  }
}

std::int64_t LoadJob::read_round(const Round& round) {
  std::int64_t bytes_read = 0;
  buffers_.assign(round.size(), {});
  for (std::size_t i = 0; i < round.size(); ++i) {
    const Piece& piece = round[i];
    if (piece.reader != rank()) continue;
    if (goes_straight(piece)) {
      read_straight(piece, *writer_);
    } else {
      buffers_[i].resize(static_cast<std::size_t>(bytes_of(piece)));
      read(piece, buffers_[i].data());
    }
    bytes_read += bytes_of(piece);
  }
  return bytes_read;
}

/// What I read for each rank, piece by piece and want by want; `incoming_bytes`: what they read for
/// me.
std::vector<std::vector<std::byte>> LoadJob::pack_round(const Round& round,
                                                        std::vector<std::size_t>& incoming_bytes) {
  std::vector<std::vector<std::byte>> outgoing(incoming_bytes.size());
  for (std::size_t i = 0; i < round.size(); ++i) {
    const Piece& piece = round[i];
    for (const std::int32_t want : piece.wants) {
      const auto bytes = static_cast<std::size_t>(wanted_bytes(piece, want));
      if (piece.reader == rank() && !buffers_[i].empty()) {
        auto& out = outgoing[static_cast<std::size_t>(wanted(want).rank)];
        out.resize(out.size() + bytes);
        pack(piece, want, buffers_[i].data(), out.data() + out.size() - bytes);
      } else if (piece.reader != rank() && is_mine(want)) {
        incoming_bytes[static_cast<std::size_t>(piece.reader)] += bytes;
      }
    }
    buffers_[i] = {};
  }
  return outgoing;
}

void LoadJob::exchange(const Round& round) {
  const auto num = static_cast<std::size_t>(num_ranks());
  std::vector<std::size_t> incoming_bytes(num, 0);
  std::vector<std::vector<std::byte>> outgoing = pack_round(round, incoming_bytes), incoming(num);
  const auto me = static_cast<std::size_t>(rank());
  incoming[me] = std::move(outgoing[me]);
  outgoing[me].clear();
  std::vector<comm::HostRequest> requests;
  for (std::size_t r = 0; r < num; ++r) {
    if (incoming_bytes[r] > 0) {
      incoming[r].resize(incoming_bytes[r]);
      requests.push_back(node_->receive(incoming[r], static_cast<int>(r), kTag));
    }
  }
  for (std::size_t r = 0; r < num; ++r) {
    if (!outgoing[r].empty())
      requests.push_back(node_->send(outgoing[r], static_cast<int>(r), kTag));
  }
  for (comm::HostRequest& request : requests) request.wait();

  // What a reader sent me stands in the order of its pieces and of my wants in each.
  std::vector<std::size_t> at(num, 0);
  for (const Piece& piece : round) {
    const auto reader = static_cast<std::size_t>(piece.reader);
    for (const std::int32_t want : piece.wants) {
      if (!is_mine(want) || incoming[reader].empty()) continue;
      if (piece.reader == rank() && goes_straight(piece)) continue;
      writer_->write(incoming[reader].data() + at[reader], stretch_of(piece, want));
      at[reader] += static_cast<std::size_t>(wanted_bytes(piece, want));
    }
  }
}

}  // namespace trireme::checkpoint
