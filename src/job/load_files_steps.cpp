#include "job/load_files_steps.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace trireme::job {
namespace {

constexpr std::int64_t kWindowSteps = 100;
constexpr double kFraction = 1024;
constexpr std::int32_t kMaxLayerNumber = 65535;

/// Rows in which any window has a count; all rows if none has.
std::vector<std::size_t> used_rows(const std::vector<std::vector<double>>& windows,
                                   std::size_t num_rows, std::size_t row_size) {
  std::vector<std::size_t> used, all;
  for (std::size_t row = 0; row < num_rows; ++row) {
    const auto has_count = [&](const std::vector<double>& window) {
      const auto begin = window.begin() + static_cast<std::ptrdiff_t>(row * row_size);
      return std::any_of(begin, begin + static_cast<std::ptrdiff_t>(row_size),
                         [](double value) { return value > 0; });
    };
    all.push_back(row);
    if (std::ranges::any_of(windows, has_count)) used.push_back(row);
  }
  return used.empty() ? all : used;
}

}  // namespace

double check_count(double value, const std::string& name, const std::string& place) {
  if (!std::isfinite(value) || value < 0 || value > static_cast<double>(io::kMaxLoadSum)) {
    fail(ErrorKind::input, cat(name, ": ", place, " holds ", value, ", expected a count from 0 to ",
                               io::kMaxLoadSum));
  }
  return value;
}

std::vector<std::int32_t> layers_from(std::int32_t first_layer, std::int64_t num_layers,
                                      const std::string& name) {
  if (num_layers > kMaxLayerNumber - first_layer) {
    fail(ErrorKind::input, cat(name, ": holds ", num_layers, " layers from ", first_layer,
                               " on, expected numbers up to ", kMaxLayerNumber));
  }
  std::vector<std::int32_t> layers(static_cast<std::size_t>(num_layers));
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers[i] = first_layer + static_cast<std::int32_t>(i);
  }
  return layers;
}

void StepSums::add(std::span<const double> step, std::int64_t num_layers,
                   std::int64_t num_experts) {
  if (num_steps_ == 0) {
    num_layers_ = num_layers;
    num_experts_ = num_experts;
  }
  if (num_layers != num_layers_ || num_experts != num_experts_) {
    fail(ErrorKind::input,
         cat(name_, ": step ", num_steps_, " has the shape [", num_layers, ", ", num_experts,
             "], expected [", num_layers_, ", ", num_experts_, "] as the first"));
  }
  TRIREME_CHECK(std::ssize(step) == num_layers * num_experts, step.size());
  add_to_window(step);
  ++num_steps_;
  if (num_steps_ == 2 * kWindowSteps) join_first_windows();
}

void StepSums::add_to_window(std::span<const double> step) {
  const bool joins = num_steps_ >= 2 * kWindowSteps && num_steps_ % kWindowSteps != 0;
  if (!joins) {
    if (std::ssize(step) > io::kMaxLoadCounts / (std::ssize(windows_) + 1)) {
      fail(ErrorKind::input, cat(name_, ": holds more than ", io::kMaxLoadCounts, " counts"));
    }
    windows_.emplace_back(step.begin(), step.end());
    return;
  }
  std::vector<double>& window = windows_.back();
  for (std::size_t i = 0; i < step.size(); ++i) window[i] += step[i];
}

void StepSums::join_first_windows() {
  std::vector<std::vector<double>> joined(2, std::vector<double>(windows_.front().size(), 0));
  for (std::size_t step = 0; step < windows_.size(); ++step) {
    std::vector<double>& window = joined[step / kWindowSteps];
    for (std::size_t i = 0; i < window.size(); ++i) window[i] += windows_[step][i];
  }
  windows_ = std::move(joined);
}

ForeignLoads StepSums::finish(const std::vector<std::int32_t>& layers) {
  if (num_steps_ == 0) fail(ErrorKind::input, cat(name_, ": holds no loads"));
  // Steps behind the last whole window count with it.
  if (num_steps_ > 2 * kWindowSteps && num_steps_ % kWindowSteps != 0) {
    const std::vector<double> rest = std::move(windows_.back());
    windows_.pop_back();
    for (std::size_t i = 0; i < rest.size(); ++i) windows_.back()[i] += rest[i];
  }

  ForeignLoads foreign;
  double sum = 0;
  for (const std::vector<double>& window : windows_) {
    for (const double value : window) {
      sum += value;
      foreign.is_scaled = foreign.is_scaled || value != std::floor(value);
    }
  }
  const double scale = foreign.is_scaled ? kFraction : 1;
  if (sum * scale > static_cast<double>(io::kMaxLoadSum)) {
    fail(ErrorKind::input, cat(name_, ": holds counts with the sum ", sum, ", expected at most ",
                               static_cast<double>(io::kMaxLoadSum) / scale));
  }

  const auto row_size = static_cast<std::size_t>(num_experts_);
  const std::vector<std::size_t> rows =
      used_rows(windows_, static_cast<std::size_t>(num_layers_), row_size);
  io::ExpertLoads& loads = foreign.loads;
  loads.num_experts = num_experts_;
  for (const std::size_t row : rows) loads.layer_index.push_back(layers[row]);
  loads.window_seconds.assign(windows_.size(), 0);
  loads.counts.reserve(windows_.size() * rows.size() * row_size);
  for (const std::vector<double>& window : windows_) {
    for (const std::size_t row : rows) {
      for (std::size_t i = row * row_size; i < (row + 1) * row_size; ++i) {
        loads.counts.push_back(std::llround(window[i] * scale));
      }
    }
  }
  return foreign;
}

}  // namespace trireme::job
