#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/request.h"
#include "engine_runner.h"

namespace trireme::test {

/// Held-out prompts of the demonstration model as rows of every kind: greedy and sampled, with
/// filters, penalties and log-probabilities, several samples, shared beginnings.
struct CompanyRows {
  std::vector<engine::Request> requests;
  /// By row: the reference's greedy tokens (as many as the row asks for) where the row is plain
  /// greedy, else empty.
  std::vector<std::vector<std::int32_t>> reference_tokens;
};
CompanyRows company_rows(const std::string& demo_dir);

/// Bytes of one rank's KV memory that hold so many sequences of max_seq_len, for the demonstration
/// model in this layout.
std::int64_t kv_bytes_of(double num_sequences, const EngineCase& engine_case);

/// Expects the same rows: tokens, ends and ids of the best exactly, log-probabilities nearly.
void expect_same_rows(const EngineOutcome& actual, const EngineOutcome& expected);

}  // namespace trireme::test
