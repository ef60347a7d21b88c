#include "io/result_reader.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "io/column_cache.h"
#include "io/hdf5_file.h"

namespace trireme::io {
namespace {

constexpr std::uint64_t kMaxValuesOfRow = std::uint64_t{1} << 28;

class ResultFile {
 public:
  explicit ResultFile(const std::string& path) : path_(path), file_(Hdf5File::open(path)) {}

  void check_schema() const {
    for (const std::string& name : file_.attribute_names("/")) {
      if (name == "schema" && file_.attribute("/", name) == "trireme.results") return;
    }
    fail(ErrorKind::input, cat(path_,
                               ": has no attribute schema = \"trireme.results\": it is no "
                               "result file"));
  }

  Json attributes() const {
    Json all = Json::object();
    for (const std::string& name : file_.attribute_names("/")) {
      const Json value = file_.attribute("/", name);
      if (!value.is_null()) all[name] = value;
    }
    return all;
  }

  std::uint64_t num_rows() const { return file_.dataset("/index").num_rows(); }

  bool has(const std::string& name) const { return file_.find_dataset(name).has_value(); }

  enum class Values { numbers, strings, either };

  // A dataset of one value a row.
  Hdf5Dataset column(const std::string& name, std::uint64_t rows,
                     Values values = Values::numbers) const {
    Hdf5Dataset dataset = any_length(name, values, 1);
    if (dataset.num_rows() != rows) {
      fail(ErrorKind::input,
           cat(dataset.name(), ": has ", dataset.num_rows(), " values, expected ", rows));
    }
    return dataset;
  }

  Hdf5Dataset any_length(const std::string& name, Values values, std::size_t ndim) const {
    Hdf5Dataset dataset = file_.dataset(name);
    const DatasetInfo& info = dataset.info();
    const bool is_string =
        info.kind == ElementKind::vlen_string || info.kind == ElementKind::fixed_string;
    const bool is_right = info.kind != ElementKind::other &&
                          (values == Values::either || is_string == (values == Values::strings));
    if (!is_right || info.shape.size() != ndim) {
      fail(ErrorKind::input,
           cat(dataset.name(), ": is of type ", info.type_name, " with ", info.shape.size(),
               " dimensions, expected ", values == Values::strings ? "strings" : "numbers",
               " with ", ndim));
    }
    return dataset;
  }

 private:
  std::string path_;
  Hdf5File file_;
};

// NAME/data and NAME/offsets.
template <typename T>
class Ragged {
 public:
  Ragged(const ResultFile& file, const std::string& name, std::uint64_t rows)
      : data_(file.any_length(name + "/data", ResultFile::Values::numbers, 1)),
        offsets_(
            std::make_unique<NumberCache<std::int64_t>>(file.column(name + "/offsets", rows + 1))) {
  }

  struct Range {
    std::uint64_t begin = 0, count = 0;
  };

  Range range(std::uint64_t row) {
    const std::int64_t begin = offsets_->at(row);
    const std::int64_t end = offsets_->at(row + 1);
    if (begin < 0 || end < begin || static_cast<std::uint64_t>(end) > data_.num_rows() ||
        static_cast<std::uint64_t>(end - begin) > kMaxValuesOfRow) {
      fail(ErrorKind::input, cat(offsets_->dataset().name(), ": row ", row, " has offsets ", begin,
                                 " to ", end, ", the data have ", data_.num_rows(), " values"));
    }
    return {static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(end - begin)};
  }

  std::vector<T> row(std::uint64_t row) {
    const Range where = range(row);
    return data_.read<T>(where.begin, where.count);
  }

 private:
  Hdf5Dataset data_;
  std::unique_ptr<NumberCache<std::int64_t>> offsets_;
};

template <typename T>
class Numbers {
 public:
  Numbers(const ResultFile& file, const std::string& name, std::uint64_t rows)
      : cache_(std::make_unique<NumberCache<T>>(file.column(name, rows))) {}
  T at(std::uint64_t row) { return cache_->at(row); }

 private:
  std::unique_ptr<NumberCache<T>> cache_;
};

}  // namespace

struct ResultReader::Impl {
  explicit Impl(const std::string& file_path)
      : path(file_path),
        file(file_path),
        attributes((file.check_schema(), file.attributes())),
        rows(file.num_rows()),
        index(file, "/index", rows),
        sample(file, "/sample", rows),
        prompt_tokens(file, "/prompt_tokens", rows),
        completion_tokens(file, "/completion_tokens", rows),
        rank(file, "/rank", rows),
        status(file, "/status", rows),
        finish_reason(file, "/finish_reason", rows),
        seed(file, "/seed", rows),
        time_queued(file, "/time/queued", rows),
        time_first_token(file, "/time/first_token", rows),
        time_done(file, "/time/done", rows),
        error(file.column("/error", rows, ResultFile::Values::strings)),
        custom_id(file.column("/custom_id", rows, ResultFile::Values::either)),
        output_ids(file, "/output_ids", rows),
        text(file, "/text", rows) {
    if (file.has("/logprobs/data")) logprobs.emplace(file, "/logprobs", rows);
    if (file.has("/prompt_logprobs/data")) prompt_logprobs.emplace(file, "/prompt_logprobs", rows);
    if (file.has("/top_logprobs/ids")) {
      top_ids.emplace(file.any_length("/top_logprobs/ids", ResultFile::Values::numbers, 2));
      top_values.emplace(file.any_length("/top_logprobs/values", ResultFile::Values::numbers, 2));
      if (top_ids->info().shape != top_values->info().shape ||
          top_ids->row_elements() > kMaxTopLogprobs || top_ids->row_elements() == 0) {
        fail(ErrorKind::input, cat(top_ids->name(), ": has ", top_ids->num_rows(), " rows of ",
                                   top_ids->row_elements(), ", expected 1 to ", kMaxTopLogprobs,
                                   " a row, as in /top_logprobs/values"));
      }
    }
  }

