#pragma once

#include <cstdint>
#include <vector>

#include "text/json_field.h"

namespace trireme::text {

/// The special tokens that a model wants around a text.
struct SpecialTokenFrame {
  std::vector<std::int32_t> before;
  std::vector<std::int32_t> behind;
};

/// "post_processor" of tokenizer.json for one text: TemplateProcessing, ByteLevel (changes no ids),
/// RobertaProcessing, BertProcessing and Sequences of them. Null gives an empty frame. Throws
/// Error(checkpoint) naming a type it does not know.
SpecialTokenFrame read_post_processor(const JsonField& field);

}  // namespace trireme::text
