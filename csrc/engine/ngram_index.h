// Where the n-grams of a growing list of tokens stood last. Every token is indexed once; a question
// costs a few probes, however long the list is.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace chatglm {

class NgramIndex {
 public:
  static constexpr int64_t kShortest = 2;
  static constexpr int64_t kLongest = 4;

  struct Match {
    int64_t length = 0;  // of the n-gram; 0: none was found
    int64_t next = 0;    // the token that followed it
  };

  NgramIndex();

  // The last place before the end where the longest n-gram that ends `tokens` stands.
  // tokens: those of the last call, and maybe more after them.
  Match find(std::span<const int32_t> tokens);

 private:
  // A hash table of the n-grams of one length, each as the place behind it: where n-grams are equal
  // is seen in the tokens.
  class Table {
   public:
    explicit Table(int64_t length) : length_(length) {}
    // Where this n-gram stands now is the last place that is known of it.
    void put(std::span<const int32_t> tokens, int64_t end);
    // The place put last for the n-gram before `end`; 0: none.
    int64_t find(std::span<const int32_t> tokens, int64_t end) const;
    int64_t length() const { return length_; }

   private:
    std::size_t slot_of(std::span<const int32_t> tokens, int64_t end) const;
    void grow(std::span<const int32_t> tokens);

    int64_t length_;
    std::size_t size_ = 0;
    std::vector<int32_t> ends_;  // a power of two of them, at most half in use; 0: free
  };

  std::vector<Table> tables_;  // longest n-grams first
  int64_t num_indexed_ = 0;    // n-grams that end before this token are in the tables
};

}  // namespace chatglm
