#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "engine/slot_table.h"
#include "engine/step_plan.h"
#include "layers/forward_batch.h"

namespace trireme::engine {

/// Token–expert assignments by expert and by the EP rank that computes them.
struct ExpertCounts {
  std::vector<std::int64_t> by_expert;  ///< [layers, experts]
  std::vector<std::int64_t> by_rank;    ///< [layers, ep_size]
};

/// What one rank counted in its stage's MoE layers.
struct ExpertLoadCounts {
  std::vector<std::int32_t> layers;  ///< their numbers in the model
  std::int64_t num_experts = 0, top_k = 0, ep_size = 0;
  std::int64_t tokens = 0;
  double window_s = 0;                             ///< length of a window
  std::vector<std::vector<std::int64_t>> windows;  ///< [windows] of [layers, experts]
  std::map<std::uint64_t, ExpertCounts> domains;   ///< by domain key; 0: prompts without a domain
  std::vector<std::int16_t> choices;               ///< [tokens, layers, top_k], if kept
};

/// The key of prompts whose domains found no room.
inline constexpr std::uint64_t kOtherDomains = 1;

/// Counts which experts the tokens of a rank chose, once for each token: what a step chose waits
/// until the lane's next plan has named the rows that count for nothing, and tokens computed again
/// after a preemption are left out.
class ExpertCounter {
 public:
  static constexpr std::size_t kMaxWindows = 64;    ///< beyond, windows become twice as long
  static constexpr std::size_t kMaxDomains = 1024;  ///< beyond, domains count as one
  static constexpr std::int64_t kMaxChoices = std::int64_t{1}
                                              << 20;  ///< tokens whose choices are kept

  struct Options {
    bool is_on = true;  ///< off: this rank's tokens are counted by another
    bool keeps_choices = false;
    std::int64_t ep_size = 1;
    double (*clock)() = nullptr;  ///< seconds; windows begin with the counter
    double first_window_s = 1;
  };
  ExpertCounter(const layers::MoeSpec& spec, const Options& options, int num_lanes);

  /// Memory for the choices of a step that is about to run, empty if there is nothing to count.
  /// What the lane's step before left must be settled.
  std::span<layers::ExpertChoice> open(int lane, const StepPlan& plan, const SlotTable& slots);

  /// Counts the lane's open step but for these rows of it.
  void settle(int lane, std::span<const std::int32_t> void_rows);

  const ExpertLoadCounts& counts() const { return counts_; }

 private:
  struct Row {
    std::int64_t first_token = 0, num_tokens = 0;
    std::uint64_t domain = 0;
  };
  struct Step {
    std::vector<layers::ExpertChoice> choices;  ///< [layers, tokens, top_k]
    std::vector<Row> rows;
    std::int64_t num_tokens = 0;
  };

  void count(const Step& step, const Row& row);
  void keep_choices(const Step& step, const Row& row);
  std::vector<std::int64_t>& window_now();
  ExpertCounts& domain(std::uint64_t key);

  Options options_;
  double begin_s_ = 0;
  std::vector<Step> steps_;  ///< by lane
  ExpertLoadCounts counts_;
};

/// Windows of twice the length: neighbours summed.
void double_windows(std::vector<std::vector<std::int64_t>>& windows);

}  // namespace trireme::engine
