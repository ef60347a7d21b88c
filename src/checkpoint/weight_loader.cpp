#include "checkpoint/weight_loader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "base/clock.h"
#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/convert.h"
#include "checkpoint/load_plan.h"

namespace trireme::checkpoint {
namespace {

/// Bytes that one rank reads between two exchanges. Long enough for a parallel file system to
/// stream, small enough that what others send in the meantime is no burden.
constexpr std::int64_t kMaxRoundBytes = std::int64_t{16} << 20;
constexpr int kTag = 1;

struct LocalWant {
  std::int32_t tensor_idx = 0;
  Runs runs;
  tensor::TensorView destination;
};

}  // namespace

struct WeightLoader::Impl {
  Impl(const Checkpoint& files, const comm::MpiComm* ranks, Mode how)
      : checkpoint(files), node(ranks), mode(how) {
    for (const auto& [name, stored] : checkpoint.tensors()) tensors.push_back(&stored);
    std::ranges::sort(tensors, {}, [](const StoredTensor* t) {
      return std::tuple(t->file_idx, t->begin_bytes, t->size_bytes, t);
    });
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      idx_of[tensors[i]] = static_cast<std::int32_t>(i);
      element_bytes.push_back(static_cast<std::int64_t>(size_of(tensors[i]->dtype)));
    }
  }

  int rank() const { return node == nullptr ? 0 : node->rank(); }
  int num_ranks() const { return node == nullptr ? 1 : node->size(); }

  void gather_wants();
  void run_round(const Round& round, Summary& summary);
  void read_pieces(const Round& round, Summary& summary);
  void agree(const std::string& fault, int kind) const;
  void exchange(const Round& round);

  bool is_mine(std::int32_t want) const {
    return all_wants[static_cast<std::size_t>(want)].rank == rank();
  }
  const LocalWant& local(std::int32_t want) const {
    return wants[static_cast<std::size_t>(want - first_local)];
  }
  const StoredTensor& tensor_of(const Piece& piece) const {
    return *tensors[static_cast<std::size_t>(piece.tensor_idx)];
  }
  std::int64_t bytes_of(const Piece& piece) const {
    return (piece.end - piece.begin) * element_bytes[static_cast<std::size_t>(piece.tensor_idx)];
  }
  std::int64_t wanted_bytes(const Piece& piece, std::int32_t want) const;
  bool can_read_in_place(const Piece& piece) const;
  void pack(const Piece& piece, std::int32_t want, const std::byte* data, std::byte* out) const;
  void place(const Piece& piece, std::int32_t want, const std::byte* packed) const;

  const Checkpoint& checkpoint;
  const comm::MpiComm* node;
  Mode mode;
  std::vector<const StoredTensor*> tensors;  // in the order of the files
  std::map<const StoredTensor*, std::int32_t> idx_of;
  std::vector<std::int64_t> element_bytes;

  std::vector<LocalWant> wants;
  std::vector<WantedSlice> all_wants;  // of all ranks, rank by rank
  std::int32_t first_local = 0;
  std::int64_t allocated_bytes = 0;
  tensor::Slab slab;
  std::vector<std::vector<std::byte>> buffers;  // by piece of the round; empty if not read here
};

WeightLoader::WeightLoader(const Checkpoint& checkpoint, const comm::MpiComm* node, Mode mode)
    : impl_(std::make_unique<Impl>(checkpoint, node != nullptr && *node ? node : nullptr, mode)) {}
WeightLoader::~WeightLoader() = default;

DType WeightLoader::dtype_of(const std::string& name) const {
  return impl_->checkpoint.find(name).dtype;
}
bool WeightLoader::has(const std::string& name) const { return impl_->checkpoint.has(name); }
std::int64_t WeightLoader::allocated_bytes() const { return impl_->allocated_bytes; }
WeightLoader::Mode WeightLoader::mode() const { return impl_->mode; }

tensor::Tensor WeightLoader::allocate(const tensor::Shape& shape, DType dtype) {
  impl_->allocated_bytes += shape.num_elements() * static_cast<std::int64_t>(size_of(dtype));
  return impl_->mode == Mode::count ? tensor::Tensor() : impl_->slab.take(shape, dtype);
}

void WeightLoader::check(const std::string& name, const tensor::Shape& expected) const {
  const StoredTensor& stored = impl_->checkpoint.find(name);
  if (stored.shape == expected) return;
  fail(ErrorKind::checkpoint,
       cat(impl_->checkpoint.model_dir(), ": tensor \"", name, "\" has shape ", stored.shape.text(),
           ", expected ", expected.text(), " from config.json"));
}

