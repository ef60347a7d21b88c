// The cases of tests/data/chat_templates: each was rendered by transformers 5.24 with jinja2 3.1.6.
// The limits are templates that want too much; they must be refused with little time, memory and
// stack.

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>

#include <ctime>
#include <fstream>
#include <functional>
#include <iterator>

#include "base/error.h"
#include "text/chat_template.h"

namespace trireme::text {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr bool kIsSanitized = true;  // time and memory are those of the sanitizer
#else
constexpr bool kIsSanitized = false;
#endif

// JSON cannot spell a lone surrogate in this program's strings: the case that has one gets a mark
// instead, which becomes the three bytes that would be its UTF-8 if it had any.
constexpr std::string_view kSurrogateEscape = "\\ud800b";
constexpr std::string_view kSurrogateMark = "[lone surrogate]";
constexpr std::string_view kSurrogateBytes = "\xed\xa0\x80";

const std::string kFolder = std::string(TRIREME_TEST_DATA) + "/chat_templates/";

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

void replace_first(std::string& text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  if (at != std::string::npos) text.replace(at, from.size(), to);
}

Json read_cases(const char* group) {
  std::string text = read_file(kFolder + "cases.json");
  replace_first(text, kSurrogateEscape, std::string(kSurrogateMark) + "b");
  Json cases = parse_json(text, "cases.json")[group];
  for (Json& one : cases) {
    for (Json& message : one["messages"]) {
      if (!message.contains("content") || !message["content"].is_string()) continue;
      replace_first(message["content"].get_ref<std::string&>(), kSurrogateMark, kSurrogateBytes);
    }
  }
  return cases;
}

Json value_or_null(const Json& object, const char* key) {
  return object.contains(key) ? object[key] : Json();
}

std::optional<std::string> token(const Json& one, const char* key) {
  const Json value = value_or_null(one, key);
  return value.is_null() ? std::nullopt : std::optional(value.get<std::string>());
}

std::string source_of(const Json& one) {
  if (one.contains("template")) {
    return read_file(kFolder + one["template"].get<std::string>() + ".jinja");
  }
  if (one.contains("source")) return one["source"];
  std::string source;
  for (const Json& part : one["source_parts"]) {
    for (int times = part[1]; times > 0; --times) source += part[0].get<std::string>();
  }
  return source;
}

std::int64_t unix_time_of(const Json& one) {
  std::tm local{};
  EXPECT_NE(strptime(one["date"].get<std::string>().c_str(), "%Y-%m-%dT%H:%M:%S", &local), nullptr);
  local.tm_isdst = -1;
  return std::mktime(&local);
}

struct Outcome {
  std::optional<std::string> text;
  std::string error;
};

Outcome render(const Json& one) {
  ChatOptions options;
  options.add_generation_prompt = one["add_generation_prompt"];
  options.continue_final_message = one.value("continue_final_message", false);
  options.tools = value_or_null(one, "tools");
  options.documents = value_or_null(one, "documents");
  options.kwargs = value_or_null(one, "chat_template_kwargs");
  try {
    const auto chat_template = ChatTemplate::parse(
        source_of(one), "template", token(one, "bos_token"), token(one, "eos_token"));
    return {chat_template.render(one["messages"], options, unix_time_of(one)), {}};
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input) << error.what();
    return {std::nullopt, error.what()};
  }
}

void expect_error(const Json& error, const Outcome& outcome) {
  EXPECT_FALSE(outcome.text) << "rendered instead of " << error;
  if (error["kind"] == "raise") {
    const auto words = error["message"].get<std::string>();
    EXPECT_NE(outcome.error.find(words), std::string::npos) << outcome.error << "\n" << words;
  }
}

void expect_text(const Json& one, const Outcome& outcome) {
  if (!outcome.text) {
    EXPECT_TRUE(one.value("may_refuse", false)) << outcome.error;
  } else if (one.contains("expected")) {
    EXPECT_EQ(*outcome.text, one["expected"].get<std::string>());
  } else {
    const std::size_t length = one["expected_length"];
    const std::string unit = one["expected_unit"];
    EXPECT_EQ(outcome.text->size(), length);
    EXPECT_EQ(outcome.text->find_first_not_of(unit), std::string::npos);
  }
}

// Runs `work` on a thread with as little stack as a careful caller might give it.
void run_with_small_stack(std::function<void()> work) {
  constexpr std::size_t kStackBytes = std::size_t{1} << 20;
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, kStackBytes), 0);
  pthread_t thread;
  const auto call = [](void* argument) -> void* {
    (*static_cast<std::function<void()>*>(argument))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, call, &work), 0);
  ASSERT_EQ(pthread_join(thread, nullptr), 0);
  pthread_attr_destroy(&attributes);
}

double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// The highest resident size since the last reset, which not every container allows; then 0.
std::size_t peak_mebibytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    std::size_t kibibytes = 0;
    if (word == "VmHWM:" && status >> kibibytes) return kibibytes >> 10;
  }
  return 0;
}

bool reset_peak() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

void expect_refused_cheaply(const Json& limit) {
  SCOPED_TRACE(limit["name"].get<std::string>());
  const bool measures_memory = reset_peak() && !kIsSanitized;
  const double begin = thread_seconds();
  const Outcome outcome = render(limit);

  if (outcome.text) {
    EXPECT_EQ(*outcome.text, limit.value("or_output", std::string("(an error)")));
  }
  // Ten times what a slow machine needs: it tells an endless computation from a bounded one.
  if (!kIsSanitized) {
    EXPECT_LT(thread_seconds() - begin, 10.0);
  }
  if (measures_memory) {
    EXPECT_LT(peak_mebibytes(), 256U);
  }
}

TEST(ChatTemplateCases, RenderAsTransformersDoes) {
  const Json cases = read_cases("cases");

  for (const Json& one : cases) {
    SCOPED_TRACE(one["name"].get<std::string>());
    const Outcome outcome = render(one);
    if (one.contains("error")) {
      expect_error(one["error"], outcome);
    } else {
      expect_text(one, outcome);
    }
  }

  EXPECT_EQ(cases.size(), 399U);
}

TEST(ChatTemplateCases, ExceededLimitsAreRefusedWithLittleTimeMemoryAndStack) {
  const Json limits = read_cases("limits");

  run_with_small_stack([&] {
    for (const Json& limit : limits) expect_refused_cheaply(limit);
  });

  EXPECT_EQ(limits.size(), 69U);
}

}  // namespace
}  // namespace trireme::text
