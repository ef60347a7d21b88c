#include "config/options.h"

#include <algorithm>
#include <boost/program_options/cmdline.hpp>
#include <boost/program_options/errors.hpp>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <sstream>

#include "base/error.h"
#include "base/nearest.h"
#include "config/value.h"

namespace trireme::config {
namespace {

namespace po = boost::program_options;

constexpr std::size_t kFlagColumn = 40;
constexpr std::size_t kLineWidth = 100;

[[noreturn]] void refuse(const std::string& command, const std::string& why) {
  fail(ErrorKind::usage,
       cat("trireme ", command, ": ", why, " (see trireme ", command, " --help)"));
}

const Flag* find_flag(const Syntax& syntax, std::string_view name) {
  for (const Flag& flag : syntax.flags) {
    if (flag.name == name) return &flag;
  }
  return nullptr;
}

/// Gives every switch an explicit value, so that the parser never takes the next word for it.
std::vector<std::string> with_switch_values(const Syntax& syntax,
                                            const std::vector<std::string>& arguments) {
  std::vector<std::string> words = arguments;
  for (std::string& word : words) {
    if (word == "-h") word = "--help";
    const Flag* flag = word.starts_with("--") ? find_flag(syntax, word.substr(2)) : nullptr;
    if (word == "--help" || (flag && flag->value.empty())) word += "=true";
  }
  return words;
}

std::vector<po::option> parsed_words(const Syntax& syntax,
                                     const std::vector<std::string>& arguments) {
  po::options_description description;
  description.add_options()("help", po::value<std::string>());
  for (const Flag& flag : syntax.flags) {
    description.add_options()(flag.name.c_str(), po::value<std::string>());
  }
  using namespace po::command_line_style;
  try {
    return po::command_line_parser(with_switch_values(syntax, arguments))
        .options(description)
        .style(allow_long | long_allow_next | long_allow_adjacent)
        .allow_unregistered()
        .run()
        .options;
  } catch (const po::error& error) {
    refuse(syntax.command, error.what());
  }
}

std::string unknown_flag(const Syntax& syntax, const std::string& given) {
  const std::string word = given.substr(0, given.find('='));
  const std::string name = word.substr(std::min(word.find_first_not_of('-'), word.size()));
  std::vector<std::string> known = {"help"};
  for (const Flag& flag : syntax.flags) known.push_back(flag.name);
  const std::string near = nearest_name(name, known);
  return cat("unknown flag ", word, near.empty() ? "" : cat(", expected --", near, "?"));
}

/// The parser takes a known flag in the place of a missing value for the value.
void check_value(const Syntax& syntax, const Options::Given& given) {
  const bool is_switch = find_flag(syntax, given.name)->value.empty();
  if (is_switch && given.value != "true" && given.value != "false") {
    refuse(syntax.command,
           cat("--", given.name, " is '", given.value, "', expected true or false"));
  }
  if (!is_switch && given.value.starts_with("--")) {
    refuse(syntax.command, cat("the value of --", given.name, " is missing before ", given.value));
  }
}

void check_arguments(const Syntax& syntax, const std::vector<std::string>& arguments) {
  const std::size_t expected = syntax.arguments.size();
  if (arguments.size() < expected && !syntax.arguments[arguments.size()].starts_with("[")) {
    refuse(syntax.command, cat(syntax.arguments[arguments.size()], " is missing"));
  }
  if (arguments.size() > expected) {
    refuse(syntax.command, cat("'", arguments[expected], "' is one argument too many, expected ",
                               expected == 0 ? "only flags" : cat(expected)));
  }
}

void add_wrapped(std::ostream& out, const std::string& text, std::size_t indent,
                 std::size_t column) {
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (column > indent && column + 1 + word.size() > kLineWidth) {
      out << "\n" << std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out << " ";
      ++column;
    }
    out << word;
    column += word.size();
  }
  out << "\n";
}

void add_flag(std::ostream& out, const Flag& flag) {
  // A name with dashes of its own (a form such as "--set KEY=VALUE") stands as it is.
  std::string left = cat("  ", flag.name.starts_with("-") ? "" : "--", flag.name);
  if (!flag.value.empty()) left += cat(" ", flag.value);
  out << left;
  std::size_t column = left.size();
  if (column + 2 > kFlagColumn) {
    out << "\n";
    column = 0;
  }
  out << std::string(kFlagColumn - column, ' ');
  add_wrapped(out, flag.help, kFlagColumn, kFlagColumn);
}

}  // namespace

