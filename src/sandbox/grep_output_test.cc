// SPDX-License-Identifier: Apache-2.0
#include "sandbox/grep_output.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace atl::sandbox {
namespace {

using std::string_view_literals::operator""sv;

std::string Shown(GrepOutput& output) {
  std::string shown;
  for (const GrepMatch& match : output.Take()) {
    shown += match.path + "|" + std::to_string(match.line) + "|" + std::to_string(match.column) +
             "|" + match.text + "\n";
  }
  return shown;
}

TEST(GrepOutputTest, ReadsLinesHoweverTheyAreCut) {
  std::string_view bytes = "a:1:b\0003:7:x:y\nBinary file matches\n/z\00012:1:\r\nbad\0x:1:q\n"sv;
  for (size_t piece = 1; piece < bytes.size(); ++piece) {
    GrepOutput output(true, 10);
    for (size_t at = 0; at < bytes.size(); at += piece) output.Add(bytes.substr(at, piece));
    EXPECT_EQ(Shown(output), "a:1:b|3|7|x:y\n/z|12|1|\n") << piece;
  }
}

TEST(GrepOutputTest, IsBounded) {
  GrepOutput output(false, 2);
  std::string line = std::string("f\0001:", 4) + std::string(1 << 20, 'x') + "\n";
  for (int i = 0; i < 2; ++i) output.Add(line);
  EXPECT_FALSE(output.full());
  output.Add(line);
  EXPECT_TRUE(output.full());
  for (const GrepMatch& match : output.Take()) EXPECT_LE(match.text.size(), 4096U);
}

}  // namespace
}  // namespace atl::sandbox
