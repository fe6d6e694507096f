// SPDX-License-Identifier: Apache-2.0
#include "protocol/connection.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

namespace atl::protocol {
namespace {

TEST(ConnectionTest, FramesOfEverySizeArrive) {
  auto pair = sys::MakeSocketPair(SOCK_STREAM);
  ASSERT_TRUE(pair.has_value());
  std::string large(kMaxDataBytes, 'd');
  std::thread sender([&] {
    EXPECT_TRUE(Send(pair->first.get(), Started{.pid = 3}).has_value());
    EXPECT_TRUE(SendData(pair->first.get(), FrameType::kStdout, large).has_value());
    pair->first.Reset();
  });
  FrameReader reader(pair->second.get());
  EXPECT_EQ(reader.Expect<Started>().value().pid, 3U);
  auto data = reader.Next();
  ASSERT_TRUE(data.has_value() && data->has_value());
  EXPECT_EQ((*data)->payload, large);
  EXPECT_FALSE(reader.Next().value().has_value());
  sender.join();
}

TEST(ConnectionTest, AStreamThatEndsInsideAFrameIsAnError) {
  auto pair = sys::MakeSocketPair(SOCK_STREAM);
  std::string frame = EncodeFrame(FrameType::kTree, "half");
  ASSERT_TRUE(SendBytes(pair->first.get(), frame.substr(0, frame.size() - 1)).has_value());
  pair->first.Reset();
  FrameReader reader(pair->second.get());
  EXPECT_FALSE(reader.Next().has_value());
}

TEST(ConnectionTest, ADescriptorTravelsWithItsFrameBehindOthers) {
  auto pair = sys::MakeSocketPair(SOCK_STREAM);
  auto pipe = sys::MakePipe();
  ASSERT_TRUE(Send(pair->first.get(), Hello{}).has_value());
  std::string frame = Encode(Dialed{}).value();
  ASSERT_TRUE(SendWithFd(pair->first.get(), frame, pipe->write.get()).has_value());
  pipe->write.Reset();
  FrameReader reader(pair->second.get());
  EXPECT_TRUE(reader.Expect<Hello>().has_value());
  EXPECT_TRUE(reader.Expect<Dialed>().has_value());
  sys::Fd passed = reader.TakePassedFd();
  ASSERT_TRUE(static_cast<bool>(passed));
  EXPECT_EQ(fcntl(passed.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  ASSERT_TRUE(sys::WriteAll(passed.get(), "x").has_value());
  char byte = 0;
  EXPECT_EQ(read(pipe->read.get(), &byte, 1), 1);
}

}  // namespace
}  // namespace atl::protocol
