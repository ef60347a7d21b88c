#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/sampling_noise.cuh"
#include "kernels/cuda/detail/sampling_select.cuh"

// After the scan: draws under top_k, top_p and min_p, and the lists of the best. Nearly always a
// sorted list of candidates decides; else the row is read once for each digit of the order.
namespace trireme::kernels::cuda {
namespace {

/// Without top_k: what top_p and min_p keep is nearly always among so many.
constexpr int kListedWithoutTopK = 1024;

/// exp(value − largest) as the CPU has it; 0 for NaN.
__device__ double exact_weight(float value, float largest) {
  if (!(value > -INFINITY)) return 0;
  return exp_below(static_cast<double>(value), static_cast<double>(largest));
}

/// One row's filters and draw; all threads of a cta.
struct FilteredRow {
  const SamplingRow& row;
  const RowForm& form;
  const RowLogits& logits;
  const RowWorkspace& workspace;
  const ScanSummary& scan;
  SelectMemory& memory;
  Order order;
  double lowest_kept;  ///< by min_p

  __device__ FilteredRow(const SamplingRow& for_row, const RowForm& with_form,
                         const RowLogits& of_logits, const RowWorkspace& in_workspace,
                         const ScanSummary& after_scan, SelectMemory& with_memory)
      : row(for_row),
        form(with_form),
        logits(of_logits),
        workspace(in_workspace),
        scan(after_scan),
        memory(with_memory),
        order{row.temperature, scaled(scan.largest, row.temperature)},
        lowest_kept(static_cast<double>(order.largest) + log(row.min_p)) {}

  __device__ bool is_kept_by_min_p(float value) const {
    return row.min_p <= 0 || static_cast<double>(value) >= lowest_kept;
  }

  /// How many of the first `size` places of the list top_p and min_p keep; 0: the list does not
  /// tell. is_all: no more than these can be kept.
  __device__ int num_kept(int size, bool is_all) const {
    __shared__ int first_left_out;
    const int per_thread = (size + kSelectThreads - 1) / kSelectThreads;
    const int begin = min(size, static_cast<int>(threadIdx.x) * per_thread);
    const int end = min(size, begin + per_thread);
    if (threadIdx.x == 0) first_left_out = size;
    double own = 0, mass = 0;
    for (int i = begin; i < end; ++i) own += exact_weight(value_at(memory.list[i]), order.largest);
    double reached = cta_scan(own, &mass);
    const double listed_mass = mass;
    if (form.top_k == 0) mass = scan.scaled_sum;
    const bool has_top_p = row.top_p < 1;
    const double wanted = row.top_p * mass;
    for (int i = begin; i < end; ++i) {
      const float value = value_at(memory.list[i]);
      if (i > 0 && ((has_top_p && reached >= wanted) || !is_kept_by_min_p(value))) {
        atomicMin(&first_left_out, i);
        break;
      }
      reached += exact_weight(value, order.largest);
    }
    __syncthreads();
    const int kept = first_left_out;
    __syncthreads();
    if (kept < size || is_all || (has_top_p && listed_mass >= wanted)) return kept;
    return 0;
  }

  /// Of the list's first places.
  __device__ int draw_from_list(int size) const {
    const Noise noise{row.key, static_cast<std::uint64_t>(row.position)};
    const float bound = order.largest - (-kLeastNoise + slack_near(order.largest));
    Best best = 0;
    for (int i = static_cast<int>(threadIdx.x); i < size; i += kSelectThreads) {
      const float value = value_at(memory.list[i]);
      if (!(value > -INFINITY) || value + kMostNoise < bound) continue;
      const int id = id_at(memory.list[i]);
      best = Larger()(best, best_of(value + gumbel(noise.word(id)), id));
    }
    return id_of(cta_reduce(best, Larger()));
  }

