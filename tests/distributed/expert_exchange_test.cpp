// Dispatch and combine against a serial reference: every rank computes what all ranks hold.

#include "comm/expert_exchange.h"

#include <map>

#include "base/error.h"
#include "comm_fixture.h"

namespace trireme::test {
namespace {

constexpr std::int32_t kSlotsPerRank = 3;

/// One exchange over all ranks; all numbers follow from it.
struct Scenario {
  int moe_tp_size = 1, moe_ep_size = 1;
  std::int64_t hidden_size = 8, top_k = 2;
  std::vector<std::int64_t> tokens_of;  ///< [ranks]
  std::uint64_t seed = 1;
  bool drops_some = false;  ///< some pairs have no expert

  std::vector<float> hidden(int rank) const {
    return samples<float>(seed, rank, tokens_of[static_cast<std::size_t>(rank)] * hidden_size);
  }
  std::vector<float> weights(int rank) const {
    return samples<float>(seed + 1, rank, tokens_of[static_cast<std::size_t>(rank)] * top_k);
  }
  std::vector<comm::ExpertTarget> targets(int rank) const {
    std::vector<comm::ExpertTarget> result;
    const auto r = static_cast<std::uint64_t>(rank);
    const std::int64_t pairs = tokens_of[static_cast<std::size_t>(rank)] * top_k;
    for (std::int64_t i = 0; i < pairs; ++i) {
      const auto at = static_cast<std::uint64_t>(i);
      const auto draw = [&](std::uint64_t what, int below) {
        return static_cast<std::int32_t>((sample(seed + what, r, at) + 1) / 2 *
                                         static_cast<float>(below));
      };
      const bool dropped = drops_some && draw(4, 4) == 0;
      result.push_back({draw(2, moe_ep_size), dropped ? -1 : draw(3, kSlotsPerRank)});
    }
    return result;
  }
};

/// What moe_tp rank's part of an expert adds at place i for this input.
float expert_output(int moe_tp_rank, const comm::ExpertTarget& expert, std::int64_t i,
                    float input) {
  const float scale = 0.3F + 0.7F * static_cast<float>(moe_tp_rank) +
                      1.1F * static_cast<float>(expert.moe_ep_rank) +
                      0.13F * static_cast<float>(expert.local_slot);
  return input * scale + 0.01F * static_cast<float>(i);
}

std::vector<float> reference(const Scenario& scenario, int rank) {
  const std::vector<float> hidden = scenario.hidden(rank), weights = scenario.weights(rank);
  const std::vector<comm::ExpertTarget> targets = scenario.targets(rank);
  std::vector<float> y(hidden.size(), 0.0F);
  for (std::size_t pair = 0; pair < targets.size(); ++pair) {
    if (targets[pair].local_slot < 0) continue;
    const std::size_t row = pair / static_cast<std::size_t>(scenario.top_k) *
                            static_cast<std::size_t>(scenario.hidden_size);
    for (std::int64_t i = 0; i < scenario.hidden_size; ++i) {
      const std::size_t at = row + static_cast<std::size_t>(i);
      float sum = expert_output(0, targets[pair], i, hidden[at]);
      for (int moe_tp = 1; moe_tp < scenario.moe_tp_size; ++moe_tp) {
        sum += expert_output(moe_tp, targets[pair], i, hidden[at]);
      }
      y[at] += weights[pair] * sum;
    }
  }
  return y;
}

/// Checks that this rank got each token once, in the order of ranks and tokens, and computes its
/// pairs.
std::vector<float> compute(const Scenario& scenario, int rank,
                           const comm::DispatchedTokens& tokens) {
  const int moe_tp = rank / scenario.moe_ep_size, moe_ep = rank % scenario.moe_ep_size;
  std::vector<float> rows;
  for (std::size_t from = 0; from < scenario.tokens_of.size(); ++from) {
    const auto hidden = scenario.hidden(static_cast<int>(from));
    const auto targets = scenario.targets(static_cast<int>(from));
    for (std::int64_t token = 0; token < scenario.tokens_of[from]; ++token) {
      bool wanted = false;
      for (std::int64_t k = 0; k < scenario.top_k; ++k) {
        const auto& target = targets[static_cast<std::size_t>(token * scenario.top_k + k)];
        wanted |= target.local_slot >= 0 && target.moe_ep_rank == moe_ep;
      }
      const auto first = hidden.begin() + token * scenario.hidden_size;
      if (wanted) rows.insert(rows.end(), first, first + scenario.hidden_size);
    }
  }
  const TensorView& received = tokens.hidden_states;
  const float* const data = received.as<float>();
  EXPECT_TRUE(same_bits(std::vector<float>(data, data + received.num_elements()), rows));
  EXPECT_EQ(tokens.row_of.size(), tokens.slots.size());

  std::vector<float> outputs;
  for (std::size_t pair = 0; pair < tokens.row_of.size(); ++pair) {
    const std::int32_t row = tokens.row_of[pair];
    EXPECT_TRUE(row >= 0 && row < received.rows()) << "row " << row;
    const comm::ExpertTarget expert{moe_ep, tokens.slots[pair]};
    for (std::int64_t i = 0; i < scenario.hidden_size; ++i) {
      outputs.push_back(expert_output(moe_tp, expert, i, data[row * scenario.hidden_size + i]));
    }
  }
  return outputs;
}

void expect_exchange(comm::ExpertExchange& exchange, const Scenario& scenario, int rank) {
  std::vector<float> hidden = scenario.hidden(rank), weights = scenario.weights(rank);
  const std::int64_t num_tokens = scenario.tokens_of[static_cast<std::size_t>(rank)];
  std::vector<float> y(hidden.size(), 99.0F);

  const comm::DispatchedTokens& tokens = exchange.dispatch(
      view(hidden, {num_tokens, scenario.hidden_size}), scenario.top_k, scenario.targets(rank));
  std::vector<float> outputs = compute(scenario, rank, tokens);
  const auto num_pairs = static_cast<std::int64_t>(tokens.row_of.size());
  exchange.combine(view(outputs, {num_pairs, scenario.hidden_size}),
                   view(weights, {num_tokens, scenario.top_k}),
                   view(y, {num_tokens, scenario.hidden_size}));

  EXPECT_TRUE(same_bits(y, reference(scenario, rank)))
      << "moe_tp " << scenario.moe_tp_size << " moe_ep " << scenario.moe_ep_size << " seed "
      << scenario.seed;
}

/// Calls `check` with an exchange for every way to write the number of ranks as moe_tp × moe_ep.
template <typename Check>
void for_each_factoring(comm::Communicator& ffn, Check check) {
  for (int moe_tp = 1; moe_tp <= ffn.size(); ++moe_tp) {
    if (ffn.size() % moe_tp != 0) continue;
    Scenario scenario;
    scenario.moe_tp_size = moe_tp;
    scenario.moe_ep_size = ffn.size() / moe_tp;
    scenario.tokens_of.assign(static_cast<std::size_t>(ffn.size()), 0);
    const auto exchange = comm::make_expert_exchange(ffn, moe_tp, scenario.moe_ep_size);
    check(*exchange, scenario);
  }
}

class ExpertExchange : public CommConformance {};

TEST_P(ExpertExchange, EqualsTheSerialSumBitForBitInEveryFactoring) {
  for_each_factoring(comm(), [&](comm::ExpertExchange& exchange, Scenario scenario) {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
      scenario.seed = 10 * seed;
      scenario.top_k = static_cast<std::int64_t>(1 + seed % 8);
      scenario.hidden_size = seed % 3 == 0 ? 1 : static_cast<std::int64_t>(5 * seed);
      scenario.drops_some = seed % 2 == 0;
      for (std::size_t r = 0; r < scenario.tokens_of.size(); ++r) {
        scenario.tokens_of[r] = static_cast<std::int64_t>((r * 7 + seed * 5) % 19);
      }
      expect_exchange(exchange, scenario, rank());
    }
  });
}

TEST_P(ExpertExchange, ManyTokensGoAsWellAsFew) {
  for_each_factoring(comm(), [&](comm::ExpertExchange& exchange, Scenario scenario) {
    scenario.top_k = 4;
    scenario.hidden_size = 96;
    scenario.tokens_of.assign(scenario.tokens_of.size(), 150);
    expect_exchange(exchange, scenario, rank());
    scenario.tokens_of.assign(scenario.tokens_of.size(), 1);
    expect_exchange(exchange, scenario, rank());
  });
}

TEST_P(ExpertExchange, RanksWithoutTokensTakePart) {
  for_each_factoring(comm(), [&](comm::ExpertExchange& exchange, Scenario scenario) {
    expect_exchange(exchange, scenario, rank());
    scenario.tokens_of.back() = 40;
    expect_exchange(exchange, scenario, rank());
    scenario.tokens_of.back() = 0;
    scenario.tokens_of.front() = 3;
    expect_exchange(exchange, scenario, rank());
  });
}

TEST_P(ExpertExchange, TokensWhosePairsHaveNoExpertGiveZero) {
  const auto exchange = comm::make_expert_exchange(comm(), 1, size());
  std::vector<float> hidden = {1, 2, 3}, weights = {1, 1}, y = {9, 9, 9}, none;
  const std::vector<comm::ExpertTarget> targets(2, {0, -1});

  const auto& tokens = exchange->dispatch(view(hidden, {1, 3}), 2, targets);
  EXPECT_EQ(tokens.hidden_states.rows(), 0);
  EXPECT_TRUE(tokens.row_of.empty());
  exchange->combine(view(none, {0, 3}), view(weights, {1, 2}), view(y, {1, 3}));

  EXPECT_EQ(y, (std::vector<float>{0, 0, 0}));
}

TEST_P(ExpertExchange, ReadsAndWritesRowsThatAreApart) {
  const auto exchange = comm::make_expert_exchange(comm(), 1, size());
  std::vector<float> hidden = {1, 2, -1, 3, 4, -1}, weights = {2, 0.5F}, y(6, 7.0F);
  const std::vector<comm::ExpertTarget> targets = {{size() - 1, 0}, {0, 1}};

  const auto& tokens = exchange->dispatch(view(hidden, {2, 3}).columns(0, 2), 1, targets);
  std::vector<float> outputs;
  for (const std::int32_t row : tokens.row_of) {
    const float* values = tokens.hidden_states.as<float>() + row * 2;
    outputs.insert(outputs.end(), values, values + 2);
  }
  exchange->combine(view(outputs, {static_cast<std::int64_t>(tokens.row_of.size()), 2}),
                    view(weights, {2, 1}), view(y, {2, 3}).columns(0, 2));

  EXPECT_EQ(y, (std::vector<float>{2, 4, 7, 1.5F, 2, 7}));
}

TEST_P(ExpertExchange, RefusesCallsOutOfOrderAndTargetsOutOfRange) {
  const auto exchange = comm::make_expert_exchange(comm(), 1, size());
  std::vector<float> hidden = {1}, y = {0}, none;
  const std::vector<comm::ExpertTarget> outside = {{size(), 0}};

  EXPECT_THROW(exchange->combine(view(none, {0, 1}), view(hidden, {1, 1}), view(y, {1, 1})), Error);
  EXPECT_THROW(exchange->dispatch(view(hidden, {1, 1}), 1, outside), Error);
  EXPECT_THROW(exchange->dispatch(view(hidden, {1, 1}), 2, outside), Error);
  EXPECT_THROW(comm::make_expert_exchange(comm(), 2, size()), Error);
}

INSTANTIATE_TEST_SUITE_P(Backends, ExpertExchange, testing::Values("mpi"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace trireme::test
