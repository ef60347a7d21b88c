#include "text/jinja_filters.h"

#include <algorithm>

#include "base/error.h"
#include "base/nearest.h"
#include "text/jinja_access.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"

namespace trireme::text::jinja {
namespace {

std::string suggestion(std::string_view name) {
  std::vector<std::string> names;
  for (const auto group : {text_filters(), number_filters(), list_filters(), lazy_filters()}) {
    for (const Filter& filter : group) names.emplace_back(filter.name);
  }
  const std::string nearest = nearest_name(name, names);
  return nearest.empty() ? "" : cat("; is '", nearest, "' meant?");
}

}  // namespace

const Filter* find_filter(std::string_view name) {
  for (const auto group : {text_filters(), number_filters(), list_filters(), lazy_filters()}) {
    const auto found = std::ranges::find(group, name, &Filter::name);
    if (found != group.end()) return &*found;
  }
  return nullptr;
}

std::string unknown_filter(std::string_view name) {
  return cat("the filter '", clip(name), "' is not known", suggestion(clip(name)));
}

Value as_string(Context& context, const Value& value) {
  if (value.is(Kind::string)) return value;
  return make_string(context.budget, to_text(context.budget, value));
}

SortKey::SortKey(Context& context, const Value* attribute, bool case_sensitive)
    : case_sensitive_(case_sensitive) {
  if (attribute == nullptr || attribute->is(Kind::none)) return;
  if (attribute->is(Kind::string) && text_of(*attribute).find(',') != std::string::npos) {
    fail(ErrorKind::input,
         cat("several attributes in one ('", clip(text_of(*attribute)), "') are not supported"));
  }
  path_ = split_path(context, *attribute);
}

Value SortKey::of(Context& context, const Value& item) const {
  Value key = follow_path(context, item, path_);
  if (case_sensitive_ || !key.is(Kind::string)) return key;
  return make_string(context.budget, lower(context.budget, text_of(key)));
}

}  // namespace trireme::text::jinja