void WeightLoader::want(const std::string& name, const tensor::Shape& stored_shape,
                        const Slice& slice, const tensor::TensorView& destination) {
  check(name, stored_shape);
  const StoredTensor& stored = impl_->checkpoint.find(name);
  const Runs runs = runs_of_slice(stored_shape, slice);
  if (impl_->mode == Mode::count) return;
  TRIREME_CHECK(destination.is_contiguous() && destination.num_elements() == runs.num_elements(),
                "tensor=", name, " destination=", destination.shape.text(),
                " wanted=", runs.num_elements());
  impl_->wants.push_back({impl_->idx_of.at(&stored), runs, destination});
}

WeightLoader::Summary WeightLoader::load(
    const std::function<void(std::int64_t, std::int64_t)>& on_progress) {
  TRIREME_CHECK(impl_->mode == Mode::load, "nothing was allocated");
  const double begin = monotonic_seconds();
  Summary summary;
  summary.file_bytes = impl_->checkpoint.file_bytes();
  summary.bytes_read = impl_->checkpoint.header_bytes_read();
  for (const LocalWant& want : impl_->wants) {
    summary.bytes_kept += static_cast<std::int64_t>(want.destination.size_bytes());
  }
  impl_->gather_wants();
  const std::vector<Round> rounds =
      plan_load(impl_->all_wants, impl_->element_bytes, impl_->num_ranks(), kMaxRoundBytes);
  std::int64_t done = 0, total = 0;
  for (const Round& round : rounds) {
    for (const Piece& piece : round) total += impl_->bytes_of(piece);
  }
  for (const Round& round : rounds) {
    impl_->run_round(round, summary);
    for (const Piece& piece : round) done += impl_->bytes_of(piece);
    if (on_progress) on_progress(done, total);
  }
  impl_->wants.clear();
  summary.seconds = monotonic_seconds() - begin;
  return summary;
}

void WeightLoader::Impl::gather_wants() {
  std::vector<WantedSlice> mine;
  for (const LocalWant& want : wants) mine.push_back({rank(), want.tensor_idx, want.runs});
  all_wants.clear();
  first_local = 0;
  if (node == nullptr) {
    all_wants = std::move(mine);
    return;
  }
  const std::string bytes(reinterpret_cast<const char*>(mine.data()),
                          mine.size() * sizeof(WantedSlice));
  const std::vector<std::string> of_ranks = node->all_gather(bytes);
  for (std::size_t r = 0; r < of_ranks.size(); ++r) {
    if (static_cast<int>(r) == rank()) first_local = static_cast<std::int32_t>(all_wants.size());
    const std::size_t count = of_ranks[r].size() / sizeof(WantedSlice);
    const std::size_t before = all_wants.size();
    all_wants.resize(before + count);
    if (count > 0) std::memcpy(&all_wants[before], of_ranks[r].data(), of_ranks[r].size());
  }
}

void WeightLoader::Impl::run_round(const Round& round, Summary& summary) {
  std::string fault;
  int kind = 0;
  try {
    read_pieces(round, summary);
  } catch (const Error& error) {
    fault = error.what();
    kind = static_cast<int>(error.kind());
  }
  agree(fault, kind);
  exchange(round);
}

void WeightLoader::Impl::agree(const std::string& fault, int kind) const {
  if (node == nullptr) {
    if (!fault.empty()) fail(static_cast<ErrorKind>(kind), fault);
    return;
  }
  if (node->max(fault.empty() ? 0 : 1) == 0) return;
  const std::string mine = fault.empty() ? "" : std::string(1, static_cast<char>(kind)) + fault;
  for (const std::string& text : node->all_gather(mine)) {
    if (!text.empty()) fail(static_cast<ErrorKind>(text.front()), text.substr(1));
  }
}

void WeightLoader::Impl::read_pieces(const Round& round, Summary& summary) {
  buffers.assign(round.size(), {});
  for (std::size_t i = 0; i < round.size(); ++i) {
    const Piece& piece = round[i];
    if (piece.reader != rank()) continue;
    const std::int64_t size = element_bytes[static_cast<std::size_t>(piece.tensor_idx)];
    const std::int64_t bytes = bytes_of(piece);
    void* target = nullptr;
    if (can_read_in_place(piece)) {
      const LocalWant& want = local(piece.wants.front());
      target = static_cast<std::byte*>(want.destination.data) +
               want.runs.count_before(piece.begin) * size;
    } else {
      buffers[i].resize(static_cast<std::size_t>(bytes));
      target = buffers[i].data();
    }
    checkpoint.read(tensor_of(piece), static_cast<std::uint64_t>(piece.begin * size), target,
                    static_cast<std::uint64_t>(bytes));
    summary.bytes_read += bytes;
  }
}

