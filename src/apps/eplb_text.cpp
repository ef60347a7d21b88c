#include "apps/eplb_text.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"

namespace trireme::apps {
namespace {

constexpr std::size_t kHeatColumns = 96;
constexpr std::string_view kHeat = " .:-=+*#%@";
constexpr double kHeatStep = 0.4;  // of the mean, for each character

std::string printable(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return text;
}

char heat_character(double heat) {
  const auto step = static_cast<std::size_t>(std::max(0.0, heat) / kHeatStep);
  return kHeat[std::min(step, kHeat.size() - 1)];
}

/// One line for each layer and one of averages; what is not known has no column.
class BalanceTable {
 public:
  explicit BalanceTable(const LoadsMeasure& measure) : measure_(measure) {
    lines_.resize(measure.layers.size() + 2);
    lines_.front().push_back("layer");
    for (std::size_t i = 0; i < measure.layers.size(); ++i) {
      lines_[i + 1].push_back(cat(measure.layers[i].layer));
    }
    lines_.back().push_back("mean");
  }

  void add(const std::string& head, double LayerMeasure::*member, bool is_known) {
    if (!is_known) return;
    lines_.front().push_back(head);
    for (std::size_t i = 0; i < measure_.layers.size(); ++i) {
      lines_[i + 1].push_back(ratio_text(measure_.layers[i].*member));
    }
    lines_.back().push_back(ratio_text(mean_of(measure_, member)));
  }

  void add_hottest() {
    lines_.front().push_back("hottest expert");
    for (std::size_t i = 0; i < measure_.layers.size(); ++i) {
      lines_[i + 1].push_back(cat(measure_.layers[i].hottest_expert));
    }
    lines_.back().push_back("");
  }

  std::string text() const { return table_text(lines_); }

 private:
  const LoadsMeasure& measure_;
  std::vector<std::vector<std::string>> lines_;
};

}  // namespace

std::string table_text(const std::vector<std::vector<std::string>>& lines) {
  std::vector<std::size_t> widths;
  for (const auto& line : lines) {
    widths.resize(std::max(widths.size(), line.size()), 0);
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text;
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) {
      text += cat(i == 0 ? "" : "  ", std::string(widths[i] - line[i].size(), ' '), line[i]);
    }
    text += "\n";
  }
  return text;
}

std::string ratio_text(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3f", value);
  return text;
}

std::string loads_text(const io::ExpertLoads& loads) {
  std::string text = cat(loads.num_layers(), " layers of ", loads.num_experts, " experts, ",
                         loads.num_windows(), loads.num_windows() == 1 ? " window" : " windows");
  if (!loads.domains.empty()) text += cat(", ", loads.domains.size(), " domains");
  if (loads.tokens > 0) text += cat(", ", loads.tokens, " tokens");
  if (!loads.choices.empty())
    text += cat(", the choices of ", loads.choices_home.size(), " tokens");
  if (!loads.model_name.empty()) text += cat(", model ", printable(loads.model_name));
  return text + "\n";
}