  ResultRow read_row(std::uint64_t row);
  void read_id(std::uint64_t row, ResultRow& into);
  void read_outcome(std::uint64_t row, ResultRow& into);
  void read_tops(std::uint64_t row, ResultRow& into);

  std::string path;
  ResultFile file;
  Json attributes;
  std::uint64_t rows;
  Numbers<std::int64_t> index;
  Numbers<std::int32_t> sample, prompt_tokens, completion_tokens, rank;
  Numbers<std::uint8_t> status, finish_reason;
  Numbers<std::uint64_t> seed;
  Numbers<double> time_queued, time_first_token, time_done;
  StringCache error;
  ColumnCache custom_id;
  Ragged<std::int32_t> output_ids;
  Ragged<std::uint8_t> text;
  std::optional<Ragged<float>> logprobs, prompt_logprobs;
  std::optional<Hdf5Dataset> top_ids, top_values;  // [tokens, top_k]
};

ResultRow ResultReader::Impl::read_row(std::uint64_t row) {
  ResultRow result;
  result.index = index.at(row);
  result.sample = sample.at(row);
  read_id(row, result);
  read_outcome(row, result);
  result.prompt_tokens = prompt_tokens.at(row);
  result.completion_tokens = completion_tokens.at(row);
  result.seed = seed.at(row);
  result.output_ids = output_ids.row(row);
  const std::vector<std::uint8_t> bytes = text.row(row);
  result.text.assign(bytes.begin(), bytes.end());
  if (logprobs) result.logprobs = logprobs->row(row);
  result.has_logprobs = std::any_of(result.logprobs.begin(), result.logprobs.end(),
                                    [](float value) { return !std::isnan(value); });
  if (!result.has_logprobs) result.logprobs.clear();
  if (prompt_logprobs) result.prompt_logprobs = prompt_logprobs->row(row);
  result.has_prompt_logprobs = !result.prompt_logprobs.empty();
  read_tops(row, result);
  result.time_queued = time_queued.at(row);
  result.time_first_token = time_first_token.at(row);
  result.time_done = time_done.at(row);
  result.rank = rank.at(row);
  return result;
}

void ResultReader::Impl::read_outcome(std::uint64_t row, ResultRow& into) {
  const std::uint8_t status_number = status.at(row);
  const std::uint8_t reason_number = finish_reason.at(row);
  if (status_number > static_cast<std::uint8_t>(RowStatus::cancelled) ||
      reason_number > static_cast<std::uint8_t>(FinishReason::cancelled)) {
    fail(ErrorKind::input, cat(path, ": row ", row, " has status ", int{status_number},
                               " and finish_reason ", int{reason_number}, ", which are unknown"));
  }
  into.status = static_cast<RowStatus>(status_number);
  into.finish_reason = static_cast<FinishReason>(reason_number);
  into.error = error.at(row).value_or("(too long to be read)");
}

void ResultReader::Impl::read_id(std::uint64_t row, ResultRow& into) {
  const std::optional<Json> id = custom_id.at(row);
  if (id && id->is_number_integer()) into.custom_id = id->get<std::int64_t>();
  // A row without an id has an empty one in the file.
  if (id && id->is_string() && *id != "") into.custom_id = id->get<std::string>();
}

// The top log-probabilities of the row's tokens, cut to the width that the row asked for.
void ResultReader::Impl::read_tops(std::uint64_t row, ResultRow& into) {
  if (!top_ids || into.output_ids.empty()) return;
  const auto range = output_ids.range(row);
  if (range.begin + range.count > top_ids->num_rows()) {
    fail(ErrorKind::input, cat(top_ids->name(), ": has ", top_ids->num_rows(), " rows, row ", row,
                               " needs those up to ", range.begin + range.count));
  }
  const auto ids = top_ids->read<std::int32_t>(range.begin, range.count);
  const auto values = top_values->read<float>(range.begin, range.count);
  const std::size_t wide = top_ids->row_elements();
  std::size_t width = 0;
  while (width < wide && ids[width] >= 0) ++width;
  into.top_k = static_cast<std::int32_t>(width);
  for (std::size_t i = 0; i < range.count; ++i) {
    const auto begin = static_cast<std::ptrdiff_t>(i * wide);
    const auto end = begin + static_cast<std::ptrdiff_t>(width);
    into.top_logprob_ids.insert(into.top_logprob_ids.end(), ids.begin() + begin, ids.begin() + end);
    into.top_logprobs.insert(into.top_logprobs.end(), values.begin() + begin, values.begin() + end);
  }
}

ResultReader::ResultReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ResultReader::ResultReader(ResultReader&&) noexcept = default;
ResultReader& ResultReader::operator=(ResultReader&&) noexcept = default;
ResultReader::~ResultReader() = default;

ResultReader ResultReader::open(const std::string& path) {
  return ResultReader(std::make_unique<Impl>(path));
}

std::int64_t ResultReader::num_rows() const { return static_cast<std::int64_t>(impl_->rows); }
const Json& ResultReader::attributes() const { return impl_->attributes; }

ResultRow ResultReader::read_row(std::int64_t row) {
  TRIREME_CHECK(row >= 0 && row < num_rows(), row, ", ", num_rows());
  return impl_->read_row(static_cast<std::uint64_t>(row));
}

}  // namespace trireme::io
