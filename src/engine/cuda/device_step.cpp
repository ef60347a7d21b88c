#include "engine/cuda/device_step.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace trireme::engine {
namespace {

using kernels::cuda::StepRow;
using kernels::cuda::TableEntry;

/// Entries that are under way together.
constexpr std::size_t kMostEntries = std::size_t{1} << 16;

std::span<const std::int32_t> span_of(const std::int32_t* begin, std::int64_t count) {
  return {begin, static_cast<std::size_t>(count)};
}

}  // namespace

DeviceStep::DeviceStep(const DeviceStepLimits& limits, std::span<const kernels::KvCache> caches)
    : limits_(limits), caches_(caches) {
  TRIREME_CHECK(limits.num_groups <= kernels::cuda::kMostLayerGroups,
                "num_groups=", limits.num_groups);
  MemoryMap input;
  rows_ = input.reserve<StepRow>(limits.max_batch_size);
  logit_rows_ = input.reserve<std::int32_t>(limits.max_batch_size + limits.max_num_tokens);
  // A chunk whose scores are wanted brings one id more than it has tokens.
  ids_ = input.reserve<std::int32_t>(limits.max_batch_size + limits.max_num_tokens);
  for (tensor::PinnedBuffer& buffer : input_) {
    buffer = tensor::PinnedBuffer(input.size_bytes(), "a step's rows");
  }
  device_input_ =
      tensor::DeviceBuffer(input.size_bytes(), "a step's rows", "max_num_tokens or max_batch_size");
  entries_ = tensor::PinnedBuffer(kMostEntries * sizeof(TableEntry), "new blocks");
  device_entries_ = tensor::DeviceBuffer(kMostEntries * sizeof(TableEntry), "new blocks",
                                         "kv_cache_config.free_gpu_memory_fraction");

  MemoryMap arrays;
  token_ids_ = arrays.reserve<std::int32_t>(limits.max_num_tokens);
  positions_ = arrays.reserve<std::int32_t>(limits.max_num_tokens);
  q_begin_ = arrays.reserve<std::int32_t>(limits.max_batch_size + 1);
  first_position_ = arrays.reserve<std::int32_t>(limits.max_batch_size);
  table_rows_ = arrays.reserve<std::int32_t>(limits.max_batch_size);
  choices_ = arrays.reserve<std::int32_t>(limits.max_num_tokens * limits.choices_per_token);
  last_token_ = arrays.reserve<std::int32_t>(limits.num_slots);
  history_ = arrays.reserve<std::int32_t>(limits.num_slots * limits.max_seq_len);
  for (std::int64_t group = 0; group < limits.num_groups; ++group) {
    block_tables_.push_back(arrays.reserve<std::int32_t>(limits.num_slots * limits.max_blocks));
    slot_mappings_.push_back(arrays.reserve<std::int64_t>(limits.max_num_tokens));
  }
  arrays_ =
      tensor::DeviceBuffer(arrays.size_bytes(), "block tables, tokens and the arrays of a step",
                           "max_batch_size or max_seq_len");
  // Zero is a block that is there: what fills up a step may look at it.
  const tensor::Stream stream;
  stream.fill(arrays_.data(), 0, arrays_.size_bytes());
  stream.synchronize();
}

void DeviceStep::send(const StepPlan& plan, std::span<const std::int32_t> logit_rows,
                      const StepSize& size, int parity, const tensor::Stream& stream) {
  enter_blocks(plan, stream);
  enter_cached_tokens(plan, stream);
  void* memory = input_[static_cast<std::size_t>(parity)].data();
  StepRow* rows = rows_.in(memory);
  std::int32_t first_token = 0, first_id = 0;
  for (const PlanRow& row : plan.rows) {
    *rows++ = {.slot = row.slot,
               .first_position = row.first_position,
               .first_token = first_token,
               .num_tokens = row.num_tokens,
               .first_id = row.is_decode() ? -1 : first_id};
    first_token += row.num_tokens;
    first_id += row.num_ids();
  }
  TRIREME_CHECK(first_token <= size.num_tokens && std::ssize(plan.rows) <= size.num_seqs &&
                    first_id == std::ssize(plan.token_ids),
                "step=", plan.step, " tokens=", first_token, " ids=", first_id);
  std::fill_n(rows, size.num_seqs - std::ssize(plan.rows), StepRow{.first_token = first_token});

  std::int32_t* logits = logit_rows_.in(memory);
  std::copy(logit_rows.begin(), logit_rows.end(), logits);
  std::fill(logits + logit_rows.size(),
            logits + std::max<std::int64_t>(size.num_seqs, std::ssize(logit_rows)), 0);
  std::ranges::copy(plan.token_ids, ids_.in(memory));
  stream.copy_to_device(device_input_.data(), memory,
                        ids_.offset + plan.token_ids.size() * sizeof(std::int32_t));
}

void DeviceStep::enter_blocks(const StepPlan& plan, const tensor::Stream& stream) {
  for (std::size_t group = 0; group < block_tables_.size(); ++group) {
    new_entries_.clear();
    for (const BlockEntry& entry : plan.blocks) {
      if (entry.group != static_cast<std::int32_t>(group)) continue;
      TRIREME_CHECK(entry.index < limits_.max_blocks, "index=", entry.index);
      new_entries_.push_back({entry.slot, entry.index, entry.block});
    }
    enter(new_entries_, block_tables_[group].in(arrays_.data()), limits_.max_blocks, stream);
  }
}

