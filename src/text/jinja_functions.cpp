// The functions that a template can call by name.

#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/jinja_call.h"
#include "text/jinja_format.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"

namespace trireme::text::jinja {
namespace {

// The template's own words are told whole, unless they are longer than anyone would read.
constexpr std::size_t kMaxMessage = 4096;

Value raise_exception(Context& context, const Arguments& arguments) {
  const auto [message] = bind<1>("raise_exception", arguments, {"message"});
  const std::string words =
      to_text(context.budget, required("raise_exception", "message", message));
  fail(ErrorKind::input, cat("the template refuses: ", clip(words, kMaxMessage)));
}

Value strftime_now(Context& context, const Arguments& arguments) {
  const auto [pattern] = bind<1>("strftime_now", arguments, {"format"});
  context.budget.spend(100);
  return make_string(context.budget, format_time(text("strftime_now", pattern), context.unix_time));
}

// How many numbers from start on, by step, stand before stop.
std::size_t size_of_range(std::int64_t start, std::int64_t stop, std::int64_t step) {
  const std::int64_t span = step > 0 ? stop - start : start - stop;
  const std::int64_t stride = step > 0 ? step : -step;
  return span <= 0 ? 0 : static_cast<std::size_t>((span - 1) / stride + 1);
}

Value range(Context& context, const Arguments& arguments) {
  if (arguments.positional.empty() || arguments.positional.size() > 3 || !arguments.named.empty()) {
    fail(ErrorKind::input, "range takes one to three numbers");
  }
  std::array<std::int64_t, 3> numbers{};
  for (std::size_t idx = 0; idx < arguments.positional.size(); ++idx) {
    numbers[idx] = integer("range", &arguments.positional[idx], 0);
    // So far from the ends of 64 bits that sums of them stay inside.
    constexpr std::int64_t kBound = std::int64_t{1} << 60;
    if (numbers[idx] > kBound || numbers[idx] < -kBound) {
      fail(ErrorKind::input, cat("range: ", numbers[idx], " is beyond 2^60"));
    }
  }
  auto [start, stop, step] = numbers;
  if (arguments.positional.size() == 1) std::swap(start, stop);
  if (arguments.positional.size() < 3) step = 1;
  if (step == 0) fail(ErrorKind::input, "range: the step is 0");
  const std::size_t size = size_of_range(start, stop, step);
  if (size > kMaxRange) {
    fail(ErrorKind::input, cat("range: ", size, " numbers, at most ", kMaxRange, " are allowed"));
  }
  return Value(Kind::range, std::make_shared<Range>(&context.budget, start, step, size));
}

// The pairs that dict() and namespace() take: of a dict or a list of pairs, then the named
// arguments.
std::vector<Dict::Pair> pairs_of(Context& context, std::string_view callee,
                                 const Arguments& arguments) {
  if (arguments.positional.size() > 1) {
    fail(ErrorKind::input, cat(callee, " takes one dict or list of pairs at most"));
  }
  std::vector<Dict::Pair> pairs;
  if (!arguments.positional.empty() && arguments.positional[0].is(Kind::dict)) {
    pairs = arguments.positional[0].as<Dict>().items;
  } else if (!arguments.positional.empty()) {
    const auto items = iterate(context, arguments.positional[0]);
    while (const auto item = items->next(context)) {
      const std::vector<Value> parts = collect(context, *item);
      context.budget.spend(2);
      context.budget.require(pairs.size(), 2 * sizeof(Dict::Pair));
      if (parts.size() != 2) fail(ErrorKind::input, cat(callee, " needs pairs of key and value"));
      pairs.emplace_back(parts[0], parts[1]);
    }
  }
  for (std::size_t idx = 0; idx < arguments.named.size(); ++idx) {
    pairs.emplace_back(make_string(context.budget, arguments.names[idx]), arguments.named[idx]);
  }
  return pairs;
}

Value dict(Context& context, const Arguments& arguments) {
  return make_dict(context.budget, pairs_of(context, "dict", arguments));
}

Value name_space(Context& context, const Arguments& arguments) {
  auto result = std::make_shared<Namespace>(&context.budget);
  context.namespaces.push_back(result);
  for (auto& [name, value] : pairs_of(context, "namespace", arguments)) {
    result->set(text("namespace", &name), std::move(value));
  }
  return Value(Kind::name_space, std::move(result));
}

Value refuse_cycler(Context&, const Arguments&) {
  fail(ErrorKind::input, "the function 'cycler' is not supported");
}

Value refuse_joiner(Context&, const Arguments&) {
  fail(ErrorKind::input, "the function 'joiner' is not supported");
}

Value refuse_lipsum(Context&, const Arguments&) {
  fail(ErrorKind::input, "the function 'lipsum' is not supported");
}

constexpr std::array kFunctions = {
    Function{"cycler", refuse_cycler}, Function{"dict", dict},
    Function{"joiner", refuse_joiner}, Function{"lipsum", refuse_lipsum},
    Function{"namespace", name_space}, Function{"raise_exception", raise_exception},
    Function{"range", range},          Function{"strftime_now", strftime_now},
};

}  // namespace

const Function* find_function(std::string_view name) {
  const auto found = std::ranges::find(kFunctions, name, &Function::name);
  return found == kFunctions.end() ? nullptr : &*found;
}

}  // namespace trireme::text::jinja
