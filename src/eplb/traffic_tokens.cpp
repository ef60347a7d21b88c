#include "eplb/traffic_tokens.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/error.h"

namespace trireme::eplb {

namespace {

// Products and sums of floats lane by lane, in one order: the same on every machine.
constexpr std::int64_t kLanes = 4;
typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));

Vector load(const float* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

void index_tokens(TokenSet& tokens, std::int32_t num_experts) {
  tokens.begin.assign(num_experts + 1, 0);
  for (const std::int16_t expert : tokens.experts) ++tokens.begin[expert + 1];
  std::partial_sum(tokens.begin.begin(), tokens.begin.end(), tokens.begin.begin());
  auto next = tokens.begin;
  tokens.token_of.resize(tokens.experts.size());
  for (std::size_t at = 0; at < tokens.experts.size(); ++at) {
    tokens.token_of[next[tokens.experts[at]]++] =
        static_cast<std::int32_t>(at / static_cast<std::size_t>(tokens.top_k));
  }
}

TokenSet tokens_of_loads(std::span<const std::int64_t> loads, const Shape& shape) {
  TokenSet tokens;
  tokens.num_tokens = std::ssize(loads) * shape.num_nodes;
  tokens.top_k = 1;
  const std::int64_t most = std::max<std::int64_t>(*std::ranges::max_element(loads), 1);
  constexpr std::int64_t kMostWeight = 1 << 14;
  for (std::size_t expert = 0; expert < loads.size(); ++expert) {
    for (std::int32_t node = 0; node < shape.num_nodes; ++node) {
      tokens.experts.push_back(static_cast<std::int16_t>(expert));
      tokens.home_node.push_back(node);
      const double part = static_cast<double>(loads[expert]) / static_cast<double>(most);
      tokens.weight.push_back(static_cast<std::int32_t>(part * kMostWeight));
    }
  }
  return tokens;
}

}  // namespace

TokenSet make_tokens(const Choices& choices, std::span<const std::int64_t> loads,
                     const Shape& shape, std::int64_t most_tokens) {
  TokenSet tokens;
  const std::int64_t all = std::ssize(choices.home);
  TRIREME_CHECK(std::ssize(choices.experts) == all * choices.top_k, choices.experts.size(),
                " choices of ", all, " tokens");
  const std::int64_t used = std::min(all, most_tokens);
  if (used == 0) {
    tokens = tokens_of_loads(loads, shape);
  } else {
    tokens.top_k = choices.top_k;
    for (std::int64_t index = 0; index < used; ++index) {
      const std::int64_t token = index * all / used;
      const auto chosen = choices.experts.subspan(token * choices.top_k, choices.top_k);
      const auto first = std::ranges::find_if(chosen, [](std::int16_t e) { return e >= 0; });
      if (first == chosen.end()) continue;
      for (const std::int16_t expert : chosen) {
        tokens.experts.push_back(expert >= 0 ? expert : *first);  // no further node, or hardly
      }
      tokens.home_node.push_back(choices.home[token] / shape.ranks_per_node());
      tokens.weight.push_back(1);
      ++tokens.num_tokens;
    }
  }
  index_tokens(tokens, shape.num_experts);
  return tokens;
}

TokenCosts::TokenCosts(const TokenSet& tokens, const Shape& shape, ReplicaChoice choice)
    : tokens_(tokens),
      num_nodes_(shape.num_nodes),
      choice_(choice),
      width_((shape.num_nodes + kLanes - 1) / kLanes * kLanes),
      start_((shape.num_nodes + 1) * width_, 1.0F),
      miss_(shape.num_experts * width_, 1.0F),
      row_(shape.num_experts * shape.num_nodes, miss_.data()),
      cost_(tokens.num_tokens, 0),
      seen_(tokens.num_tokens, 0) {
  for (std::int32_t node = 0; node < num_nodes_; ++node) start_[node * width_ + node] = 0;
  for (std::int32_t expert = 0; expert < shape.num_experts; ++expert) {
    for (std::int32_t node = 0; node < num_nodes_; ++node) {
      row_[expert * num_nodes_ + node] = &miss_[expert * width_];
    }
  }
}

void TokenCosts::set_copies(std::int32_t expert, std::span<const std::int32_t> copies) {
  const std::int32_t all = std::accumulate(copies.begin(), copies.end(), 0);
  float* miss = &miss_[expert * width_];
  for (std::int32_t node = 0; node < num_nodes_; ++node) {
    miss[node] = 1.0F - static_cast<float>(copies[node]) / static_cast<float>(all);
    const bool at_home = choice_ == ReplicaChoice::home && copies[node] > 0;
    row_[expert * num_nodes_ + node] = at_home ? &start_[num_nodes_ * width_] : miss;
  }
}

std::int32_t TokenCosts::cost(std::int32_t token) const {
  const std::int16_t* experts = &tokens_.experts[token * tokens_.top_k];
  const std::int32_t home = tokens_.home_node[token];
  float hit = 0;  // nodes reached, home counted once
  for (std::int64_t lane = 0; lane < width_; lane += kLanes) {
    Vector miss = load(&start_[home * width_ + lane]);
    for (std::int64_t k = 0; k < tokens_.top_k; ++k) {
      miss *= load(row_[experts[k] * num_nodes_ + home] + lane);
    }
    hit += (1 - miss[0]) + (1 - miss[1]) + ((1 - miss[2]) + (1 - miss[3]));
  }
  return static_cast<std::int32_t>((hit - 1) * kOneNode + 0.5F);
}

std::int64_t TokenCosts::change_of(std::span<const std::int32_t> experts) {
  ++num_changes_;
  changed_.clear();
  new_cost_.clear();
  std::int64_t change = 0;
  for (const std::int32_t expert : experts) {
    for (std::int32_t at = tokens_.begin[expert]; at < tokens_.begin[expert + 1]; ++at) {
      const std::int32_t token = tokens_.token_of[at];
      if (seen_[token] == num_changes_) continue;
      seen_[token] = num_changes_;
      const std::int32_t now = cost(token);
      change += std::int64_t{now - cost_[token]} * tokens_.weight[token];
      changed_.push_back(token);
      new_cost_.push_back(now);
    }
  }
  return change;
}

void TokenCosts::keep() {
  for (std::size_t index = 0; index < changed_.size(); ++index) {
    cost_[changed_[index]] = new_cost_[index];
  }
}

}  // namespace trireme::eplb
