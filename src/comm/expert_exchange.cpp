#include "comm/expert_exchange.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

#include "base/error.h"

namespace trireme::comm {
namespace {

/// A (token, k) pair as its owner sees it: a row of the block that came from one rank, and the
/// slot.
struct Pair {
  std::int32_t row = 0;
  std::int32_t slot = 0;
};

/// Pairs that travel with their number: a decode needs no second message for them.
constexpr std::size_t kPairsInHeader = 31;

/// What one rank tells another before the hidden states go.
struct Header {
  std::int32_t num_rows = 0;
  std::int32_t num_pairs = 0;
  std::array<Pair, kPairsInHeader> pairs{};
};
constexpr std::int64_t kHeaderInts = sizeof(Header) / sizeof(std::int32_t);
constexpr std::int64_t kPairInts = sizeof(Pair) / sizeof(std::int32_t);

std::int64_t sum_of(const std::vector<std::int64_t>& counts) {
  std::int64_t sum = 0;
  for (const std::int64_t count : counts) sum += count;
  return sum;
}

/// Memory of at least this many elements, kept between calls.
template <typename T>
T* grown(std::vector<T>& memory, std::int64_t num_elements) {
  if (memory.size() < static_cast<std::size_t>(num_elements)) {
    memory.resize(static_cast<std::size_t>(num_elements));
  }
  return memory.data();
}

/// Over the all-to-all of any backend, with exact counts that the host reads.
class AllToAllExpertExchange final : public ExpertExchange {
 public:
  AllToAllExpertExchange(Communicator& ffn, int moe_tp_size, int moe_ep_size)
      : ffn_(ffn),
        moe_tp_size_(moe_tp_size),
        moe_ep_size_(moe_ep_size),
        blocks_(static_cast<std::size_t>(moe_ep_size)) {
    TRIREME_CHECK(moe_tp_size >= 1 && moe_ep_size >= 1 && moe_tp_size * moe_ep_size == ffn.size(),
                  "moe_tp_size=", moe_tp_size, " moe_ep_size=", moe_ep_size, " ranks=", ffn.size());
  }

  const DispatchedTokens& dispatch(const TensorView& hidden_states, std::int64_t top_k,
                                   std::span<const ExpertTarget> targets) override;
  void combine(const TensorView& pair_outputs, const TensorView& weights,
               const TensorView& y) override;

 private:
  /// What goes to the ranks of one moe_ep rank: the tokens, and the pairs in order of token and k.
  struct Block {
    std::vector<std::int32_t> tokens;
    std::vector<Pair> pairs;
  };
  /// Where the output of one of this rank's pairs comes back: the block and the place in it.
  struct Origin {
    std::int32_t moe_ep_rank = -1;  ///< -1: the pair has no expert
    std::int64_t place = 0;
  };

  const Block& block_for(int rank) const {
    return blocks_[static_cast<std::size_t>(rank % moe_ep_size_)];
  }
  void route(std::span<const ExpertTarget> targets);
  void exchange_pairs();
  void exchange_rows(const TensorView& hidden_states);
  void unpack_pairs(const std::vector<Header>& headers, const std::vector<Pair>& rest);
  /// The output of one pair of this rank, summed over moe_tp in rank order.
  const float* summed_output(const float* outputs, const Origin& origin);

  Communicator& ffn_;
  const int moe_tp_size_;
  const int moe_ep_size_;

  std::vector<Block> blocks_;    ///< [moe_ep_size]
  std::vector<Origin> origins_;  ///< [num_tokens · top_k]
  std::int64_t num_tokens_ = 0, top_k_ = 0, hidden_size_ = 0;
  bool is_dispatched_ = false;

