// LoRA adapters beside a model, through the engine: against the plain forward pass of a model with
// the adapter merged, several in one batch, cached prefixes, preemption, and files that do not fit.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>

#include "backend/registry.h"
#include "base/error.h"
#include "engine/engine.h"
#include "model/lora_file.h"
#include "model/memory_source.h"
#include "model/plain_glm.h"
#include "support/exact_backend.h"
#include "support/gguf_writer.h"
#include "support/temp_folder.h"

namespace chatglm {
namespace {

using test::GgufWriter;
using testing::MemorySource;
using testing::PlainGlm;
using testing::random_weights;
using testing::Rows;
using testing::tiny_config;

constexpr uint32_t kSeed = 11;
constexpr float kAlpha = 12;

std::vector<float> random_values(int64_t count, float spread, std::mt19937& generator) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) {
    value = spread * (static_cast<float>(generator() >> 8) * 0x1p-23f - 1.0f);
  }
  return values;
}

std::vector<int32_t> random_tokens(int64_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<int32_t> tokens(static_cast<std::size_t>(count));
  for (int32_t& token : tokens) token = static_cast<int32_t>(generator() % 96);
  return tokens;
}

// An adapter file, and the weights of a model in which it is merged.
class AdapterBuilder {
 public:
  AdapterBuilder(const MemorySource& base, uint32_t seed) : merged_(base), generator_(seed) {
    writer_.string_key("general.architecture", "chatglm");
    writer_.string_key("general.type", "adapter");
    writer_.string_key("adapter.type", "lora");
    writer_.float_key("adapter.lora.alpha", kAlpha);
  }

  // Updates rows [first_row, first_row + rows) of the model's matrix `name`.
  AdapterBuilder& update(const std::string& name, int64_t rank, DType dtype = DType::kF32,
                         const std::string& as = {}, int64_t first_row = 0, int64_t rows = 0) {
    const TensorView base = merged_.fetch(name);
    if (rows == 0) rows = base.rows;
    const auto a = rounded(random_values(rank * base.cols, 0.15f, generator_), dtype);
    const auto b = rounded(random_values(rows * rank, 0.15f, generator_), dtype);
    const std::string stem = as.empty() ? name : as;
    writer_.tensor(stem + ".lora_a", dtype, u64(rank), u64(base.cols), a);
    writer_.tensor(stem + ".lora_b", dtype, u64(rows), u64(rank), b);
    merge(name, first_row, rows, rank, b, a);
    return *this;
  }
  // As llama.cpp has it: lora_a (vocabulary, rank), lora_b (hidden, rank).
  AdapterBuilder& update_embedding(int64_t rank) {
    const TensorView base = merged_.fetch("token_embd.weight");
    const auto a = random_values(base.rows * rank, 0.3f, generator_);
    const auto b = random_values(base.cols * rank, 0.3f, generator_);
    writer_.tensor("token_embd.weight.lora_a", DType::kF32, u64(base.rows), u64(rank), a);
    writer_.tensor("token_embd.weight.lora_b", DType::kF32, u64(base.cols), u64(rank), b);
    std::vector<float> transposed(b.size());  // (rank, hidden)
    for (int64_t i = 0; i < base.cols; ++i) {
      for (int64_t r = 0; r < rank; ++r) transposed[at(r * base.cols + i)] = b[at(i * rank + r)];
    }
    merge("token_embd.weight", 0, base.rows, rank, a, transposed);
    return *this;
  }

  GgufWriter& writer() { return writer_; }
  MemorySource& merged() { return merged_; }

 private:
  static uint64_t u64(int64_t value) { return static_cast<uint64_t>(value); }
  static std::size_t at(int64_t index) { return static_cast<std::size_t>(index); }

  static std::vector<float> rounded(std::vector<float> values, DType dtype) {
    const DTypeInfo& type = dtype_info(dtype);
    std::vector<std::byte> bytes(at(type.row_bytes(static_cast<int64_t>(values.size()))));
    type.encode(values.data(), bytes.data(), static_cast<int64_t>(values.size()));
    type.decode(bytes.data(), values.data(), static_cast<int64_t>(values.size()));
    return values;
  }

