// SPDX-License-Identifier: Apache-2.0
#include "agent/process_log.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace atl::agent {
namespace {

class ProcessLogTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/atoll-log-test-XXXXXX";
    dir_ = mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string Path() const { return dir_ / "p.log"; }

  // Everything from `offset` on, and what it is of: "o" or "e" for each byte.
  static std::pair<std::string, std::string> All(const ProcessLog& log, uint64_t offset = 0,
                                                 size_t limit = 1000) {
    std::string bytes;
    std::string streams;
    while (auto chunk = log.Read(offset, limit)) {
      bytes += chunk->data;
      streams += std::string(chunk->data.size(), chunk->err ? 'e' : 'o');
      offset = chunk->offset + chunk->data.size();
    }
    return {bytes, streams};
  }

  std::filesystem::path dir_;
};

TEST_F(ProcessLogTest, KeepsBothStreamsInOrder) {
  ProcessLog log(Path());
  log.Append(false, "one", 1);
  log.Append(false, "two", 2);
  log.Append(true, "ERR", 3);
  log.Append(false, "x", 4);
  EXPECT_EQ(All(log), std::pair(std::string("onetwoERRx"), std::string("ooooooeeeo")));
  EXPECT_EQ(All(log, 4, 1), std::pair(std::string("woERRx"), std::string("ooeeeo")));
  EXPECT_EQ(log.Read(4, 100)->data, "wo");
  EXPECT_FALSE(log.Read(10, 100).has_value());
  EXPECT_FALSE(log.Read(99, 100).has_value());
  log.Close();
  EXPECT_EQ(All(log).first, "onetwoERRx");
  log.Remove();
  EXPECT_EQ(All(log).first, "");
  EXPECT_EQ(log.end(), 10U);
}

TEST_F(ProcessLogTest, GivesTheBeginningUpAndKeepsTheOffsets) {
  ProcessLog log(Path(), {.file_bytes = 100, .ring_bytes = 8, .segments = 1000});
  std::string all;
  for (int i = 0; i < 100; ++i) {
    std::string piece = "piece" + std::to_string(i) + ";";
    log.Append(i % 2 == 1, piece, static_cast<uint64_t>(i));
    all += piece;
    ASSERT_EQ(log.end(), all.size());
    ASSERT_EQ(All(log).first, all.substr(log.begin()));
  }
  EXPECT_GT(log.begin(), 0U);
  EXPECT_LE(log.end() - log.begin(), 220U);
  EXPECT_LE(std::filesystem::file_size(Path()), 110U);
  log.Close();
  EXPECT_EQ(All(log).first, all.substr(log.begin()));
}

TEST_F(ProcessLogTest, WithoutAFileTheEndIsKept) {
  ProcessLog log(dir_ / "none" / "p.log", {.ring_bytes = 8});
  log.Append(false, "0123456789", 1);
  EXPECT_EQ(log.begin(), 2U);
  EXPECT_EQ(All(log).first, "23456789");
  log.Close();
  EXPECT_EQ(All(log).first, "23456789");
}

TEST_F(ProcessLogTest, WhatSomebodyHasCutIsNotThere) {
  ProcessLog log(Path(), {.ring_bytes = 4});
  log.Append(false, "0123456789", 1);
  std::filesystem::resize_file(Path(), 0);
  EXPECT_EQ(All(log).first, "6789");
  log.Close();
  EXPECT_EQ(All(log).first, "");
}

TEST_F(ProcessLogTest, ChangesBetweenTheStreamsAreBounded) {
  ProcessLog log(Path(), {.segments = 10, .ended_segments = 3});
  for (int i = 0; i < 100; ++i) log.Append(i % 2 == 1, "ab", 1);
  EXPECT_EQ(log.begin(), 180U);
  log.Close();
  EXPECT_EQ(log.begin(), 194U);
  EXPECT_EQ(All(log).second, "eeooee");
}

TEST_F(ProcessLogTest, GoesOnBehindAnEarlierOne) {
  {
    ProcessLog log(Path(), {.file_bytes = 10, .ring_bytes = 8});
    log.Append(false, "0123456789", 1);
    log.Append(true, "abc", 2);
    log.Close();
  }
  ProcessLog log(Path(), {.file_bytes = 10, .ring_bytes = 8}, true);
  EXPECT_EQ(All(log).first, "0123456789abc");
  EXPECT_EQ(log.end(), 13U);
  log.Append(true, "XY", 5000);
  EXPECT_EQ(All(log), std::pair(std::string("0123456789abcXY"), std::string("oooooooooooooee")));
  EXPECT_EQ(log.Read(14, 100)->data, "Y");
  log.Append(false, "0123456789", 9000);
  log.Append(false, "Z", 9000);
  EXPECT_EQ(log.end(), 26U);
  EXPECT_EQ(All(log, log.begin()).first.back(), 'Z');
  log.Close();
  EXPECT_EQ(All(log, 13).first, "XY0123456789Z");
  ProcessLog other(dir_ / "none.log", true);
  EXPECT_EQ(other.end(), 0U);
  other.Append(false, "x", 1);
  EXPECT_EQ(All(other).first, "x");
}

}  // namespace
}  // namespace atl::agent
