#include "text/post_processor.h"

#include "base/error.h"
#include "text/shortened.h"
#include "text/text_limits.h"

namespace trireme::text {
namespace {

using Ids = std::vector<std::int32_t>;

std::int32_t token_id(const JsonField& field) {
  return static_cast<std::int32_t>(field.integer(0, kMaxTokens - 1));
}

SpecialTokenFrame read_template(const JsonField& field) {
  SpecialTokenFrame frame;
  const JsonField special_tokens = field.at("special_tokens");
  bool has_text = false;
  for (const JsonField& part : field.at("single").elements()) {
    if (const JsonField sequence = part.at("Sequence"); !sequence.is_null()) {
      if (has_text || sequence.at("id").string() != "A") {
        part.refuse("expected the sequence A exactly once");
      }
      has_text = true;
      continue;
    }
    const std::string& name = part.at("SpecialToken").at("id").string();
    for (const JsonField& id : special_tokens.at(name).at("ids").elements()) {
      (has_text ? frame.behind : frame.before).push_back(token_id(id));
    }
  }
  if (!has_text) field.at("single").refuse("expected the sequence A exactly once");
  return frame;
}

/// "cls" and "sep", each a token and its id.
SpecialTokenFrame read_cls_and_sep(const JsonField& field) {
  const auto id_of = [&](std::string_view key) {
    const std::vector<JsonField> pair = field.at(key).elements();
    if (pair.size() != 2) field.at(key).refuse("expected a token and its id");
    return token_id(pair[1]);
  };
  return {{id_of("cls")}, {id_of("sep")}};
}

}  // namespace

SpecialTokenFrame read_post_processor(const JsonField& field) {
  if (field.is_null()) return {};
  const std::string& type = field.at("type").string();
  if (type == "ByteLevel") return {};
  if (type == "TemplateProcessing") return read_template(field);
  if (type == "RobertaProcessing" || type == "BertProcessing") return read_cls_and_sep(field);
  if (type != "Sequence") {
    field.refuse(cat("unknown post-processor \"", shortened(type),
                     "\", known are Sequence, TemplateProcessing, ByteLevel, RobertaProcessing and "
                     "BertProcessing"));
  }
  SpecialTokenFrame all;
  for (const JsonField& part : field.at("processors").elements()) {
    const SpecialTokenFrame frame = read_post_processor(part);
    all.before.insert(all.before.begin(), frame.before.begin(), frame.before.end());
    all.behind.insert(all.behind.end(), frame.behind.begin(), frame.behind.end());
  }
  return all;
}

}  // namespace trireme::text
