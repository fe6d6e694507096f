// SPDX-License-Identifier: Apache-2.0
// What the client makes of an agent that does not behave. The good ones are tested with the agent.
#include "snapshot/agent_tree.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <functional>
#include <thread>

#include "protocol/connection.h"

namespace atl::snapshot {
namespace {

using protocol::FrameType;
using protocol::RecordWriter;
using protocol::TreeEntry;
using std::chrono::milliseconds;

// Plays the agent on the other end of one connection: after the request, which it does not read.
class FakeAgent {
 public:
  using Play = std::function<void(int socket)>;
  explicit FakeAgent(Play play) : play_(std::move(play)) {}

  AgentTree::Connect Connect() {
    return [this]() -> Result<sys::Fd> {
      ASSIGN(auto pair, sys::MakeSocketPair(SOCK_STREAM));
      thread_ = std::jthread([this, socket = std::move(pair.second)] {
        (void)protocol::Send(socket.get(), protocol::Hello{});
        play_(socket.get());
      });
      return std::move(pair.first);
    };
  }

 private:
  Play play_;
  std::jthread thread_;
};

// Until the client has closed.
void WaitForEnd(int socket) {
  char buffer[65536];
  while (recv(socket, buffer, sizeof(buffer), 0) > 0) {
  }
}

void SendTree(int socket, const RecordWriter& records) {
  (void)protocol::SendData(socket, FrameType::kTree, records.payload());
}

TreeEntry Entry(std::string name, uint32_t type) {
  return {.name = std::move(name), .meta = {.mode = type | 0600}};
}

Result<protocol::WalkEnd> WalkWith(const FakeAgent::Play& play, std::stop_token stop = {},
                                   milliseconds idle = std::chrono::seconds(10)) {
  FakeAgent agent([&](int socket) {
    play(socket);
    WaitForEnd(socket);
  });
  AgentTree tree(agent.Connect(), idle);
  return tree.Walk({.dir = "/d"}, [](protocol::TreeRecord) { return Result<void>(); }, stop);
}

template <class... Records>
Result<protocol::WalkEnd> WalkOf(const protocol::WalkEnd& end, const Records&... records) {
  return WalkWith([&](int socket) {
    RecordWriter writer;
    (writer.Add(records), ...);
    SendTree(socket, writer);
    (void)protocol::Send(socket, end);
  });
}

void ExpectBad(const auto& result) {
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Code::kBadGateway) << result.error().message;
  EXPECT_EQ(result.error().reason, "INVALID_FRAME");
}

const TreeEntry kRoot = Entry("", S_IFDIR);
const protocol::LeaveDir kLeave;

TEST(AgentWalkTest, AcceptsATree) {
  auto end =
      WalkOf({.entries = 3, .skipped = 1}, kRoot, Entry("a", S_IFDIR), Entry("z", S_IFREG), kLeave,
             protocol::SkippedEntry{.name = "b", .sys_errno = 13}, Entry("c", S_IFREG), kLeave);
  ASSERT_TRUE(end.has_value()) << end.error().message;
}

TEST(AgentWalkTest, RefusesWhatIsNoTree) {
  TreeEntry file = Entry("f", S_IFREG);
  ExpectBad(WalkOf({}));
  ExpectBad(WalkOf({}, kRoot));                                                  // not left
  ExpectBad(WalkOf({}, Entry("", S_IFREG)));                                     // no directory
  ExpectBad(WalkOf({}, Entry("a", S_IFDIR), kLeave));                            // named root
  ExpectBad(WalkOf({.entries = 1}, file, kLeave));                               // no root
  ExpectBad(WalkOf({}, kLeave));                                                 // left too often
  ExpectBad(WalkOf({}, kRoot, kLeave, kLeave));                                  //
  ExpectBad(WalkOf({.entries = 1}, kRoot, kLeave, file));                        // outside
  ExpectBad(WalkOf({.entries = 2}, kRoot, file, file, kLeave));                  // twice
  ExpectBad(WalkOf({.entries = 2}, kRoot, file, Entry("e", S_IFREG), kLeave));   // order
  ExpectBad(WalkOf({.entries = 1}, kRoot, Entry("", S_IFDIR), kLeave, kLeave));  // no name
  ExpectBad(WalkOf({.entries = 1}, kRoot, Entry("..", S_IFREG), kLeave));        // up
  ExpectBad(WalkOf({.entries = 1}, kRoot, Entry("a/b", S_IFREG), kLeave));       //
  ExpectBad(WalkOf({.entries = 9}, kRoot, file, kLeave));                        // count
  ExpectBad(WalkOf({}, kRoot, protocol::FileHole{.length = 1}, kLeave));         // no walk's
  ExpectBad(
      WalkWith([](int socket) { (void)protocol::SendBytes(socket, "\xff\xff\xff\xff????"); }));
  ExpectBad(WalkWith([](int socket) { (void)protocol::SendData(socket, FrameType::kRelay, "x"); }));
}

TEST(AgentWalkTest, RefusesEndlessDepth) {
  auto end = WalkWith([](int socket) {
    RecordWriter writer;
    writer.Add(kRoot);
    for (int i = 0; i < 513; ++i) writer.Add(Entry("d", S_IFDIR));
    SendTree(socket, writer);
  });
  ExpectBad(end);
}

TEST(AgentWalkTest, SaysWhatTheAgentSays) {
  Error error{.code = Code::kNotFound, .message = "no such directory", .sys_errno = 2};
  auto end =
      WalkWith([&](int socket) { (void)protocol::Send(socket, protocol::ToFailure(error)); });
  ASSERT_FALSE(end.has_value());
  EXPECT_EQ(end.error().code, Code::kNotFound);
  EXPECT_EQ(end.error().message, "no such directory");
}

TEST(AgentWalkTest, ACutConnectionIsAnError) {
  for (bool within_frame : {false, true}) {
    FakeAgent agent([&](int socket) {
      auto header = protocol::EncodeHeader(FrameType::kTree, 100);
      if (within_frame) (void)protocol::SendBytes(socket, {header.data(), header.size()});
    });
    AgentTree tree(agent.Connect());
    auto end = tree.Walk({.dir = "/d"}, [](protocol::TreeRecord) { return Result<void>(); });
    ASSERT_FALSE(end.has_value());
    EXPECT_EQ(end.error().code, Code::kUnavailable);
  }
}

TEST(AgentWalkTest, ASilentAgentIsATimeout) {
  auto begun = std::chrono::steady_clock::now();
  auto end = WalkWith([](int) {}, {}, milliseconds(100));
  ASSERT_FALSE(end.has_value());
  EXPECT_EQ(end.error().code, Code::kTimeout);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(5));
}

