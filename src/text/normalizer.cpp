#include "text/normalizer.h"

#include <unicode/uchar.h>

#include <algorithm>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/pattern.h"
#include "text/shortened.h"
#include "text/text_limits.h"
#include "text/unicode.h"
#include "text/unicode_form.h"

namespace trireme::text {
namespace {

class UnicodeFormStep : public Normalizer {
 public:
  explicit UnicodeFormStep(UnicodeForm form) : form_(form) {}

  std::string apply(std::string text, StepBudget&) const override {
    const bool is_ascii = std::all_of(text.begin(), text.end(),
                                      [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    return is_ascii ? text : to_unicode_form(text, form_);
  }

 private:
  UnicodeForm form_;
};

class PrependStep : public Normalizer {
 public:
  explicit PrependStep(std::string prefix) : prefix_(std::move(prefix)) {}

  std::string apply(std::string text, StepBudget&) const override {
    return text.empty() ? text : prefix_ + text;
  }

 private:
  std::string prefix_;
};

class ReplaceStep : public Normalizer {
 public:
  ReplaceStep(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}

  std::string apply(std::string text, StepBudget& budget) const override {
    return pattern_.replace(text, content_, budget);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

/// Every character by itself, so that a final sigma is lowered like any other.
class LowercaseStep : public Normalizer {
 public:
  std::string apply(std::string text, StepBudget&) const override {
    constexpr char32_t kCapitalIWithDot = 0x130;  // the one that becomes two characters
    std::string out;
    out.reserve(text.size());
    for (std::size_t position = 0; position < text.size();) {
      const char32_t c = next_code_point(text, position);
      if (c == kCapitalIWithDot) {
        out += "i\u0307";
      } else {
        append_utf8(out, static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
      }
    }
    return out;
  }
};

class StripStep : public Normalizer {
 public:
  StripStep(bool left, bool right) : left_(left), right_(right) {}

  std::string apply(std::string text, StepBudget&) const override {
    std::size_t begin = 0;
    std::size_t end = text.size();
    for (std::size_t next = begin; left_ && next < end; begin = next) {
      if ((char_classes(next_code_point(text, next)) & kSpace) == 0) break;
    }
    for (std::size_t last = end; right_ && last > begin; end = last) {
      if ((char_classes(previous_code_point(text, last)) & kSpace) == 0) break;
    }
    return text.substr(begin, end - begin);
  }

 private:
  bool left_;
  bool right_;
};

class StripAccentsStep : public Normalizer {
 public:
  std::string apply(std::string text, StepBudget&) const override {
    std::string out;
    out.reserve(text.size());
    for (std::size_t position = 0; position < text.size();) {
      const char32_t c = next_code_point(text, position);
      if ((char_classes(c) & kMark) == 0) append_utf8(out, c);
    }
    return out;
  }
};

class ByteLevelStep : public Normalizer {
 public:
  std::string apply(std::string text, StepBudget&) const override {
    std::string out;
    out.reserve(text.size());
    append_byte_characters(out, text);
    return out;
  }
};

using Steps = std::vector<std::unique_ptr<Normalizer>>;

void append_steps(const JsonField& field, Steps& steps) {
  const std::string& type = field.at("type").string();
  if (type == "Sequence") {
    for (const JsonField& part : field.at("normalizers").elements()) append_steps(part, steps);
  } else if (type == "NFC") {
    steps.push_back(std::make_unique<UnicodeFormStep>(UnicodeForm::nfc));
  } else if (type == "NFD") {
    steps.push_back(std::make_unique<UnicodeFormStep>(UnicodeForm::nfd));
  } else if (type == "NFKC") {
    steps.push_back(std::make_unique<UnicodeFormStep>(UnicodeForm::nfkc));
  } else if (type == "NFKD") {
    steps.push_back(std::make_unique<UnicodeFormStep>(UnicodeForm::nfkd));
  } else if (type == "Prepend") {
    steps.push_back(std::make_unique<PrependStep>(field.at("prepend").string()));
  } else if (type == "Replace") {
    steps.push_back(std::make_unique<ReplaceStep>(Pattern::from_json(field.at("pattern")),
                                                  field.at("content").string()));
  } else if (type == "Lowercase") {
    steps.push_back(std::make_unique<LowercaseStep>());
  } else if (type == "Strip") {
    steps.push_back(std::make_unique<StripStep>(field.at("strip_left").boolean(),
                                                field.at("strip_right").boolean()));
  } else if (type == "StripAccents") {
    steps.push_back(std::make_unique<StripAccentsStep>());
  } else if (type == "ByteLevel") {
    steps.push_back(std::make_unique<ByteLevelStep>());
  } else {
    field.refuse(cat("unknown normalizer \"", shortened(type),
                     "\", known are Sequence, NFC, NFD, NFKC, NFKD, Prepend, Replace, Lowercase, "
                     "Strip, StripAccents and ByteLevel"));
  }
}

}  // namespace

std::vector<std::unique_ptr<Normalizer>> make_normalizers(const JsonField& field) {
  Steps steps;
  if (!field.is_null()) append_steps(field, steps);
  return steps;
}

}  // namespace trireme::text