  std::vector<std::int64_t> sent_rows_, sent_pairs_;          ///< [ranks]
  std::vector<std::int64_t> received_rows_, received_pairs_;  ///< [ranks]
  std::vector<float> send_memory_, receive_memory_, sum_;
  std::vector<std::int64_t> output_begins_;  ///< [ranks] first row of what came back from a rank
  DispatchedTokens dispatched_;
};

const DispatchedTokens& AllToAllExpertExchange::dispatch(const TensorView& hidden_states,
                                                         std::int64_t top_k,
                                                         std::span<const ExpertTarget> targets) {
  TRIREME_CHECK(!is_dispatched_, "dispatch() twice without combine()");
  TRIREME_CHECK(hidden_states.shape.ndim() == 2, "shape=", hidden_states.shape.text());
  num_tokens_ = hidden_states.rows();
  hidden_size_ = hidden_states.shape[1];
  top_k_ = top_k;
  TRIREME_CHECK(top_k >= 1 && static_cast<std::int64_t>(targets.size()) == num_tokens_ * top_k,
                "targets=", targets.size(), " tokens=", num_tokens_, " top_k=", top_k);
  TRIREME_CHECK(num_tokens_ * top_k <= std::numeric_limits<std::int32_t>::max(),
                "tokens=", num_tokens_, " top_k=", top_k);
  route(targets);
  exchange_pairs();
  exchange_rows(hidden_states);
  is_dispatched_ = true;
  return dispatched_;
}

void AllToAllExpertExchange::route(std::span<const ExpertTarget> targets) {
  for (Block& block : blocks_) {
    block.tokens.clear();
    block.pairs.clear();
  }
  origins_.assign(targets.size(), Origin());
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const ExpertTarget& target = targets[i];
    if (target.local_slot < 0) continue;
    TRIREME_CHECK(target.moe_ep_rank >= 0 && target.moe_ep_rank < moe_ep_size_,
                  "moe_ep_rank=", target.moe_ep_rank, " moe_ep_size=", moe_ep_size_);
    Block& block = blocks_[static_cast<std::size_t>(target.moe_ep_rank)];
    const auto token = static_cast<std::int32_t>(static_cast<std::int64_t>(i) / top_k_);
    if (block.tokens.empty() || block.tokens.back() != token) block.tokens.push_back(token);
    origins_[i] = {target.moe_ep_rank, static_cast<std::int64_t>(block.pairs.size())};
    block.pairs.push_back({static_cast<std::int32_t>(block.tokens.size() - 1), target.local_slot});
  }
}

void AllToAllExpertExchange::exchange_pairs() {
  const auto num_ranks = static_cast<std::size_t>(ffn_.size());
  std::vector<Header> sent(num_ranks), received(num_ranks);
  std::vector<Pair> sent_rest;
  std::vector<std::int64_t> sent_rests(num_ranks), received_rests(num_ranks);
  sent_rows_.resize(num_ranks);
  sent_pairs_.resize(num_ranks);
  received_rows_.resize(num_ranks);
  received_pairs_.resize(num_ranks);
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    const Block& block = block_for(static_cast<int>(rank));
    const std::size_t in_header = std::min(block.pairs.size(), kPairsInHeader);
    const auto rest = block.pairs.begin() + static_cast<std::ptrdiff_t>(in_header);
    sent[rank].num_rows = static_cast<std::int32_t>(block.tokens.size());
    sent[rank].num_pairs = static_cast<std::int32_t>(block.pairs.size());
    std::copy(block.pairs.begin(), rest, sent[rank].pairs.begin());
    sent_rest.insert(sent_rest.end(), rest, block.pairs.end());
    sent_rows_[rank] = static_cast<std::int64_t>(block.tokens.size());
    sent_pairs_[rank] = static_cast<std::int64_t>(block.pairs.size());
    sent_rests[rank] = block.pairs.end() - rest;
  }
  const std::vector<std::int64_t> ones(num_ranks, 1);
  const auto ranks = static_cast<std::int64_t>(num_ranks);
  ffn_.all_to_all({sent.data(), DType::int32, {ranks, kHeaderInts}}, ones,
                  {received.data(), DType::int32, {ranks, kHeaderInts}}, ones);

  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    received_rows_[rank] = received[rank].num_rows;
    received_pairs_[rank] = received[rank].num_pairs;
    received_rests[rank] = std::max<std::int64_t>(
        0, received_pairs_[rank] - static_cast<std::int64_t>(kPairsInHeader));
  }
  std::vector<Pair> received_rest(static_cast<std::size_t>(sum_of(received_rests)));
  ffn_.all_to_all({sent_rest.data(), DType::int32, {sum_of(sent_rests), kPairInts}}, sent_rests,
                  {received_rest.data(), DType::int32, {sum_of(received_rests), kPairInts}},
                  received_rests);
  unpack_pairs(received, received_rest);
}

void AllToAllExpertExchange::unpack_pairs(const std::vector<Header>& headers,
                                          const std::vector<Pair>& rest) {
  TRIREME_CHECK(sum_of(received_pairs_) <= std::numeric_limits<std::int32_t>::max(),
                "pairs=", sum_of(received_pairs_));
  dispatched_.row_of.clear();
  dispatched_.slots.clear();
  std::int32_t first_row = 0;
  const auto take = [&](std::span<const Pair> pairs) {
    for (const Pair& pair : pairs) {
      dispatched_.row_of.push_back(first_row + pair.row);
      dispatched_.slots.push_back(pair.slot);
    }
  };
  std::span<const Pair> rests(rest);
  for (const Header& header : headers) {
    const auto num_pairs = static_cast<std::size_t>(header.num_pairs);
    const std::size_t in_header = std::min(num_pairs, kPairsInHeader);
    take(std::span(header.pairs).first(in_header));
    take(rests.first(num_pairs - in_header));
    rests = rests.subspan(num_pairs - in_header);
    first_row += header.num_rows;
  }
}

