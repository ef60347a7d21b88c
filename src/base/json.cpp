#include "base/json.h"

#include <unordered_set>
#include <vector>

#include "base/error.h"

namespace trireme {
namespace {

// Builds the value as nlohmann's own parser does, but counts depth and remembers the keys of each
// open object: ordered_json would look for an equal key in linear time and keep the first silently.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(const JsonLimits& limits, const std::string& what) : limits_(limits), what_(what) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t& digits) override {
    if (limits_.exact_integers && digits.find_first_of(".eE") == std::string::npos) {
      fail(ErrorKind::input,
           cat(what_, ": the integer ", digits.substr(0, 40), " is beyond 64 bits"));
    }
    return add(value);
  }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    if (!open_.back().keys.insert(name).second) {
      fail(ErrorKind::input, cat(what_, ": key \"", name, "\" stands twice in one object"));
    }
    open_.back().key = std::move(name);
    return true;
  }

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    fail(ErrorKind::input, cat(what_, ": not JSON: ", json_error_text(error)));
  }

  Json take() { return std::move(root_); }

 private:
  struct Open {
    Json value;
    std::string key;
    std::unordered_set<std::string> keys;
  };

  bool open(Json empty) {
    if (static_cast<int>(open_.size()) >= limits_.max_depth) {
      fail(ErrorKind::input, cat(what_, ": nested deeper than ", limits_.max_depth, " levels"));
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
  bool add(Value&& value) {
    if (open_.empty()) {
      root_ = std::forward<Value>(value);
    } else if (open_.back().value.is_array()) {
      open_.back().value.push_back(std::forward<Value>(value));
    } else {
      // The underlying vector: emplace on the object would search it first.
      auto& object = open_.back().value.get_ref<Json::object_t&>();
      static_cast<std::vector<Json::object_t::value_type, Json::object_t::allocator_type>&>(object)
          .emplace_back(std::move(open_.back().key), Json(std::forward<Value>(value)));
    }
    return true;
  }

  const JsonLimits& limits_;
  const std::string& what_;
  std::vector<Open> open_;
  Json root_;
};

}  // namespace

std::string json_error_text(const std::exception& error) {
  constexpr std::size_t kMaxShown = 300;
  std::string text = error.what();
  if (text.starts_with("[json.exception")) text.erase(0, text.find(']') + 1);
  for (const std::string_view said : {" ", "parse error", " ", "at "}) {
    if (text.starts_with(said)) text.erase(0, said.size());
  }
  for (const auto& [said, plain] :
       {std::pair<std::string_view, std::string_view>{"syntax error while parsing ", "in "},
        {" - ", ": "}}) {
    const std::size_t at = text.find(said);
    if (at != std::string::npos) text.replace(at, said.size(), plain);
  }
  return text.size() > kMaxShown ? text.substr(0, kMaxShown) + "..." : text;
}

Json parse_json(std::string_view text, const std::string& what, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    fail(ErrorKind::input,
         cat(what, ": ", text.size(), " bytes, at most ", limits.max_bytes, " are read"));
  }
  Builder builder(limits, what);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

}  // namespace trireme
