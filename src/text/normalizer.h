#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/json_field.h"
#include "text/regex.h"

namespace trireme::text {

/// One step of normalization.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// `text` (valid UTF-8) normalized. Throws Error(input) if the result is too long or an
  /// expression exceeds its limits.
  virtual std::string apply(std::string text, StepBudget& budget) const = 0;
};

/// The steps of a "normalizer" of tokenizer.json, Sequences flattened: NFC, NFD, NFKC, NFKD,
/// Prepend, Replace, Lowercase, Strip, StripAccents, ByteLevel. Null gives none. Throws
/// Error(checkpoint) naming a type it does not know.
std::vector<std::unique_ptr<Normalizer>> make_normalizers(const JsonField& field);

}  // namespace trireme::text