void WeightLoader::Impl::exchange(const Round& round) {
  const auto num = static_cast<std::size_t>(num_ranks());
  std::vector<std::vector<std::byte>> outgoing(num), incoming(num);
  std::vector<std::size_t> incoming_bytes(num, 0);
  for (std::size_t i = 0; i < round.size(); ++i) {
    const Piece& piece = round[i];
    for (const std::int32_t want : piece.wants) {
      const auto bytes = static_cast<std::size_t>(wanted_bytes(piece, want));
      if (piece.reader == rank() && !buffers[i].empty()) {
        auto& out =
            outgoing[static_cast<std::size_t>(all_wants[static_cast<std::size_t>(want)].rank)];
        out.resize(out.size() + bytes);
        pack(piece, want, buffers[i].data(), out.data() + out.size() - bytes);
      } else if (piece.reader != rank() && is_mine(want)) {
        incoming_bytes[static_cast<std::size_t>(piece.reader)] += bytes;
      }
    }
    buffers[i] = {};
  }
  const auto me = static_cast<std::size_t>(rank());
  incoming[me] = std::move(outgoing[me]);
  outgoing[me].clear();
  std::vector<comm::HostRequest> requests;
  for (std::size_t r = 0; r < num; ++r) {
    if (incoming_bytes[r] > 0) {
      incoming[r].resize(incoming_bytes[r]);
      requests.push_back(node->receive(incoming[r], static_cast<int>(r), kTag));
    }
  }
  for (std::size_t r = 0; r < num; ++r) {
    if (!outgoing[r].empty())
      requests.push_back(node->send(outgoing[r], static_cast<int>(r), kTag));
  }
  for (comm::HostRequest& request : requests) request.wait();

  // What a reader sent me stands in the order of its pieces and of my wants in each.
  std::vector<std::size_t> at(num, 0);
  for (const Piece& piece : round) {
    const auto reader = static_cast<std::size_t>(piece.reader);
    for (const std::int32_t want : piece.wants) {
      if (!is_mine(want) || incoming[reader].empty()) continue;
      if (piece.reader == rank() && can_read_in_place(piece)) continue;
      place(piece, want, incoming[reader].data() + at[reader]);
      at[reader] += static_cast<std::size_t>(wanted_bytes(piece, want));
    }
  }
}

std::int64_t WeightLoader::Impl::wanted_bytes(const Piece& piece, std::int32_t want) const {
  const Runs& runs = all_wants[static_cast<std::size_t>(want)].runs;
  return (runs.count_before(piece.end) - runs.count_before(piece.begin)) *
         element_bytes[static_cast<std::size_t>(piece.tensor_idx)];
}

/// Nobody else wants the piece, and it goes as it is to one stretch of its destination.
bool WeightLoader::Impl::can_read_in_place(const Piece& piece) const {
  if (piece.wants.size() != 1 || !is_mine(piece.wants.front())) return false;
  const LocalWant& want = local(piece.wants.front());
  return want.runs.count == 1 && want.destination.dtype == tensor_of(piece).dtype;
}

void WeightLoader::Impl::pack(const Piece& piece, std::int32_t want, const std::byte* data,
                              std::byte* out) const {
  const Runs& runs = all_wants[static_cast<std::size_t>(want)].runs;
  const std::int64_t size = element_bytes[static_cast<std::size_t>(piece.tensor_idx)];
  const std::int64_t end = runs.count_before(piece.end);
  for (std::int64_t nth = runs.count_before(piece.begin); nth < end;) {
    const std::int64_t length = std::min(end - nth, runs.length - nth % runs.length);
    std::memcpy(out, data + (runs.element(nth) - piece.begin) * size,
                static_cast<std::size_t>(length * size));
    out += length * size;
    nth += length;
  }
}

void WeightLoader::Impl::place(const Piece& piece, std::int32_t want,
                               const std::byte* packed) const {
  const LocalWant& mine = local(want);
  const std::int64_t begin = mine.runs.count_before(piece.begin);
  const std::int64_t count = mine.runs.count_before(piece.end) - begin;
  auto* destination = static_cast<std::byte*>(mine.destination.data) +
                      static_cast<std::size_t>(begin) * size_of(mine.destination.dtype);
  convert_elements(packed, tensor_of(piece).dtype, destination, mine.destination.dtype, count);
}

}  // namespace trireme::checkpoint
