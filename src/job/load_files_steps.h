#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/expert_loads.h"

namespace trireme::job {

/// What a reader of foreign loads gives.
struct ForeignLoads {
  io::ExpertLoads loads;
  bool is_scaled = false;  ///< counts are 1024 times what the file holds, since it has fractions
};

/// Adds the counts of single steps up to windows (read_loads says which).
class StepSums {
 public:
  /// `name` begins the messages.
  explicit StepSums(std::string name) : name_(std::move(name)) {}

  /// One step, [layers, experts], row by row; every value passed check_count. Steps after the first
  /// must have its shape.
  void add(std::span<const double> step, std::int64_t num_layers, std::int64_t num_experts);

  /// The windows of all steps. `layers` has the model's number of each row. Throws Error(input) if
  /// there was no step or the sum is beyond io::kMaxLoadSum.
  ForeignLoads finish(const std::vector<std::int32_t>& layers);

  std::int64_t num_layers() const { return num_layers_; }

 private:
  void add_to_window(std::span<const double> step);
  void join_first_windows();

  std::string name_;
  std::int64_t num_layers_ = 0, num_experts_ = 0, num_steps_ = 0;
  std::vector<std::vector<double>> windows_;
};

/// The value if it can be a count: finite, from 0 to io::kMaxLoadSum. Otherwise throws Error(input)
/// that begins with `name` and `place`.
double check_count(double value, const std::string& name, const std::string& place);

/// Numbers of rows that begin with `first_layer`. Throws Error(input) beyond what a file may hold.
std::vector<std::int32_t> layers_from(std::int32_t first_layer, std::int64_t num_layers,
                                      const std::string& name);

}  // namespace trireme::job
