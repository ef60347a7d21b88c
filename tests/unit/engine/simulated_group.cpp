#include "simulated_group.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/noise.h"

namespace trireme::test {
namespace {


std::uint64_t kv_entry(std::uint64_t before, std::int32_t token) {
  return splitmix64(before ^ static_cast<std::uint64_t>(token + 1));
}

// What attention makes of one entry; sums over all that are in sight.
std::uint64_t seen(std::uint64_t entry, std::int64_t position, std::size_t group) {
  return splitmix64(entry + static_cast<std::uint64_t>(position) * 31 + group * 1009);
}

std::uint64_t penalty(std::span<const std::int32_t> tokens) {
  std::uint64_t sum = 0;
  for (const std::int32_t token : tokens) sum += splitmix64(static_cast<std::uint64_t>(token) + 77);
  return sum;
}

std::int32_t draw(std::uint64_t answer, std::uint64_t key, std::uint64_t penalty_sum,
                  std::span<const std::int32_t> banned) {
  auto token = static_cast<std::int32_t>(splitmix64(answer ^ key ^ penalty_sum) %
                                         std::uint64_t{ToyModel::kVocabSize});
  while (std::find(banned.begin(), banned.end(), token) != banned.end()) {
    token = (token + 1) % ToyModel::kVocabSize;
  }
  return token;
}

float score_of(std::uint64_t answer, std::int32_t target) {
  return -static_cast<float>(splitmix64(answer + static_cast<std::uint64_t>(target)) % 1000);
}

std::int64_t first_in_sight(std::int64_t position, std::int64_t window) {
  return window == 0 ? 0 : std::max<std::int64_t>(0, position - window + 1);
}

std::uint64_t answer_at(const ToyModel& model, const std::vector<std::uint64_t>& entries,
                        std::int64_t position) {
  std::uint64_t sum = 0;
  for (std::size_t group = 0; group < model.windows.size(); ++group) {
    for (auto at = first_in_sight(position, model.windows[group]); at <= position; ++at) {
      sum += seen(entries[static_cast<std::size_t>(at)], at, group);
    }
  }
  return sum;
}

std::vector<std::uint64_t> entries_of(const std::vector<std::int32_t>& tokens) {
  std::vector<std::uint64_t> entries;
  for (const std::int32_t token : tokens) {
    entries.push_back(kv_entry(entries.empty() ? 0 : entries.back(), token));
  }
  return entries;
}

}  // namespace

std::vector<std::int32_t> ToyModel::generate(const engine::Request& request, std::int32_t sample,
                                             const std::vector<std::int32_t>& eos_token_ids,
                                             std::int64_t max_seq_len) const {
  const engine::SamplingParams& params = request.params;
  std::vector<std::int32_t> tokens = request.prompt_tokens;
  const auto num_prompt = std::ssize(tokens);
  const std::uint64_t key = engine::noise_key(
      params.seed, static_cast<std::uint64_t>(request.index), static_cast<std::uint64_t>(sample));
  std::vector<std::int32_t> ends = params.stop_token_ids;
  if (!params.ignore_eos) ends.insert(ends.end(), eos_token_ids.begin(), eos_token_ids.end());
  while (std::ssize(tokens) - num_prompt < params.max_tokens && std::ssize(tokens) < max_seq_len) {
    const bool is_banned = std::ssize(tokens) - num_prompt < params.min_tokens;
    const std::int32_t token =
        draw(answer_at(*this, entries_of(tokens), std::ssize(tokens) - 1), key,
             params.has_penalty() ? penalty(tokens) : 0,
             is_banned ? std::span<const std::int32_t>(ends) : std::span<const std::int32_t>());
    tokens.push_back(token);
    if (std::find(ends.begin(), ends.end(), token) != ends.end()) break;
  }
  return {tokens.begin() + num_prompt, tokens.end()};
}

std::vector<float> ToyModel::score(const std::vector<std::int32_t>& prompt) {
  const std::vector<std::uint64_t> entries = entries_of(prompt);
  std::vector<float> scores;
  for (std::size_t i = 0; i + 1 < prompt.size(); ++i) {
    scores.push_back(score_of(entries[i], prompt[i + 1]));
  }
  return scores;
}

SimulatedGroup::SimulatedGroup(ToyModel model, std::vector<engine::PoolShape> pools,
                               std::int64_t tokens_per_block, std::int32_t num_slots, int num_lanes)
    : model_(std::move(model)),
      tokens_per_block_(tokens_per_block),
      slots_(num_slots, static_cast<std::int32_t>(pools.size())),
      builder_(tokens_per_block, {}),
      last_rows_(static_cast<std::size_t>(num_lanes)) {
  for (const engine::PoolShape& pool : pools) {
    kv_.emplace_back(static_cast<std::size_t>(pool.num_blocks * tokens_per_block), 0);
  }
}

std::vector<engine::RowResult> SimulatedGroup::execute(const engine::StepPlan& sent) {
  const engine::PlanBytes bytes = engine::serialize(sent);
  const engine::StepPlan plan = engine::deserialize(bytes.header, bytes.body);
  count(plan);
  slots_.apply(plan);
  if (plan.rows.empty()) return {};
  return compute(plan);
}

void SimulatedGroup::count(const engine::StepPlan& plan) {
  auto& rows = last_rows_[static_cast<std::size_t>(plan.lane)];
  for (const std::int32_t row : plan.void_rows) {
    ASSERT_LT(static_cast<std::size_t>(row), rows.size()) << "step " << plan.step;
    Row& of_row = rows[static_cast<std::size_t>(row)];
    ++num_void_rows_;
    num_drawn_ -= of_row.num_drawn;
    num_counted_ -= of_row.num_counted;
    of_row = {};  // named twice it would show in the sums
  }
  if (plan.rows.empty()) return;
  rows.clear();
  for (const engine::PlanRow& row : plan.rows) {
    rows.push_back({row.num_tokens - row.num_recomputed, row.samples() ? 1 : 0});
    num_drawn_ += rows.back().num_drawn;
    num_counted_ += rows.back().num_counted;
  }
}

std::vector<engine::RowResult> SimulatedGroup::compute(const engine::StepPlan& plan) {
  const layers::ForwardBatch& batch = builder_.build(plan, slots_, true);
  written_.assign(kv_.size(), {});
  answers_.assign(static_cast<std::size_t>(batch.num_tokens()), 0);
  for (std::size_t row = 0; row < plan.rows.size(); ++row) compute_row(batch, row);
  for (std::size_t group = 0; group < kv_.size(); ++group) {
    for (const auto& [at, entry] : written_[group])
      kv_[group][static_cast<std::size_t>(at)] = entry;
  }

  const auto answer_of = [&](std::int64_t logits_row) {
    return answers_[static_cast<std::size_t>(
        batch.logit_rows[static_cast<std::size_t>(logits_row)])];
  };
  std::vector<engine::SampledToken> tokens;
  for (const engine::SampleRow& row : builder_.sample_rows()) {
    engine::SampledToken token;
    token.token = draw(answer_of(row.logits_row), row.key,
                       penalty(row.prompt) + penalty(row.generated), row.banned);
    token.logprob = -static_cast<float>(token.token);
    tokens.push_back(token);
  }
  std::vector<float> scores;
  for (const engine::ScoreRow& row : builder_.score_rows()) {
    // Scores look at the entry alone, so that one reference serves every set of windows.
    const auto token =
        static_cast<std::size_t>(batch.logit_rows[static_cast<std::size_t>(row.logits_row)]);
    const auto at = batch.groups[0].slot_mapping[token];
    scores.push_back(score_of(written_[0].at(at), row.target));
  }
  const engine::ResultLayout layout(plan, slots_, true);
  auto results = engine::decode(layout, engine::encode(layout, tokens, scores));
  for (std::size_t row = 0; row < plan.rows.size(); ++row) {
    if (!plan.rows[row].samples()) continue;
    engine::Slot& slot = slots_[plan.rows[row].slot];
    slot.last_token = results[row].token;
    if (slot.params.has_penalty()) slot.tokens.push_back(results[row].token);
  }
  return results;
}

// Rows read what earlier steps wrote and what they write themselves, never each other's: on a GPU
// they run at the same time.
void SimulatedGroup::compute_row(const layers::ForwardBatch& batch, std::size_t row) {
  for (auto token = batch.q_begin[row]; token < batch.q_begin[row + 1]; ++token) {
    const auto at = static_cast<std::size_t>(token);
    const std::int64_t position = batch.positions[at];
    for (std::size_t group = 0; group < kv_.size(); ++group) {
      std::uint64_t before = 0;
      if (position > 0) {
        const auto& of_group = batch.groups[group];
        const auto block =
            of_group.block_table[row * static_cast<std::size_t>(of_group.max_blocks) +
                                 static_cast<std::size_t>((position - 1) / tokens_per_block_)];
        ASSERT_GE(block, 0) << "position " << position - 1 << " of group " << group << " is gone";
        const std::int64_t slot = block * tokens_per_block_ + (position - 1) % tokens_per_block_;
        const auto own = written_[group].find(slot);
        const bool is_own = own != written_[group].end() && token > batch.q_begin[row];
        before = is_own ? own->second : kv_[group][static_cast<std::size_t>(slot)];
      }
      const bool is_new =
          written_[group]
              .emplace(batch.groups[group].slot_mapping[at], kv_entry(before, batch.token_ids[at]))
              .second;
      EXPECT_TRUE(is_new) << "two tokens of a step share a KV slot";
    }
    answers_[at] = look(batch, row, position);
  }
}

std::uint64_t SimulatedGroup::look(const layers::ForwardBatch& batch, std::size_t row,
                                   std::int64_t position) {
  std::uint64_t sum = 0;
  const std::int64_t first_own = batch.first_position[row];
  for (std::size_t group = 0; group < kv_.size(); ++group) {
    const auto& of_group = batch.groups[group];
    for (auto at = first_in_sight(position, model_.windows[group]); at <= position; ++at) {
      const auto block = of_group.block_table[row * static_cast<std::size_t>(of_group.max_blocks) +
                                              static_cast<std::size_t>(at / tokens_per_block_)];
      if (block < 0) {
        ADD_FAILURE() << "position " << at << " in sight of " << position << " is gone";
        return 0;
      }
      const std::int64_t slot = block * tokens_per_block_ + at % tokens_per_block_;
      sum += seen(
          at >= first_own ? written_[group].at(slot) : kv_[group][static_cast<std::size_t>(slot)],
          at, group);
    }
  }
  return sum;
}

SimulatedRun::Outcome SimulatedRun::run(const std::vector<engine::Request>& requests,
                                        const std::vector<std::int64_t>& arrive_at) const {
  Outcome outcome;
  engine::TextRules rules{
      .tokenizer = nullptr, .eos_token_ids = eos_token_ids, .max_seq_len = max_seq_len};
  engine::Scheduler scheduler(
      limits, engine::BlockManager(pools, tokens_per_block, enable_reuse, 7), rules,
      [&](engine::Completion completion) {
        const auto key = std::pair(completion.request->index, completion.sample);
        EXPECT_TRUE(outcome.completions.emplace(key, std::move(completion)).second)
            << "row " << key.first << " sample " << key.second << " came twice";
      });
  ToyModel model;
  for (const engine::PoolShape& pool : pools) model.windows.push_back(pool.window);
  SimulatedGroup group(model, pools, tokens_per_block,
                       static_cast<std::int32_t>(limits.num_lanes * limits.max_batch_size),
                       limits.num_lanes);

  std::size_t num_arrived = 0;
  const auto plan_step = [&](std::int64_t step) {
    while (num_arrived < requests.size() && arrive_at[num_arrived] <= step) {
      scheduler.add(requests[num_arrived++]);
    }
    return scheduler.plan(step, static_cast<int>(step % limits.num_lanes));
  };
  std::map<std::int64_t, std::vector<engine::RowResult>> unread;
  std::int64_t num_idle = 0;
  engine::StepPlan plan = plan_step(0);
  for (std::int64_t step = 0;
       scheduler.has_work() || !plan.is_empty() || num_arrived < requests.size(); ++step) {
    num_idle =
        plan.is_empty() && unread.empty() && num_arrived == requests.size() ? num_idle + 1 : 0;
    if (num_idle > 4 * limits.num_lanes) {
      outcome.is_stuck = true;
      break;
    }
    if (!plan.is_empty()) {
      auto results = group.execute(plan);
      if (!plan.rows.empty()) unread[step] = std::move(results);
    }
    const std::int64_t up_to = step - limits.num_lanes + (plan_ahead > 0 ? 0 : 1);
    while (!unread.empty() && unread.begin()->first <= up_to) {
      scheduler.collect(static_cast<int>(unread.begin()->first % limits.num_lanes),
                        unread.begin()->second);
      unread.erase(unread.begin());
    }
    plan = plan_step(step + 1);
  }
  outcome.num_preemptions = scheduler.num_preemptions();
  outcome.reused_tokens = scheduler.blocks().num_reused_tokens();
  outcome.num_drawn = group.num_drawn();
  outcome.num_void_rows = group.num_void_rows();
  outcome.num_counted = group.num_counted();
  return outcome;
}

}  // namespace trireme::test
