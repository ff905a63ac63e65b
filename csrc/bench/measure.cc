#include "bench/measure.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <numeric>
#include <random>

#include "base/error.h"
#include "bench/machine.h"
#include "engine/memory_budget.h"

namespace chatglm {
namespace {

// Sequences that own all pages of a cache, driven without scheduler or sampler: what is timed is
// the forward pass and a greedy choice from its logits.
class Sequences {
 public:
  // Room for `positions` of each sequence and steps of up to max_rows rows, of which each sequence
  // wants the logits of up to max_logits.
  Sequences(Model& model, Backend& backend, DType kv_dtype, int64_t count, int64_t positions,
            int64_t max_rows, int64_t max_logits)
      : model_(model),
        backend_(backend),
        pages_each_((positions + PagedKv::kPageTokens - 1) / PagedKv::kPageTokens),
        kv_(backend, kv_shape(model.config(), kv_dtype),
            count * pages_each_ * PagedKv::page_bytes(kv_shape(model.config(), kv_dtype))),
        block_table_(static_cast<std::size_t>(count * pages_each_)),
        layouts_(static_cast<std::size_t>(count)) {
    kv_.grow(kv_.max_pages());
    std::iota(block_table_.begin(), block_table_.end(), 0);
    model_.reserve(std::max(max_rows, count * max_logits), count * max_logits);
  }

  // Computes `count` tokens of the first sequence from `position` on, in steps of at most `rows`.
  void prefill(int64_t position, int64_t count, int64_t rows) {
    for (int64_t done = 0; done < count; done += rows) {
      begin_rows();
      add_rows(0, position + done, std::min(rows, count - done), 1);
      step();
    }
  }

  // Computes `count` tokens of each of the first `sequences`. Each step verifies `guesses` of each,
  // of which one is right with probability `acceptance` where those before it are.
  // Returns the number of steps.
  int64_t decode(int64_t position, int64_t count, int64_t sequences, int64_t guesses,
                 double acceptance) {
    std::mt19937 random(1);  // NOLINT: the same in every repetition
    std::vector<int64_t> done(static_cast<std::size_t>(sequences), 0);
    for (int64_t steps = 0;; ++steps) {
      begin_rows();
      for (int64_t sequence = 0; sequence < sequences; ++sequence) {
        int64_t& computed = done[static_cast<std::size_t>(sequence)];
        if (computed >= count) continue;
        add_rows(sequence, position + computed, 1 + guesses, 1 + guesses);
        int64_t right = 0;
        while (right < guesses && random() * 0x1p-32 < acceptance) ++right;
        computed += 1 + right;
      }
      if (tokens_.empty()) return steps;
      step();
    }
  }

  // Stores random keys and values, as if the positions below `depth` had been computed. They must
  // really be written: untouched pages all map to one page of zeros and cost nothing to read.
  void fill(int64_t depth) {
    const ModelConfig& config = model_.config();
    const int64_t row_elements = config.num_kv_heads * config.head_dim;
    constexpr int64_t kRows = 256;
    std::vector<float> values(static_cast<std::size_t>(kRows * row_elements));
    for (float& value : values) value = static_cast<float>(generator_() >> 8) * 0x1p-23f - 1.0f;
    const auto buffer = backend_.allocate(static_cast<int64_t>(values.size() * sizeof(float)));
    backend_.upload(buffer->data(), values.data(), buffer->size_bytes());
    for (int64_t sequence = 0; sequence < count(); ++sequence) {
      for (int64_t position = 0; position < depth; position += kRows) {
        begin_rows();
        add_rows(sequence, position, std::min(kRows, depth - position), 1);
        const StagedBatch staged = backend_.stage(batch());
        for (int64_t layer = 0; layer < config.num_layers; ++layer) {
          backend_.kv_store({.keys = buffer->as<float>(),
                             .values = buffer->as<float>(),
                             .row_stride = row_elements,
                             .layer = layer,
                             .kv = kv_.view(),
                             .rows = staged.rows});
        }
      }
    }
  }

  int64_t count() const { return static_cast<int64_t>(layouts_.size()); }
  int64_t kv_token_bytes() const { return kv_.page_bytes() / PagedKv::kPageTokens; }

