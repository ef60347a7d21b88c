// Prints how long a tokenizer.json takes to load, and how fast texts of 100 KB and 10 MB are
// encoded by one thread, texts made to be slow among them.
//
// usage: tokenizer_bench MODEL_DIR   (tools/make_tokenizer.py makes one of real size)

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace {

using trireme::text::TextStream;
using trireme::text::Tokenizer;

struct Sample {
  std::string name;
  std::string unit;  // the text is this, again and again
};

std::vector<Sample> samples() {
  const std::string_view words =
      "The quick brown fox jumps over the lazy dog; 42 of its 1,024 friends don't. Das ist ein "
      "Satz, und noch einer.\n    if (x == nullptr) { return value[i] + 3.14; }\n";
  std::string chinese;
  for (unsigned c = 0x4E00; c < 0x4E00 + 3000; c += 7) {
    chinese += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F)),
                static_cast<char>(0x80 | (c & 0x3F))};
  }
  std::string letters;  // no period that a chunk could fall in step with
  std::uint32_t state = 1;
  for (int idx = 0; idx < 65'537; ++idx) {
    state = state * 1'664'525U + 1'013'904'223U;
    letters += static_cast<char>('a' + (state >> 24) % 26);
  }
  return {{"prose and code", std::string(words)},
          {"one letter", "a"},
          {"white space", " "},
          {"newlines", "\n"},
          {"blanks and newlines", "  \n"},
          {"alternating letters", "ab"},
          {"random letters", letters},
          {"digits", "1234567890"},
          {"CJK, one character", "\u4E2D"},
          {"CJK", chinese},
          {"punctuation", "=-"},
          {"capitals", "ABBA"},
          {"apostrophes", "'"},
          {"combining marks", "\u0301\u0323"}};
}

std::string repeated(const std::string& unit, std::size_t num_bytes) {
  std::string text;
  text.reserve(num_bytes + unit.size());
  while (text.size() < num_bytes) text += unit;
  return text;
}

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// Seconds of the fastest of `num_runs`.
template <typename Function>
double best_seconds(int num_runs, Function function) {
  double best = 1e30;
  for (int run = 0; run < num_runs; ++run) {
    const double begin = processor_seconds();
    function();
    best = std::min(best, processor_seconds() - begin);
  }
  return best;
}

void print_encoding(const Tokenizer& tokenizer, const Sample& sample) {
  double mb_per_s[2] = {};
  std::size_t num_tokens = 0;
  const std::size_t sizes[2] = {100'000, 10'000'000};
  for (int idx = 0; idx < 2; ++idx) {
    const std::string text = repeated(sample.unit, sizes[idx]);
    const double seconds =
        best_seconds(idx == 0 ? 20 : 2, [&] { num_tokens = tokenizer.encode(text, false).size(); });
    mb_per_s[idx] = static_cast<double>(text.size()) * 1e-6 / seconds;
  }
  std::printf("%-22s %9.1f %9.1f %7.2f %10.2f\n", sample.name.c_str(), mb_per_s[0], mb_per_s[1],
              mb_per_s[0] / mb_per_s[1], 10e6 / static_cast<double>(num_tokens));
}

void print_decoding(const Tokenizer& tokenizer, const Sample& sample) {
  const std::vector<std::int32_t> ids = tokenizer.encode(repeated(sample.unit, 1'000'000), false);
  const double whole = best_seconds(5, [&] { tokenizer.decode(ids, true); });
  const double streamed = best_seconds(5, [&] {
    TextStream stream(tokenizer);
    for (const std::int32_t id : ids) stream.push(id);
    stream.finish();
  });
  const auto num_ids = static_cast<double>(ids.size());
  std::printf("%-22s %9.1f %9.1f\n", sample.name.c_str(), num_ids * 1e-6 / whole,
              num_ids * 1e-6 / streamed);
}

void run(const char* model_dir) {
  const double seconds = best_seconds(5, [&] { Tokenizer::load(model_dir); });
  const Tokenizer tokenizer = Tokenizer::load(model_dir);
  std::printf("load: %.3f s for %d tokens\n\n", seconds, tokenizer.num_tokens());
  std::printf("%-22s %9s %9s %7s %10s\n", "encode", "MB/s", "MB/s", "time/B", "bytes per");
  std::printf("%-22s %9s %9s %7s %10s\n", "", "100 KB", "10 MB", "ratio", "token");
  for (const Sample& sample : samples()) print_encoding(tokenizer, sample);
  std::printf("\n%-22s %9s %9s\n", "decode", "M ids/s", "streamed");
  for (const Sample& sample : samples()) print_decoding(tokenizer, sample);
}

}  // namespace

int main(int num_arguments, char** arguments) {
  if (num_arguments != 2) {
    std::fprintf(stderr, "usage: tokenizer_bench MODEL_DIR\n");
    return 64;
  }
  try {
    run(arguments[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 65;
  }
  return 0;
}
