// SPDX-License-Identifier: Apache-2.0
#include "repository/chunker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <random>
#include <string>
#include <vector>

namespace atl::repository {
namespace {

constexpr Polynomial kPolynomial = 0x3DA3358B4DC173;  // of restic's own tests

std::string Noise(size_t bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string data(bytes, 0);
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    auto word = std::bit_cast<std::array<char, 8>>(random());
    std::copy(word.begin(), word.end(), data.begin() + static_cast<ptrdiff_t>(i));
  }
  return data;
}

// Byte by byte, as restic describes it, the byte 1 at the beginning included.
std::vector<size_t> Plainly(std::string_view data, const ChunkerTables& tables) {
  constexpr uint64_t kMask = (1U << 20U) - 1;
  auto shift = static_cast<unsigned>(std::bit_width(tables.polynomial)) - 9;
  std::vector<size_t> sizes;
  std::array<unsigned char, 64> window{};
  size_t at = 0;
  uint64_t digest = 0;
  auto slide = [&](unsigned char byte) {
    digest ^= tables.out[window[at]];
    window[at] = byte;
    at = (at + 1) % window.size();
    uint64_t top = digest >> shift & 0xffU;
    digest = (digest << 8U | byte) ^ tables.mod[top];
  };
  while (!data.empty()) {
    window.fill(0);
    at = 0;
    digest = 0;
    slide(1);
    size_t count = std::min(data.size(), kMinChunk - window.size());
    while (count < data.size()) {
      slide(static_cast<unsigned char>(data[count++]));
      if (count >= kMinChunk && ((digest & kMask) == 0 || count >= kMaxChunk)) break;
    }
    sizes.push_back(count);
    data.remove_prefix(count);
  }
  return sizes;
}

template <class NextPiece>
std::vector<size_t> Sizes(std::string_view data, Chunker& chunker, NextPiece next_piece) {
  std::vector<size_t> sizes;
  size_t size = 0;
  while (!data.empty()) {
    std::string_view piece = data.substr(0, next_piece());
    data.remove_prefix(piece.size());
    while (!piece.empty()) {
      auto cut = chunker.Next(piece);
      size += cut.value_or(piece.size());
      piece.remove_prefix(cut.value_or(piece.size()));
      if (!cut) {
        EXPECT_EQ(chunker.pending(), size);
        continue;
      }
      EXPECT_EQ(chunker.pending(), 0U);
      sizes.push_back(std::exchange(size, 0));
    }
  }
  if (size > 0) sizes.push_back(size);
  return sizes;
}

TEST(Chunker, CutsWhereThePlainAlgorithmCuts) {
  auto tables = ChunkerTables::For(kPolynomial);
  std::string data = Noise(48U << 20U, 1);
  std::fill_n(data.begin() + (11 << 20), 3 << 20, 'x');
  std::fill_n(data.begin() + (20 << 20), 10 << 20, '\1');
  std::fill_n(data.begin() + (40 << 20), 2 << 20, '\0');
  auto expected = Plainly(data, *tables);
  EXPECT_GT(expected.size(), 15U);
  EXPECT_TRUE(std::ranges::find(expected, kMaxChunk) != expected.end());

  Chunker chunker(tables);
  EXPECT_EQ(Sizes(data, chunker, [] { return std::string::npos; }), expected);
  std::mt19937 random(7);
  for (size_t most : {size_t{3}, size_t{200}, size_t{5000}, size_t{100'000}, size_t{3} << 20U}) {
    chunker.Reset();
    EXPECT_EQ(Sizes(data, chunker, [&] { return 1 + random() % most; }), expected) << most;
  }
}

TEST(Chunker, EveryOffsetOfTheFirstCut) {
  // The fingerprint of a window of zeros is 0: a run of them behind noise ends the chunk.
  auto tables = ChunkerTables::For(kPolynomial);
  for (size_t noise : {kMinChunk - 70, kMinChunk - 64, kMinChunk - 63, kMinChunk - 1, kMinChunk,
                       kMinChunk + 1, kMinChunk + 70'000}) {
    std::string data = Noise(noise & ~size_t{7}, 3) + std::string(noise % 8, 'a');
    data += std::string(1000, '\0');
    Chunker chunker(tables);
    EXPECT_EQ(Sizes(data, chunker, [] { return std::string::npos; }), Plainly(data, *tables));
    chunker.Reset();
    EXPECT_EQ(Sizes(data, chunker, [] { return 1; }), Plainly(data, *tables));
  }
}

TEST(Chunker, ZerosAreCutAtTheMinimum) {
  Chunker chunker(ChunkerTables::For(kPolynomial));
  std::string zeros(4 * kMinChunk + 5, '\0');
  EXPECT_EQ(Sizes(zeros, chunker, [] { return std::string::npos; }),
            (std::vector<size_t>{kMinChunk, kMinChunk, kMinChunk, kMinChunk, 5}));
}

TEST(Chunker, AChangeMovesCutsOnlyNearby) {
  auto tables = ChunkerTables::For(RandomPolynomial());
  std::string data = Noise(32U << 20U, 5);
  Chunker chunker(tables);
  auto before = Sizes(data, chunker, [] { return std::string::npos; });
  chunker.Reset();
  data.insert(16U << 20U, "something");
  auto after = Sizes(data, chunker, [] { return std::string::npos; });
  EXPECT_EQ(before.front(), after.front());
  EXPECT_EQ(before.back(), after.back());
}

TEST(Polynomial, Irreducible) {
  EXPECT_TRUE(IsIrreducible(kPolynomial));
  EXPECT_FALSE(IsIrreducible(kPolynomial ^ 1U));  // x divides it
  EXPECT_TRUE(IsIrreducible(0b111));
  EXPECT_FALSE(IsIrreducible(0b101));
  EXPECT_TRUE(IsIrreducible(0x11b));  // that of AES
  EXPECT_FALSE(IsIrreducible(0));
  EXPECT_FALSE(IsIrreducible(1));
  // How many there are of degree 8: (2^8 - 2^4) / 8.
  int count = 0;
  for (Polynomial f = 256; f < 512; ++f) count += IsIrreducible(f) ? 1 : 0;
  EXPECT_EQ(count, 30);
}

TEST(Polynomial, RandomOnesAreOfDegree53AndDiffer) {
  Polynomial a = RandomPolynomial();
  Polynomial b = RandomPolynomial();
  EXPECT_EQ(std::bit_width(a), 54);
  EXPECT_TRUE(IsIrreducible(a));
  EXPECT_NE(a, b);
}

}  // namespace
}  // namespace atl::repository