std::string plan_text(const eplb::Plan& plan, bool has_previous, bool has_traffic) {
  using eplb::LayerFacts;
  using eplb::PlannedLayer;
  std::vector<std::vector<std::string>> lines = {
      {"layer", "before", "after", "DeepSeek's", "lower bound", "gap %", "replicated", "most"}};
  if (has_previous) lines.front().push_back("moved");
  if (has_traffic) lines.front().insert(lines.front().end(), {"remote nodes", "DeepSeek's"});
  LayerFacts sum, worst;
  for (const PlannedLayer& layer : plan.layers) {
    const LayerFacts& facts = layer.facts;
    lines.push_back({cat(facts.layer), ratio_text(facts.balance_before), ratio_text(facts.balance),
                     ratio_text(facts.deepseek), ratio_text(facts.lower_bound),
                     ratio_text(100 * facts.gap), cat(layer.num_replicated),
                     cat(layer.most_replicas)});
    if (has_previous) lines.back().push_back(cat(layer.num_changed));
    if (has_traffic) {
      lines.back().push_back(ratio_text(layer.remote_nodes));
      lines.back().push_back(ratio_text(layer.deepseek_remote_nodes));
    }
    for (double LayerFacts::*member :
         {&LayerFacts::balance_before, &LayerFacts::balance, &LayerFacts::deepseek,
          &LayerFacts::lower_bound, &LayerFacts::gap}) {
      sum.*member += facts.*member / static_cast<double>(plan.layers.size());
      worst.*member = std::max(worst.*member, facts.*member);
    }
  }
  for (const auto& [name, facts] : {std::pair{"mean", sum}, std::pair{"worst", worst}}) {
    lines.push_back({name, ratio_text(facts.balance_before), ratio_text(facts.balance),
                     ratio_text(facts.deepseek), ratio_text(facts.lower_bound),
                     ratio_text(100 * facts.gap)});
  }
  return table_text(lines);
}

std::string balance_text(const LoadsMeasure& measure) {
  BalanceTable table(measure);
  const bool before = measure.ep_size > 0;
  const bool after = measure.has_placement;
  const bool parts = !measure.parts.empty();
  table.add_hottest();
  table.add("times mean", &LayerMeasure::hottest, true);
  table.add("balance before", &LayerMeasure::before, before);
  table.add("after", &LayerMeasure::after, after);
  table.add(cat("by ", measure.parts, " before"), &LayerMeasure::parts_before, before && parts);
  table.add("after", &LayerMeasure::parts_after, after && parts);
  table.add("remote nodes before", &LayerMeasure::remote_before, measure.has_traffic);
  table.add("after", &LayerMeasure::remote_after, after && measure.has_traffic);
  std::string text = table.text();
  if (!before) return text + "Balance needs the number of ranks: --ep-size G\n";
  text += cat("Balance is the highest load of a rank over the mean of ", measure.ep_size, " ranks");
  if (parts) text += cat("; by ", measure.parts, ": that of each, averaged");
  text += ".\n";
  if (measure.has_traffic) {
    text += cat("Remote nodes: to how many of the other ", measure.num_nodes - 1,
                " nodes a token is sent; before ",
                ratio_text(100 * mean_of(measure, &LayerMeasure::remote_before) /
                           static_cast<double>(measure.num_nodes - 1)),
                " % of them");
    if (after) {
      text += cat(", after ",
                  ratio_text(100 * mean_of(measure, &LayerMeasure::remote_after) /
                             static_cast<double>(measure.num_nodes - 1)),
                  " %");
    }
    text += ".\n";
  } else if (measure.num_nodes > 1) {
    text += "Remote nodes per token need the choices of tokens, recorded with --record-choices.\n";
  }
  return text;
}

std::string heat_text(const LoadsMeasure& measure) {
  const std::size_t num_experts = measure.heat.empty() ? 0 : measure.heat.front().size();
  const std::size_t each = (num_experts + kHeatColumns - 1) / kHeatColumns;
  std::string text = "Heat of the experts by layer";
  if (each > 1) text += cat(", each character the hottest of ", each);
  text += cat(": '", kHeat.back(), "' is ", ratio_text(kHeatStep * (kHeat.size() - 1)),
              " times the mean and more\n");
  for (std::size_t i = 0; i < measure.heat.size(); ++i) {
    const std::string layer = cat(measure.layers[i].layer);
    text += std::string(5 - std::min<std::size_t>(5, layer.size()), ' ') + layer + " |";
    for (std::size_t begin = 0; begin < num_experts; begin += each) {
      double hottest = 0;
      for (std::size_t expert = begin; expert < std::min(begin + each, num_experts); ++expert) {
        hottest = std::max(hottest, measure.heat[i][expert]);
      }
      text += heat_character(hottest);
    }
    text += "|\n";
  }
  return text;
}

}  // namespace trireme::apps
