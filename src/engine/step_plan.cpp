#include "engine/step_plan.h"

#include <bit>

#include "base/error.h"

namespace trireme::engine {
namespace {

class Writer {
 public:
  void put(std::int32_t value) { words.push_back(value); }
  void put64(std::uint64_t value) {
    put(static_cast<std::int32_t>(static_cast<std::uint32_t>(value)));
    put(static_cast<std::int32_t>(static_cast<std::uint32_t>(value >> 32)));
  }
  void put(double value) { put64(std::bit_cast<std::uint64_t>(value)); }
  void put(const std::vector<std::int32_t>& values) {
    words.insert(words.end(), values.begin(), values.end());
  }
  void put_counted(const std::vector<std::int32_t>& values) {
    put(static_cast<std::int32_t>(values.size()));
    put(values);
  }

  std::vector<std::int32_t> words;
};

class Reader {
 public:
  explicit Reader(std::span<const std::int32_t> words) : words_(words) {}

  std::int32_t get() {
    TRIREME_CHECK(at_ < words_.size(), "plan body of ", words_.size(), " words is too short");
    return words_[at_++];
  }
  std::uint64_t get64() {
    const auto low = static_cast<std::uint32_t>(get());
    return low | (static_cast<std::uint64_t>(static_cast<std::uint32_t>(get())) << 32);
  }
  double get_double() { return std::bit_cast<double>(get64()); }
  std::vector<std::int32_t> get(std::int32_t count) {
    TRIREME_CHECK(count >= 0 && static_cast<std::size_t>(count) <= words_.size() - at_,
                  "count=", count, " left=", words_.size() - at_);
    std::vector<std::int32_t> values(words_.begin() + static_cast<std::ptrdiff_t>(at_),
                                     words_.begin() + static_cast<std::ptrdiff_t>(at_) + count);
    at_ += static_cast<std::size_t>(count);
    return values;
  }
  bool at_end() const { return at_ == words_.size(); }