 private:
  static KvShape kv_shape(const ModelConfig& config, DType dtype) {
    return {config.num_layers, config.num_kv_heads, config.head_dim, dtype};
  }

  void begin_rows() {
    tokens_.clear();
    positions_.clear();
    visible_.clear();
    sequence_.clear();
    logit_rows_.clear();
  }

  // `count` random tokens of a sequence from `position` on; the last num_logits' logits are wanted.
  void add_rows(int64_t sequence, int64_t position, int64_t count, int64_t num_logits) {
    const auto vocab_size = static_cast<uint32_t>(model_.config().vocab_size);
    for (int64_t row = 0; row < count; ++row) {
      tokens_.push_back(static_cast<int32_t>(generator_() % vocab_size));
      positions_.push_back(static_cast<int32_t>(position + row));
      visible_.push_back(static_cast<int32_t>(position + row + 1));
      sequence_.push_back(static_cast<int32_t>(sequence));
      if (row >= count - num_logits) {
        logit_rows_.push_back(static_cast<int32_t>(tokens_.size() - 1));
      }
    }
  }

  Batch batch() const {
    return {.token_ids = tokens_,
            .positions = positions_,
            .slots = positions_,
            .visible = visible_,
            .sequence = sequence_,
            .layouts = layouts_,
            .block_table = block_table_,
            .block_table_stride = pages_each_,
            .logit_rows = logit_rows_};
  }

  // Waits for the choices. What the tokens are does not matter: random weights give anything.
  void step() {
    model_.forward(batch(), kv_.views());
    choice_rows_.resize(logit_rows_.size());
    std::iota(choice_rows_.begin(), choice_rows_.end(), 0);
    rules_.resize(logit_rows_.size());
    choices_.resize(logit_rows_.size());
    backend_.choose(model_.logits(), model_.config().vocab_size, choice_rows_, rules_, choices_);
  }

  Model& model_;
  Backend& backend_;
  const int64_t pages_each_;
  PagedKv kv_;
  std::mt19937 generator_{20231027};   // NOLINT: a fixed seed on purpose
  std::vector<int32_t> block_table_;   // (sequences, pages_each_)
  std::vector<PromptLayout> layouts_;  // (sequences) causal
  std::vector<int32_t> tokens_, positions_, visible_, sequence_, logit_rows_, choice_rows_;
  std::vector<ChoiceRule> rules_;  // greedy
  std::vector<Choice> choices_;
};

// Multiply-adds (two each) for one token of a prompt of `count` tokens at `depth`: all matrices but
// the output's, which only the last token needs, and the scores and weighted values of causal
// attention.
double prefill_flops_per_token(const ModelConfig& config, int64_t depth, int64_t count) {
  const double layer_weights =
      static_cast<double>(config.hidden_size) *
      static_cast<double>(config.qkv_size() + config.num_heads * config.head_dim +
                          (config.ffn_inputs + 1) * config.ffn_size);
  const double mean_context = static_cast<double>(depth) + 0.5 * static_cast<double>(count + 1);
  const double attention =
      2.0 * static_cast<double>(config.num_heads * config.head_dim) * mean_context;
  return 2.0 * static_cast<double>(config.num_layers) * (layer_weights + attention);
}

// A step reads the weights once for all sequences, and each cache for its own.
double decode_bytes_per_token(int64_t weight_bytes, int64_t kv_token_bytes, int64_t depth,
                              int64_t count, int64_t sequences, int64_t steps) {
  const double mean_context = static_cast<double>(depth) + 0.5 * static_cast<double>(count + 1);
  const double step_bytes = static_cast<double>(weight_bytes) / static_cast<double>(sequences) +
                            mean_context * static_cast<double>(kv_token_bytes);
  return step_bytes * static_cast<double>(steps) / static_cast<double>(count);
}

// run(tokens): computes that many tokens of each sequence.
std::vector<double> rates(int repetitions, int64_t tokens, int64_t sequences, int64_t warm_up,
                          const std::function<void(int64_t tokens)>& run) {
  run(std::min(tokens, warm_up));
  std::vector<double> result;
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    const auto start = std::chrono::steady_clock::now();
    run(tokens);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    result.push_back(static_cast<double>(tokens * sequences) / elapsed.count());
  }
  return result;
}

int64_t largest(const std::vector<int64_t>& values) {
  return *std::max_element(values.begin(), values.end());
}

// That a test takes after the depth.
int64_t positions(const MeasureOptions& options) {
  if (options.decode_tokens == 0) return options.prompt_tokens;
  return std::max(options.prompt_tokens, options.decode_tokens + largest(options.guesses));
}

void check_positions(const ModelConfig& config, const MeasureOptions& options) {
  const int64_t deepest = largest(options.depths);
  const int64_t needed = deepest + positions(options);
  if (needed <= config.max_length) return;
  throw Error(ErrorKind::kContextLength, "depth and tokens need " + std::to_string(needed) +
                                             " positions, the model has " +
                                             std::to_string(config.max_length));
}

// Pages are touched one by one: without this the system would kill the program in the middle.
void check_memory(const ModelConfig& config, const Backend& backend, DType kv_dtype,
                  int64_t sequences, int64_t positions) {
  const KvShape shape{config.num_layers, config.num_kv_heads, config.head_dim, kv_dtype};
  const int64_t pages = (positions + PagedKv::kPageTokens - 1) / PagedKv::kPageTokens;
  const int64_t needed = sequences * pages * PagedKv::page_bytes(shape);
  const int64_t available = available_memory_bytes(backend);
  if (needed <= available) return;
  const auto mebibytes = [](int64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; };
  throw Error(ErrorKind::kDevice, "the " + std::string(dtype_info(kv_dtype).name) + " caches of " +
                                      std::to_string(sequences) +
                                      (sequences == 1 ? " sequence" : " sequences") + " of " +
                                      std::to_string(positions) + " positions need " +
                                      mebibytes(needed) + "; free are " + mebibytes(available));
}

}  // namespace

