#include "job/job_loads.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <span>

#include "base/error.h"
#include "base/json.h"

namespace trireme::job {
namespace {

constexpr int kChoicesTag = 7;

class Gathering {
 public:
  Gathering(const comm::MpiComm& world, const LoadParts& parts) : world_(world), parts_(parts) {
    loads_.num_experts = parts.model.num_experts;
    loads_.top_k = parts.model.experts_per_token;
    loads_.layer_index = moe_layers_of(parts.model);
    result_.ep_size = parts.topology.sizes().moe_ep;
  }

  JobLoads run() {
    sum_windows();
    sum_domains();
    loads_.tokens = std::accumulate(loads_.counts.begin(), loads_.counts.end(), std::int64_t{0}) /
                    std::max<std::int64_t>(1, loads_.top_k * loads_.num_layers());
    if (parts_.has_choices) gather_choices();
    result_.loads = std::move(loads_);
    return std::move(result_);
  }

 private:
  std::size_t num_layers() const { return loads_.layer_index.size(); }

  /// Adds a stage's [layers, width] to the model's.
  void add(std::span<const std::int64_t> of_stage, std::int64_t* of_model,
           std::int64_t width) const {
    for (std::size_t i = 0; i < parts_.counts.layers.size(); ++i) {
      const auto layer = std::ranges::find(loads_.layer_index, parts_.counts.layers[i]) -
                         loads_.layer_index.begin();
      for (std::int64_t j = 0; j < width; ++j) {
        of_model[layer * width + j] +=
            of_stage[i * static_cast<std::size_t>(width) + static_cast<std::size_t>(j)];
      }
    }
  }

  void sum_windows();
  void sum_domains();
  std::map<std::uint64_t, std::string> all_domains() const;
  engine::ExpertCounts sum_of(const std::set<std::uint64_t>& keys) const;
  void add_domain(const std::string& name, const engine::ExpertCounts& counts);

  /// What one stage's rank kept of a sequence group's tokens.
  struct StageChoices {
    std::vector<std::int32_t> layers;
    std::vector<std::int16_t> choices;  ///< [tokens, layers, top_k]
  };
  void gather_choices();
  void send_choices() const;
  StageChoices receive_choices(int rank) const;
  void append(const std::vector<StageChoices>& stages, std::int32_t home);

