#include "io/expert_loads.h"

#include <bit>
#include <type_traits>

#include "base/error.h"
#include "io/file_system.h"
#include "io/hdf5_file.h"
#include "io/sha256.h"

namespace trireme::io {
namespace {

std::size_t counts_of_window(const ExpertLoads& loads) {
  return static_cast<std::size_t>(loads.num_layers() * loads.num_experts);
}

void check_form(const ExpertLoads& loads) {
  const std::size_t window = counts_of_window(loads);
  TRIREME_CHECK(window > 0 && loads.num_windows() > 0, window, ", ", loads.num_windows());
  TRIREME_CHECK(loads.counts.size() == window * loads.window_seconds.size(), loads.counts.size());
  TRIREME_CHECK(loads.by_domain.size() == window * loads.domains.size(), loads.by_domain.size());
  TRIREME_CHECK(loads.choices.empty() || loads.choices.size() == loads.layer_index.size(),
                loads.choices.size());
  for (const auto& layer : loads.choices) {
    TRIREME_CHECK(layer.size() == loads.choices_home.size() * static_cast<std::size_t>(loads.top_k),
                  layer.size(), ", ", loads.choices_home.size(), ", ", loads.top_k);
  }
}

void write_counts(const ExpertLoads& loads, Hdf5File& file) {
  const auto windows = static_cast<std::uint64_t>(loads.num_windows());
  const auto layers = static_cast<std::uint64_t>(loads.num_layers());
  const auto experts = static_cast<std::uint64_t>(loads.num_experts);
  if (windows == 1 && loads.window_seconds.front() == 0) {
    file.write<std::int64_t>("/expert_loads", loads.counts, {layers, experts});
  } else {
    file.write<std::int64_t>("/expert_loads", loads.counts, {windows, layers, experts});
    file.write<double>("/window_seconds", loads.window_seconds);
  }
  file.write<std::int32_t>("/layer_index", loads.layer_index);
  if (loads.domains.empty()) return;
  file.write<std::int64_t>("/by_domain", loads.by_domain, {loads.domains.size(), layers, experts});
  file.write_strings("/domains", loads.domains);
}

void write_choices(const ExpertLoads& loads, Hdf5File& file) {
  if (loads.choices.empty()) return;
  const auto top_k = static_cast<std::uint64_t>(loads.top_k);
  for (std::size_t i = 0; i < loads.choices.size(); ++i) {
    file.write<std::int16_t>(cat("/choices/", loads.layer_index[i]), loads.choices[i],
                             {loads.choices_home.size(), top_k});
  }
  file.write<std::int32_t>("/choices_home", loads.choices_home);
}

void write_attributes(const ExpertLoads& loads, Hdf5File& file) {
  file.write_attribute("/", "schema", "trireme.expert_loads");
  file.write_attribute("/", "schema_version", "1.0.0");
  if (!loads.model_name.empty()) file.write_attribute("/", "model", loads.model_name);
  if (!loads.model_hash.empty()) file.write_attribute("/", "model_hash", loads.model_hash);
  if (loads.top_k > 0) file.write_attribute("/", "top_k", loads.top_k);
  if (loads.tokens > 0) file.write_attribute("/", "tokens", loads.tokens);
}

/// Numbers as 8 bytes each, the lowest first, so that the hash is the same on every machine.
template <typename Number>
void add_numbers(Sha256& hash, const std::vector<Number>& numbers) {
  hash.update(cat(numbers.size(), "\n"));
  std::string bytes;
  for (const Number number : numbers) {
    std::uint64_t bits = 0;
    if constexpr (std::is_floating_point_v<Number>) {
      bits = std::bit_cast<std::uint64_t>(static_cast<double>(number));
    } else {
      bits = static_cast<std::uint64_t>(static_cast<std::int64_t>(number));
    }
    for (int i = 0; i < 8; ++i) bytes += static_cast<char>(bits >> (8 * i) & 0xffU);
    if (bytes.size() < 65536) continue;
    hash.update(bytes);
    bytes.clear();
  }
  hash.update(bytes);
}

}  // namespace

void write_expert_loads(const ExpertLoads& loads, const std::string& path) {
  check_form(loads);
  TemporaryFile temporary(path + ".tmp");
  Hdf5File file = Hdf5File::create(temporary.path(), Hdf5File::Existing::replace);
  write_attributes(loads, file);
  write_counts(loads, file);
  write_choices(loads, file);
  file.close();
  temporary.rename_to(path);
}

std::vector<std::int64_t> total_counts(const ExpertLoads& loads) {
  const std::size_t window = counts_of_window(loads);
  std::vector<std::int64_t> total(window, 0);
  for (std::size_t i = 0; i < loads.counts.size(); ++i) total[i % window] += loads.counts[i];
  return total;
}

std::string content_hash(const ExpertLoads& loads) {
  Sha256 hash;
  hash.update(cat("experts ", loads.num_experts, "\nmodel ", loads.model_hash, "\n"));
  add_numbers(hash, loads.layer_index);
  add_numbers(hash, loads.window_seconds);
  add_numbers(hash, loads.counts);
  for (const std::string& domain : loads.domains) hash.update(cat(domain.size(), " ", domain));
  add_numbers(hash, loads.by_domain);
  for (const auto& layer : loads.choices) add_numbers(hash, layer);
  add_numbers(hash, loads.choices_home);
  return hash.hex_digest();
}

}  // namespace trireme::io
