#include "job/expert_report.h"

#include <algorithm>
#include <iomanip>
#include <numeric>

#include "base/error.h"
#include "job/progress.h"

namespace trireme::job {
namespace {

constexpr std::int64_t kMaxLayerLines = 16;

std::string fixed(double value) { return cat(std::fixed, std::setprecision(3), value); }

/// Loads of the ranks if expert e were on rank e · ep_size / experts.
std::vector<std::int64_t> unplaced(std::span<const std::int64_t> by_expert, std::int64_t ep_size) {
  std::vector<std::int64_t> loads(static_cast<std::size_t>(ep_size));
  for (std::size_t expert = 0; expert < by_expert.size(); ++expert) {
    loads[expert * loads.size() / by_expert.size()] += by_expert[expert];
  }
  return loads;
}

/// The part of one layer of [.., layers, width].
std::span<const std::int64_t> part(const std::vector<std::int64_t>& values, std::int64_t index,
                                   std::int64_t width) {
  return std::span(values).subspan(static_cast<std::size_t>(index * width),
                                   static_cast<std::size_t>(width));
}

struct Balances {
  double sum = 0, worst = 0, sum_unplaced = 0;
  std::int64_t num = 0, worst_layer = 0;

  double mean() const { return sum / static_cast<double>(std::max<std::int64_t>(1, num)); }
  double mean_unplaced() const {
    return sum_unplaced / static_cast<double>(std::max<std::int64_t>(1, num));
  }
};

/// Over the layers of [groups, layers, ...]; groups are domains, or one for all.
Balances balances(const JobLoads& job, const std::vector<std::int64_t>& by_expert,
                  const std::vector<std::int64_t>& by_rank) {
  Balances result;
  const std::int64_t num_layers = job.loads.num_layers();
  for (std::int64_t i = 0; i < std::ssize(by_rank) / job.ep_size; ++i) {
    const double balance = balance_of(part(by_rank, i, job.ep_size));
    if (balance > result.worst) {
      result.worst = balance;
      result.worst_layer = job.loads.layer_index[static_cast<std::size_t>(i % num_layers)];
    }
    result.sum += balance;
    result.sum_unplaced +=
        balance_of(unplaced(part(by_expert, i, job.loads.num_experts), job.ep_size));
    ++result.num;
  }
  return result;
}

std::string line_of(const char* name, const Balances& balances, bool is_placed) {
  std::string text = cat("\n    ", name, " mean ", fixed(balances.mean()), ", worst ",
                         fixed(balances.worst), " (layer ", balances.worst_layer, ")");
  if (is_placed) text += cat("; without the placement ", fixed(balances.mean_unplaced()));
  return text;
}

std::string layer_lines(const JobLoads& job, const std::vector<std::int64_t>& totals) {
  std::string text = "\n    layer  hottest expert        balance";
  for (std::int64_t i = 0; i < std::min(job.loads.num_layers(), kMaxLayerLines); ++i) {
    const auto experts = part(totals, i, job.loads.num_experts);
    const auto hottest = std::ranges::max_element(experts) - experts.begin();
    std::string line =
        cat("\n    ", std::setw(5), job.loads.layer_index[static_cast<std::size_t>(i)], "  ",
            std::setw(5), hottest, ", ", fixed(balance_of(experts)), " x mean");
    if (job.ep_size > 1) line += cat("  ", fixed(balance_of(part(job.by_rank, i, job.ep_size))));
    text += line;
  }
  if (job.loads.num_layers() > kMaxLayerLines) {
    text += cat("\n    and ", job.loads.num_layers() - kMaxLayerLines, " more layers");
  }
  return text;
}

}  // namespace

double balance_of(std::span<const std::int64_t> loads) {
  const auto sum = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  if (sum == 0) return 1;
  return static_cast<double>(*std::ranges::max_element(loads)) * static_cast<double>(loads.size()) /
         static_cast<double>(sum);
}

std::string expert_report(const JobLoads& job, bool is_placed, const std::string& loads_path) {
  const io::ExpertLoads& loads = job.loads;
  if (loads.tokens == 0) return {};
  const std::vector<std::int64_t> totals = io::total_counts(loads);
  std::string text = cat("\n  experts    ", grouped(loads.tokens), " tokens x ", loads.top_k,
                         " in ", loads.num_layers(), " layers");
  if (!loads_path.empty()) text += cat(", counted in ", loads_path);
  if (job.are_choices_cut) {
    text += cat("\n    of a rank's tokens the choices of the first ",
                grouped(engine::ExpertCounter::kMaxChoices), " are kept");
  }
  if (job.ep_size > 1) {
    text += cat("\n    balance over ", job.ep_size, " ranks, highest load / mean:");
    text += line_of("all tokens:", balances(job, totals, job.by_rank), is_placed);
    if (!loads.domains.empty()) {
      const Balances by_domain = balances(job, loads.by_domain, job.by_domain_by_rank);
      text +=
          line_of(cat("each of ", loads.domains.size(), " domains:").c_str(), by_domain, is_placed);
    }
  }
  return text + layer_lines(job, totals);
}

}  // namespace trireme::job