  // left: (rows, rank), right: (rank, cols)
  void merge(const std::string& name, int64_t first_row, int64_t rows, int64_t rank,
             const std::vector<float>& left, const std::vector<float>& right) {
    const TensorView base = merged_.fetch(name);
    std::vector<float> values = merged_.values(name);
    const double scale = kAlpha / static_cast<double>(rank);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t col = 0; col < base.cols; ++col) {
        double sum = 0;
        for (int64_t r = 0; r < rank; ++r) {
          sum += double{left[at(row * rank + r)]} * right[at(r * base.cols + col)];
        }
        values[at((first_row + row) * base.cols + col)] += static_cast<float>(scale * sum);
      }
    }
    merged_.put(name, DType::kF32, 2, base.rows, base.cols, values);
  }

  MemorySource merged_;
  std::mt19937 generator_;
  GgufWriter writer_;
};

class LoraTest : public ::testing::Test {
 protected:
  LoraTest() : base_(random_weights(config_, DType::kF32, kSeed)) {}

  struct Served {
    std::vector<std::unique_ptr<Backend>> backends;
    std::unique_ptr<Model> model;
    std::unique_ptr<Engine> engine;
  };

  // A model of the base weights with these adapters beside it, in parts of these numbers of layers.
  Served serve(std::vector<AdapterBuilder*> adapters, EngineOptions options = {},
               std::vector<int64_t> layers_each = {2}) {
    Served served;
    std::vector<PlacedLayers> parts;
    for (const int64_t layers : layers_each) {
      served.backends.push_back(test::exact_backend(2));
      const int64_t begin = parts.empty() ? 0 : parts.back().end;
      parts.push_back({served.backends.back().get(), begin, begin + layers});
    }
    const Placement placement(parts);
    served.model = load_model(config_, base_, placement);
    for (AdapterBuilder* adapter : adapters) {
      const auto path = folder_.path() / "adapter.gguf";
      adapter->writer().write(path);
      served.model->add_adapter(LoraFile(path, config_.architecture));
    }
    options.kv_dtype = DType::kF32;
    served.engine = std::make_unique<Engine>(*served.model, placement, options);
    return served;
  }

  static Request request(std::vector<int32_t> prompt, int32_t adapter, int64_t new_tokens) {
    Request request;
    request.prompt = std::move(prompt);
    request.adapter = adapter;
    request.max_new_tokens = new_tokens;
    request.sampling.do_sample = false;
    return request;
  }

  // Logits of every position, all prompts in the same batches. (prompts, positions, vocab)
  std::vector<Rows> logits(Engine& engine,
                           const std::vector<std::pair<std::vector<int32_t>, int32_t>>& prompts) {
    std::vector<Rows> all(prompts.size());
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      Request asked = request(prompts[i].first, prompts[i].second, 0);
      asked.on_prompt_logits = [&rows = all[i], this](int64_t, std::span<const float> part) {
        for (auto begin = part.begin(); begin != part.end(); begin += config_.vocab_size) {
          rows.emplace_back(begin, begin + config_.vocab_size);
        }
      };
      engine.submit(std::move(asked));
    }
    while (engine.has_work()) engine.step();
    return all;
  }

  static std::map<RequestId, std::vector<int32_t>> generate(Engine& engine,
                                                            std::vector<Request> requests,
                                                            int64_t* reused = nullptr) {
    std::map<RequestId, std::vector<int32_t>> answers;
    for (Request& asked : requests) answers[engine.submit(std::move(asked))];
    while (engine.has_work()) {
      for (const StepOutput& event : engine.step()) {
        EXPECT_EQ(event.error, "");
        if (event.token.token >= 0) answers[event.id].push_back(event.token.token);
        if (reused != nullptr) *reused = event.reused_tokens;
      }
    }
    return answers;
  }

  void expect_refused(GgufWriter& writer, ErrorKind kind, std::vector<std::string> parts) {
    const auto path = folder_.path() / "bad.gguf";
    writer.write(path);
    expect_refused(path, kind, std::move(parts));
  }
  void expect_refused(const std::filesystem::path& path, ErrorKind kind,
                      std::vector<std::string> parts) {
    const auto backend = create_backend("cpu", {.num_threads = 1});
    const auto model = load_model(config_, base_, *backend);
    try {
      model->add_adapter(LoraFile(path, config_.architecture));
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      for (const std::string& part : parts) {
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
            << part << " in: " << error.what();
      }
    }
    EXPECT_EQ(model->num_adapters(), 0);
  }

  const ModelConfig config_ = tiny_config();
  MemorySource base_;
  test::TempFolder folder_;
};