TEST(AgentWalkTest, StopsWhenAskedTo) {
  std::stop_source stop;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(milliseconds(50));
    stop.request_stop();
  });
  auto begun = std::chrono::steady_clock::now();
  auto end = WalkWith([](int) {}, stop.get_token());
  ASSERT_FALSE(end.has_value());
  EXPECT_EQ(end.error().code, Code::kCancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(5));
  // Also when it was asked before.
  end = WalkOf({}, kRoot, kLeave);
  EXPECT_TRUE(end.has_value());
  end = WalkWith([](int) {}, stop.get_token());
  EXPECT_EQ(end.error().code, Code::kCancelled);
}

TEST(AgentWalkTest, TheCallersErrorEndsIt) {
  FakeAgent agent([&](int socket) {
    RecordWriter writer;
    writer.Add(kRoot);
    SendTree(socket, writer);
    WaitForEnd(socket);
  });
  AgentTree tree(agent.Connect());
  auto end = tree.Walk({.dir = "/d"}, [](protocol::TreeRecord) -> Result<void> {
    return Fail(Code::kTooLarge, "enough");
  });
  ASSERT_FALSE(end.has_value());
  EXPECT_EQ(end.error().message, "enough");
}

// Two files are wanted, tags 5 and 6; gives the error, or nothing when all records are fine.
template <class... Records>
std::optional<Error> ReadOf(const Records&... records) {
  FakeAgent agent([&](int socket) {
    RecordWriter writer;
    auto add = [&](const auto& record) {
      if constexpr (std::is_same_v<std::decay_t<decltype(record)>, protocol::FileBytes>) {
        writer.AddBytes(record.tag, record.offset, record.bytes);
      } else {
        writer.Add(record);
      }
    };
    (add(records), ...);
    SendTree(socket, writer);
    WaitForEnd(socket);
  });
  AgentTree tree(agent.Connect());
  auto reader = tree.OpenReader("/d");
  if (!reader) return reader.error();
  std::vector<protocol::WantFile> wanted{{.tag = 5, .path = "a"}, {.tag = 6, .path = "b"}};
  if (auto sent = (*reader)->Request(wanted); !sent) return sent.error();
  for (size_t i = 0; i < sizeof...(records); ++i) {
    auto record = (*reader)->Next();
    if (!record) return record.error();
  }
  return std::nullopt;
}

