#include "checkpoint/rope_config.h"

#include <algorithm>

#include "base/error.h"

namespace trireme::checkpoint {
namespace {

constexpr std::int64_t kMaxPositions = std::int64_t{1} << 30;
constexpr double kMaxTheta = 1e15;
constexpr double kMaxFactor = 1e6;

double need(const std::optional<double>& value, const ConfigReader& scaling, const char* name) {
  if (!value) fail(ErrorKind::checkpoint, cat(scaling.where(), ": ", name, " is missing"));
  return *value;
}

void read_llama3(const ConfigReader& scaling, RopeConfig& rope) {
  rope.low_freq_factor =
      need(scaling.find_number({"low_freq_factor"}, 1e-6, kMaxFactor), scaling, "low_freq_factor");
  rope.high_freq_factor = need(scaling.find_number({"high_freq_factor"}, 1e-6, kMaxFactor), scaling,
                               "high_freq_factor");
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    fail(ErrorKind::checkpoint,
         cat(scaling.where(), ": high_freq_factor is ", rope.high_freq_factor,
             ", expected more than low_freq_factor ", rope.low_freq_factor));
  }
}

void read_yarn(const ConfigReader& scaling, RopeConfig& rope) {
  rope.beta_fast = scaling.find_number({"beta_fast"}, 1e-6, kMaxFactor).value_or(32);
  rope.beta_slow = scaling.find_number({"beta_slow"}, 1e-6, kMaxFactor).value_or(1);
  rope.attention_factor = scaling.find_number({"attention_factor"}, 1e-6, kMaxFactor);
  rope.mscale = scaling.find_number({"mscale"}, 0, kMaxFactor);
  rope.mscale_all_dim = scaling.find_number({"mscale_all_dim"}, 0, kMaxFactor);
  rope.truncate = scaling.find_boolean({"truncate"}).value_or(true);
}

}  // namespace

RopeAndPositions read_rope(const ConfigReader& config, std::int64_t max_position_embeddings) {
  RopeAndPositions result{.rope = {}, .max_positions = max_position_embeddings};
  RopeConfig& rope = result.rope;
  rope.original_max_positions = max_position_embeddings;
  rope.theta = config.find_number({"rope_theta"}, 2, kMaxTheta).value_or(rope.theta);

  const char* name = config.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const Json* object = config.find_object(name);
  if (object == nullptr) return result;
  const ConfigReader scaling(*object, cat(config.where(), ": ", name));
  for (const auto& [key, value] : object->items()) {
    if (value.is_object()) scaling.refuse(key, value, "one set of values for all layers");
  }
  rope.theta = scaling.find_number({"rope_theta"}, 2, kMaxTheta).value_or(rope.theta);
  rope.type = scaling.find_string({"rope_type", "type"}).value_or("default");
  if (rope.type == "default") return result;
  if (rope.type != "linear" && rope.type != "llama3" && rope.type != "yarn") {
    fail(ErrorKind::checkpoint, cat(scaling.where(), ": rope type is \"", rope.type,
                                    "\", expected default, linear, llama3 or yarn"));
  }

  rope.factor = need(scaling.find_number({"factor"}, 1, kMaxFactor), scaling, "factor");
  const std::optional<std::int64_t> original =
      scaling.find_integer({"original_max_position_embeddings"}, 1, kMaxPositions);
  if (original) {
    // Without this key max_position_embeddings counts the positions after the scaling.
    rope.original_max_positions = *original;
    const double scaled = rope.factor * static_cast<double>(*original);
    result.max_positions =
        std::max(max_position_embeddings,
                 static_cast<std::int64_t>(std::min(scaled, static_cast<double>(kMaxPositions))));
  } else if (rope.type == "llama3") {
    fail(ErrorKind::checkpoint,
         cat(scaling.where(), ": original_max_position_embeddings is missing"));
  }
  if (rope.type == "llama3") read_llama3(scaling, rope);
  if (rope.type == "yarn") read_yarn(scaling, rope);
  return result;
}

}  // namespace trireme::checkpoint