 private:
  std::span<const std::int32_t> words_;
  std::size_t at_ = 0;
};

void write(Writer& out, const AdmittedSlot& slot) {
  const SamplingParams& params = slot.params;
  out.put(slot.slot);
  out.put64(static_cast<std::uint64_t>(slot.index));
  out.put(slot.sample);
  out.put(slot.prompt_length);
  out.put(slot.num_generated);
  out.put64(slot.domain);
  out.put64(static_cast<std::uint64_t>(params.min_tokens));
  out.put(params.temperature);
  out.put(params.top_p);
  out.put(params.min_p);
  out.put64(static_cast<std::uint64_t>(params.top_k));
  out.put64(params.seed);
  out.put(params.presence_penalty);
  out.put(params.frequency_penalty);
  out.put(params.repetition_penalty);
  out.put(params.logprobs);
  out.put(static_cast<std::int32_t>(params.logit_bias.size()));
  for (const auto& [id, bias] : params.logit_bias) {
    out.put(id);
    out.put(std::bit_cast<std::int32_t>(bias));
  }
  out.put_counted(slot.banned);
  out.put_counted(slot.tokens);
}

AdmittedSlot read_slot(Reader& in) {
  AdmittedSlot slot;
  SamplingParams& params = slot.params;
  slot.slot = in.get();
  slot.index = static_cast<std::int64_t>(in.get64());
  slot.sample = in.get();
  slot.prompt_length = in.get();
  slot.num_generated = in.get();
  slot.domain = in.get64();
  params.min_tokens = static_cast<std::int64_t>(in.get64());
  params.temperature = in.get_double();
  params.top_p = in.get_double();
  params.min_p = in.get_double();
  params.top_k = static_cast<std::int64_t>(in.get64());
  params.seed = in.get64();
  params.presence_penalty = in.get_double();
  params.frequency_penalty = in.get_double();
  params.repetition_penalty = in.get_double();
  params.logprobs = in.get();
  const std::int32_t num_biases = in.get();
  for (std::int32_t i = 0; i < num_biases; ++i) {
    const std::int32_t id = in.get();
    params.logit_bias.emplace_back(id, std::bit_cast<float>(in.get()));
  }
  slot.banned = in.get(in.get());
  slot.tokens = in.get(in.get());
  return slot;
}

template <typename T>
std::int32_t count(const std::vector<T>& values) {
  return static_cast<std::int32_t>(values.size());
}

}  // namespace

std::int64_t StepPlan::num_tokens() const {
  std::int64_t sum = 0;
  for (const PlanRow& row : rows) sum += row.num_tokens;
  return sum;
}

PlanBytes serialize(const StepPlan& plan) {
  Writer out;
  out.put(plan.tokens_of_rank);
  out.put(plan.freed_slots);
  for (const AdmittedSlot& slot : plan.admitted) write(out, slot);
  for (const BlockEntry& entry : plan.blocks) {
    for (const std::int32_t word : {entry.slot, entry.group, entry.index, entry.block})
      out.put(word);
  }
  for (const PlanRow& row : plan.rows) {
    for (const std::int32_t word : {row.slot, row.flags, row.first_position, row.num_tokens,
                                    row.score_begin, row.score_end, row.num_recomputed}) {
      out.put(word);
    }
  }
  out.put(plan.token_ids);
  out.put(plan.void_rows);

  PlanBytes bytes;
  PlanHeader& header = bytes.header;
  header.step = plan.step;
  header.lane = plan.lane;
  header.flags = (plan.is_last ? 1 : 0) | (plan.is_abort ? 2 : 0);
  header.placement_version = plan.placement_version;
  header.num_ranks = count(plan.tokens_of_rank);
  header.num_freed = count(plan.freed_slots);
  header.num_admitted = count(plan.admitted);
  header.num_blocks = count(plan.blocks);
  header.num_rows = count(plan.rows);
  header.num_ids = count(plan.token_ids);
  header.num_void = count(plan.void_rows);
  header.num_tokens = static_cast<std::int32_t>(plan.num_tokens());
  header.body_words = count(out.words);
  bytes.body = std::move(out.words);
  return bytes;
}

void check_header(const PlanHeader& header) {
  TRIREME_CHECK(header.magic == PlanHeader::kMagic && header.version == 1, "magic=", header.magic,
                " version=", header.version);
  TRIREME_CHECK(header.body_words >= 0, "body_words=", header.body_words);
}

StepPlan deserialize(const PlanHeader& header, std::span<const std::int32_t> body) {
  check_header(header);
  Reader in(body);
  StepPlan plan;
  plan.step = header.step;
  plan.lane = header.lane;
  plan.is_last = (header.flags & 1) != 0;
  plan.is_abort = (header.flags & 2) != 0;
  plan.placement_version = header.placement_version;
  plan.tokens_of_rank = in.get(header.num_ranks);
  plan.freed_slots = in.get(header.num_freed);
  for (std::int32_t i = 0; i < header.num_admitted; ++i) plan.admitted.push_back(read_slot(in));
  for (std::int32_t i = 0; i < header.num_blocks; ++i) {
    BlockEntry entry;
    for (std::int32_t* word : {&entry.slot, &entry.group, &entry.index, &entry.block}) {
      *word = in.get();
    }
    plan.blocks.push_back(entry);
  }
  for (std::int32_t i = 0; i < header.num_rows; ++i) {
    PlanRow row;
    for (std::int32_t* word : {&row.slot, &row.flags, &row.first_position, &row.num_tokens,
                               &row.score_begin, &row.score_end, &row.num_recomputed}) {
      *word = in.get();
    }
    plan.rows.push_back(row);
  }
  plan.token_ids = in.get(header.num_ids);
  plan.void_rows = in.get(header.num_void);
  TRIREME_CHECK(in.at_end() && plan.num_tokens() == header.num_tokens, "step=", plan.step,
                " body_words=", body.size());
  return plan;
}

}  // namespace trireme::engine