protocol::FileBegin Begin(uint32_t tag, uint64_t size) {
  protocol::FileBegin begin{.tag = tag, .entry = Entry("", S_IFREG)};
  begin.entry.size = size;
  return begin;
}
protocol::FileBytes Bytes(uint32_t tag, uint64_t offset, std::string_view bytes) {
  return {.tag = tag, .offset = offset, .bytes = bytes};
}
protocol::FileHole Hole(uint64_t length) { return {.length = length}; }
protocol::FileEnd End(uint32_t tag, int32_t error = 0, bool changed = false) {
  return {.tag = tag, .sys_errno = error, .changed = changed};
}

TEST(AgentReaderTest, AcceptsFiles) {
  EXPECT_FALSE(
      ReadOf(Begin(5, 7), Bytes(5, 0, "ab"), Hole(4), Bytes(5, 6, "c"), End(5), End(6, ENOENT)));
  EXPECT_FALSE(ReadOf(Begin(5, 7), End(5, 0, true), Begin(6, 0), End(6)));
}

TEST(AgentReaderTest, RefusesWhatIsNoFile) {
  auto expect_bad = [](const std::optional<Error>& error) {
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->reason, "INVALID_FRAME") << error->message;
  };
  expect_bad(ReadOf(Begin(6, 0)));                                       // order
  expect_bad(ReadOf(End(5)));                                            // never begun
  expect_bad(ReadOf(Begin(5, 2), Begin(6, 2)));                          // within another
  expect_bad(ReadOf(Bytes(5, 0, "a")));                                  // outside
  expect_bad(ReadOf(Hole(1)));                                           //
  expect_bad(ReadOf(Begin(5, 9), Bytes(5, 1, "a")));                     // gap
  expect_bad(ReadOf(Begin(5, 9), Bytes(5, 0, "ab"), Bytes(5, 1, "b")));  // overlap
  expect_bad(ReadOf(Begin(5, 9), Bytes(6, 0, "ab")));                    // another's
  expect_bad(ReadOf(Begin(5, 1), Bytes(5, 0, "ab")));                    // more than it has
  expect_bad(ReadOf(Begin(5, 9), Hole(5), Hole(~0ULL)));                 // overflow
  expect_bad(ReadOf(Begin(5, 9), Hole(0)));                              // for ever
  expect_bad(ReadOf(Begin(5, 9), Bytes(5, 0, "ab"), End(5)));            // less than it has
  expect_bad(ReadOf(Begin(5, (1ULL << 50U) + 1)));                       // more than 1 PiB
  expect_bad(ReadOf(Begin(5, 0), End(6)));                               //
  expect_bad(ReadOf(kLeave));                                            //
  protocol::FileBegin dir{.tag = 5, .entry = Entry("", S_IFDIR)};
  expect_bad(ReadOf(dir));
}

TEST(AgentReaderTest, ARefusalComesWhereverItIsNoticed) {
  FakeAgent agent([](int socket) {
    Error error{.code = Code::kNotFound, .message = "no such directory"};
    (void)protocol::Send(socket, protocol::ToFailure(error));
  });
  AgentTree tree(agent.Connect());
  auto reader = tree.OpenReader("/d");
  std::optional<Error> error;
  if (!reader) error = reader.error();
  std::vector<protocol::WantFile> wanted(1000, {.tag = 1, .path = std::string(200, 'p')});
  for (int i = 0; i < 100 && !error; ++i) {
    auto sent = (*reader)->Request(wanted);
    if (!sent) error = sent.error();
  }
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code, Code::kNotFound);
}

TEST(AgentReaderTest, PathsThatLeadOutAreNotAskedFor) {
  FakeAgent agent(WaitForEnd);
  AgentTree tree(agent.Connect());
  auto reader = tree.OpenReader("/d");
  ASSERT_TRUE(reader.has_value());
  std::vector<protocol::WantFile> wanted{{.tag = 1, .path = "../x"}};
  EXPECT_EQ((*reader)->Request(wanted).error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace atl::snapshot