std::string Measurement::test() const {
  std::string name = (is_decode ? "tg" : "pp") + std::to_string(tokens);
  if (sequences > 1) name += " x" + std::to_string(sequences);
  if (guesses > 0) name += " +" + std::to_string(guesses) + " guesses";
  if (depth > 0) name += " @ d" + std::to_string(depth);
  return name;
}

std::vector<Measurement> measure(Model& model, Backend& backend, const MeasureOptions& options) {
  const ModelConfig& config = model.config();
  check_positions(config, options);
  const bool decodes = options.decode_tokens > 0;
  const int64_t most = decodes ? largest(options.batches) : 1;
  const int64_t most_logits = decodes ? 1 + largest(options.guesses) : 1;
  std::vector<Measurement> results;
  for (const DType kv_dtype : options.kv_dtypes) {
    for (const int64_t depth : options.depths) {
      const Measurement common{
          .depth = depth, .kv_dtype = kv_dtype, .num_threads = backend.num_threads()};
      check_memory(config, backend, kv_dtype, most, depth + positions(options));
      Sequences sequences(model, backend, kv_dtype, most, depth + positions(options),
                          options.batch_rows, most_logits);
      sequences.fill(depth);
      if (options.prompt_tokens > 0) {
        Measurement row = common;
        row.tokens = options.prompt_tokens;
        row.flops_per_token = prefill_flops_per_token(config, depth, row.tokens);
        row.tokens_per_second =
            rates(options.repetitions, row.tokens, 1, 4 * options.batch_rows,
                  [&](int64_t count) { sequences.prefill(depth, count, options.batch_rows); });
        row.peak_rss_bytes = peak_rss_bytes();
        results.push_back(std::move(row));
      }
      if (!decodes) continue;
      for (const int64_t batch : options.batches) {
        for (const int64_t guesses : options.guesses) {
          Measurement row = common;
          row.is_decode = true;
          row.tokens = options.decode_tokens;
          row.sequences = batch;
          row.guesses = guesses;
          int64_t steps = 0;
          row.tokens_per_second =
              rates(options.repetitions, row.tokens, batch, 4, [&](int64_t count) {
                steps = sequences.decode(depth, count, batch, guesses, options.acceptance);
              });
          row.bytes_per_token =
              decode_bytes_per_token(model.decode_weight_bytes(), sequences.kv_token_bytes(), depth,
                                     row.tokens, batch, steps);
          row.peak_rss_bytes = peak_rss_bytes();
          results.push_back(std::move(row));
        }
      }
    }
  }
  return results;
}

}  // namespace chatglm
