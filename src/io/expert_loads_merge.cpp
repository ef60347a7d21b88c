#include <algorithm>
#include <map>

#include "base/error.h"
#include "io/expert_loads.h"

namespace trireme::io {
namespace {

std::string layers_text(const std::vector<std::int32_t>& layers) {
  std::string text;
  for (std::size_t i = 0; i < std::min<std::size_t>(layers.size(), 8); ++i) {
    text += cat(i == 0 ? "" : ", ", layers[i]);
  }
  return layers.size() > 8 ? cat(text, ", ... (", layers.size(), " in all)") : text;
}

/// Whether a file fits what was added before it.
void check_same_model(const ExpertLoads& merged, const ExpertLoads& loads, const std::string& name,
                      const std::string& first_name) {
  const auto refuse = [&](const std::string& what, const auto& value, const auto& expected) {
    fail(ErrorKind::input, cat(name, ": ", what, " ", value, ", expected ", expected, " as with ",
                               first_name, ": only loads of the same model can be added"));
  };
  const bool both_hashes = !merged.model_hash.empty() && !loads.model_hash.empty();
  if (both_hashes && loads.model_hash != merged.model_hash) {
    refuse("attribute model_hash is", loads.model_hash, merged.model_hash);
  }
  if (loads.num_experts != merged.num_experts) {
    refuse("/expert_loads has", cat(loads.num_experts, " experts"), merged.num_experts);
  }
  if (loads.layer_index != merged.layer_index) {
    refuse("/expert_loads has the layers", layers_text(loads.layer_index),
           layers_text(merged.layer_index));
  }
  if (loads.top_k != 0 && merged.top_k != 0 && loads.top_k != merged.top_k) {
    refuse("attribute top_k is", loads.top_k, merged.top_k);
  }
}

/// Sums by domain in the order in which the names appear.
class DomainSums {
 public:
  DomainSums(std::size_t counts_each, bool is_needed)
      : counts_each_(counts_each), is_needed_(is_needed) {}

  void add(const ExpertLoads& loads) {
    if (!is_needed_) return;
    if (loads.domains.empty()) return add_to(kOtherDomain, total_counts(loads).data());
    for (std::size_t i = 0; i < loads.domains.size(); ++i) {
      add_to(loads.domains[i], loads.by_domain.data() + i * counts_each_);
    }
  }

  void move_to(ExpertLoads& merged) {
    merged.domains = std::move(names_);
    merged.by_domain = std::move(sums_);
  }

 private:
  /// Beyond the last domain that may have a name, counts go to the other.
  void add_to(const std::string& name, const std::int64_t* counts) {
    const bool is_full = std::ssize(names_) + 1 >= kMaxLoadDomains;
    const std::string& place_name =
        is_full && !places_.contains(name) ? std::string(kOtherDomain) : name;
    const auto [place, is_new] = places_.try_emplace(place_name, names_.size());
    if (is_new) {
      names_.push_back(place_name);
      sums_.resize(sums_.size() + counts_each_, 0);
    }
    std::int64_t* sums = sums_.data() + place->second * counts_each_;
    for (std::size_t i = 0; i < counts_each_; ++i) sums[i] += counts[i];
  }

  std::size_t counts_each_;
  bool is_needed_;
  std::map<std::string, std::size_t> places_;
  std::vector<std::string> names_;
  std::vector<std::int64_t> sums_;
};

void append_choices(const ExpertLoads& loads, ExpertLoads& merged) {
  if (loads.choices.empty()) return;
  merged.choices.resize(loads.choices.size());
  for (std::size_t i = 0; i < loads.choices.size(); ++i) {
    merged.choices[i].insert(merged.choices[i].end(), loads.choices[i].begin(),
                             loads.choices[i].end());
  }
  merged.choices_home.insert(merged.choices_home.end(), loads.choices_home.begin(),
                             loads.choices_home.end());
}

void check_size(const ExpertLoads& merged) {
  const std::int64_t num_choices =
      merged.choices.empty() ? 0 : std::ssize(merged.choices.front()) * merged.num_layers();
  std::int64_t sum = 0;
  for (const std::int64_t count : merged.counts) sum += std::min(count, kMaxLoadSum - sum + 1);
  if (std::ssize(merged.counts) <= kMaxLoadCounts && num_choices <= kMaxLoadChoices &&
      std::ssize(merged.by_domain) <= kMaxLoadCounts && sum <= kMaxLoadSum) {
    return;
  }
  fail(ErrorKind::input,
       cat("the loads files together hold ", merged.counts.size(), " counts, ",
           merged.by_domain.size(), " by domain and ", num_choices, " choices, at most ",
           kMaxLoadCounts, ", ", kMaxLoadCounts, " and ", kMaxLoadChoices,
           ", with a sum of at most ", kMaxLoadSum, ", are planned from"));
}

}  // namespace

ExpertLoads merge_loads(std::span<const ExpertLoads> loads, std::span<const std::string> names) {
  TRIREME_CHECK(!loads.empty() && loads.size() == names.size(), loads.size(), ", ", names.size());
  const ExpertLoads& first = loads.front();
  ExpertLoads merged;
  merged.num_experts = first.num_experts;
  merged.layer_index = first.layer_index;
  const bool has_domains =
      std::ranges::any_of(loads, [](const ExpertLoads& one) { return !one.domains.empty(); });
  DomainSums domains(first.layer_index.size() * static_cast<std::size_t>(first.num_experts),
                     has_domains);
  for (std::size_t i = 0; i < loads.size(); ++i) {
    const ExpertLoads& one = loads[i];
    check_same_model(merged, one, names[i], names.front());
    if (merged.model_hash.empty()) merged.model_hash = one.model_hash;
    if (merged.model_name.empty()) merged.model_name = one.model_name;
    if (merged.top_k == 0) merged.top_k = one.top_k;
    merged.tokens += one.tokens;
    merged.window_seconds.insert(merged.window_seconds.end(), one.window_seconds.begin(),
                                 one.window_seconds.end());
    merged.counts.insert(merged.counts.end(), one.counts.begin(), one.counts.end());
    domains.add(one);
    append_choices(one, merged);
  }
  domains.move_to(merged);
  check_size(merged);
  return merged;
}

}  // namespace trireme::io