bool Options::has(std::string_view name) const {
  return !value(name).empty() && value(name) != "false";
}

std::string Options::value(std::string_view name, const std::string& fallback) const {
  for (auto given = given_.rbegin(); given != given_.rend(); ++given) {
    if (given->name == name) return given->value;
  }
  return fallback;
}

std::vector<std::string> Options::values(std::string_view name) const {
  std::vector<std::string> all;
  for (const Given& given : given_) {
    if (given.name == name) all.push_back(given.value);
  }
  return all;
}

std::optional<std::int64_t> Options::whole(std::string_view name, std::int64_t min,
                                           std::int64_t max) const {
  const std::string text = value(name);
  if (text.empty()) return std::nullopt;
  const std::optional<std::int64_t> number = parse_whole(text);
  if (!number || *number < min || *number > max) {
    refuse(command_,
           cat("--", name, " is '", text, "', expected a whole number from ", min, " to ", max));
  }
  return number;
}

Options parse_options(const Syntax& syntax, const std::vector<std::string>& arguments) {
  const auto end_of_flags = std::find(arguments.begin(), arguments.end(), "--");
  Options options;
  options.command_ = syntax.command;
  std::string unknown;
  std::string takes_more;  // the flag whose values may go on
  for (const po::option& option : parsed_words(syntax, {arguments.begin(), end_of_flags})) {
    const std::string word = option.original_tokens.empty() ? "" : option.original_tokens[0];
    if (option.string_key == "help") options.help_ = true;
    const bool is_argument = option.string_key.empty();
    if (option.unregistered || (is_argument && word.size() > 1 && word[0] == '-')) {
      unknown += cat(unknown.empty() ? "" : "; ", unknown_flag(syntax, word));
    } else if (is_argument && !takes_more.empty()) {
      options.given_.push_back({takes_more, option.value.at(0)});
    } else if (is_argument) {
      options.arguments_.push_back(option.value.at(0));
    } else {
      options.given_.push_back({option.string_key, option.value.at(0)});
      const Flag* flag = find_flag(syntax, option.string_key);
      takes_more = flag != nullptr && flag->value.ends_with("...") ? flag->name : "";
    }
  }
  if (options.help_) return options;

  if (!unknown.empty()) refuse(syntax.command, unknown);
  for (const Options::Given& given : options.given_) check_value(syntax, given);
  if (end_of_flags != arguments.end()) {
    options.arguments_.insert(options.arguments_.end(), end_of_flags + 1, arguments.end());
  }
  check_arguments(syntax, options.arguments_);
  return options;
}

std::string help_text(const Syntax& syntax) {
  std::ostringstream out;
  out << "usage: trireme " << syntax.command << (syntax.flags.empty() ? "" : " [flags]");
  for (const std::string& name : syntax.arguments) out << " " << name;
  out << "\n\n";
  add_wrapped(out, syntax.summary, 0, 0);
  if (!syntax.examples.empty()) {
    out << (syntax.examples.size() == 1 ? "\nexample\n" : "\nexamples\n");
    for (const std::string& line : syntax.examples) out << "  " << line << "\n";
  }
  std::string topic;
  for (const Flag& flag : syntax.flags) {
    if (flag.topic != topic) out << "\n" << flag.topic << "\n";
    topic = flag.topic;
    add_flag(out, flag);
  }
  if (!syntax.epilogue.empty()) out << "\n" << syntax.epilogue << "\n";
  return std::move(out).str();
}

}  // namespace trireme::config
