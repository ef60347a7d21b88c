#include "stage_runner.h"

#include "base/error.h"
#include "base/mix.h"

namespace trireme::test {

using tensor::TensorView;

struct StageRunner::Batch {
  std::vector<std::int32_t> token_ids, positions, q_begin = {0}, first_position, block_table;
  std::vector<std::int64_t> slot_mapping;
  std::vector<std::uint64_t> token_keys;
  std::vector<std::int32_t> logit_rows, ffn_num_tokens;
  std::vector<layers::GroupBatch> groups;
};

StageRunner::StageRunner(const Options& options, const comm::ProcessGroups& groups)
    : options_(options),
      groups_(groups),
      config_(checkpoint::load_model_config(options.model_dir)),
      ops_(kernels::cpu::detect_instruction_set(), false) {
  const auto checkpoint = checkpoint::Checkpoint::open(options.model_dir, &groups.node);
  checkpoint::WeightLoader loader(checkpoint, &groups.node);
  const models::BuildOptions build{
      .sizes = options.sizes,
      .coordinates = options.coordinates,
      .layers = topology::layers_of_stage(static_cast<int>(config_.num_layers), options.sizes.pp,
                                          options.coordinates.pp, {}),
      .max_seq_len = options.max_seq_len};
  model_ = models::make_model(config_, build, loader);
  bytes_read_ = loader.load().bytes_read;
  allocate_kv();
}

void StageRunner::allocate_kv() {
  const layers::KvSpec& spec = model_->kv_spec();
  blocks_per_sequence_ = (options_.max_seq_len - 1) / options_.tokens_per_block + 1;
  const std::int64_t num_blocks = blocks_per_sequence_ * options_.num_sequences;
  const tensor::Shape shape{num_blocks, spec.num_kv_heads, options_.tokens_per_block,
                            spec.head_dim};
  std::size_t num_layers = 0;
  for (const layers::LayerGroup& group : spec.groups) num_layers += group.layers.size();
  for (std::size_t layer = 0; layer < num_layers; ++layer) {
    kv_memory_.emplace_back(shape, DType::float32);
    kv_memory_.emplace_back(shape, DType::float32);
    caches_.push_back({.k = kv_memory_[2 * layer].view().data,
                       .v = kv_memory_[2 * layer + 1].view().data,
                       .dtype = DType::float32,
                       .num_blocks = num_blocks,
                       .num_kv_heads = spec.num_kv_heads,
                       .tokens_per_block = options_.tokens_per_block,
                       .head_dim = spec.head_dim});
  }
}

StageRunner::Batch StageRunner::make_batch(const std::vector<Chunk>& chunks) const {
  Batch batch;
  for (const Chunk& chunk : chunks) {
    // Blocks of a sequence are far apart, so that nothing works by accident.
    const auto block = [&](std::int64_t idx) {
      return idx * options_.num_sequences + chunk.sequence;
    };
    for (std::int64_t idx = 0; idx < blocks_per_sequence_; ++idx) {
      batch.block_table.push_back(static_cast<std::int32_t>(block(idx)));
    }
    std::int32_t position = chunk.first_position;
    for (const std::int32_t token : chunk.tokens) {
      batch.token_ids.push_back(token);
      batch.positions.push_back(position);
      batch.token_keys.push_back(splitmix64(static_cast<std::uint64_t>(chunk.sequence) * 1000003 +
                                            static_cast<std::uint64_t>(position)));
      batch.slot_mapping.push_back(block(position / options_.tokens_per_block) *
                                       options_.tokens_per_block +
                                   position % options_.tokens_per_block);
      const bool is_last =
          position + 1 == chunk.first_position + static_cast<std::int32_t>(chunk.tokens.size());
      if (chunk.logits == Chunk::Logits::of_all ||
          (chunk.logits == Chunk::Logits::of_last && is_last)) {
        batch.logit_rows.push_back(static_cast<std::int32_t>(batch.token_ids.size()) - 1);
      }
      ++position;
    }
    batch.q_begin.push_back(static_cast<std::int32_t>(batch.token_ids.size()));
    batch.first_position.push_back(chunk.first_position);
  }
  batch.groups.assign(model_->kv_spec().groups.size(),
                      {batch.block_table, blocks_per_sequence_, batch.slot_mapping});
  if (options_.sizes.attention_dp) {
    batch.ffn_num_tokens = tokens_of_ranks(static_cast<std::int32_t>(batch.token_ids.size()));
  }
  return batch;
}

std::vector<std::int32_t> StageRunner::tokens_of_ranks(std::int32_t mine) const {
  const auto size = static_cast<std::size_t>(groups_.ffn->size());
  std::vector<std::int32_t> all(size);
  const std::vector<std::int64_t> counts(size, 1);
  groups_.ffn->all_gather(TensorView(&mine, DType::int32, {1}),
                          TensorView(all.data(), DType::int32, {groups_.ffn->size()}), counts);
  return all;
}

std::vector<std::vector<float>> StageRunner::step(const std::vector<Chunk>& chunks) {
  const tensor::ArenaScope scope(ops_.arena);
  Batch memory = make_batch(chunks);
  const layers::ForwardBatch batch{.token_ids = memory.token_ids,
                                   .positions = memory.positions,
                                   .token_keys = memory.token_keys,
                                   .q_begin = memory.q_begin,
                                   .first_position = memory.first_position,
                                   .groups = memory.groups,
                                   .caches = caches_,
                                   .logit_rows = memory.logit_rows,
                                   .ffn_num_tokens = memory.ffn_num_tokens,
                                   .choices = {}};
  layers::ForwardContext context{.ops = ops_,
                                 .groups = groups_,
                                 .attention_dp = options_.sizes.attention_dp,
                                 .moe_max_num_tokens = options_.moe_max_num_tokens,
                                 .progress = {}};
  const int stage = options_.coordinates.pp;
  TensorView hidden = ops_.arena.take({batch.num_tokens(), config_.hidden_size}, DType::float32);
  if (stage > 0) groups_.pp_hidden->receive(hidden, stage - 1)->wait();
  hidden = model_->forward(context, batch, hidden);
  if (stage + 1 < options_.sizes.pp) {
    groups_.pp_hidden->send(hidden, stage + 1)->wait();
    return {};
  }
  return gather(model_->logits(context, hidden));
}

std::vector<std::vector<float>> StageRunner::gather(const TensorView& logits) const {
  const bool is_split = options_.sizes.tp > 1 && !options_.sizes.attention_dp;
  const std::int64_t shards = is_split ? options_.sizes.tp : 1;
  const std::int64_t rows = logits.rows(), columns = logits.shape[1];
  std::vector<float> all(static_cast<std::size_t>(shards * rows * columns));
  const TensorView whole(all.data(), DType::float32, {shards * rows, columns});
  if (is_split) {
    const std::vector<std::int64_t> counts(static_cast<std::size_t>(shards), rows);
    groups_.tp->all_gather(logits, whole, counts);
  } else {
    std::copy_n(logits.as<float>(), all.size(), all.data());
  }
  std::vector<std::vector<float>> result(static_cast<std::size_t>(rows));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t id = 0; id < config_.vocab_size; ++id) {
      const std::int64_t shard = id / columns;
      result[static_cast<std::size_t>(row)].push_back(
          all[static_cast<std::size_t>((shard * rows + row) * columns + id % columns)]);
    }
  }
  return result;
}

}  // namespace trireme::test
