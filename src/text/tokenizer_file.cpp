#include "text/tokenizer_file.h"

#include <unordered_set>
#include <vector>

#include "base/error.h"
#include "text/shortened.h"
#include "text/text_limits.h"

namespace trireme::text {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{256} << 20;
constexpr std::size_t kMaxDepth = 64;

/// Receives the parser's events. Inside model.vocab and model.merges they fill the lists;
/// everywhere else they build JSON.
class Reader : public nlohmann::json_sax<Json> {
 public:
  Reader(TokenizerFile& file, const std::string& name) : file_(file), name_(name) {}

  bool null() override { return value(nullptr, "null"); }
  bool boolean(bool given) override { return value(given, given ? "true" : "false"); }
  bool number_float(number_float_t given, const string_t& text) override {
    return value(given, shortened(text));
  }
  bool number_integer(number_integer_t given) override { return number(given, given); }
  bool number_unsigned(number_unsigned_t given) override {
    return number(given, given > INT64_MAX ? INT64_MAX : static_cast<std::int64_t>(given));
  }

  bool string(string_t& given) override {
    if (part_ == Part::merges) return merge(given);
    return value(std::move(given), "a string");
  }

  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override {
    if (part_ != Part::rest) refuse_in_list("an object");
    if (is_at_model_member("vocab")) {
      part_ = Part::vocabulary;
      file_.has_vocabulary = true;
      return true;
    }
    return open(Json::object());
  }

  bool end_object() override {
    if (part_ != Part::vocabulary) return close();
    part_ = Part::rest;
    return true;
  }

  bool start_array(std::size_t) override {
    if (part_ == Part::merges && !is_in_pair_) {
      is_in_pair_ = true;
      pair_.clear();
      return true;
    }
    if (part_ != Part::rest) refuse_in_list("a list");
    if (is_at_model_member("merges")) {
      part_ = Part::merges;
      file_.has_merges = true;
      return true;
    }
    return open(Json::array());
  }

  bool end_array() override {
    if (part_ != Part::merges) return close();
    if (!is_in_pair_) {
      part_ = Part::rest;
      return true;
    }
    is_in_pair_ = false;
    if (pair_.size() != 2) refuse_merge(cat("a list of ", pair_.size()));
    file_.merges.add(pair_[0], pair_[1]);
    return true;
  }

  bool key(string_t& given) override {
    if (part_ == Part::vocabulary) {
      token_ = std::move(given);
      return true;
    }
    if (!open_.back().keys.insert(given).second) {
      fail(ErrorKind::checkpoint,
           cat(name_, ": key \"", shortened(given), "\" stands twice in one object"));
    }
    open_.back().key = std::move(given);
    return true;
  }

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    fail(ErrorKind::checkpoint, cat(name_, ": not JSON: ", shortened(json_error_text(error), 300)));
  }

  Json take() { return std::move(root_); }

 private:
  enum class Part { rest, vocabulary, merges };
  struct Open {
    Json value;
    std::string key;
    std::unordered_set<std::string> keys;
  };

  bool is_at_model_member(std::string_view key) const {
    return open_.size() == 2 && open_[0].key == "model" && open_[1].key == key;
  }

  [[noreturn]] void refuse_merge(const std::string& found) const {
    fail(ErrorKind::checkpoint, cat(name_, ": model.merges[", file_.merges.entries.size(),
                                    "]: expected \"a b\" or [\"a\", \"b\"], found ", found));
  }

  [[noreturn]] void refuse_in_list(const std::string& found) const {
    if (part_ == Part::merges) refuse_merge(found);
    fail(ErrorKind::checkpoint,
         cat(name_, ": model.vocab: the id of \"", shortened(token_),
             "\": expected an integer from 0 to ", kMaxTokens - 1, ", found ", found));
  }

  bool merge(std::string& given) {
    if (is_in_pair_) {
      if (pair_.size() == 2) refuse_merge("a list of more than 2");
      pair_.push_back(std::move(given));
      return true;
    }
    const std::size_t blank = given.find(' ');
    if (blank == std::string::npos || given.find(' ', blank + 1) != std::string::npos) {
      refuse_merge(cat("\"", shortened(given), "\""));
    }
    file_.merges.add(std::string_view(given).substr(0, blank),
                     std::string_view(given).substr(blank + 1));
    return true;
  }

  template <typename Number>
  bool number(Number given, std::int64_t number) {
    if (part_ != Part::vocabulary) return value(given, cat(given));
    if (number < 0 || number >= kMaxTokens) refuse_in_list(cat(given));
    file_.vocabulary.add(token_, static_cast<std::int32_t>(number));
    return true;
  }

  template <typename Value>
  bool value(Value&& given, const std::string& shown) {
    if (part_ != Part::rest) refuse_in_list(shown);
    return add(std::forward<Value>(given));
  }

  bool open(Json empty) {
    if (open_.size() >= kMaxDepth) {
      fail(ErrorKind::checkpoint, cat(name_, ": nested deeper than ", kMaxDepth, " levels"));
    }
    open_.push_back({std::move(empty), {}, {}});
    return true;
  }

  bool close() {
    Json done = std::move(open_.back().value);
    open_.pop_back();
    return add(std::move(done));
  }

  template <typename Value>
  bool add(Value&& given) {
    if (open_.empty()) {
      root_ = std::forward<Value>(given);
    } else if (open_.back().value.is_array()) {
      open_.back().value.push_back(std::forward<Value>(given));
    } else {
      open_.back().value.get_ref<Json::object_t&>().emplace_back(std::move(open_.back().key),
                                                                 Json(std::forward<Value>(given)));
    }
    return true;
  }

  TokenizerFile& file_;
  const std::string& name_;
  Part part_ = Part::rest;
  std::string token_;              // of the vocabulary, waiting for its id
  std::vector<std::string> pair_;  // of the merges
  bool is_in_pair_ = false;
  std::vector<Open> open_;
  Json root_;
};

}  // namespace

TokenizerFile read_tokenizer_file(std::string_view text, const std::string& name) {
  if (text.size() > kMaxFileBytes) {
    fail(ErrorKind::checkpoint,
         cat(name, ": ", text.size(), " bytes, at most ", kMaxFileBytes, " are read"));
  }
  TokenizerFile file;
  Reader reader(file, name);
  Json::sax_parse(text.begin(), text.end(), &reader);
  file.rest = reader.take();
  if (!file.rest.is_object()) fail(ErrorKind::checkpoint, cat(name, ": expected an object"));
  return file;
}

}  // namespace trireme::text
