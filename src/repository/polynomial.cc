// SPDX-License-Identifier: Apache-2.0
// Polynomials over GF(2) of a degree below 64, and the tables that chunkers make of them.
#include <bit>
#include <utility>

#include "crypto/bytes.h"
#include "repository/chunker.h"

namespace atl::repository {
namespace {

constexpr int kDegree = 53;
constexpr int kWindow = 64;

int Degree(Polynomial a) { return std::bit_width(a) - 1; }

Polynomial Mod(Polynomial a, Polynomial f) {
  while (Degree(a) >= Degree(f)) a ^= f << static_cast<unsigned>(Degree(a) - Degree(f));
  return a;
}

// a times x, a of a lower degree than f.
Polynomial TimesX(Polynomial a, Polynomial f) {
  bool top = Degree(a) + 1 == Degree(f);
  return top ? (a << 1U) ^ f : a << 1U;
}

Polynomial Square(Polynomial a, Polynomial f) {
  Polynomial product = 0;
  for (int bit = Degree(f) - 1; bit >= 0; --bit) {
    product = TimesX(product, f);
    if ((a >> static_cast<unsigned>(bit) & 1U) != 0) product ^= a;
  }
  return product;
}

Polynomial Gcd(Polynomial a, Polynomial b) {
  while (b != 0) {
    a = Mod(a, b);
    std::swap(a, b);
  }
  return a;
}

Polynomial AppendByte(Polynomial hash, unsigned char byte, Polynomial f) {
  for (unsigned bit = 0; bit < 8; ++bit) hash = TimesX(hash, f);
  return hash ^ Mod(byte, f);
}

}  // namespace

// Ben-Or's test: f is reducible if and only if it has a common factor with x^(2^i) - x for an i of
// at most half its degree.
bool IsIrreducible(Polynomial polynomial) {
  int degree = Degree(polynomial);
  if (degree < 1 || degree > 62) return false;
  if (degree == 1) return true;
  constexpr Polynomial kX = 2;
  Polynomial power = kX;
  for (int i = 1; i <= degree / 2; ++i) {
    power = Square(power, polynomial);
    if (Gcd(polynomial, power ^ kX) != 1) return false;
  }
  return true;
}

Polynomial RandomPolynomial() {
  for (;;) {
    std::array<unsigned char, sizeof(Polynomial)> random{};
    crypto::FillRandom(random);
    auto polynomial = std::bit_cast<Polynomial>(random);
    polynomial &= (Polynomial{1} << (kDegree + 1)) - 1;
    polynomial |= Polynomial{1} << kDegree | 1U;
    if (IsIrreducible(polynomial)) return polynomial;
  }
}

std::shared_ptr<const ChunkerTables> ChunkerTables::For(Polynomial polynomial) {
  auto tables = std::make_shared<ChunkerTables>();
  tables->polynomial = polynomial;
  auto degree = static_cast<unsigned>(Degree(polynomial));
  for (unsigned byte = 0; byte < 256; ++byte) {
    // What a byte contributes to the fingerprint when it is the oldest of the window.
    Polynomial out = AppendByte(0, static_cast<unsigned char>(byte), polynomial);
    for (int i = 1; i < kWindow; ++i) out = AppendByte(out, 0, polynomial);
    tables->out[byte] = out;
    // Takes away the eight bits above the degree and adds what is left of them.
    Polynomial above = Polynomial{byte} << degree;
    tables->mod[byte] = Mod(above, polynomial) | above;
  }
  return tables;
}

}  // namespace atl::repository
