// See scheduler.h. A sequence is given pages for all its tokens when it is admitted and one more
// whenever decoding fills the last; so only decoding can run out of them. Then the youngest
// sequence gives way. The oldest one can take the pages of all others, therefore it always goes on.
#include "engine/scheduler.h"

#include <algorithm>
#include <utility>

namespace chatglm {

Scheduler::Scheduler(const SchedulerLimits& limits, BlockAllocator& allocator,
                     const CachePrefix& prefix)
    : limits_(limits), allocator_(allocator), prefix_(prefix) {
  chunks_.reserve(static_cast<std::size_t>(limits_.max_sequences));
}

void Scheduler::add(std::unique_ptr<Sequence> sequence) {
  waiting_.push_back(std::move(sequence));
}

Sequence* Scheduler::find(RequestId id) const {
  for (const Queue* queue : {&running_, &waiting_}) {
    for (const auto& sequence : *queue) {
      if (sequence->id == id) return sequence.get();
    }
  }
  return nullptr;
}

std::vector<Sequence*> Scheduler::cancelled() const {
  std::vector<Sequence*> found;
  for (const Queue* queue : {&running_, &waiting_}) {
    for (const auto& sequence : *queue) {
      if (sequence->is_cancelled) found.push_back(sequence.get());
    }
  }
  return found;
}

std::vector<Sequence*> Scheduler::running() const {
  std::vector<Sequence*> all;
  for (const auto& sequence : running_) all.push_back(sequence.get());
  return all;
}

std::vector<Sequence*> Scheduler::waiting() const {
  std::vector<Sequence*> all;
  for (const auto& sequence : waiting_) all.push_back(sequence.get());
  return all;
}

std::span<const Chunk> Scheduler::plan() {
  take_guesses_back();
  make_room_to_decode();
  admit_waiting();
  chunks_.clear();
  rows_left_ = limits_.max_rows;
  logit_rows_left_ = limits_.max_logit_rows;
  may_exceed_rows_ = true;
  for (const auto& sequence : running_) {
    if (sequence->num_uncomputed() == 1) add_chunk(*sequence);
  }
  for (const auto& sequence : running_) {
    if (sequence->num_uncomputed() > 1) add_chunk(*sequence);
  }
  return chunks_;
}

int64_t Scheduler::add_guesses(std::size_t chunk, int64_t most) {
  Chunk& extended = chunks_[chunk];
  Sequence& sequence = *extended.sequence;
  const int64_t room =
      std::min({rows_left_, logit_rows_left_, most, static_cast<int64_t>(sequence.draft.size())});
  int64_t count = 0;
  for (; count < room && take_page_for(sequence, extended.end); ++count) {
    ++extended.end;
    ++extended.end_logit;
  }
  rows_left_ -= count;
  logit_rows_left_ -= count;
  return count;
}

bool Scheduler::take_page_for(Sequence& sequence, int64_t index) {
  if (sequence.pages.size() == pages_for(index + 1)) return true;
  const PageId page = allocator_.allocate();
  if (page == kNoPage) return false;
  sequence.pages.push_back(page);
  return true;
}

void Scheduler::mark_computed(Sequence& sequence, int64_t end) {
  sequence.num_computed = end;
  if (!limits_.prefix_reuse) return;
  const int64_t page_tokens = allocator_.page_tokens();
  const int64_t slots = prefix_.length + sequence.num_computed;
  if ((sequence.num_published + 1) * page_tokens > slots) return;
  const std::vector<int32_t> tokens = block_tokens(sequence, sequence.num_computed);
  while ((sequence.num_published + 1) * page_tokens <= slots) {
    const auto index = static_cast<std::size_t>(sequence.num_published);
    const std::size_t block = index - prefix_.pages.size();  // the first is a root
    const PageId parent = block == 0 ? kNoPage : sequence.pages[index - 1];
    const auto size = static_cast<std::size_t>(page_tokens);
    sequence.pages[index] =
        allocator_.publish(sequence.pages[index], parent,
                           std::span(tokens).subspan(block * size, size), sequence.cache_salt);
    ++sequence.num_published;
  }
}

void Scheduler::remove(Sequence* sequence) {
  give_pages_back(*sequence);
  auto is_it = [=](const auto& other) { return other.get() == sequence; };
  std::erase_if(running_, is_it);
  std::erase_if(waiting_, is_it);
}

std::size_t Scheduler::pages_for(int64_t tokens) const {
  const int64_t page_tokens = allocator_.page_tokens();
  return static_cast<std::size_t>((prefix_.length + tokens + page_tokens - 1) / page_tokens);
}

// The sequence's first `end` tokens as the prefix cache knows them: after a filler for each slot
// that the end of a trained prefix has in their first page.
std::vector<int32_t> Scheduler::block_tokens(const Sequence& sequence, int64_t end) const {
  constexpr int32_t kFiller = -1;
  std::vector<int32_t> tokens(static_cast<std::size_t>(prefix_.length % allocator_.page_tokens()),
                              kFiller);
  tokens.insert(tokens.end(), sequence.tokens.begin(), sequence.tokens.begin() + end);
  return tokens;
}

// The pages that only guesses needed: whatever else the step does, it does as without them.
void Scheduler::take_guesses_back() {
  for (const auto& sequence : running_) {
    const std::size_t own = pages_for(sequence->num_tokens());
    if (sequence->pages.size() <= own) continue;
    allocator_.release(std::span(sequence->pages).subspan(own));
    sequence->pages.resize(own);
  }
}

void Scheduler::make_room_to_decode() {
  // Oldest first. Preemption shortens running_ from its end, at most up to the sequence in need.
  for (std::size_t index = 0; index < running_.size(); ++index) {
    Sequence& sequence = *running_[index];
    while (index < running_.size() && sequence.pages.size() < pages_for(sequence.num_tokens())) {
      const PageId page = allocator_.allocate();
      if (page == kNoPage) {
        preempt_youngest();
      } else {
        sequence.pages.push_back(page);
      }
    }
  }
}

// It will be computed again from its prompt and what it has generated; its sampler stays as it is.
void Scheduler::preempt_youngest() {
  std::unique_ptr<Sequence> youngest = std::move(running_.back());
  running_.pop_back();
  give_pages_back(*youngest);
  waiting_.push_front(std::move(youngest));
  ++num_preemptions_;
}

void Scheduler::admit_waiting() {
  while (!waiting_.empty() && num_running() < limits_.max_sequences &&
         take_pages(*waiting_.front())) {
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

// Pages for all the tokens, as many as possible from the prefix cache. False where there are too
// few; nothing is taken then.
bool Scheduler::take_pages(Sequence& sequence) {
  std::vector<PageId> pages = prefix_.pages;
  allocator_.share(pages);
  // Whoever wants the logits of its prompt must compute all of it, everybody else the last token.
  if (limits_.prefix_reuse && !sequence.on_prompt_logits) {
    const std::vector<PageId> matched = allocator_.match_prefix(
        block_tokens(sequence, sequence.num_tokens() - 1), sequence.cache_salt);
    pages.insert(pages.end(), matched.begin(), matched.end());
  }
  const std::size_t reused = pages.size();
  const std::size_t needed = pages_for(sequence.num_tokens());
  // A page to grow into for each that runs; else somebody would be preempted at once.
  const int64_t headroom = num_running();
  if (allocator_.num_free() < static_cast<int64_t>(needed - reused) + headroom) {
    allocator_.release(pages);
    return false;
  }
  while (pages.size() < needed) pages.push_back(allocator_.allocate());

  sequence.pages = std::move(pages);
  sequence.num_published = static_cast<int64_t>(reused);
  sequence.needs_prefix_tail = !prefix_.tail.empty() && reused == prefix_.pages.size();
  sequence.num_computed = std::max<int64_t>(
      0, static_cast<int64_t>(reused) * allocator_.page_tokens() - prefix_.length);
  if (!sequence.was_admitted) {
    sequence.was_admitted = true;
    sequence.num_reused = sequence.num_computed;
    num_prompt_tokens_reused_ += sequence.num_reused;
  }
  return true;
}

void Scheduler::give_pages_back(Sequence& sequence) {
  allocator_.release(sequence.pages);
  sequence.pages.clear();
  sequence.draft.clear();
  sequence.num_computed = 0;
  sequence.num_published = 0;
}

// As many of the sequence's uncomputed tokens as the step's remaining rows and logits rows allow.
// Tokens that see each other go together: where they are too many, this is the one chunk of the
// step that exceeds the rows, and where their logits are too many, it is repeated for the others.
void Scheduler::add_chunk(Sequence& sequence) {
  const int64_t begin = sequence.num_computed;
  const int64_t together = std::max<int64_t>(begin, sequence.layout.bidirectional_tokens);
  const int64_t first_logit = std::max(begin, sequence.first_logit());
  const int64_t logits_fit = first_logit + logit_rows_left_;
  if (first_logit < together && logits_fit == first_logit) return;
  if (together > begin + rows_left_ && !std::exchange(may_exceed_rows_, false)) return;
  const int64_t rows_fit = std::max(together, begin + rows_left_);
  const int64_t end = std::min({sequence.num_tokens(), rows_fit, std::max(together, logits_fit)});
  if (end == begin) return;
  chunks_.push_back({&sequence, begin, end, std::min(first_logit, end), std::min(logits_fit, end)});
  rows_left_ = std::max<int64_t>(0, rows_left_ - chunks_.back().num_rows());
  logit_rows_left_ -= chunks_.back().num_logits();
}

}  // namespace chatglm