double worst_difference(const Rows& found, const Rows& expected) {
  EXPECT_EQ(found.size(), expected.size());
  double worst = 0.0;
  for (std::size_t row = 0; row < found.size(); ++row) {
    for (std::size_t i = 0; i < found[row].size(); ++i) {
      worst = std::max(worst, std::abs(found[row][i] - expected[row][i]));
    }
  }
  return worst;
}

TEST_F(LoraTest, EqualsTheMergedModel) {
  const int64_t query = config_.num_heads * config_.head_dim;
  const int64_t key = config_.num_kv_heads * config_.head_dim;
  const std::string qkv = "blk.1.attn_qkv.weight";
  std::map<std::string, AdapterBuilder> adapters;
  const auto build = [&](const char* name) -> AdapterBuilder& {
    return adapters.emplace(name, AdapterBuilder(base_, kSeed + 1)).first->second;
  };
  build("query_key_value").update("blk.0.attn_qkv.weight", 8).update(qkv, 3);
  build("f16").update(qkv, 8, DType::kF16).update("blk.0.ffn_down.weight", 5, DType::kF16);
  build("scale 1").update(qkv, static_cast<int64_t>(kAlpha), DType::kBF16);
  build("parts")
      .update(qkv, 4, DType::kF32, "blk.1.attn_q.weight", 0, query)
      .update(qkv, 2, DType::kF32, "blk.1.attn_k.weight", query, key)
      .update(qkv, 6, DType::kF32, "blk.1.attn_v.weight", query + key, key);
  build("all linear")
      .update("blk.0.attn_qkv.weight", 4)
      .update("blk.0.attn_output.weight", 4)
      .update("blk.0.ffn_up.weight", 1)
      .update("blk.1.ffn_down.weight", 33);
  build("embedding").update_embedding(5);
  build("head").update("output.weight", 7);
  const auto tokens = random_tokens(45, kSeed);
  const Rows unchanged = PlainGlm(config_, base_).logits(tokens);
  for (auto& [name, adapter] : adapters) {
    const Served served = serve({&adapter});
    const Rows found = logits(*served.engine, {{tokens, 0}})[0];
    const Rows expected = PlainGlm(config_, adapter.merged()).logits(tokens);
    EXPECT_LT(worst_difference(found, expected), 1e-4) << name;
    EXPECT_GT(worst_difference(expected, unchanged), 0.05) << name << " does nothing";
  }
}

TEST_F(LoraTest, LayersOnSeveralBackendsHaveTheirPartOfIt) {
  AdapterBuilder first(base_, 21), second(base_, 22);
  first.update("blk.1.attn_qkv.weight", 8).update("output.weight", 4).update_embedding(2);
  second.update("blk.0.ffn_up.weight", 4);
  const std::vector<std::pair<std::vector<int32_t>, int32_t>> prompts = {
      {random_tokens(17, 1), 0}, {random_tokens(5, 2), -1}, {random_tokens(9, 3), 1}};
  const Served one = serve({&first, &second});
  const Served two = serve({&first, &second}, {}, {1, 1});
  EXPECT_EQ(two.model->num_adapters(), 2);
  EXPECT_EQ(logits(*two.engine, prompts), logits(*one.engine, prompts));
}

