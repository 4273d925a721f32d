#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

namespace troupe::ranker {

/// Texts and the numbers they stand for: dense, from 0 in the order in which they came, for ever.
///
/// Operation: append only. What was given out stays true, so readers need no version of it and nobody copies
/// it to add to it. Concurrency: any thread; who reads never waits; who adds waits for others that add.
/// Limits: 2^32 - 1 texts; about 40 bytes each beside their own; nothing is ever taken out.
class text_numbers {
public:
  static constexpr std::uint32_t none = UINT32_MAX;

  text_numbers();
  ~text_numbers();
  text_numbers(const text_numbers&) = delete;
  text_numbers& operator=(const text_numbers&) = delete;

  /// `none` where the text is not there.
  std::uint32_t find(std::string_view text) const noexcept;

  /// The number of the text, which is there from now on.
  std::uint32_t add(std::string_view text);

  /// The text of a number that was given out. Good as long as this is.
  std::string_view text(std::uint32_t number) const noexcept;

  /// All numbers are below it.
  std::uint32_t size() const noexcept { return size_.load(std::memory_order_acquire); }

private:
  struct table;
  static constexpr std::size_t first_segment = 1024; ///< The others are twice as long as those before them.
  static constexpr std::size_t arena_bytes = 64 * 1024;

  std::uint32_t find_in(const table& in, std::string_view text, std::uint64_t hash) const noexcept;
  std::string_view keep(std::string_view text);

  std::atomic<const table*> table_{nullptr};
  std::array<std::atomic<std::string_view*>, 23> segments_{};
  std::atomic<std::uint32_t> size_{0};

  std::mutex adding_;
  std::vector<std::unique_ptr<table>> tables_; ///< Readers may still look into those before the last.
  std::vector<std::unique_ptr<std::string_view[]>> kept_segments_;
  std::vector<std::unique_ptr<char[]>> arenas_;
  char* free_ = nullptr; ///< In the last arena.
  std::size_t left_ = 0;
};

} // namespace troupe::ranker