  const comm::MpiComm& world_;
  const LoadParts& parts_;
  io::ExpertLoads loads_;
  JobLoads result_;
};

void Gathering::sum_windows() {
  std::vector<std::vector<std::int64_t>> windows = parts_.counts.windows;
  const auto milliseconds = [](double seconds) {
    return static_cast<std::int64_t>(seconds * 1000);
  };
  const std::int64_t longest = world_.max(milliseconds(parts_.counts.window_s));
  for (std::int64_t own = milliseconds(parts_.counts.window_s); own < longest; own *= 2) {
    engine::double_windows(windows);
  }
  const std::int64_t num_windows = std::max<std::int64_t>(1, world_.max(std::ssize(windows)));
  const std::size_t size = num_layers() * static_cast<std::size_t>(loads_.num_experts);
  loads_.counts.resize(static_cast<std::size_t>(num_windows) * size);
  for (std::size_t i = 0; i < windows.size(); ++i) {
    add(windows[i], loads_.counts.data() + i * size, loads_.num_experts);
  }
  world_.sum(std::span(loads_.counts));
  loads_.window_seconds.assign(static_cast<std::size_t>(num_windows),
                               static_cast<double>(longest) / 1000);
}

std::map<std::uint64_t, std::string> Gathering::all_domains() const {
  Json mine = Json::array();
  for (const auto& [key, name] : parts_.domain_names) mine.push_back({key, name});
  std::map<std::uint64_t, std::string> names;
  const std::string text = mine.dump(-1, ' ', true, Json::error_handler_t::replace);
  for (const std::string& of_rank : world_.all_gather(text)) {
    for (const Json& domain : Json::parse(of_rank)) {
      names.emplace(domain.at(0).get<std::uint64_t>(), domain.at(1).get<std::string>());
    }
  }
  return names;
}

/// Of all ranks: what they counted under any of these keys.
engine::ExpertCounts Gathering::sum_of(const std::set<std::uint64_t>& keys) const {
  engine::ExpertCounts sum;
  sum.by_expert.resize(num_layers() * static_cast<std::size_t>(loads_.num_experts));
  sum.by_rank.resize(num_layers() * static_cast<std::size_t>(result_.ep_size));
  for (const auto& [key, counts] : parts_.counts.domains) {
    if (!keys.contains(key)) continue;
    add(counts.by_expert, sum.by_expert.data(), loads_.num_experts);
    add(counts.by_rank, sum.by_rank.data(), result_.ep_size);
  }
  world_.sum(std::span(sum.by_expert));
  world_.sum(std::span(sum.by_rank));
  return sum;
}

void Gathering::add_domain(const std::string& name, const engine::ExpertCounts& counts) {
  loads_.domains.push_back(name);
  loads_.by_domain.insert(loads_.by_domain.end(), counts.by_expert.begin(), counts.by_expert.end());
  result_.by_domain_by_rank.insert(result_.by_domain_by_rank.end(), counts.by_rank.begin(),
                                   counts.by_rank.end());
}

void Gathering::sum_domains() {
  const std::map<std::uint64_t, std::string> names = all_domains();
  std::vector<std::uint64_t> keys;
  for (const auto& [key, name] : names) keys.push_back(key);
  if (std::ssize(keys) >= io::kMaxLoadDomains) {
    std::vector<std::int64_t> tokens;
    for (const std::uint64_t key : keys) {
      const auto found = parts_.counts.domains.find(key);
      tokens.push_back(found == parts_.counts.domains.end()
                           ? 0
                           : std::accumulate(found->second.by_expert.begin(),
                                             found->second.by_expert.end(), std::int64_t{0}));
    }
    world_.sum(std::span(tokens));
    std::vector<std::size_t> order(keys.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, [&](auto a, auto b) { return tokens[a] > tokens[b]; });
    order.resize(static_cast<std::size_t>(io::kMaxLoadDomains) - 1);
    std::vector<std::uint64_t> kept;
    for (const std::size_t i : order) kept.push_back(keys[i]);
    keys = std::move(kept);
  }
  std::ranges::sort(keys, {}, [&](std::uint64_t key) { return names.at(key); });

  std::set<std::uint64_t> others = {0, engine::kOtherDomains};
  for (const auto& [key, name] : names) {
    if (std::ranges::find(keys, key) == keys.end()) others.insert(key);
  }
  const engine::ExpertCounts rest = sum_of(others);
  result_.by_rank = rest.by_rank;
  for (const std::uint64_t key : keys) {
    const engine::ExpertCounts counts = sum_of({key});
    for (std::size_t i = 0; i < counts.by_rank.size(); ++i) result_.by_rank[i] += counts.by_rank[i];
    add_domain(names.at(key), counts);
  }
  const bool has_rest = std::ranges::any_of(rest.by_expert, [](auto count) { return count > 0; });
  if (!keys.empty() && has_rest) add_domain(io::kOtherDomain, rest);
}

void Gathering::send_choices() const {
  const engine::ExpertLoadCounts& own = parts_.counts;
  const std::int64_t sizes[2] = {std::ssize(own.layers), std::ssize(own.choices)};
  world_.send(std::as_bytes(std::span(sizes)), 0, kChoicesTag).wait();
  world_.send(std::as_bytes(std::span(own.layers)), 0, kChoicesTag).wait();
  world_.send(std::as_bytes(std::span(own.choices)), 0, kChoicesTag).wait();
}

Gathering::StageChoices Gathering::receive_choices(int rank) const {
  if (rank == 0) return {parts_.counts.layers, parts_.counts.choices};
  std::int64_t sizes[2] = {};
  world_.receive(std::as_writable_bytes(std::span(sizes)), rank, kChoicesTag).wait();
  TRIREME_CHECK(sizes[0] >= 0 && sizes[0] <= loads_.num_layers() && sizes[1] >= 0 &&
                    sizes[1] <= engine::ExpertCounter::kMaxChoices * sizes[0] * loads_.top_k,
                "rank=", rank, " layers=", sizes[0], " choices=", sizes[1]);
  StageChoices stage;
  stage.layers.resize(static_cast<std::size_t>(sizes[0]));
  stage.choices.resize(static_cast<std::size_t>(sizes[1]));
  world_.receive(std::as_writable_bytes(std::span(stage.layers)), rank, kChoicesTag).wait();
  world_.receive(std::as_writable_bytes(std::span(stage.choices)), rank, kChoicesTag).wait();
  return stage;
}

/// The stages of a sequence group saw the same tokens in the same order.
void Gathering::append(const std::vector<StageChoices>& stages, std::int32_t home) {
  std::int64_t num_tokens = engine::ExpertCounter::kMaxChoices;
  for (const StageChoices& stage : stages) {
    if (stage.layers.empty()) continue;
    num_tokens =
        std::min(num_tokens, std::ssize(stage.choices) / std::ssize(stage.layers) / loads_.top_k);
  }
  for (const StageChoices& stage : stages) {
    for (std::size_t i = 0; i < stage.layers.size(); ++i) {
      const auto layer =
          std::ranges::find(loads_.layer_index, stage.layers[i]) - loads_.layer_index.begin();
      std::vector<std::int16_t>& into = loads_.choices[static_cast<std::size_t>(layer)];
      for (std::int64_t token = 0; token < num_tokens; ++token) {
        const auto* const chosen =
            stage.choices.data() +
            (token * std::ssize(stage.layers) + static_cast<std::int64_t>(i)) * loads_.top_k;
        into.insert(into.end(), chosen, chosen + loads_.top_k);
      }
    }
  }
  loads_.choices_home.insert(loads_.choices_home.end(), static_cast<std::size_t>(num_tokens), home);
}

void Gathering::gather_choices() {
  const topology::Sizes& sizes = parts_.topology.sizes();
  result_.are_choices_cut = world_.max(parts_.counts.tokens) > engine::ExpertCounter::kMaxChoices;
  loads_.choices.resize(num_layers());
  for (int dp = 0; dp < sizes.dp; ++dp) {
    for (int column = 0; column < (sizes.attention_dp ? sizes.tp : 1); ++column) {
      std::vector<StageChoices> stages;
      for (int pp = 0; pp < sizes.pp; ++pp) {
        const int rank = parts_.topology.rank_of(dp, pp, 0, column);
        if (world_.rank() == 0) {
          stages.push_back(receive_choices(rank));
        } else if (world_.rank() == rank) {
          send_choices();
        }
      }
      if (world_.rank() != 0) continue;
      append(stages, parts_.topology.coordinates(parts_.topology.rank_of(dp, 0, 0, column)).moe_ep);
    }
  }
}

}  // namespace

std::vector<std::int32_t> moe_layers_of(const checkpoint::ModelConfig& model) {
  std::vector<std::int32_t> layers;
  for (std::size_t layer = 0; layer < model.layer_is_moe.size(); ++layer) {
    if (model.layer_is_moe[layer]) layers.push_back(static_cast<std::int32_t>(layer));
  }
  return layers;
}

JobLoads gather_loads(const comm::MpiComm& world, const LoadParts& parts) {
  return Gathering(world, parts).run();
}

}  // namespace trireme::job
