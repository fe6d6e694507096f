// SPDX-License-Identifier: Apache-2.0
// Content-defined chunking with restic's parameters: Rabin fingerprints over a window of 64 bytes,
// chunks of 512 KiB to 8 MiB, 1 MiB on average. Gives the same cuts as restic for the same
// polynomial. https://restic.readthedocs.io/en/stable/100_references.html#backups-and-deduplication
// and https://restic.net/blog/2015-09-12/restic-foundation1-cdc
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

namespace atl::repository {

inline constexpr size_t kMinChunk = 512U << 10U;
inline constexpr size_t kMaxChunk = 8U << 20U;

// A polynomial over GF(2), bit i for x^i.
using Polynomial = uint64_t;
bool IsIrreducible(Polynomial polynomial);
Polynomial RandomPolynomial();  // irreducible, degree 53

// Made once per polynomial, shared by chunkers.
struct ChunkerTables {
  std::array<uint64_t, 256> out;
  std::array<uint64_t, 256> mod;
  Polynomial polynomial = 0;
  static std::shared_ptr<const ChunkerTables> For(Polynomial polynomial);
};

// Finds where chunks end in data that comes in pieces; holds none of it.
//   while (!data.empty()) { auto cut = chunker.Next(data); take(*cut or all) … }
class Chunker {
 public:
  explicit Chunker(std::shared_ptr<const ChunkerTables> tables);

  // Looks at `data`. The number of its bytes that complete the current chunk (then the next chunk
  // begins behind them), or nothing when all of `data` belongs to the current chunk.
  std::optional<size_t> Next(std::string_view data);
  // Bytes in the current, incomplete chunk.
  size_t pending() const { return count_; }
  void Reset();

 private:
  std::shared_ptr<const ChunkerTables> tables_;
  std::array<unsigned char, 64> window_{};
  size_t window_at_ = 0;
  uint64_t digest_ = 0;
  size_t count_ = 0;
};

}  // namespace atl::repository
