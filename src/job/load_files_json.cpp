#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/files.h"
#include "job/load_files_formats.h"

namespace trireme::job {
namespace {

constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 30;
constexpr int kMaxDepth = 64;
constexpr const char* kCounts = "logical_count";
constexpr const char* kHistory = "load_history";
constexpr const char* kEntryCounts = "logical_expert_load";

/// Takes the matrices of counts out of a stream of JSON events; everything else is passed over.
class LoadsHandler : public nlohmann::json_sax<Json> {
 public:
  LoadsHandler(const std::string& path, StepSums& sums) : path_(path), sums_(sums) {}

  bool null() override { return other("null"); }
  bool boolean(bool) override { return other("a boolean"); }
  bool string(string_t&) override { return other("a string"); }
  bool binary(binary_t&) override { return other("bytes"); }
  bool number_integer(number_integer_t value) override {
    return number(static_cast<double>(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return number(static_cast<double>(value));
  }
  bool number_float(number_float_t value, const string_t&) override { return number(value); }

  bool start_object(std::size_t) override {
    if (matrix_depth_ > 0 || expects_matrix_) refuse(cat(place(), " is an object, expected lists"));
    if (in_history_ && depth_ == 2) entry_has_counts_ = false;
    if (in_history_ && depth_ == 1) refuse(cat(kHistory, " is an object, expected a list"));
    return enter();
  }
  bool end_object() override {
    --depth_;
    if (in_history_ && depth_ == 2) {
      if (!entry_has_counts_) refuse(cat(place(), " has no ", kEntryCounts));
      ++num_entries_;
    }
    return true;
  }

  bool key(string_t& name) override {
    if (depth_ == 1) start_member(name);
    if (in_history_ && depth_ == 3 && name == kEntryCounts) {
      if (entry_has_counts_) refuse(cat(place(), " has ", kEntryCounts, " twice"));
      entry_has_counts_ = expects_matrix_ = true;
    }
    return true;
  }

  bool start_array(std::size_t) override {
    if (depth_ == 0) refuse(cat("is a list, expected an object with ", kCounts, " or ", kHistory));
    if (in_history_ && depth_ == 2) refuse(cat(place(), " is a list, expected an object"));
    if (expects_matrix_ || matrix_depth_ > 0) ++matrix_depth_;
    expects_matrix_ = false;
    const int max_dims = in_history_ ? 2 : 3;
    if (matrix_depth_ > max_dims || (row_depth_ > 0 && matrix_depth_ > row_depth_)) {
      refuse(cat(place(), " is nested deeper than [layers][experts]"));
    }
    return enter();
  }
  bool end_array() override {
    --depth_;
    if (matrix_depth_ == 0) return true;
    if (row_depth_ == 0) refuse(cat(place(), " is an empty list"));
    if (matrix_depth_ == row_depth_) end_row();
    if (matrix_depth_ == row_depth_ - 1) end_step();
    --matrix_depth_;
    if (matrix_depth_ == 0) row_depth_ = 0;
    return true;
  }

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    refuse(cat("not JSON: ", json_error_text(error)));
  }

  void expect_found() const {
    if (!has_counts_ && !has_history_) refuse(cat("holds neither ", kCounts, " nor ", kHistory));
    if (has_counts_ && has_history_) refuse(cat("holds both ", kCounts, " and ", kHistory));
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    fail(ErrorKind::input, cat(path_, ": ", why));
  }

  std::string place() const {
    std::string text = in_history_ ? cat(kHistory, " [", num_entries_, "]") : kCounts;
    if (matrix_depth_ == 0) return text;
    if (row_depth_ == 3) text += cat(" step ", num_steps_);
    return text + cat(" layer ", num_rows_, " expert ", row_size_);
  }

  void start_member(const std::string& name) {
    in_history_ = name == kHistory;
    expects_matrix_ = name == kCounts;
    bool* const seen = in_history_ ? &has_history_ : expects_matrix_ ? &has_counts_ : nullptr;
    if (seen == nullptr) return;
    if (*seen) refuse(cat("holds ", name, " twice"));
    *seen = true;
  }

  bool enter() {
    if (++depth_ > kMaxDepth) refuse(cat("nested deeper than ", kMaxDepth, " levels"));
    return true;
  }

  bool number(double value) {
    if (matrix_depth_ == 0) return other("a number");
    if (row_depth_ == 0) row_depth_ = matrix_depth_;
    if (matrix_depth_ != row_depth_ || matrix_depth_ < 2) {
      refuse(cat(place(), " is a number, expected [layers][experts]"));
    }
    if (++row_size_ > io::kMaxLoadExperts) {
      refuse(cat(place(), ": at most ", io::kMaxLoadExperts, " experts are read"));
    }
    if (!(value >= 0) || value > static_cast<double>(io::kMaxLoadSum)) {
      --row_size_;
      check_count(value, path_, place());
    }
    step_.push_back(value);
    return true;
  }

  bool other(const char* what) const {
    if (depth_ == 0) refuse(cat("is ", what, ", expected an object"));
    const bool is_misplaced =
        matrix_depth_ > 0 || expects_matrix_ || (in_history_ && (depth_ == 1 || depth_ == 2));
    if (is_misplaced) refuse(cat(place(), " is ", what, ", expected lists of counts"));
    return true;
  }

  void end_row() {
    if (num_rows_ == 0) num_experts_ = row_size_;
    if (row_size_ != num_experts_ || row_size_ == 0) {
      refuse(cat(place(), ": has ", row_size_, " experts, expected ", num_experts_,
                 " as the first layer"));
    }
    row_size_ = 0;
    if (++num_rows_ > io::kMaxLoadLayers || std::ssize(step_) > io::kMaxLoadCounts) {
      refuse(cat(place(), ": at most ", io::kMaxLoadLayers, " layers and ", io::kMaxLoadCounts,
                 " counts are read"));
    }
  }

  void end_step() {
    if (num_rows_ == 0) refuse(cat(place(), " is an empty list"));
    sums_.add(step_, num_rows_, num_experts_);
    step_.clear();
    num_rows_ = 0;
    ++num_steps_;
  }

  const std::string& path_;
  StepSums& sums_;
  int depth_ = 0;         // open lists and objects
  int matrix_depth_ = 0;  // open lists of the matrix; 0: outside
  int row_depth_ = 0;     // the matrix_depth_ of rows of numbers; 0: not known yet
  bool in_history_ = false, expects_matrix_ = false, entry_has_counts_ = false;
  bool has_counts_ = false, has_history_ = false;
  std::int64_t num_entries_ = 0, num_steps_ = 0, num_rows_ = 0, row_size_ = 0, num_experts_ = 0;
  std::vector<double> step_;
};

}  // namespace

ForeignLoads read_json_loads(const std::string& path, std::int32_t first_layer) {
  const std::uint64_t size = checkpoint::size_of_file(checkpoint::open_file(path), path);
  if (size > kMaxBytes) {
    fail(ErrorKind::input, cat(path, ": ", size, " bytes, at most ", kMaxBytes, " are read"));
  }
  StepSums sums(path);
  LoadsHandler handler(path, sums);
  std::ifstream text(path, std::ios::binary);
  if (!text) fail(ErrorKind::missing, cat(path, ": cannot be read"));
  Json::sax_parse(text, &handler);
  handler.expect_found();
  return sums.finish(layers_from(first_layer, sums.num_layers(), path));
}

}  // namespace trireme::job