TEST_F(LoraTest, SeveralInOneBatchAreEachAsAlone) {
  AdapterBuilder first(base_, 21), second(base_, 22);
  first.update("blk.0.attn_qkv.weight", 8).update("output.weight", 4).update_embedding(2);
  second.update("blk.1.ffn_up.weight", 16).update("blk.0.attn_output.weight", 2);
  const auto prompt = random_tokens(37, kSeed + 3);
  const auto other = random_tokens(20, kSeed + 4);
  const Served served = serve({&first, &second}, {.max_batch_rows = 48});
  const auto together =
      logits(*served.engine,
             {{prompt, 0}, {other, -1}, {prompt, 1}, {prompt, -1}, {other, 1}, {prompt, 0}});
  const auto alone = [&](const std::vector<int32_t>& tokens, int32_t adapter) {
    return logits(*served.engine, {{tokens, adapter}})[0];
  };
  EXPECT_EQ(together[0], alone(prompt, 0));
  EXPECT_EQ(together[2], alone(prompt, 1));
  EXPECT_EQ(together[4], alone(other, 1));
  EXPECT_EQ(together[5], together[0]);
  // Who asks for no adapter gets the bits of a model without any.
  const Served plain = serve({});
  EXPECT_EQ(together[3], logits(*plain.engine, {{prompt, -1}})[0]);
  EXPECT_EQ(together[1], logits(*plain.engine, {{other, -1}})[0]);
  EXPECT_NE(together[0], together[3]);
  EXPECT_NE(together[2], together[3]);
}

TEST_F(LoraTest, CachedPrefixesAreOfOneAdapter) {
  AdapterBuilder first(base_, 21), second(base_, 22);
  first.update("blk.0.attn_qkv.weight", 8);
  second.update("blk.0.attn_qkv.weight", 8);
  const Served served = serve({&first, &second});
  const auto prompt = random_tokens(70, kSeed + 5);
  std::map<int32_t, std::vector<int32_t>> fresh;
  for (const int32_t adapter : {-1, 0, 1}) {
    int64_t reused = -1;
    fresh[adapter] =
        generate(*served.engine, {request(prompt, adapter, 12)}, &reused).begin()->second;
    EXPECT_EQ(reused, 0) << adapter;
  }
  EXPECT_NE(fresh[0], fresh[1]);
  for (const int32_t adapter : {1, -1, 0}) {
    int64_t reused = -1;
    EXPECT_EQ(generate(*served.engine, {request(prompt, adapter, 12)}, &reused).begin()->second,
              fresh[adapter]);
    EXPECT_EQ(reused, 64) << adapter;
  }
}

TEST_F(LoraTest, PreemptionDoesNotMixAdapters) {
  AdapterBuilder first(base_, 21), second(base_, 22);
  first.update("blk.0.attn_qkv.weight", 8).update("blk.1.ffn_down.weight", 8);
  second.update("blk.0.ffn_up.weight", 8).update("output.weight", 8);
  const Served roomy = serve({&first, &second}, {.prefix_reuse = false});
  const int64_t page_bytes = PagedKv::page_bytes(
      {config_.num_layers, config_.num_kv_heads, config_.head_dim, DType::kF32});
  const Served tight =
      serve({&first, &second}, {.max_batch_rows = 24, .kv_budget_bytes = 9 * page_bytes});
  std::vector<Request> requests;
  std::vector<std::vector<int32_t>> expected;
  for (int32_t i = 0; i < 6; ++i) {
    const Request asked = request(random_tokens(20 + 3 * i, 50), i % 3 - 1, 30);
    expected.push_back(generate(*roomy.engine, {asked}).begin()->second);
    requests.push_back(asked);
  }
  std::size_t index = 0;
  for (const auto& [id, tokens] : generate(*tight.engine, requests)) {
    EXPECT_EQ(tokens, expected[index]) << index;
    ++index;
  }
  EXPECT_GT(tight.engine->stats().preemptions, 0);
}

