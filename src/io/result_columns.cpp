#include "io/result_columns.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "io/column_buffer.h"
#include "io/utf8.h"

namespace trireme::io {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

constexpr std::array<const char*, 3> kStatusNames = {"ok", "error", "cancelled"};
constexpr std::array<const char*, 4> kReasonNames = {"stop", "length", "error", "cancelled"};

// A string column holds neither zero bytes nor broken characters.
std::string storable(std::string_view text) {
  std::string valid = with_valid_utf8(text);
  std::replace(valid.begin(), valid.end(), '\0', ' ');
  return valid;
}

// `values` with `filler` up to `count`: [count / values per place] rows of a wider shape.
template <typename T>
std::vector<T> widened(const std::vector<T>& values, std::size_t num_places, std::size_t width,
                       std::size_t wide, T filler) {
  std::vector<T> result(num_places * wide, filler);
  for (std::size_t i = 0; i < num_places && width > 0; ++i) {
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(i * width), width,
                result.begin() + static_cast<std::ptrdiff_t>(i * wide));
  }
  return result;
}

}  // namespace

void ResultShape::include(const ResultRow& row) {
  has_integer_ids = has_integer_ids && std::holds_alternative<std::int64_t>(row.custom_id);
  has_logprobs = has_logprobs || row.has_logprobs;
  has_prompt_logprobs = has_prompt_logprobs || row.has_prompt_logprobs;
  top_k = std::max(top_k, row.top_k);
}

struct ResultColumns::Impl {
  Impl(Hdf5File& file, const ResultShape& the_shape)
      : shape(the_shape),
        index(file.create_appendable<std::int64_t>("/index")),
        sample(file.create_appendable<std::int32_t>("/sample")),
        status(file.create_appendable_enum("/status", kStatusNames)),
        finish_reason(file.create_appendable_enum("/finish_reason", kReasonNames)),
        error(file.create_appendable_strings("/error")),
        prompt_tokens(file.create_appendable<std::int32_t>("/prompt_tokens")),
        completion_tokens(file.create_appendable<std::int32_t>("/completion_tokens")),
        seed(file.create_appendable<std::uint64_t>("/seed")),
        output_ids(file, "/output_ids"),
        text(file, "/text"),
        time_queued(file.create_appendable<double>("/time/queued")),
        time_first_token(file.create_appendable<double>("/time/first_token")),
        time_done(file.create_appendable<double>("/time/done")),
        rank(file.create_appendable<std::int32_t>("/rank")) {
    if (shape.has_integer_ids) {
      integer_id.emplace(file.create_appendable<std::int64_t>("/custom_id"));
    } else {
      string_id.emplace(file.create_appendable_strings("/custom_id"));
    }
    if (shape.has_logprobs) logprobs.emplace(file, "/logprobs");
    if (shape.has_prompt_logprobs) prompt_logprobs.emplace(file, "/prompt_logprobs");
    if (shape.top_k > 0) {
      const std::vector<std::uint64_t> width = {static_cast<std::uint64_t>(shape.top_k)};
      top_ids.emplace(file.create_appendable<std::int32_t>("/top_logprobs/ids", width));
      top_values.emplace(file.create_appendable<float>("/top_logprobs/values", width));
    }
    for (const char* name : {"/time/queued", "/time/first_token", "/time/done"}) {
      file.write_attribute(name, "units", "s");
    }
  }

  template <typename Visit>
  void for_each(Visit visit) {
    visit(index), visit(sample), visit(status), visit(finish_reason), visit(error);
    visit(prompt_tokens), visit(completion_tokens), visit(seed), visit(output_ids), visit(text);
    visit(time_queued), visit(time_first_token), visit(time_done), visit(rank);
    if (integer_id) visit(*integer_id);
    if (string_id) visit(*string_id);
    if (logprobs) visit(*logprobs);
    if (prompt_logprobs) visit(*prompt_logprobs);
    if (top_ids) visit(*top_ids), visit(*top_values);
  }

  ResultShape shape;
  ColumnBuffer<std::int64_t> index;
  ColumnBuffer<std::int32_t> sample;
  ColumnBuffer<std::uint8_t> status, finish_reason;
  ColumnBuffer<std::string> error;
  ColumnBuffer<std::int32_t> prompt_tokens, completion_tokens;
  ColumnBuffer<std::uint64_t> seed;
  RaggedBuffer<std::int32_t> output_ids;
  RaggedBuffer<std::uint8_t> text;
  ColumnBuffer<double> time_queued, time_first_token, time_done;
  ColumnBuffer<std::int32_t> rank;
  std::optional<ColumnBuffer<std::int64_t>> integer_id;
  std::optional<ColumnBuffer<std::string>> string_id;
  std::optional<RaggedBuffer<float>> logprobs, prompt_logprobs;
  std::optional<ColumnBuffer<std::int32_t>> top_ids;  // [tokens, top_k]
  std::optional<ColumnBuffer<float>> top_values;      // [tokens, top_k]
};

ResultColumns::ResultColumns(Hdf5File& file, const ResultShape& shape)
    : impl_(std::make_unique<Impl>(file, shape)) {}
ResultColumns::ResultColumns(ResultColumns&&) noexcept = default;
ResultColumns::~ResultColumns() = default;

void ResultColumns::add(const ResultRow& row) {
  Impl& c = *impl_;
  c.index.add(row.index);
  c.sample.add(row.sample);
  c.status.add(static_cast<std::uint8_t>(row.status));
  c.finish_reason.add(static_cast<std::uint8_t>(row.finish_reason));
  c.error.add(storable(row.error));
  c.prompt_tokens.add(row.prompt_tokens);
  c.completion_tokens.add(row.completion_tokens);
  c.seed.add(row.seed);
  c.output_ids.add_row(row.output_ids);
  c.text.add_row(bytes_of(row.text));
  c.time_queued.add(row.time_queued);
  c.time_first_token.add(row.time_first_token);
  c.time_done.add(row.time_done);
  c.rank.add(row.rank);
  if (c.integer_id) c.integer_id->add(std::get<std::int64_t>(row.custom_id));
  if (c.string_id) c.string_id->add(storable(to_text(row.custom_id)));

  // All of these stay aligned to output_ids: a row that did not ask has NaN.
  const std::size_t tokens = row.output_ids.size();
  if (c.logprobs) {
    c.logprobs->add_row(row.has_logprobs ? row.logprobs : std::vector<float>(tokens, kNan));
  }
  if (c.top_ids) {
    const auto width = static_cast<std::size_t>(row.top_k);
    const auto wide = static_cast<std::size_t>(c.shape.top_k);
    c.top_ids->add_all(widened(row.top_logprob_ids, tokens, width, wide, -1));
    c.top_values->add_all(widened(row.top_logprobs, tokens, width, wide, kNan));
  }
  if (c.prompt_logprobs) c.prompt_logprobs->add_row(row.prompt_logprobs);
}

void ResultColumns::flush() {
  impl_->for_each([](auto& column) { column.flush(); });
}

}  // namespace trireme::io