  __device__ int draw_from_whole_row() const {
    Place last = 0;
    if (form.top_k > 0) last = last_place<Counts>(logits, order, 0, form.top_k, memory);
    if (row.top_p < 1) {
      unsigned long long own = 0;
      for_each_id(logits, [&](float logit, int id) {
        if (order.place(logit, id) < last) return;
        own += Masses::fixed(weight_of(order.value(logit), order.largest));
      });
      const double wanted = row.top_p * static_cast<double>(cta_reduce(own, Plus()));
      last = last_place<Masses>(logits, order, last, wanted, memory);
    }
    const auto values = [&](int quad) {
      Quad four = logits.load(quad);
      for (int i = 0; i < 4; ++i) {
        const float value = order.value(without_nan(four.at[i]));
        const bool is_kept =
            order.place(four.at[i], 4 * quad + i) >= last && is_kept_by_min_p(value);
        four.at[i] = is_kept ? value : -INFINITY;
      }
      return four;
    };
    const Noise noise{row.key, static_cast<std::uint64_t>(row.position)};
    const Best best = draw(values, 0, logits.num_quads(), order.largest, noise);
    return id_of(cta_reduce(best, Larger()));
  }

  __device__ int draw_token() const {
    if (form.top_k <= kMostListed) {
      const int wanted = form.top_k > 0 ? form.top_k : min(kListedWithoutTopK, logits.vocab_size);
      list_first(logits, order, workspace, wanted, memory);
      const int size = form.top_k > 0 ? form.top_k : memory.num_listed;
      const bool is_all = form.top_k > 0 || size == logits.vocab_size;
      const int kept = num_kept(size, is_all);
      if (kept > 0) return draw_from_list(kept);
      __syncthreads();
    }
    return draw_from_whole_row();
  }
};

__device__ void list_top(const Sampling& s, const SamplingRow& row, std::int64_t row_idx,
                         const RowLogits& logits, const RowWorkspace& workspace,
                         const ScanSummary& scan, SelectMemory& memory) {
  const int num_top = min(row.num_top, static_cast<int>(s.max_top));
  const int count = scan.has_finite != 0 ? min(num_top, logits.vocab_size) : 0;
  if (count > 0) list_first(logits, {1.0f, scan.largest}, workspace, count, memory);
  const LogSumExp model{scan.largest, scan.model_sum};
  for (int i = static_cast<int>(threadIdx.x); i < num_top; i += kSelectThreads) {
    const bool is_there = i < count;
    s.top_ids[row_idx * s.max_top + i] = is_there ? id_at(memory.list[i]) : -1;
    s.top_logprobs[row_idx * s.max_top + i] =
        is_there ? model.logprob(value_at(memory.list[i])) : -INFINITY;
  }
}

/// A row a cta; blockIdx.y 0 draws, 1 lists the best.
__global__ void __launch_bounds__(kSelectThreads, 3) filter_kernel(const Sampling s) {
  start_next_kernel();
  wait_for_earlier_kernels();
  __shared__ SelectMemory memory;
  const std::int64_t row_idx = blockIdx.x;
  const SamplingRow row = s.rows[row_idx];
  if (row.logits_row < 0) return;
  const RowForm form(row, s);
  if (blockIdx.y == 0 ? !form.is_filtered : !form.has_top) return;
  const RowLogits logits(s.logits, s.logits_stride, row.logits_row, s.vocab_size);
  const RowWorkspace workspace(s, row_idx);
  const ScanSummary scan = *workspace.summary();
  if (blockIdx.y == 1) {
    list_top(s, row, row_idx, logits, workspace, scan, memory);
    return;
  }
  int token = -1;
  if (scan.has_finite != 0) {
    token = FilteredRow(row, form, logits, workspace, scan, memory).draw_token();
  }
  if (threadIdx.x == 0) {
    write_token(s, row, row_idx, logits, {scan.largest, scan.model_sum}, token);
  }
}

}  // namespace

void launch_filters(const Sampling& s, Stream stream) {
  const dim3 grid(static_cast<unsigned>(s.num_rows), s.max_top > 0 ? 2 : 1);
  launch_overlapped(filter_kernel, {grid, kSelectThreads}, stream, s);
  check_launch("sample, filters");
}

}  // namespace trireme::kernels::cuda
