// Plain double arithmetic in a fixed order, no functions but the square root: the same on every
// machine. The result is rounded to integers once.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "eplb/scenario.h"

namespace trireme::eplb {

namespace {

/// A symmetric matrix taken apart: column i of `vectors` belongs to values[i].
struct EigenSystem {
  std::vector<double> values;   // [n]
  std::vector<double> vectors;  // [n, n]
};

/// Turns rows and columns p and q of the matrix so that its entry (p, q) becomes 0.
void rotate(std::vector<double>& matrix, std::vector<double>& vectors, std::int64_t n,
            std::int64_t p, std::int64_t q) {
  const double off = matrix[p * n + q];
  const double theta = (matrix[q * n + q] - matrix[p * n + p]) / (2 * off);
  const double root = std::sqrt(theta * theta + 1);
  const double tangent = theta >= 0 ? 1 / (theta + root) : 1 / (theta - root);
  const double cosine = 1 / std::sqrt(tangent * tangent + 1), sine = tangent * cosine;
  const auto turn = [&](double& a, double& b) {
    const double turned = cosine * a - sine * b;
    b = sine * a + cosine * b;
    a = turned;
  };
  for (std::int64_t k = 0; k < n; ++k) turn(matrix[k * n + p], matrix[k * n + q]);
  for (std::int64_t k = 0; k < n; ++k) turn(matrix[p * n + k], matrix[q * n + k]);
  for (std::int64_t k = 0; k < n; ++k) turn(vectors[k * n + p], vectors[k * n + q]);
}

/// Jacobi's method: rotations until nothing is left off the diagonal.
EigenSystem eigen_system(std::vector<double> matrix, std::int64_t n) {
  EigenSystem system{std::vector<double>(n), std::vector<double>(n * n, 0.0)};
  double trace = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    system.vectors[i * n + i] = 1;
    trace += std::abs(matrix[i * n + i]);
  }
  constexpr int kMostSweeps = 30;  // five or six suffice
  for (int sweep = 0; sweep < kMostSweeps; ++sweep) {
    double largest = 0;
    for (std::int64_t p = 0; p < n; ++p) {
      for (std::int64_t q = p + 1; q < n; ++q) {
        largest = std::max(largest, std::abs(matrix[p * n + q]));
        if (std::abs(matrix[p * n + q]) > 1e-15 * trace) rotate(matrix, system.vectors, n, p, q);
      }
    }
    if (largest <= 1e-15 * trace) break;
  }
  for (std::int64_t i = 0; i < n; ++i) system.values[i] = matrix[i * n + i];
  return system;
}

/// [scenarios, scenarios] inner products of the rows.
std::vector<double> gram_matrix(const Scenarios& scenarios) {
  const std::int64_t n = scenarios.num_scenarios, num_experts = scenarios.num_experts;
  std::vector<double> gram(n * n);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      double sum = 0;
      for (std::int64_t expert = 0; expert < num_experts; ++expert) {
        sum += static_cast<double>(scenarios.loads[i * num_experts + expert]) *
               static_cast<double>(scenarios.loads[j * num_experts + expert]);
      }
      gram[i * n + j] = gram[j * n + i] = sum;
    }
  }
  return gram;
}

/// The eigenvalues are squares of the singular values: those above twice their median, and the
/// first.
std::vector<bool> significant(const std::vector<double>& values) {
  const std::size_t n = values.size();
  std::vector<double> sorted;
  for (const double value : values) sorted.push_back(std::sqrt(std::max(value, 0.0)));
  std::ranges::sort(sorted);
  const double median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
  std::vector<bool> kept;
  for (const double value : values) {
    const double singular = std::sqrt(std::max(value, 0.0));
    kept.push_back(singular > 2 * median || singular == sorted.back());
  }
  return kept;
}

/// [scenarios, scenarios] what a denoised scenario takes of each: the projection on what is kept.
std::vector<double> projection(const EigenSystem& system) {
  const auto kept = significant(system.values);
  const std::size_t n = system.values.size();
  std::vector<double> projected(n * n, 0.0);
  for (std::size_t k = 0; k < n; ++k) {
    if (!kept[k]) continue;
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        projected[i * n + j] += system.vectors[i * n + k] * system.vectors[j * n + k];
      }
    }
  }
  return projected;
}

}  // namespace

Scenarios denoise(const Scenarios& scenarios) {
  const std::int64_t n = scenarios.num_scenarios, num_experts = scenarios.num_experts;
  if (n < 4) return scenarios;
  const auto projected = projection(eigen_system(gram_matrix(scenarios), n));
  std::vector<std::int64_t> counts(n * num_experts);
  std::vector<double> row(num_experts);
  for (std::int64_t i = 0; i < n; ++i) {
    std::ranges::fill(row, 0.0);
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t expert = 0; expert < num_experts; ++expert) {
        row[expert] +=
            projected[i * n + j] * static_cast<double>(scenarios.loads[j * num_experts + expert]);
      }
    }
    for (std::int64_t expert = 0; expert < num_experts; ++expert) {
      counts[i * num_experts + expert] =
          static_cast<std::int64_t>(std::max(row[expert], 0.0) + 0.5);
    }
  }
  return make_scenarios(counts, num_experts);
}

}  // namespace trireme::eplb