// What a step computes expand() enters; before a slot's first chunk lies what the KV cache had.
void DeviceStep::enter_cached_tokens(const StepPlan& plan, const tensor::Stream& stream) {
  std::int32_t* history = history_.in(arrays_.data());
  new_entries_.clear();
  for (const AdmittedSlot& admitted : plan.admitted) {
    if (admitted.tokens.empty()) continue;
    const auto chunk = std::ranges::find(plan.rows, admitted.slot, &PlanRow::slot);
    const std::int64_t num_cached =
        chunk == plan.rows.end() ? std::ssize(admitted.tokens) : chunk->first_position;
    TRIREME_CHECK(num_cached <= std::ssize(admitted.tokens) && num_cached <= limits_.max_seq_len,
                  "slot=", admitted.slot, " cached=", num_cached);
    for (std::int32_t position = 0; position < num_cached; ++position) {
      new_entries_.push_back(
          {admitted.slot, position, admitted.tokens[static_cast<std::size_t>(position)]});
    }
    if (new_entries_.size() < kMostEntries) continue;
    enter(new_entries_, history, limits_.max_seq_len, stream);
    new_entries_.clear();
  }
  enter(new_entries_, history, limits_.max_seq_len, stream);
}

// Pinned memory is written again when what was sent from it has arrived.
void DeviceStep::enter(std::span<const TableEntry> entries, std::int32_t* table,
                       std::int64_t num_columns, const tensor::Stream& stream) {
  while (!entries.empty()) {
    if (num_entries_used_ == kMostEntries) {
      entries_sent_.record(stream);
      entries_sent_.synchronize();
      num_entries_used_ = 0;
    }
    const std::size_t count = std::min(entries.size(), kMostEntries - num_entries_used_);
    const std::size_t offset = num_entries_used_ * sizeof(TableEntry);
    std::byte* from = static_cast<std::byte*>(entries_.data()) + offset;
    std::byte* to = static_cast<std::byte*>(device_entries_.data()) + offset;
    std::memcpy(from, entries.data(), count * sizeof(TableEntry));
    stream.copy_to_device(to, from, count * sizeof(TableEntry));
    kernels::cuda::enter(reinterpret_cast<const TableEntry*>(to), static_cast<std::int64_t>(count),
                         table, num_columns, stream.get());
    num_entries_used_ += count;
    entries = entries.subspan(count);
  }
}

SlotTokens DeviceStep::slot_tokens() const {
  void* memory = arrays_.data();
  return {last_token_.in(memory), history_.in(memory), limits_.max_seq_len};
}

void DeviceStep::expand(const StepSize& size, const tensor::Stream& stream) const {
  void* memory = arrays_.data();
  kernels::cuda::StepArrays arrays{.rows = rows_.in(device_input_.data()),
                                   .ids = ids_.in(device_input_.data()),
                                   .last_token = last_token_.in(memory),
                                   .num_seqs = size.num_seqs,
                                   .num_tokens = size.num_tokens,
                                   .tokens_per_block = limits_.tokens_per_block,
                                   .history = history_.in(memory),
                                   .history_stride = limits_.max_seq_len,
                                   .token_ids = token_ids_.in(memory),
                                   .positions = positions_.in(memory),
                                   .q_begin = q_begin_.in(memory),
                                   .first_position = first_position_.in(memory),
                                   .table_row = table_rows_.in(memory),
                                   .groups = {},
                                   .num_groups = static_cast<int>(block_tables_.size())};
  for (std::size_t group = 0; group < block_tables_.size(); ++group) {
    arrays.groups[group] = {.block_table = block_tables_[group].in(memory),
                            .max_blocks = limits_.max_blocks,
                            .slot_mapping = slot_mappings_[group].in(memory)};
  }
  kernels::cuda::expand_step(arrays, stream.get());
}

layers::ForwardBatch DeviceStep::batch(const StepSize& size, std::int64_t num_logit_rows) const {
  void* memory = arrays_.data();
  groups_.clear();
  for (std::size_t group = 0; group < block_tables_.size(); ++group) {
    groups_.push_back({.block_table = span_of(block_tables_[group].in(memory),
                                              limits_.num_slots * limits_.max_blocks),
                       .max_blocks = limits_.max_blocks,
                       .slot_mapping = {slot_mappings_[group].in(memory),
                                        static_cast<std::size_t>(size.num_tokens)}});
  }
  layers::ForwardBatch batch;
  batch.token_ids = span_of(token_ids_.in(memory), size.num_tokens);
  batch.positions = span_of(positions_.in(memory), size.num_tokens);
  batch.q_begin = span_of(q_begin_.in(memory), size.num_seqs + 1);
  batch.first_position = span_of(first_position_.in(memory), size.num_seqs);
  batch.table_rows = span_of(table_rows_.in(memory), size.num_seqs);
  batch.num_decodes = size.num_decodes;
  batch.groups = groups_;
  batch.caches = caches_;
  batch.logit_rows = span_of(logit_rows_.in(device_input_.data()), num_logit_rows);
  batch.expert_ids = {choices_.in(memory),
                      static_cast<std::size_t>(size.num_tokens * limits_.choices_per_token)};
  batch.num_valid = q_begin_.in(memory) + size.num_seqs;
  return batch;
}

}  // namespace trireme::engine
