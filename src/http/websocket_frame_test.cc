// SPDX-License-Identifier: Apache-2.0
#include "http/websocket_frame.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace atl::http {
namespace {

constexpr std::array<char, 4> kMask = {'\x12', '\x34', '\x56', '\x78'};

// A frame as a client might send it, with whatever bits.
std::string Frame(uint8_t first, std::string payload, bool masked = true) {
  std::string frame = MaskedFrame(Opcode::kText, payload, kMask);
  if (!masked) frame = WebSocketHeader(Opcode::kText, payload.size()) + payload;
  frame[0] = static_cast<char>(first);
  return frame;
}

struct Outcome {
  std::vector<WebSocketEvent> events;
  uint16_t refused = 0;
};

Outcome Parse(const std::string& bytes, size_t piece, Role role = Role::kServer,
              size_t limit = 1000) {
  Outcome outcome;
  WebSocketParser parser(role, limit);
  for (size_t at = 0; at < bytes.size(); at += piece) {
    parser.Feed(std::string_view(bytes).substr(at, piece));
    while (true) {
      auto event = parser.Next();
      if (!event) {
        outcome.refused = parser.close_code();
        return outcome;
      }
      if (!*event) break;
      outcome.events.push_back(**std::move(event));
    }
  }
  return outcome;
}

TEST(WebSocketFrameTest, MessagesComeWholeHoweverTheyAreCut) {
  std::string big(600, 'b');
  std::string bytes = Frame(0x81, "grüße") + Frame(0x02, "one ") + Frame(0x89, "ping") +
                      Frame(0x00, "two ") + Frame(0x80, "three") + Frame(0x82, big) +
                      Frame(0x82, "") + Frame(0x8a, "pong") +
                      Frame(0x88,
                            "\x03\xe8"
                            "bye");
  for (size_t piece : {size_t{1}, size_t{3}, size_t{7}, bytes.size()}) {
    Outcome outcome = Parse(bytes, piece);
    ASSERT_EQ(outcome.refused, 0);
    ASSERT_EQ(outcome.events.size(), 7U);
    EXPECT_EQ(outcome.events[0].opcode, Opcode::kText);
    EXPECT_EQ(outcome.events[0].data, "grüße");
    // A control frame comes in the middle of a message.
    EXPECT_EQ(outcome.events[1].opcode, Opcode::kPing);
    EXPECT_EQ(outcome.events[1].data, "ping");
    EXPECT_EQ(outcome.events[2].opcode, Opcode::kBinary);
    EXPECT_EQ(outcome.events[2].data, "one two three");
    EXPECT_EQ(outcome.events[3].data, big);
    EXPECT_EQ(outcome.events[4].data, "");
    EXPECT_EQ(outcome.events[5].opcode, Opcode::kPong);
    EXPECT_EQ(outcome.events[6].opcode, Opcode::kClose);
    EXPECT_EQ(outcome.events[6].close_code, 1000);
    EXPECT_EQ(outcome.events[6].data, "bye");
  }
}

TEST(WebSocketFrameTest, WhatMayNotBeIsRefusedWithTheRightCode) {
  std::string long_control = Frame(0x89, std::string(125, 'x'));
  long_control[1] = static_cast<char>(0x80 | 126);
  std::string padded("\x82\xfe\x00\x05", 4);
  std::string huge("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 14);
  struct Case {
    const char* what;
    std::string bytes;
    uint16_t code;
  };
  const Case cases[] = {
      {"unmasked", Frame(0x81, "hi", false), kCloseProtocolError},
      {"a reserved bit", Frame(0xc1, "hi"), kCloseProtocolError},
      {"another", Frame(0x91, "hi"), kCloseProtocolError},
      {"opcode 3", Frame(0x83, "hi"), kCloseProtocolError},
      {"opcode 11", Frame(0x8b, "hi"), kCloseProtocolError},
      {"a fragmented ping", Frame(0x09, "hi"), kCloseProtocolError},
      {"a long ping", long_control, kCloseProtocolError},
      {"a continuation of nothing", Frame(0x80, "hi"), kCloseProtocolError},
      {"a message within a message", Frame(0x01, "hi") + Frame(0x81, "ho"), kCloseProtocolError},
      {"a length that is longer than it has to be", padded + "\1\2\3\4hello", kCloseProtocolError},
      {"half a close code", Frame(0x88, "\x03"), kCloseProtocolError},
      {"a close code that is never sent", Frame(0x88, "\x03\xed"), kCloseProtocolError},
      {"a close code of nobody", Frame(0x88, "\x03\xe7"), kCloseProtocolError},
      {"a close reason that is no text", Frame(0x88, "\x03\xe8\xff"), kCloseInvalidData},
      {"a text that is none", Frame(0x81, "\xc3\x28"), kCloseInvalidData},
      {"a text that ends in a character", Frame(0x01, "\xc3") + Frame(0x80, ""), kCloseInvalidData},
      {"too large", Frame(0x82, std::string(1001, 'x')), kCloseTooBig},
      {"too large in pieces",
       Frame(0x02, std::string(600, 'x')) + Frame(0x80, std::string(600, 'x')), kCloseTooBig},
      {"larger than memory", huge, kCloseTooBig},
  };
  for (const Case& one : cases) {
    for (size_t piece : {size_t{1}, one.bytes.size()}) {
      EXPECT_EQ(Parse(one.bytes, piece).refused, one.code) << one.what;
    }
  }
  // A text may be cut within a character.
  EXPECT_EQ(Parse(Frame(0x01, "\xc3") + Frame(0x80, "\xbc"), 100).events.at(0).data, "ü");
}

TEST(WebSocketFrameTest, AClientTakesWhatAServerSends) {
  std::string big(70'000, 'x');
  std::string bytes = WebSocketHeader(Opcode::kBinary, big.size()) + big;
  Outcome outcome = Parse(bytes, 1000, Role::kClient, 100'000);
  ASSERT_EQ(outcome.events.size(), 1U);
  EXPECT_EQ(outcome.events[0].data, big);
  EXPECT_EQ(Parse(Frame(0x81, "masked"), 100, Role::kClient).refused, kCloseProtocolError);
}

TEST(WebSocketFrameTest, AReasonIsCutBetweenCharacters) {
  std::string reason(122, 'x');
  EXPECT_EQ(ClosePayload(1000, reason + "üü"), "\x03\xe8" + reason);
}

}  // namespace
}  // namespace atl::http
