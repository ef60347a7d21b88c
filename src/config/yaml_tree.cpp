#include "config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <sstream>

#include "base/error.h"

namespace trireme::config {
namespace {

[[noreturn]] void refuse(const std::string& name, int line, const std::string& why) {
  fail(ErrorKind::config, cat(name, " line ", line, ": ", why));
}

/// Length of the UTF-8 sequence that begins `bytes`; 0 if it is none (overlong, surrogate, cut
/// off).
std::size_t utf8_length(std::string_view bytes) {
  const auto at = [&bytes](std::size_t i) {
    return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0U;
  };
  const auto continues = [&at](std::size_t i) { return (at(i) & 0xc0U) == 0x80U; };
  const unsigned lead = at(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead < 0xe0) return continues(1) ? 2 : 0;
  if (lead >= 0xe0 && lead < 0xf0) {
    const bool overlong = lead == 0xe0 && at(1) < 0xa0;
    const bool surrogate = lead == 0xed && at(1) >= 0xa0;
    return continues(1) && continues(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (lead >= 0xf0 && lead < 0xf5) {
    const bool overlong = lead == 0xf0 && at(1) < 0x90;
    const bool beyond = lead == 0xf4 && at(1) >= 0x90;
    return continues(1) && continues(2) && continues(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

/// The parser takes other encodings for YAML, a byte 4 for the end and tabs for indentation.
void check_characters(std::string_view text, const std::string& name) {
  int line = 1;
  bool indentation = true;
  bool tab_before = false;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '\n') {
      ++line;
      indentation = true;
      tab_before = false;
    } else if (indentation && (c == ' ' || c == '\t')) {
      tab_before = tab_before || c == '\t';
    } else if (indentation && c != '\r') {
      if (tab_before) refuse(name, line, "a tab in the indentation, expected spaces");
      indentation = false;
    }
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\r' && c != '\t') || byte == 0x7f) {
      refuse(name, line, cat("a control character (byte ", int{byte}, "), expected text"));
    }
    const std::size_t length = utf8_length(text.substr(i));
    if (length == 0)
      refuse(name, line, cat("byte ", int{byte}, " is no UTF-8, expected UTF-8 text"));
    i += length;
  }
}

/// Builds the tree from the parser's events. Depth is counted here, before the parser goes deeper:
/// an exception thrown from an event ends its recursion.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& name, std::size_t max_values)
      : name_(name), max_values_(max_values) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++num_documents_ > 1) refuse(name_, mark.line + 1, "a second document, expected one");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(start(mark, "?", anchor));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { refuse_anchor(mark); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode node = start(mark, tag, anchor);
    node.kind = YamlNode::Kind::scalar;
    node.quoted = tag == "!";
    node.text = value;
    add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(start(mark, tag, anchor), YamlNode::Kind::list);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(start(mark, tag, anchor), YamlNode::Kind::map);
  }
  void OnMapEnd() override { close(); }
  void OnAnchor(const YAML::Mark& mark, const std::string&) override { refuse_anchor(mark); }

  YamlNode take() { return std::move(root_); }

 private:
  struct Open {
    YamlNode node;
    bool has_key = false;
  };

  [[noreturn]] void refuse_anchor(const YAML::Mark& mark) const {
    refuse(name_, mark.line + 1, "an anchor or alias (& or *), expected plain values");
  }

  YamlNode start(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) refuse_anchor(mark);
    if (tag != "?" && tag != "!" && !tag.empty()) {
      refuse(name_, mark.line + 1, "a tag (!), expected plain values");
    }
    if (++num_values_ > max_values_) {
      refuse(name_, mark.line + 1, cat("more than ", max_values_, " values"));
    }
    YamlNode node;
    node.line = mark.line + 1;
    return node;
  }

  void open(YamlNode node, YamlNode::Kind kind) {
    if (static_cast<int>(open_.size()) >= kMaxYamlDepth) {
      refuse(name_, node.line, cat("nested deeper than ", kMaxYamlDepth, " levels"));
    }
    if (expects_key()) refuse(name_, node.line, "a list or map as a key, expected a word");
    node.kind = kind;
    open_.push_back({std::move(node), false});
  }

  void close() {
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    add(std::move(node));
  }

  bool expects_key() const {
    return !open_.empty() && open_.back().node.is_map() && !open_.back().has_key;
  }

  void add(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
    } else if (expects_key()) {
      open_.back().node.keys.push_back(
          {node.is_scalar() ? std::move(node.text) : "null", node.line});
      open_.back().has_key = true;
    } else {
      open_.back().node.items.push_back(std::move(node));
      open_.back().has_key = false;
    }
  }

  const std::string& name_;
  std::size_t max_values_;
  int num_documents_ = 0;
  std::size_t num_values_ = 0;
  std::vector<Open> open_;
  YamlNode root_;
};

}  // namespace

YamlNode parse_yaml(std::string_view text, const std::string& name, const YamlLimits& limits) {
  if (text.size() > limits.max_bytes) {
    fail(ErrorKind::config,
         cat(name, ": ", text.size(), " bytes, expected at most ", limits.max_bytes));
  }
  check_characters(text, name);
  TreeBuilder builder(name, limits.max_values);
  try {
    // The parser takes a line break before the end of the text for a closing quote; not a comment.
    std::istringstream stream(cat(text, "\n#"));
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    refuse(name, error.mark.line + 1, cat("not YAML: ", error.msg));
  }
  return builder.take();
}

}  // namespace trireme::config
