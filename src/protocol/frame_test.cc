// SPDX-License-Identifier: Apache-2.0
#include "protocol/frame.h"

#include <gtest/gtest.h>

namespace atl::protocol {
namespace {

TEST(FrameParserTest, GivesFramesWhateverThePiecesAre) {
  std::string stream = EncodeFrame(FrameType::kStdout, "hello") + EncodeFrame(FrameType::kOk) +
                       EncodeFrame(FrameType::kTree, std::string(kMaxDataBytes, 't'));
  for (size_t piece : {1UL, 3UL, 8UL, 13UL, 4096UL, stream.size()}) {
    FrameParser parser;
    std::vector<std::pair<FrameType, std::string>> frames;
    for (size_t at = 0; at < stream.size(); at += piece) {
      parser.Feed(std::string_view(stream).substr(at, piece));
      while (true) {
        auto frame = parser.Next();
        ASSERT_TRUE(frame.has_value());
        if (!*frame) break;
        frames.emplace_back((*frame)->type, (*frame)->payload);
      }
    }
    ASSERT_EQ(frames.size(), 3U);
    EXPECT_EQ(frames[0], std::pair(FrameType::kStdout, std::string("hello")));
    EXPECT_EQ(frames[1], std::pair(FrameType::kOk, std::string()));
    EXPECT_EQ(frames[2].second.size(), kMaxDataBytes);
    EXPECT_EQ(parser.pending(), 0U);
  }
}

TEST(FrameParserTest, ReadsStraightIntoItsSpace) {
  std::string stream = EncodeFrame(FrameType::kStderr, std::string(100'000, 'e'));
  FrameParser parser;
  size_t at = 0;
  while (at < stream.size()) {
    EXPECT_FALSE(parser.Next().value().has_value());
    auto space = parser.Space(16);
    size_t count = std::min(space.size(), stream.size() - at);
    std::copy_n(stream.data() + at, count, space.data());
    parser.Commit(count);
    at += count;
  }
  auto frame = parser.Next();
  ASSERT_TRUE(frame.has_value() && frame->has_value());
  EXPECT_EQ((*frame)->payload, std::string(100'000, 'e'));
}

void ExpectRefused(std::string bytes) {
  FrameParser parser;
  parser.Feed(bytes);
  EXPECT_FALSE(parser.Next().has_value());
  // And stays broken.
  parser.Feed(EncodeFrame(FrameType::kOk));
  EXPECT_FALSE(parser.Next().has_value());
}

TEST(FrameParserTest, RefusesWhatItDoesNotKnowBeforeThePayloadIsThere) {
  std::string frame = EncodeFrame(FrameType::kOk);
  for (char type : {'\x00', '\x02', '\x14', '\x1e', '\x22', '\x43', '\x7f', '\xff'}) {
    std::string unknown = frame;
    unknown[0] = type;
    ExpectRefused(unknown);
  }
  for (size_t reserved : {1UL, 2UL, 3UL}) {
    std::string set = frame;
    set[reserved] = 1;
    ExpectRefused(set);
  }
}

TEST(FrameParserTest, RefusesALengthPastTheLimitOfItsKind) {
  for (auto [type, limit] : {std::pair(FrameType::kStdin, kMaxDataBytes),
                             std::pair(FrameType::kSpawn, kMaxControlBytes)}) {
    Header fits = EncodeHeader(type, limit);
    FrameParser parser;
    parser.Feed({fits.data(), fits.size()});
    EXPECT_TRUE(parser.Next().has_value());
    Header longer = EncodeHeader(type, limit + 1);
    ExpectRefused({longer.data(), longer.size()});
  }
}

}  // namespace
}  // namespace atl::protocol