TEST_F(LoraTest, AnUnknownIndexIsRefused) {
  AdapterBuilder adapter(base_, 21);
  adapter.update("output.weight", 4);
  const Served served = serve({&adapter});
  for (const int32_t index : {-2, 1}) {
    EXPECT_THROW(served.engine->check(request({1}, index, 1)), Error) << index;
  }
  EXPECT_NO_THROW(served.engine->check(request({1}, 0, 1)));
}

TEST_F(LoraTest, FilesThatDoNotFit) {
  const auto header = [](const char* type, const char* kind, const char* architecture) {
    GgufWriter writer;
    writer.string_key("general.architecture", architecture);
    writer.string_key("general.type", type);
    writer.string_key("adapter.type", kind);
    return writer;
  };
  const auto lora = [&] { return header("adapter", "lora", "chatglm"); };
  const auto zeros = [](std::size_t count) { return std::vector<float>(count); };
  const ErrorKind bad_file = ErrorKind::kModelFile;

  GgufWriter model = header("model", "lora", "chatglm");
  expect_refused(model, bad_file, {"general.type", "\"model\""});
  GgufWriter vector = header("adapter", "control_vector", "chatglm");
  expect_refused(vector, bad_file, {"adapter.type", "control_vector"});
  GgufWriter llama = header("adapter", "lora", "llama");
  expect_refused(llama, bad_file, {"general.architecture", "\"llama\"", "\"chatglm\""});
  GgufWriter empty = lora();
  expect_refused(empty, bad_file, {"no tensors"});

  GgufWriter half = lora();
  half.tensor("output.weight.lora_a", DType::kF32, 4, 128, zeros(512));
  half.tensor("blk.0.ffn_up.weight.lora_b", DType::kF32, 320, 4, zeros(1280));
  expect_refused(half, bad_file, {"output.weight.lora_b", "blk.0.ffn_up.weight.lora_a"});

  GgufWriter norm = lora();
  norm.tensor("blk.0.attn_norm.weight", DType::kF32, 0, 128, zeros(128));
  expect_refused(norm, ErrorKind::kUnsupportedModel, {"blk.0.attn_norm.weight", "merge"});

  GgufWriter shapes = lora();
  const auto pair = [&](const char* name, uint64_t a_rows, uint64_t a_cols, uint64_t b_rows,
                        uint64_t b_cols) {
    shapes.tensor(std::string(name) + ".lora_a", DType::kF32, a_rows, a_cols,
                  zeros(a_rows * a_cols));
    shapes.tensor(std::string(name) + ".lora_b", DType::kF32, b_rows, b_cols,
                  zeros(b_rows * b_cols));
  };
  pair("blk.9.attn_output.weight", 4, 128, 128, 4);  // a layer too many
  pair("blk.0.attn_output.weight", 4, 64, 128, 4);   // other inputs
  pair("blk.1.attn_output.weight", 4, 128, 96, 4);   // other outputs
  pair("blk.1.ffn_down.weight", 4, 160, 128, 3);     // two ranks
  expect_refused(
      shapes, bad_file,
      {"another base", "blk.9.attn_output.weight is not", "(4, 64)", "(96, 4)", "(128, 3)"});

  GgufWriter activated = lora();
  activated.numbers_key<uint32_t>("adapter.alora.invocation_tokens", 4, {1, 2});
  expect_refused(activated, ErrorKind::kUnsupportedModel, {"activated LoRA"});

  GgufWriter infinite = lora();
  infinite.float_key("adapter.lora.alpha", INFINITY);
  expect_refused(infinite, bad_file, {"adapter.lora.alpha"});

  expect_refused(folder_.path() / "absent.gguf", bad_file, {"absent.gguf"});
}

TEST_F(LoraTest, TruncatedFiles) {
  AdapterBuilder adapter(base_, 21);
  adapter.update("output.weight", 4);
  const auto whole = adapter.writer().bytes();
  const auto path = folder_.path() / "cut.gguf";
  for (std::size_t size = 0; size < whole.size(); size += 97) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(whole.data()), static_cast<std::streamsize>(size));
    EXPECT_THROW(LoraFile(path, "chatglm"), Error) << size;
  }
}

}  // namespace
}  // namespace chatglm