void AllToAllExpertExchange::exchange_rows(const TensorView& hidden_states) {
  const std::int64_t num_sent = sum_of(sent_rows_);
  const std::int64_t num_received = sum_of(received_rows_);
  float* row = grown(send_memory_, num_sent * hidden_size_);
  const TensorView in(row, DType::float32, {num_sent, hidden_size_});
  const float* const hidden = hidden_states.as<float>();
  for (int rank = 0; rank < ffn_.size(); ++rank) {
    for (const std::int32_t token : block_for(rank).tokens) {
      row = std::copy_n(hidden + token * hidden_states.row_stride, hidden_size_, row);
    }
  }
  dispatched_.hidden_states = TensorView(grown(receive_memory_, num_received * hidden_size_),
                                         DType::float32, {num_received, hidden_size_});
  ffn_.all_to_all(in, sent_rows_, dispatched_.hidden_states, received_rows_);
}

void AllToAllExpertExchange::combine(const TensorView& pair_outputs, const TensorView& weights,
                                     const TensorView& y) {
  TRIREME_CHECK(is_dispatched_, "combine() without dispatch()");
  TRIREME_CHECK((pair_outputs.shape == tensor::Shape{sum_of(received_pairs_), hidden_size_}),
                "pair_outputs=", pair_outputs.shape.text(), " pairs=", sum_of(received_pairs_),
                " hidden_size=", hidden_size_);
  TRIREME_CHECK((weights.shape == tensor::Shape{num_tokens_, top_k_}),
                "weights=", weights.shape.text(), " tokens=", num_tokens_, " top_k=", top_k_);
  TRIREME_CHECK((y.shape == tensor::Shape{num_tokens_, hidden_size_}), "y=", y.shape.text(),
                " tokens=", num_tokens_, " hidden_size=", hidden_size_);
  is_dispatched_ = false;

  // The way back: what was received is sent, by pair instead of by token.
  const std::int64_t num_back = sum_of(sent_pairs_);
  const float* const outputs = grown(send_memory_, num_back * hidden_size_);
  ffn_.all_to_all(pair_outputs, received_pairs_,
                  {send_memory_.data(), DType::float32, {num_back, hidden_size_}}, sent_pairs_);

  std::int64_t begin = 0;
  output_begins_.clear();
  for (const std::int64_t count : sent_pairs_) {
    output_begins_.push_back(begin);
    begin += count;
  }
  const float* const weight = weights.as<float>();
  float* const result = y.as<float>();
  for (std::int64_t token = 0; token < num_tokens_; ++token) {
    float* const row = result + token * y.row_stride;
    std::fill_n(row, hidden_size_, 0.0F);
    for (std::int64_t k = 0; k < top_k_; ++k) {
      const Origin& origin = origins_[static_cast<std::size_t>(token * top_k_ + k)];
      if (origin.moe_ep_rank < 0) continue;
      const float w = weight[token * weights.row_stride + k];
      const float* const output = summed_output(outputs, origin);
      for (std::int64_t i = 0; i < hidden_size_; ++i) row[i] += w * output[i];
    }
  }
}

const float* AllToAllExpertExchange::summed_output(const float* outputs, const Origin& origin) {
  const auto part = [&](int moe_tp_rank) {
    const auto rank = static_cast<std::size_t>(moe_tp_rank * moe_ep_size_ + origin.moe_ep_rank);
    return outputs + (output_begins_[rank] + origin.place) * hidden_size_;
  };
  if (moe_tp_size_ == 1) return part(0);
  float* const sum = grown(sum_, hidden_size_);
  std::copy_n(part(0), hidden_size_, sum);
  for (int moe_tp_rank = 1; moe_tp_rank < moe_tp_size_; ++moe_tp_rank) {
    const float* const values = part(moe_tp_rank);
    for (std::int64_t i = 0; i < hidden_size_; ++i) sum[i] += values[i];
  }
  return sum;
}

}  // namespace

std::unique_ptr<ExpertExchange> make_expert_exchange(Communicator& ffn, int moe_tp_size,
                                                     int moe_ep_size) {
  return std::make_unique<AllToAllExpertExchange>(ffn, moe_tp_size, moe_ep_size);
}

}  // namespace trireme::comm
